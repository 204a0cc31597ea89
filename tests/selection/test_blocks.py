from dataclasses import replace

from pipeline.config.trial import TrialConfig
from pipeline.selection.blocks import blocks, digest_of


def test_repeats_are_divided_into_rows_of_at_most_four() -> None:
    made = blocks(TrialConfig(), [9, 3, 4, 5, 6, 7, 12])
    assert [list(block.config.repeat_numbers) for block in made] == [[3, 4, 5, 6], [7], [9], [12]]
    assert made[0].name == f"confirm-{digest_of(TrialConfig())[:8]}-3-4"


def test_a_digest_is_the_configuration_s_whichever_repeats_are_trained() -> None:
    assert digest_of(TrialConfig(repeats=3, first_repeat=5)) == digest_of(TrialConfig())
    assert digest_of(replace(TrialConfig(), seed=1)) != digest_of(TrialConfig())
