"""Mistakes in a command are reported in one sentence before anything is trained, and leave no open run."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow.tracking import MlflowClient

from pipeline import __main__
from pipeline.commands import sweep
from pipeline.config.commands import TrackingConfig
from pipeline.config.errors import TrackingError
from pipeline.tracking.recorder import Recorder

ROOT = Path(__file__).resolve().parents[2]
Refuse = Callable[[Sequence[str]], str]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Refuse:
    """Run a command that must be refused; returns its sentence."""
    Recorder(TrackingConfig(store=str(tmp_path / "mlruns")))
    capsys.readouterr()  # MLflow, imported before it was told to be quiet, may have told of its tables
    monkeypatch.setattr("sys.argv", ["pipeline"])
    monkeypatch.setattr("pipeline.commands.train.advance", lambda *args, **kwargs: pytest.fail("something was trained"))
    monkeypatch.setattr("pipeline.commands.sweep.Coordinator", lambda *args, **kwargs: pytest.fail("a sweep was begun"))
    # Last, since whoever is imported while it is replaced keeps the replacement.
    monkeypatch.setattr("pipeline.trials.trial.advance", lambda *args, **kwargs: pytest.fail("something was trained"))

    def run(arguments: Sequence[str]) -> str:
        name, *rest = arguments
        if not any(text.startswith("tracking.store=") for text in rest):
            rest = [f"tracking.store={tmp_path}/mlruns", *rest]
        assert __main__.main([name, *rest]) != 0
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        assert said.err.startswith("error: ")
        sentence = said.err.removeprefix("error: ").rstrip("\n")
        assert "\n" not in sentence
        client = MlflowClient(f"sqlite:///{tmp_path / 'mlruns' / 'mlflow.db'}")
        assert list(client.search_runs([e.experiment_id for e in client.search_experiments()])) == []
        return sentence

    return run


CASES = [
    (["train", "regularization.lamdb=1"], "regularization.lamdb is no configuration value (did you mean"),
    (["sweep", "study.trails=9"], "study.trails is no configuration value (did you mean study.trials?)"),
    (["sweep", "search.space.regularization.keep_prob.high=1.5"], "keep_prob.high cannot be 1.5"),
    (["train", "regularization.keep_prob=0"], "regularization.keep_prob must be greater than 0, but is 0."),
    (["train", "regularization.keep_prob=1.5"], "keep_prob must be less than or equal to 1, but is 1.5."),
    (["sweep", "regularization.lambd=1"], "regularization.lambd is searched by this sweep"),
    (["sweep", "model.init.scale=1"], "~search.space.model.init.scale"),
    (["train", "regularization.lambd=-1"], "regularization.lambd must be greater than or equal to 0, but is -1."),
    (["train", "regularization.lambd=much"], 'regularization.lambd must be a valid number, but is "much".'),
    (["train", "model.hidden_units=[64,0]"], "model.hidden_units.1 must be greater than or equal to 1, but is 0."),
    (["train", "model.activation=reluu"], "model.activation must be 'relu', 'leaky_relu', 'tanh'"),
    (["sweep", "sampler=tpee"], "sampler must be one of cmaes, gp, grid, qmc, random, tpe, but is tpee."),
    (["sweep", "sampler.name=tpee"], "sampler.name must be 'tpe', 'random', 'grid', 'qmc', 'cmaes' or 'gp'"),
    (["sweep", "pruner=mean"], "pruner must be one of hyperband, median, none, successive_halving, threshold"),
    (["sweep", "data=digit"], "data must be one of breast_cancer, circles,"),
    (["sweep", "data.name=digit"], "data.name='digit' is not built in; known are digits, breast_cancer, circles"),
    (["sweep", "+search.space.regularization.lambda={low: 0.1, high: 1}"], "is no configuration value (did you mean"),
    (["sweep", "+search.space.data.split_seed={low: 0, high: 9}"], "trials on different data do not compare"),
    (["sweep", "study.trials=0"], "study.trials must be greater than or equal to 1, but is 0."),
    (["sweep", "study.name=a/b"], "study.name must be 1 to 100 letters, digits"),
    (["sweep", "study.objective=[dev_error,parameters]", "pruner=median"], "pruner must be none (pruner=none)"),
    (
        ["sweep", "study.objective=parameters"],
        "study.objective must be dev_cost, dev_error or balanced_error, or a list of",
    ),
    (["sweep", "study.objective=[]"], "study.objective must be dev_cost, dev_error or balanced_error, or a list of"),
    (
        ["sweep", "study.objective=[dev_error,dev_error]"],
        "study.objective must be dev_cost, dev_error or balanced_error, or a list of",
    ),
    (
        ["sweep", "study.enqueue=[{regularization.lambd: 99}]"],
        "regularization.lambd must be from 0.01 to 30, but is 99.",
    ),
    (["sweep", "study.enqueue=[{seed: 1}]"], "study.enqueue names seed, which must be in search.space, but is not."),
    (
        ["sweep", "pruner=median", "pruner.first_rung=150"],
        "pruner.first_rung must be below training.num_epochs = 150, but is 150.",
    ),
    (["sweep", "workers=dask"], "workers.address must be"),
    (["train", "tracking.store=/dev/null/x"], "/dev/null"),
    (["sweep", "tracking.store=/dev/null/x"], "/dev/null"),
    (["rerun", f"run={'0' * 32}"], "0" * 32),
    (["rerun", "run=best"], "no sweep"),
    (["rerun", "tracking.store=/tmp"], "There are no runs yet: /tmp holds no tracking store."),
    (["export", "run=none/trial-0007"], "none"),
    (["runs", "study=no-such-study"], "no-such-study"),
    (["confirm", "study=no-such-study"], "no-such-study"),
    (["report", "study=no-such-study"], "no-such-study"),
    (["final", "study=no-such-study"], "no-such-study"),
    (["predict", "model=models:/none@champion", "input=x.csv"], "output must be given, but is missing"),
    (["ui", "port=0"], "port must be greater than or equal to 1, but is 0."),
    (["train", "tracking.uri=http://me:s3cret@127.0.0.1:9"], "No tracking server answers at http://***@127.0.0.1:9"),
    (["train", "tracking.store="], 'tracking.store must have at least 1 character, but is "".'),
    (["train", "tracking.experiment="], 'tracking.experiment must have at least 1 character, but is "".'),
    (["rerun", "run="], 'run must have at least 1 character, but is "".'),
    (["train", "seed=0,1"], "seed=0,1 lists several values: add --multirun"),
    (["train", "--multirun", "seed=0,1,x"], 'seed must be a valid integer, but is "x".'),
    (["train", "data=file", "data.path=a,b.csv", "data.target=y"], "There is no file 'a,b.csv'."),
    (["train", "data=file"], "data.path must"),
    (["train", "data=file", "data.path=/none/my.csv", "data.target=y"], "/none/my.csv"),
]


@pytest.mark.parametrize(("arguments", "sentence"), CASES, ids=[" ".join(arguments) for arguments, _ in CASES])
def test_a_mistake_is_refused_in_one_sentence_before_anything_is_trained(
    refused: Refuse, arguments: list[str], sentence: str
) -> None:
    said = refused(arguments)
    assert sentence in said
    assert "s3cret" not in said


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_artifacts_that_cannot_be_written_are_refused_before_the_store_is_made(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "new"
    assert __main__.main([command, f"tracking.store={store}", "tracking.artifacts=/proc/nope"]) == 1
    assert capsys.readouterr().err.startswith("error: The folder /proc/nope must be writable, but is not")
    assert not store.exists()


@pytest.mark.parametrize("command", ["train", "preflight"])
def test_a_mistake_in_the_data_leaves_no_store_behind(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gaps.csv").write_text("a,label\n1,x\n,y\n", encoding="utf-8")
    store, data = tmp_path / "new", ["data=file", f"data.path={tmp_path}/gaps.csv", "data.target=label"]
    assert __main__.main([command, f"tracking.store={store}", *data]) == 1
    assert (
        capsys.readouterr().err == "error: 1 missing value(s) in column 'a' (1); data.missing=median fills them in.\n"
    )
    assert list(store.iterdir()) == []


def test_predict_makes_no_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.csv").write_text("a\n1\n", encoding="utf-8")
    given = ["model=models:/none@champion", f"input={tmp_path}/x.csv", "output=-"]
    assert __main__.main(["predict", f"tracking.store={tmp_path}/new", *given]) == 1
    assert capsys.readouterr().err == f"error: There are no runs yet: {tmp_path}/new holds no tracking store.\n"
    assert not (tmp_path / "new").exists()


def test_a_study_name_that_exists_with_another_configuration_shows_the_difference(
    refused: Refuse, tmp_path: Path
) -> None:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    folder = tmp_path / "mlruns" / "studies"
    folder.mkdir(exist_ok=True)
    study = optuna.create_study(
        study_name="mine", storage=JournalStorage(JournalFileBackend(str(folder / "mine.journal")))
    )
    study.set_user_attr("config", {"seed": 5, "study": {"lag": 4}})
    said = refused(["sweep", "study.name=mine"])
    assert said.startswith("study mine exists with another configuration (")
    assert "seed: 5 then, 0 now" in said
    assert "study.fresh=true" in said


def test_no_arguments_list_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert __main__.main([]) == 2
    said = capsys.readouterr().err
    for name in __main__.COMMANDS:
        assert f"  {name} " in said
    assert __main__.main(["--help"]) == 0
    assert __main__.main(["swep"]) == 2


def test_an_unexpected_word_from_a_shell_is_one_sentence_too() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "pipeline", "train", "model.hidden_units=[64,0]"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr == "error: model.hidden_units.1 must be greater than or equal to 1, but is 0.\n"
    assert ended.stdout == ""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system does not enforce the limit")
@pytest.mark.parametrize(("threads", "least_kb"), [(1, 615_000), (3, 785_000)])
def test_less_memory_than_the_libraries_need_is_refused_before_they_are_loaded(threads: int, least_kb: int) -> None:
    ended = subprocess.run(
        ["bash", "-c", 'ulimit -v 500000; exec "$0" -m pipeline runs', sys.executable],
        cwd=ROOT,
        env={**os.environ, "OPENBLAS_NUM_THREADS": str(threads)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,  # OpenBLAS would ask for memory for ever
    )
    assert ended.returncode == 1
    assert ended.stderr == (
        f"error: ulimit -v must be at least {least_kb} (kB) to load the libraries with {threads} BLAS threads, "
        "but is 500000.\n"
    )


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("can't start new thread"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        ImportError("libfoo.so: failed to map segment from shared object"),
    ],
)
def test_a_process_that_gets_no_more_memory_ends_in_one_sentence(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(arguments: list[str]) -> int:
        raise error

    monkeypatch.setattr("pipeline.commands.runs.main", command)
    assert __main__.main(["runs"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: the system gives this process no more memory")
    assert said.count("\n") == 1


def test_a_fault_of_the_program_is_shown_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def command(arguments: list[str]) -> int:
        raise RuntimeError("dictionary changed size during iteration")

    monkeypatch.setattr("pipeline.commands.runs.main", command)
    with pytest.raises(RuntimeError, match="changed size"):
        __main__.main(["runs"])


def test_a_store_that_cannot_list_openings_hides_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*arguments: object) -> None:
        raise TrackingError("No tracking server answers.")

    monkeypatch.setattr(sweep, "openings", away)
    prepared = SimpleNamespace(description={"examples": {"test": 9}}, source_digest="5")
    for recorder in (None, SimpleNamespace(store=None)):
        sender = SimpleNamespace(recorder=recorder, trouble="No tracking server answers.")
        said = sweep.test_set(sender, prepared)  # type: ignore[arg-type]
        assert said == "Whether the test set has been opened cannot be told now: No tracking server answers."
