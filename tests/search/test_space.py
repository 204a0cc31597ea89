"""The search space mirrors the configuration tree, and refuses what could not be a configuration."""

from dataclasses import asdict
from typing import Any

import optuna
import pytest

from pipeline.config.errors import ConfigError
from pipeline.config.trial import TrialConfig
from pipeline.search.space import Space


def space(tree: dict[str, Any], **changes: Any) -> Space:
    base = asdict(TrialConfig())
    for path, value in changes.items():
        section, name = path.split("__")
        base[section][name] = value
    return Space(tree, base)


def nested(path: str, leaf: Any) -> dict[str, Any]:
    tree = leaf
    for key in reversed(path.split(".")):
        tree = {key: tree}
    return tree


def draw(space: Space, **params: Any) -> dict[str, Any]:
    return space.suggest(optuna.trial.FixedTrial(params))


class TestLeaves:
    def test_a_range_over_a_real_value_is_a_float_even_when_its_bounds_are_whole(self) -> None:
        leaf = space(nested("regularization.lambd", {"low": 1, "high": 10, "log": True})).leaves[0]
        assert leaf.distribution == optuna.distributions.FloatDistribution(1.0, 10.0, log=True)

    def test_a_range_over_a_whole_value_is_an_int(self) -> None:
        leaf = space(nested("training.batch_size", {"low": 16, "high": 128, "step": 16})).leaves[0]
        assert leaf.distribution == optuna.distributions.IntDistribution(16, 128, step=16)

    def test_named_choices_stand_for_lists(self) -> None:
        layers = space(nested("model.hidden_units", {"choices": {"small": [32], "deep": [64, 64, 32]}}))
        values = draw(layers, **{"model.hidden_units": "deep"})
        assert layers.apply(values)["model"]["hidden_units"] == [64, 64, 32]

    def test_an_index_makes_a_single_keep_prob_one_for_each_hidden_layer(self) -> None:
        per_layer = space(
            {"regularization": {"keep_prob": {"1": {"low": 0.5, "high": 1.0}}}}, regularization__keep_prob=0.9
        )
        values = draw(per_layer, **{"regularization.keep_prob.1": 0.6})
        assert per_layer.apply(values)["regularization"]["keep_prob"] == [0.9, 0.6]

    def test_an_index_counts_the_layers_of_the_network_that_is_searched_with_it(self) -> None:
        tree = {
            "model": {"hidden_units": {"choices": {"two": [8, 4], "three": [8, 4, 2]}}},
            "regularization": {"keep_prob": {"1": {"low": 0.5, "high": 1.0}}},
        }
        values = {"regularization.keep_prob.1": 0.6, "model.hidden_units": [8, 4, 2]}
        applied = space(tree, regularization__keep_prob=0.9).apply(values)
        assert applied["regularization"]["keep_prob"] == [0.9, 0.6, 0.9]

    def test_a_conditional_leaf_is_drawn_only_when_its_condition_holds(self) -> None:
        tree = {
            "training": {
                "momentum": {"low": 0.5, "high": 0.99, "when": {"training.optimizer": "momentum"}},
                "optimizer": {"choices": ["momentum", "adam"]},
            }
        }
        assert draw(space(tree), **{"training.optimizer": "adam"}) == {"training.optimizer": "adam"}
        both = {"training.optimizer": "momentum", "training.momentum": 0.7}
        assert draw(space(tree), **both) == both

    def test_apply_leaves_the_base_as_it_was(self) -> None:
        lambd = space(nested("regularization.lambd", {"low": 0.1, "high": 1.0}))
        before = asdict(TrialConfig())
        lambd.apply({"regularization.lambd": 0.5})
        assert lambd.base == before


class TestGrid:
    def test_points_are_spread_evenly_in_the_logarithm(self) -> None:
        leaf = space(nested("regularization.lambd", {"low": 0.01, "high": 1.0, "log": True, "points": 3})).leaves[0]
        assert leaf.grid() == pytest.approx([0.01, 0.1, 1.0])

    def test_a_step_needs_no_points(self) -> None:
        leaf = space(nested("regularization.keep_prob", {"low": 0.5, "high": 1.0, "step": 0.25})).leaves[0]
        assert leaf.grid() == [0.5, 0.75, 1.0]

    def test_a_bare_range_is_refused(self) -> None:
        leaf = space(nested("regularization.lambd", {"low": 0.01, "high": 1.0})).leaves[0]
        with pytest.raises(
            ConfigError, match=r"search\.space\.regularization\.lambd must have points, a step or choices"
        ):
            leaf.grid()


class TestRefusals:
    @pytest.mark.parametrize(
        ("path", "leaf", "sentence"),
        [
            (
                "regularization.lambda",
                {"low": 0, "high": 1},
                "is no configuration value .did you mean regularization.lambd",
            ),
            (
                "regularization.keep_prob",
                {"low": 0.5, "high": 1.5},
                "keep_prob.high cannot be 1.5: .* less than or equal to 1",
            ),
            ("regularization.lambd", {"low": -1, "high": 1}, "lambd.low cannot be -1: .* greater than or equal to 0"),
            ("regularization.lambd", {"low": 0, "high": 1, "log": True}, "lambd cannot be"),
            ("regularization.lambd", {"low": 2, "high": 1}, "lambd cannot be"),
            ("regularization.lambd", {"low": 0.1}, "lambd.high must be a number, but is None"),
            ("regularization.lambd", {"low": 0.1, "high": 1, "lgo": True}, r"lambd.lgo must be one of high, log"),
            ("regularization.lambd", 0.5, "lambd must be {low: …, high: …} or {choices"),
            (
                "regularization.lambd",
                {"low": 0.1, "high": 1, "points": 0},
                "points must be a whole number of at least 1",
            ),
            ("model.activation", {"choices": ["relu", "reluu"]}, "choices cannot be 'reluu'"),
            ("model.activation", {"choices": []}, "must have at least one choice"),
            ("model.hidden_units", {"choices": [[32], [64]]}, "must be a list of plain values, or names"),
            ("data.split_seed", {"low": 0, "high": 9}, "cannot be searched: trials on different data do not compare"),
            ("repeats", {"low": 1, "high": 9}, "cannot be searched: trials of different repeats do not compare"),
            (
                "regularization.keep_prob.2",
                {"low": 0.5, "high": 1.0},
                "must be a hidden layer counted from 0, but there are 2",
            ),
            (
                "training.momentum",
                {"low": 0.5, "high": 0.9, "when": {"training.optimiser": "adam"}},
                "when names training.optim",
            ),
        ],
    )
    def test_each_is_one_sentence_that_names_the_path(self, path: str, leaf: Any, sentence: str) -> None:
        with pytest.raises(ConfigError, match=sentence):
            space(nested(path, leaf))

    def test_an_empty_space_is_refused(self) -> None:
        with pytest.raises(ConfigError, match=r"search\.space must have at least one leaf"):
            space({})

    def test_enqueued_values_must_be_searched_and_inside_their_range(self) -> None:
        lambd = space(nested("regularization.lambd", {"low": 0.1, "high": 1.0}))
        assert lambd.encode({"regularization.lambd": 0.5}) == {"regularization.lambd": 0.5}
        with pytest.raises(ConfigError, match=r"regularization\.lambd must be from 0\.1 to 1, but is 7\."):
            lambd.encode({"regularization.lambd": 7})
        with pytest.raises(ConfigError, match=r"names regularization\.keep_prob, which must be in search\.space"):
            lambd.encode({"regularization.keep_prob": 0.7})
