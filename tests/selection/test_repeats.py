from pipeline.config.trial import TrialConfig
from pipeline.selection.repeats import new_seeds, repeats


def test_new_seeds_leave_out_what_trials_have_used() -> None:
    assert new_seeds(4, [0]) == [1, 2, 3, 4]
    assert new_seeds(4, [0, 2, 3]) == [1, 4, 5, 6]


def test_every_configuration_gets_the_same_seeds_and_changes_in_nothing_else() -> None:
    configs = {"trial-0001": TrialConfig(seed=7), "trial-0004": TrialConfig(seed=8)}
    found = repeats(configs, [1, 2])
    assert [repeat.name for repeat in found] == [
        "trial-0001-seed-1",
        "trial-0004-seed-1",
        "trial-0001-seed-2",
        "trial-0004-seed-2",
    ]
    assert found[0].config == TrialConfig(seed=1)
    assert found[0].config.data == configs["trial-0001"].data
