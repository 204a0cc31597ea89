import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from pipeline.gradcheck.check import GradientReport, check_gradients
from pipeline.gradcheck.evidence import LOST, draw_sample, gather_evidence
from pipeline.gradcheck.problem import Problem
from pipeline.gradcheck.report import VERDICTS, distrust, error_pattern, threshold_verdict, worst_verdict
from pipeline.nn.costs import OUTPUTS
from pipeline.nn.initializers import initialize
from pipeline.nn.network import Architecture, Network, Regularization


def make(
    sizes=(6, 5, 4, 3), activation="tanh", output="softmax", m=12, dtype=np.float64, scheme="auto", scale=1.0, **reg
):
    architecture = Architecture(sizes, (activation,) * (len(sizes) - 2), output)
    network = Network(architecture, Regularization(m=100, **reg), dtype=dtype, max_batch=m)
    rng = np.random.default_rng(0)
    parameters = initialize(architecture, scheme, scale, rng=rng, dtype=dtype)
    X, y = rng.standard_normal((sizes[0], m)), rng.integers(0, architecture.num_classes, m)
    return network, parameters, X, y


def check(case, **options):
    return check_gradients(*case, rng=np.random.default_rng(1), **options)


@pytest.mark.parametrize("method", ["two_sided", "complex_step"])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "tanh", "sigmoid", "identity"])
def test_a_correct_network_is_good(activation, method):
    report = check(make(activation=activation, lambd=2.0, lambd_l1=1.0), method=method)
    assert report.verdict == "good"
    assert report.relative_error < (1e-8 if method == "two_sided" else 1e-14)
    assert report.method == method
    assert report.first is None


def test_the_report_names_every_tensor_and_covers_every_coordinate():
    report = check(make())
    assert list(report.tensors) == ["W1", "W2", "W3", "b1", "b2", "b3"]
    assert report.coverage["compared"] == report.coverage["coordinates"] == 6 * 5 + 5 * 4 + 4 * 3 + 5 + 4 + 3
    assert report.coverage["tensors"]["W2"] == [20, 20, 0]
    assert len(report.worst) == 10
    assert report.directional_error is None
    assert (report.examples, report.dropout) == (12, "off")


def test_a_float32_network_is_checked_in_float64():
    case = make(dtype=np.float32, activation="sigmoid")
    assert check(case).relative_error < 1e-8


def test_the_parameters_are_left_as_they_were():
    case = make()
    before = case[1].theta.copy()
    check(case)
    np.testing.assert_array_equal(case[1].theta, before)


def test_frozen_masks_check_the_dropout_code():
    network, parameters, X, y = make(keep_prob=(0.7, 0.6), keep_prob_input=0.8)
    masks = network.draw_masks(12, np.random.default_rng(3))
    report = check((network, parameters, X, y), masks=masks)
    assert (report.verdict, report.dropout) == ("good", "masks frozen")
    assert report.cost != check((network, parameters, X, y)).cost


def test_the_same_generator_gives_the_same_report():
    assert check(make(), max_coordinates=20) == check(make(), max_coordinates=20)


def test_zero_gradients_are_compared_without_dividing_zero_by_zero():
    report = check(make(scheme="zeros"))
    assert report.verdict == "good"
    assert report.tensors["W1"] == 0
    assert "The gradient of W1, W2, W3, b1, b2 is zero here" in report.notes[0]


def test_a_gradient_that_is_zero_to_rounding_is_not_an_error():
    network, parameters, X, _ = make((3, 4, 3), scheme="zeros", m=9)
    report = check((network, parameters, X, np.arange(9) % 3))  # balanced: ∂J/∂b2 = Σ (1/3 - y) = 0
    assert report.verdict == "good"
    assert not any("rounding" in note for note in report.notes)


def test_a_gradient_that_rounding_blurs_and_that_is_not_zero_is_inconclusive():
    report = check(saturated(margin=28))
    assert report.verdict == "inconclusive"
    assert "so small that rounding hides its last digits" in report.notes[-1]


