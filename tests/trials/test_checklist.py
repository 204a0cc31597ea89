import json
import re
from dataclasses import replace

import numpy as np
import pytest

from pipeline.config.trial import ModelConfig, RegularizationConfig, TrialConfig
from pipeline.data.arrays import Fold, Normalization, TrialArrays
from pipeline.gradcheck.report import GradientReport
from pipeline.nn import costs, penalties
from pipeline.nn.network import Network
from pipeline.trials import checklist as module
from pipeline.trials.checklist import run_checks


def make_arrays(classes=3, m=120, n_x=5):
    """Gaussian clouds, one per class."""
    rng = np.random.default_rng(0)
    y = np.arange(m) % classes
    X = rng.standard_normal((m, n_x)) + 2 * rng.standard_normal((classes, n_x))[y]
    as_it_is = Normalization(np.zeros(n_x), np.zeros(n_x), np.ones(n_x))
    train, dev = np.arange(0, m - 30), np.arange(m - 30, m)
    return TrialArrays(
        X=X,
        y=y,
        folds=(Fold(train, dev, as_it_is),),
        everything=Fold(np.arange(m), np.arange(0), as_it_is),
        classes=tuple(str(c) for c in range(classes)),
        image_shape=None,
        digest="0",
    )


def make_config(**changes):
    config = TrialConfig(model=ModelConfig(hidden_units=[8, 6], activation="tanh"))
    config.regularization = RegularizationConfig(lambd=1.0)
    return replace(config, **changes)


def verdicts(report):
    return {row.check: row.verdict for row in report.rows}


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid"])
def test_a_correct_network_passes_every_check(classes, activation):
    config = make_config(model=ModelConfig(hidden_units=[8, 6], activation=activation))
    report = run_checks(config, make_arrays(classes))
    assert {row.check: row.detail for row in report.rows if not row.passed} == {}
    assert report.passed
    assert len(report.gradients) == 8
    assert f"at rate {module.DESCENT_RATES[0]:g}," in report.rows[8].detail  # smaller ones are for a cost that rises


def test_logistic_regression_passes_too():
    report = run_checks(make_config(model=ModelConfig(hidden_units=[])), make_arrays(2))
    assert report.passed


def test_gradients_are_checked_at_two_points_with_masks_off_and_frozen_by_two_methods():
    names = list(run_checks(make_config(), make_arrays()).gradients)
    for word, count in [("initial values", 4), ("random W and b", 4), ("dropout off", 4), ("masks frozen", 4)]:
        assert sum(word in name for name in names) == count
    assert sum("complex step" in name for name in names) == 4


def test_the_configurations_own_dropout_is_what_is_frozen():
    config = make_config(regularization=RegularizationConfig(keep_prob=0.6))
    report = run_checks(config, make_arrays())
    assert any("keep_prob 0.6" in row.check for row in report.rows)
    assert "keep_prob 0.6" in report.rows[-1].detail


def test_without_dropout_its_code_is_checked_all_the_same():
    assert any("masks frozen, keep_prob 0.8" in row.check for row in run_checks(make_config(), make_arrays()).rows)


def test_the_same_configuration_gives_the_same_report():
    assert run_checks(make_config(), make_arrays()).table() == run_checks(make_config(), make_arrays()).table()


def test_a_penalty_on_b_is_caught_at_random_b_and_nowhere_else(monkeypatch):
    honest = Network._add_penalty_gradient

    def on_b_as_well(self, parameters, gradients):
        honest(self, parameters, gradients)
        for layer, db in gradients.b.items():
            db += self.regularization.lambd / self.regularization.m * parameters.b[layer]

    monkeypatch.setattr(Network, "_add_penalty_gradient", on_b_as_well)
    report = run_checks(make_config(), make_arrays())
    wrong = {name for name, gradients in report.gradients.items() if gradients.verdict in ("wrong", "suspect")}
    assert wrong == {name for name in report.gradients if "random W and b" in name}
    assert not report.passed
    assert "Disagree: b1, b2, b3." in report.table()


def test_a_wrong_gradient_shows_in_the_table_with_its_tensor(monkeypatch):
    monkeypatch.setattr(penalties, "add_l2_gradient", lambda *_: None)
    report = run_checks(make_config(), make_arrays())
    assert not report.passed
    assert "look at the L2 penalty" in report.table()


@pytest.mark.parametrize(
    "gradient", [lambda A, Y, dZ, w: np.subtract(Y, A, out=dZ), lambda A, Y, dZ, w: dZ.fill(0)], ids=["rises", "stays"]
)
def test_a_cost_that_does_not_fall_is_caught(monkeypatch, gradient):
    monkeypatch.setattr(module, "MEMORIZE_STEPS", 200)
    monkeypatch.setitem(costs.OUTPUTS, "softmax", costs.OUTPUTS["softmax"]._replace(gradient=gradient))
    found = verdicts(run_checks(make_config(regularization=RegularizationConfig()), make_arrays()))
    assert found["J falls in every step of gradient descent, dropout off"] == "fail"
    assert found["memorises 10 examples"] == "fail"
    assert found["learns with dropout on"] == "fail"


def test_a_network_that_cannot_memorise_ten_examples_is_reported(monkeypatch):
    monkeypatch.setattr(module, "MEMORIZE_STEPS", 200)
    arrays = make_arrays()
    arrays = replace(arrays, X=np.zeros_like(arrays.X))  # nothing tells the examples apart
    row = next(row for row in run_checks(make_config(), arrays).rows if row.check == "memorises 10 examples")
    assert row.verdict == "fail"
    assert "wrong after 200 steps" in row.detail


def test_an_inconclusive_check_is_no_pass():
    config = make_config(model=ModelConfig(hidden_units=[8, 6], activation="relu"))
    config.gradcheck.epsilon = 0.5
    report = run_checks(config, make_arrays())
    assert "inconclusive" in verdicts(report).values()
    assert not report.passed
    detail = next(row.detail for row in report.rows if row.verdict == "inconclusive")
    assert re.search(r"of \d+ coordinates, \d+ left out at kinks\. .* of the coordinates straddle a kink", detail)


def test_a_good_check_is_told_by_its_numbers_alone():
    config = make_config()
    config.model.init.scheme = "zeros"  # which the report has a note about
    for row in run_checks(config, make_arrays()).rows[:8]:
        assert re.fullmatch(r"relative error \S+ of \d+ coordinates", row.detail)


def test_a_large_training_part_is_sampled(monkeypatch):
    monkeypatch.setattr(module, "MOST_EXAMPLES", 40)
    report = run_checks(make_config(), make_arrays())
    assert ", 40 examples" in report.rows[-3].detail


def test_the_errors_against_epsilon_are_drawn_on_request():
    assert run_checks(make_config(), make_arrays()).epsilon_sweep is None
    sweep = run_checks(make_config(), make_arrays(), sweep_epsilon=True).epsilon_sweep
    assert sweep.slopes["two_sided"] == pytest.approx(2, abs=0.1)


def test_gradient_reports_can_be_stored_as_json():
    for gradients in run_checks(make_config(), make_arrays()).gradients.values():
        again = GradientReport(**json.loads(json.dumps(gradients.as_dict(), allow_nan=False)))
        assert again.table() == gradients.table()
