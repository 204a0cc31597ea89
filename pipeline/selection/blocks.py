"""Divides further repeats of a configuration into runs, and names them."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

from pipeline.config.digests import plain_digest
from pipeline.config.trial import TrialConfig

LONGEST = 4
"""Largest number of repeats in one run; more are divided into several runs, so that all workers are busy."""


@dataclass(eq=False)
class Block:
    """Consecutive repeats of one configuration."""

    config: TrialConfig

    @property
    def name(self) -> str:
        """The run's name, confirm-<8 hex of the configuration's digest>-<first repeat>-<number of repeats>."""
        return f"confirm-{digest_of(self.config)[:8]}-{self.config.first_repeat}-{self.config.repeats}"


def digest_of(config: TrialConfig) -> str:
    """Return 16 hexadecimal digits (SHA-256) of a configuration, independent of its repeats."""
    plain = asdict(config)
    del plain["repeats"], plain["first_repeat"]
    return plain_digest(plain)[:16]


def blocks(config: TrialConfig, repeats: Iterable[int]) -> list[Block]:
    """Divide the repeats of a configuration into runs of at most LONGEST consecutive numbers."""
    made: list[Block] = []
    for repeat in sorted(repeats):
        last = made[-1].config if made else None
        if last is not None and last.repeat_numbers.stop == repeat and last.repeats < LONGEST:
            made[-1] = Block(replace(last, repeats=last.repeats + 1))
        else:
            made.append(Block(replace(config, first_repeat=repeat, repeats=1)))
    return made
