import math

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from pipeline.search.space import Leaf
from pipeline.selection import surrogate
from tests.selection.worlds import KEEP, LAMBD, LAMBD_ALONE, World, bowl, drawn


def test_a_position_in_a_range_survives_a_round_trip() -> None:
    lambd = Leaf(LAMBD, FloatDistribution(0.01, 1.0, log=True))
    assert surrogate.place(lambd, 0.1) == pytest.approx(0.5)
    assert surrogate.place(lambd, 0.0) == 0.0  # the neutral value lies below the range
    assert surrogate.place(Leaf(KEEP, FloatDistribution(0.8, 0.8)), 0.8) == 0.5  # the one place there is
    assert surrogate.decode(lambd, 0.5) == 0.1
    assert surrogate.decode(Leaf(KEEP, FloatDistribution(0.5, 1.0)), 0.333) == 0.67
    assert surrogate.decode(Leaf("units", IntDistribution(8, 64, log=True)), 0.5) == 23
    assert surrogate.decode(Leaf("units", IntDistribution(8, 64, step=8)), 0.4) == 32
    assert surrogate.decode(Leaf("a", CategoricalDistribution(("x", "y")), values={"x": 1, "y": 2}), 0.9) == 2


def test_a_choice_becomes_a_column_for_each_label() -> None:
    leaf = Leaf("model.activation", CategoricalDistribution(("relu", "tanh")), values={"relu": "relu", "tanh": "tanh"})
    assert surrogate.encode([leaf], [{"model.activation": "tanh"}]).tolist() == [[0.0, 1.0]]


def test_means_are_adjusted_for_hard_repeats() -> None:
    # b was trained on the hard repeat 2 as well, which costs 10 more; a was not.
    means, errors = surrogate.adjusted_means([{0: 20.0, 1: 20.0}, {0: 21.0, 1: 21.0, 2: 31.0}, {0: 30.0, 2: 40.0}])
    assert means[1] - means[0] == pytest.approx(1.0, abs=1e-6)
    assert means[2] - means[0] == pytest.approx(10.0, abs=1e-6)
    assert errors[1] < errors[0]


def test_a_collapsed_training_is_only_bad() -> None:
    means, _ = surrogate.adjusted_means([{0: 1.0}, {0: 1.2}, {0: math.inf}])
    assert means[2] == pytest.approx(3 * 1.1)


def test_values_far_from_the_best_do_not_do_as_well_and_near_ones_do() -> None:
    world, trials = World(bowl, noise=0.05), drawn(20, alone=True)
    values = [{repeat: world.fit(trial, repeat) for repeat in range(4)} for trial in trials]
    process = surrogate.fit(LAMBD_ALONE, [trial.values for trial in trials], values)
    low, high = surrogate.does_as_well(process, LAMBD_ALONE[0], {LAMBD: 3.0})
    assert 0.1 < low <= 3.0 <= high <= 30.0
    behind, error = process.behind([{LAMBD: 0.02}], {LAMBD: 3.0})
    assert np.all(behind > error)


def test_if_all_values_do_as_well_the_range_is_the_whole_searched_range() -> None:
    world, trials = World(lambda values: 0.1, noise=0.05), drawn(8, alone=True)
    values = [{repeat: world.fit(trial, repeat) for repeat in range(2)} for trial in trials]
    process = surrogate.fit(LAMBD_ALONE, [trial.values for trial in trials], values)
    assert surrogate.does_as_well(process, LAMBD_ALONE[0], {LAMBD: 1.0}) == pytest.approx([0.01, 30.0])


def test_length_scales_are_learnt_from_some_of_many_configurations_and_the_process_passes_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(surrogate, "LEARNT_FROM", 10)
    world, trials = World(bowl, noise=0.05), drawn(35, alone=True)
    values = [{repeat: world.fit(trial, repeat) for repeat in range(4)} for trial in trials]
    process = surrogate.fit(LAMBD_ALONE, [trial.values for trial in trials], values)
    means, _ = surrogate.adjusted_means(values)
    expected = np.exp(process.expected([trial.values for trial in trials]))
    assert expected == pytest.approx(means, rel=0.15)
    behind, error = process.behind([{LAMBD: 0.02}], {LAMBD: 3.0})
    assert np.all(behind > error)
