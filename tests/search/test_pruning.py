"""Why a trial was pruned: the limit that is named is the one that decided."""

import copy
import math

import pytest
from optuna.trial import TrialState, create_trial

from pipeline.config.commands import PrunerConfig
from pipeline.search.pruners import rungs
from pipeline.search.pruning import Pruned, why
from tests.search.histories import EPOCHS, cost, make, pruner_config


@pytest.mark.parametrize("name", ["median", "successive_halving", "hyperband", "threshold"])
def test_a_pruned_trial_is_above_its_limit_and_one_at_the_limit_would_have_gone_on(name: str) -> None:
    config, search, pruned = pruner_config(name), make("random", name), 0
    for _ in range(40):
        number, stopped = search.propose().number, False
        for rung in rungs(config, EPOCHS):
            before, value = copy.deepcopy(search), cost(search.trials[number], rung)
            if stopped := not search.go_on(number, rung, value):
                found = why(config, "dev_cost", search.trials[number], search.rivals(number))
                assert (found.epoch, found.value) == (rung, value)
                assert found.limit is not None
                assert value > found.limit
                assert before.go_on(number, rung, found.limit)
                break
        pruned += stopped
        last = [cost(search.trials[number], EPOCHS)]
        search.end(number, TrialState.PRUNED if stopped else TrialState.COMPLETE, None if stopped else last)
    assert pruned > 3


def test_the_sentence_names_value_epoch_limit_and_rule() -> None:
    found = Pruned("dev_cost", 15, 0.31234, 0.1234567, "the median there of 9 completed trials")
    assert found.sentence == "Dev cost 0.3123 at epoch 15 is above 0.1235, the median there of 9 completed trials"


def test_a_value_that_is_not_a_number_needs_no_limit() -> None:
    trial = create_trial(state=TrialState.RUNNING, intermediate_values={5: math.nan})
    assert why(PrunerConfig(name="median"), "dev_error", trial, []).sentence == "Dev error was not a number at epoch 5"
