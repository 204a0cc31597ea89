"""One finding about a sweep, and how findings write objectives and errors."""

from dataclasses import dataclass

from pipeline.reporting.results import Sweep


@dataclass(frozen=True)
class Finding:
    """One thing the trials show.

    Attributes
    ----------
    claim : what holds, in a sentence.
    evidence : the trials that show it.
    advice : what to try; empty when nothing follows.
    """

    claim: str
    evidence: str
    advice: str = ""


def objective_words(sweep: Sweep) -> str:
    """Return the first objective in words: "dev cost"."""
    return sweep.objectives[0].replace("_", " ")


def percent(fraction: float) -> str:
    """Return a fraction in per cent with three digits."""
    return f"{100 * fraction:.3g} %"


def points(fraction: float) -> str:
    """Return a difference of fractions in percentage points with two digits."""
    return f"{100 * fraction:.2g} points"
