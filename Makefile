# Every command of the project. `make help` lists them; ARGS="…" passes overrides, and ARGS=--help says which there are.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 5000
RUN ?= best
PIPELINE := $(BIN)/python -m pipeline
STUDY_ARG := $(if $(STUDY),study=$(STUDY))

.DEFAULT_GOAL := help
.PHONY: help sweep train rerun ui runs preflight confirm final predict report export remove bench pictures test test-all mutants check clean \
	setup lock

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk 'BEGIN {FS = ":.*## "} {printf "make %-9s %s\n", $$1, $$2}'
	@echo 'ARGS="…" passes values to a command; ARGS=--help lists them.'

sweep: setup ## search λ, keep_prob, init scale; ARGS="study.trials=200 data=moons"
	@$(PIPELINE) sweep $(ARGS)

train: setup ## one tracked run; ARGS="regularization.lambd=0.7 seed=3"
	@$(PIPELINE) train $(ARGS)

rerun: setup ## train a recorded run again, compare the bits; RUN=best
	@$(PIPELINE) rerun run='$(RUN)' $(STUDY_ARG) $(ARGS)

ui: setup ## serve the MLflow UI on 127.0.0.1; PORT=5000
	@$(PIPELINE) ui port=$(PORT) $(ARGS)

runs: setup ## list studies and trials with their run ids; STUDY=<name>
	@$(PIPELINE) runs $(STUDY_ARG) $(ARGS)

preflight: setup ## check gradients and the network before a sweep
	@$(PIPELINE) preflight $(ARGS)

confirm: setup ## train the best again on new seeds; STUDY=<name> TOP=5 SEEDS=10
	@$(PIPELINE) confirm $(STUDY_ARG) $(if $(TOP),top=$(TOP)) $(if $(SEEDS),seeds=$(SEEDS)) $(ARGS)

final: setup ## open the test set once, register the model; STUDY=<name>
	@$(PIPELINE) final $(STUDY_ARG) $(ARGS)

predict: setup ## apply a model; MODEL=models:/<name>@champion IN=a.csv OUT=b.csv
	@$(PIPELINE) predict $(if $(MODEL),model='$(MODEL)') $(if $(IN),input='$(IN)') $(if $(OUT),output='$(OUT)') $(ARGS)

report: setup ## gather a sweep in one HTML file; STUDY=<name>
	@$(PIPELINE) report $(STUDY_ARG) $(ARGS)

export: setup ## write a run into one folder; RUN=<id>
	@$(PIPELINE) export run='$(RUN)' $(STUDY_ARG) $(ARGS)

remove: setup ## remove a study with its runs and files; STUDY=<name>
	@$(PIPELINE) remove $(STUDY_ARG) $(ARGS)

bench: setup extras ## measure speed, as ratios side by side in one run
	@$(BIN)/python -m benchmarks $(ARGS)

pictures: setup ## draw the pictures of docs/course.md anew
	@$(BIN)/python -m docs.pictures

test: setup ## run the quick tests
	@$(BIN)/python -m pytest -q -n auto --dist worksteal -m "not slow and not oracle and not browser and not postgresql" $(ARGS)

test-all: setup extras ## run every test (PyTorch, Dask, PostgreSQL and a browser too)
	@$(BIN)/python -m pytest -q $(ARGS)

mutants: setup ## change the code at random and count what the tests notice
	@$(BIN)/python -m tests.mutants $(ARGS)

check: setup ## format, lint, types and import rules
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@PYTHONPATH=. $(BIN)/lint-imports --no-cache

clean: ## remove what make built, never mlruns/
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

setup: $(VENV)/.installed
extras: $(VENV)/.extras

# The stamp is written last, so an interrupted install is done again; a newer requirements.txt is installed over the old.
$(VENV)/.installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python must be at least 3.11, but $(PYTHON) is $$($(PYTHON) -V)." >&2; exit 1; }
	@echo "Setting up $(VENV) (once; about a minute)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@touch $@

$(VENV)/.extras: requirements-extras.txt requirements-torch.txt $(VENV)/.installed
	@echo "Installing the optional packages (Dask, PostgreSQL, CMA-ES, browser tests, PyTorch)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-extras.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-torch.txt
	@touch $@

lock: setup ## pin the requirements anew, with hashes
	@$(BIN)/python -m pip install --quiet uv
	@for name in requirements requirements-extras; do \
		$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate $$name.in -o $$name.txt; done
