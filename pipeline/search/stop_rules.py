"""Rules by which ended trials stop a sweep early."""

import math
from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState


def stalled(ended: Sequence[FrozenTrial], stall: int) -> bool:
    """Return whether none of the last `stall` trials is better than the best before them."""
    values = [t.value if t.state == TrialState.COMPLETE and t.value is not None else math.inf for t in ended]
    return len(values) > stall and min(values[:-stall]) <= min(values[-stall:])


def failures_in_a_row(ended: Sequence[FrozenTrial], *, since: int) -> int:
    """Return how many of the last trials failed in a row, not counting those before trial `since`."""
    count = 0
    for trial in reversed(ended):
        if trial.state != TrialState.FAIL or trial.number < since:
            break
        count += 1
    return count
