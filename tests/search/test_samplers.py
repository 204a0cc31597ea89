"""Samplers: a seed for each trial and parameter, points that are numbered, and random trials before the model."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import qmc, spearmanr

from tests.search.histories import CONDITIONAL, KEEP_PROB, LAMBD, MOMENTUM, OPTIMIZER, in_order, make


def drawn(sampler: str, count: int, **options: Any) -> list[dict[str, Any]]:
    """Parameters of the first trials, all proposed before any ends."""
    search = make(sampler, lag=count, **options)
    return [search.propose().params for _ in range(count)]


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_parameters_of_one_trial_are_independent_of_each_other(sampler: str) -> None:
    params = drawn(sampler, 60, startup=100)
    correlation, _ = spearmanr([p[LAMBD] for p in params], [p[KEEP_PROB] for p in params])
    assert abs(correlation) < 0.4


def test_another_seed_is_another_search() -> None:
    assert drawn("random", 1, seed=0) != drawn("random", 1, seed=1)


def test_the_first_trials_of_tpe_are_random_and_the_next_ones_are_not() -> None:
    random = make("random", lag=0)
    tpe = make("tpe", lag=0, startup=6)
    first = [trial.params for trial in in_order(random, "none", 9)]
    found = [trial.params for trial in in_order(tpe, "none", 9)]
    assert found[:6] == first[:6]
    assert all(mine != theirs for mine, theirs in zip(found[6:], first[6:], strict=True))


def test_a_quasi_random_search_takes_the_points_of_the_sequence_from_the_first_trial_on() -> None:
    points = qmc.Sobol(2, scramble=True, seed=7).random(8)
    # Optuna orders the coordinates by the leaves as they stand in the space.
    expected = np.stack([np.log(0.01) + points[:, 0] * np.log(3000), 0.5 + 0.5 * points[:, 1]], axis=1)
    found = [[np.log(p[LAMBD]), p[KEEP_PROB]] for p in drawn("qmc", 8)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_quasi_random_search_draws_conditional_values_apart() -> None:
    params = drawn("qmc", 12, tree=CONDITIONAL)
    assert [MOMENTUM in p for p in params] == [p[OPTIMIZER] == "momentum" for p in params]
    drawn_values = [p[MOMENTUM] for p in params if MOMENTUM in p]
    assert len(set(drawn_values)) == len(drawn_values) > 2


def test_a_grid_gives_each_point_once_whatever_is_under_way() -> None:
    params = drawn("grid", 20)
    assert len({(p[LAMBD], p[KEEP_PROB]) for p in params}) == 20