def test_what_rounding_may_move_decides_between_zero_lost_and_wrong():
    problem = Problem.of(*make())
    sample = draw_sample(problem, 1_000, 0, rng=np.random.default_rng(0))
    evidence = gather_evidence(problem, problem.backpropagation()[1], sample, "complex_step", 1.0)

    def verdicts(analytic, numeric):
        floor = problem.rounding_floor
        return set(replace(evidence, analytic=analytic * floor, numeric=numeric * floor).tensor_verdicts.values())

    assert verdicts(0.2, -0.7) == {"good"}  # both are zero but for rounding
    assert verdicts(0.9, 1.5) == verdicts(10, 10.9) == {LOST}
    assert verdicts(10, 11.1) == {"wrong"}


def test_a_few_kinks_are_listed_and_left_out():
    case = make((6, 30, 3), "relu", m=4)
    case[1].b[1][7] = -case[1].W[1][7] @ case[2][:, 0]  # Z[1][7] = 0 for the first example
    report = check(case)
    assert report.verdict == "good"
    assert report.kinks == [*(f"W1[7, {j}]" for j in range(6)), "b1[7]"]
    assert report.coverage["kinks"] == 7
    assert report.coverage["tensors"]["b1"] == [29, 30, 1]
    assert not any(name.startswith(("W1[7", "b1[7")) for name, _, _ in report.worst)


def test_too_many_kinks_are_inconclusive_though_the_rest_agrees():
    case = make((6, 30, 3), "relu", m=4)
    case[1].b[1][7] = -case[1].W[1][7] @ case[2][:, 0]
    report = check(case, max_kink_share=0.01)
    assert report.verdict == "inconclusive"
    assert report.relative_error < 1e-8
    assert "straddle a kink" in report.notes[0]


def test_weights_at_the_kink_of_l1_are_left_out():
    case = make(lambd_l1=1.0)
    case[1].W[1][2, 3] = 0.0
    report = check(case)
    assert (report.verdict, report.kinks) == ("good", ["W1[2, 3]"])


def saturated(margin=20):
    """A network that has learned too well: each example is right by 20 or more, so that p - y is 1e-9."""
    network, parameters, X, _ = make((6, 5, 3), "tanh")
    first, second = -np.sort(-network.forward(X, parameters), axis=0)[:2]
    parameters.W[2][...] *= margin / (first - second).min()
    return network, parameters, X, np.argmax(network.forward(X, parameters), axis=0)


def test_numerical_trouble_of_a_saturated_network_is_told_from_a_wrong_gradient():
    report = check(saturated())
    assert report.verdict == "good"
    assert report.method == "complex_step"
    assert report.first["method"] == "two_sided"
    assert report.first["verdict"] != "good"
    assert "the trouble was numerical and the gradient is right" in report.notes[0]


def test_a_wrong_gradient_of_a_saturated_network_stays_wrong(monkeypatch):
    not_averaged = OUTPUTS["softmax"]._replace(gradient=lambda A, Y, dZ, w: np.subtract(A, Y, out=dZ))
    monkeypatch.setitem(OUTPUTS, "softmax", not_averaged)
    report = check(saturated())
    assert (report.verdict, report.method) == ("wrong", "complex_step")
    assert "W2: the analytic gradient is 12 times the numeric one, m: a division by m is missing." in report.notes


def test_the_one_sided_difference_needs_a_second_opinion():
    report = check(make(), method="one_sided")
    assert report.first["verdict"] == "look_again"
    assert (report.verdict, report.method) == ("good", "complex_step")


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_a_diverged_network_is_inconclusive_and_no_crash(bad):
    case = make(lambd=1.0)
    case[1].W[2][0, 0] = bad
    assert check(case).verdict == "inconclusive"


def test_above_the_limit_small_tensors_are_complete_and_large_ones_sampled_evenly():
    coverage = check(make((40, 30, 20, 3)), max_coordinates=300)
    counts = {name: part[0] for name, part in coverage.coverage["tensors"].items()}
    assert sum(counts.values()) == 300
    assert (counts["b1"], counts["b2"], counts["b3"], counts["W3"]) == (30, 20, 3, 60)
    assert abs(counts["W1"] - counts["W2"]) <= 1
    assert coverage.coverage["directions"] == 8
    assert coverage.directional_error < 1e-7


def test_directions_see_a_mistake_in_a_coordinate_outside_the_sample(monkeypatch):
    case = make((40, 30, 20, 3))
    honest = Network._add_penalty_gradient

    def one_coordinate_off(self, parameters, gradients):
        honest(self, parameters, gradients)
        gradients.W[1][3, 5] += 0.1

    monkeypatch.setattr(Network, "_add_penalty_gradient", one_coordinate_off)
    report = check(case, max_coordinates=300)
    assert max(report.tensors.values()) < 1e-7
    assert report.directional_error > 1e-3
    assert report.verdict == "wrong"


def test_a_report_survives_json():
    report = check(make(), max_coordinates=50)
    again = GradientReport(**json.loads(json.dumps(report.as_dict())))
    assert again.table() == report.table()


def test_the_table_shows_verdict_method_coverage_and_worst_coordinates():
    report = check(make())
    table = report.table()
    assert table.startswith("Gradient check: good. Relative error ")
    assert "two-sided difference, ε = 1e-05, 12 examples, dropout off" in table
    assert "Compared 74 of 74 coordinates" in table
    assert report.worst[0][0] in table


def test_unknown_method_is_refused():
    with pytest.raises(ValueError, match="method must be one of two_sided"):
        check(make(), method="central")


@pytest.mark.parametrize(
    ("error", "verdict"),
    [(0, "good"), (1e-7, "good"), (2e-7, "look_again"), (1e-5, "look_again"), (2e-5, "suspect"), (9e-4, "suspect"),
     (1e-3, "wrong"), (1, "wrong"), (np.nan, "wrong")],
)  # fmt: skip
def test_verdicts_follow_the_courses_thresholds(error, verdict):
    assert threshold_verdict(error) == verdict


def test_patterns_of_wrong_gradients_are_named():
    n, w = np.array([1.0, -2.0, 3.0]), np.array([0.5, 0.1, -0.2])
    pattern = partial(error_pattern, "W2", numeric=n, values=w, m=16)
    assert pattern(analytic=16 * n).endswith("16 times the numeric one, m: a division by m is missing")
    assert pattern(analytic=n / 16).endswith("0.0625 times the numeric one, 1/m: divided by m twice")
    assert pattern(analytic=-n).endswith("-1 times the numeric one, a sign")
    assert pattern(analytic=3 * n).endswith("3 times the numeric one")
    assert pattern(analytic=n + 0.1 * w).endswith("+0.1 · W2: look at the L2 penalty")
    assert pattern(analytic=n - 0.1 * np.sign(w)).endswith("-0.1 · sign(W2): look at the L1 penalty")
    assert pattern(analytic=n[::-1]) is None
    assert error_pattern("W2", 3 * n[:2], n[:2], w[:2], 16).endswith("3 times the numeric one")
    assert error_pattern("W2", 3 * n[:1], n[:1], w[:1], 16) is None


def test_a_penalty_in_the_gradient_of_a_bias_is_named_so():
    n, b = np.array([1.0, -2.0, 3.0]), np.array([0.5, 0.1, -0.2])
    assert error_pattern("b1", n + 0.1 * b, n, b, 16).endswith(
        "+0.1 · b1: look at the L2 penalty, which is on weights alone"
    )


def test_a_training_with_wrong_gradients_is_distrusted_and_no_other():
    assert distrust({"init": {"verdict": "good"}, "trained": {"verdict": "inconclusive"}}) == distrust({}) == ""
    sentence = "The gradients are wrong at the trained parameters, so this training shows nothing."
    assert distrust({"init": {"verdict": "good"}, "trained": {"verdict": "wrong"}}) == sentence
    both = distrust({"init": {"verdict": "wrong"}, "trained": {"verdict": "wrong"}})
    assert "at the initial and the trained parameters" in both


def test_slopes_that_grow_to_1e26_through_the_layers_are_no_wrong_gradient():
    """The complex step must stay small in every layer: log wraps round where its phase passes π."""
    architecture = Architecture((5,) * 31, ("identity",) * 29, "softmax")
    network = Network(architecture, Regularization(m=4), max_batch=4)
    parameters = initialize(architecture, "identity", 8.0, rng=np.random.default_rng(0))
    X, y = np.random.default_rng(1).standard_normal((5, 4)), np.array([0, 1, 2, 3])
    report = check_gradients(network, parameters, X, y, rng=np.random.default_rng(2), max_coordinates=400)
    assert report.verdict == "good"


def random_case(seed):
    """Any correct network: depth 1 to 4, every activation, output, scheme, scale, penalty, with masks and without."""
    rng = np.random.default_rng(seed)
    hidden = int(rng.integers(0, 4))
    output, last = ("sigmoid", 1) if rng.random() < 0.3 else ("softmax", int(rng.integers(2, 7)))
    sizes = (*(int(n) for n in rng.integers(1, 13, hidden + 1)), last)
    activation = tuple(str(name) for name in rng.choice(["relu", "leaky_relu", "tanh", "sigmoid", "identity"], hidden))
    regularization = Regularization(
        m=int(rng.integers(10, 2000)),
        lambd=float(rng.choice([0, 0.01, 1, 30])),
        lambd_l1=float(rng.choice([0, 0, 0.1, 10])),
        keep_prob=tuple(float(k) for k in rng.uniform(0.4, 0.99, hidden)),
        keep_prob_input=float(rng.choice([1.0, 0.8])),
    )
    architecture, m = Architecture(sizes, activation, output), int(rng.integers(1, 17))
    network = Network(architecture, regularization, max_batch=m)
    scheme = str(rng.choice(["auto", "he", "glorot", "fixed", "zeros"], p=[0.5, 0.2, 0.1, 0.1, 0.1]))
    parameters = initialize(architecture, scheme, float(np.exp(rng.uniform(np.log(0.1), np.log(10)))), rng=rng)
    if rng.random() < 0.5:
        for b in parameters.b.values():
            b[...] = rng.standard_normal(b.shape)
    X, y = rng.standard_normal((sizes[0], m)), rng.integers(0, architecture.num_classes, m)
    masks = network.draw_masks(m, rng) if rng.random() < 0.5 else None
    return (network, parameters, X, y), masks


def test_no_false_alarm_over_random_correct_networks():
    found = [check(case, masks=masks).verdict for case, masks in map(random_case, range(250))]
    assert set(found) <= {"good", "inconclusive"}
    assert found.count("good") >= 225  # the rest: weights of 0 under L1, tiny networks with every unit dropped


@pytest.mark.slow
def test_no_false_alarm_over_1000_random_correct_networks():
    found = [check(case, masks=masks).verdict for case, masks in map(random_case, range(250, 1000))]
    assert set(found) <= {"good", "inconclusive"}
    assert found.count("good") >= 675


def test_the_table_names_kinks_and_counts_those_it_does_not_name():
    case = make((6, 30, 3), "relu", m=4)
    assert "at kinks: " not in check(case).table()
    case[1].b[1][7] = -case[1].W[1][7] @ case[2][:, 0]
    report = check(case)
    assert "at kinks: W1[7, 0], " in report.table()
    assert " more" not in report.table()
    case[1].b[1][:] = -case[1].W[1] @ case[2][:, :1]
    report = check(case)
    assert len(report.kinks) == 50
    assert f"{report.kinks[-1]} and 160 more" in report.table()  # 30 units of 7 coordinates


def test_a_pattern_is_named_although_rounding_blurs_it_and_not_where_it_only_leans_that_way():
    rng = np.random.default_rng(0)
    n, blur = rng.standard_normal(50), rng.standard_normal(50)
    w = rng.standard_normal(50)
    assert error_pattern("W1", 2 * n + 1e-6 * blur, n, w, 16) is not None
    assert error_pattern("W1", 2 * n + 1e-2 * blur, n, w, 16) is None


@pytest.mark.parametrize("other", VERDICTS)
def test_what_could_not_be_checked_is_worse_than_all_but_a_wrong_gradient(other):
    worst = "wrong" if other == "wrong" else "inconclusive"
    assert worst_verdict(["inconclusive", other]) == worst_verdict([other, "inconclusive"]) == worst
