"""Compares configurations by repeated trainings: means with intervals, ranks, and whether the differences are luck."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.config.text import markdown_table
from pipeline.selection.further import Trainings, of_repeats, of_seeds
from pipeline.selection.statistics import LEVEL, Mean, compare_all, mean_interval, paired_test
from pipeline.tracking.archive import Archive
from pipeline.tracking.files import sha256
from pipeline.tracking.found import Found
from pipeline.tracking.notes import NOTE
from pipeline.trials.record import ENDED, TrialRecord

ALPHA = 1 - LEVEL

CONFIRMATION = "confirm.json"
"""File of a confirmation's run that holds its numbers."""


@dataclass(frozen=True)
class Row:
    """One configuration over all seeds.

    Attributes
    ----------
    trial, run_id : the trial of the sweep that had it first.
    sweep_value : what the sweep measured, with its one seed.
    means : best dev cost and dev error over the new seeds, and the measure if it is another.
    new_rows : of repeats that divide the rows anew, the measure at the epoch that the others choose, which is what new
        rows cost; None for new seeds.
    broken : trainings that diverged or failed; a single one ranks it behind all configurations without any.
    difference : by how much the measure is larger than the first's, seed by seed; None for the first itself.
    p : of the paired test against the first, adjusted for all pairs.
    """

    trial: str
    run_id: str
    sweep_value: float
    means: Mapping[str, Mean]
    new_rows: Mean | None = None
    broken: int = 0
    difference: Mean | None = None
    p: float | None = None


@dataclass(frozen=True)
class Confirmation:
    """The configurations, the best first by the mean of `measure` over the seeds.

    Attributes
    ----------
    overlap : dev rows for each training row, for repeats that divide the rows anew; None for new seeds.
    looks : how many results there were, this one included, each from other seeds or more of them.
    """

    study: str
    measure: str
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    overlap: float | None = None
    looks: int = 1

    @property
    def first(self) -> Row:
        """The configuration with the lowest mean."""
        return self.rows[0]

    @property
    def ties(self) -> list[Row]:
        """Configurations not distinguishable from the first: their adjusted p is not below 5 %."""
        return [row for row in self.rows[1:] if row.p is not None and not row.p < ALPHA and not row.broken]

    @property
    def verdict(self) -> str:
        """The verdict in words."""
        return " ".join(sentence for sentence in (self._who_is_first(), self._luck(), self._limits()) if sentence)

    def _who_is_first(self) -> str:
        first, words = self.first.trial, self.measure.replace("_", " ")
        if self.first.broken:
            return "No configuration was trained to its end with every seed, so none is confirmed."
        if len(self.rows) == 1:
            return f"{first} was repeated alone, so it is compared with nothing; give TOP=2 or more."
        if not self.ties:
            return f"{first} is confirmed: its mean {words} is lower than that of each of the others."
        names = ", ".join(row.trial for row in self.ties)
        return f"{first} has the lowest mean {words}, but cannot be told from {names}; more {self._kind} may tell."

    def _luck(self) -> str:
        lucky = min(self.rows, key=lambda row: row.sweep_value)
        if lucky is self.first:
            return ""
        return (
            f"The sweep had {lucky.trial} in front, with {lucky.sweep_value:.4g}; "
            f"on new {self._kind} its mean is {lucky.means[self.measure].mean:.4g}, so a part of that was luck."
        )

    @property
    def _kind(self) -> str:
        """What a configuration was trained on: seeds, or repeats that divide the rows anew."""
        return "seeds" if self.overlap is None else "repeats"

    def _limits(self) -> str:
        if all(row.means[self.measure].half_width == 0 for row in self.rows):
            return "The seed makes no difference to these configurations."
        return ""

    @property
    def footnote(self) -> str:
        """Sentences on what the numbers mean and what they do not mean."""
        return self._for_new_rows() + self._basis() + self._looked()

    def _for_new_rows(self) -> str:
        mean = self.first.new_rows
        if mean is None or not math.isfinite(mean.mean):
            return ""
        return (
            f"On new rows expect {self.measure.replace('_', ' ')} {_with_interval(mean)} of {self.first.trial}: each "
            "repeat is judged at the epoch that the others choose, since its own dev rows chose the one in the table. "
        )

    def _looked(self) -> str:
        if self.looks == 1:
            return ""
        return (
            f" This is look {self.looks} at the results of this confirmation. Intervals and p hold for one look; a "
            "difference that appears after several is luck more often than they say."
        )

    @property
    def folds(self) -> int:
        """How many trainings each seed or repeat has, one without folds."""
        return self.first.means[self.measure].n // len(self.seeds)

    def _basis(self) -> str:
        if self.overlap is not None:
            of_folds, source = "", "Nadeau & Bengio 2003"
            if self.folds > 1:
                of_folds, source = f" of {self.folds} folds", f"{source}, for folds Bouckaert & Frank 2004"
            return (
                f"Means with {LEVEL:.0%} intervals over {len(self.seeds)} repeats{of_folds} that no choice had used, "
                "the same for every configuration; p is of the paired t-test against the first, adjusted for all "
                f"pairs (Holm). Intervals and tests are corrected for the training rows that repeats share ({source})."
            )
        return (
            f"Means with {LEVEL:.0%} intervals over {len(self.seeds)} seeds, the same for every configuration; p is of "
            "the paired t-test against the first, adjusted for all pairs (Holm). The dev examples were the same "
            "throughout, so all this says how training varies, not how other examples would."
        )

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Column names and rows of text."""
        sweep, *measures = (name.replace("_", " ") for name in (self.measure, *self.first.means))
        return ["trial", f"sweep's {sweep}", *measures, "behind the first", "p"], [
            self._cells(row) for row in self.rows
        ]

    def _cells(self, row: Row) -> list[str]:
        broken = f" ({row.broken} of {len(self.seeds)} diverged or failed)" if row.broken else ""
        behind = "" if row.difference is None else _with_interval(row.difference)
        p = "" if row.p is None else self._p(row)
        cost, *others = (_with_interval(mean) for mean in row.means.values())
        return [row.trial, f"{row.sweep_value:.4g}", cost + broken, *others, behind, p]

    @staticmethod
    def _p(row: Row) -> str:
        """Return the adjusted p in words; differences without a spread cannot be tested."""
        assert row.p is not None
        if math.isnan(row.p):
            return "" if row.broken else "too few to tell"
        return "< 0.0001" if row.p < 1e-4 else f"{row.p:.4f}"

    def markdown(self) -> str:
        """The result as the description of its run."""
        paragraphs = [
            f"**Confirmation of {self.study}**: {self.verdict}",
            markdown_table(*self.table()),
            self.footnote,
            f"Next: `make final STUDY={self.study}`",
        ]
        return "\n\n".join(paragraphs)

    def as_dict(self) -> dict[str, Any]:
        """Plain values; a number that is not finite is null."""
        rows = [
            {
                "trial": row.trial,
                "run_id": row.run_id,
                "sweep_value": row.sweep_value,
                **{name: _plain(mean) for name, mean in row.means.items()},
                "new_rows": None if row.new_rows is None else _plain(row.new_rows),
                "broken": row.broken,
                "difference": None if row.difference is None else _plain(row.difference),
                "p": None if row.p is None or math.isnan(row.p) else row.p,
            }
            for row in self.rows
        ]
        return {"study": self.study, "measure": self.measure, "seeds": list(self.seeds), "rows": rows}

    def metrics(self) -> dict[str, float]:
        """Return the means of the first configuration with the half-widths of their intervals, if finite."""
        found = {f"mean_{name}": mean.mean for name, mean in self.first.means.items()}
        found |= {f"mean_{name}_half_width": mean.half_width for name, mean in self.first.means.items()}
        return {name: value for name, value in found.items() if math.isfinite(value)}

    def tags(self) -> dict[str, Any]:
        """Return who won, which were repeated, the verdict, and the description."""
        return {
            "winner": "" if self.first.broken else self.first.trial,
            "winner_run_id": "" if self.first.broken else self.first.run_id,
            "verdict": self.verdict,
            "repeated": ", ".join(row.trial for row in self.rows),
            "revision": self.looks,
            "result_sha256": self.digest,
            NOTE: self.markdown(),
        }

    @property
    def digest(self) -> str:
        """SHA-256 of the numbers."""
        return sha256(json.dumps(self.as_dict()).encode())


def conclude_from(
    archive: Archive,
    run_id: str,
    study: str,
    measure: str,
    numbers: Sequence[int],
    trials: Sequence[Found],
    *,
    overlap: float | None,
) -> Confirmation:
    """Compare the trials by the trainings below a confirmation's run; further arguments as for `conclude`."""
    repeated = {run.name: run for run in archive.below(run_id)}
    kind = "seed" if overlap is None else "repeat"
    found = {}
    for trial in trials:
        runs = [repeated[f"{trial.name}-{kind}-{number}"] for number in numbers]
        if overlap is None:
            found[trial.name] = of_seeds(runs, measure)
        else:
            found[trial.name] = of_repeats([_ended(archive, run) for run in runs], measure)
    return conclude(study, measure, numbers, trials, found, overlap=overlap)


def _ended(archive: Archive, run: Found) -> TrialRecord | None:
    """Return the record of a training that ran to its own end; None of another."""
    return archive.load(run) if run.outcome in ENDED else None


def conclude(
    study: str,
    measure: str,
    seeds: Sequence[int],
    trials: Sequence[Found],
    trainings: Mapping[str, Trainings],
    *,
    overlap: float | None = None,
) -> Confirmation:
    """Compare the trials by their further trainings.

    Parameters
    ----------
    trainings : by the trial's name.
    overlap : dev rows for each training row, for repeats that divide the rows anew; None for new seeds.
    """
    rows = []
    for trial in trials:
        found = trainings[trial.name]
        means = {name: mean_interval(values, overlap=overlap or 0.0) for name, values in found.values.items()}
        new_rows = None if overlap is None else mean_interval(found.new_rows, overlap=overlap)
        sweep_value = trial.metrics[f"best_{measure}"]
        rows.append(Row(trial.name, trial.run_id, sweep_value, means, new_rows, found.broken))
    rows.sort(key=lambda row: (row.means[measure].mean, row.broken, row.sweep_value, row.trial))
    compared = {name: found.values[measure] for name, found in trainings.items()}
    rows = _against_first(rows, compared, overlap or 0.0)
    return Confirmation(study, measure, tuple(seeds), tuple(rows), overlap)


def _against_first(rows: list[Row], values: Mapping[str, Sequence[float]], overlap: float) -> list[Row]:
    adjusted = compare_all(values, overlap=overlap)
    first = rows[0]
    tested = []
    for row in rows[1:]:
        p = adjusted[frozenset((first.trial, row.trial))]
        difference = _adjusted(values[first.trial], values[row.trial], len(adjusted), p, overlap)
        tested.append(Row(**{**row.__dict__, "difference": difference, "p": p}))
    return [first, *tested]


def _adjusted(first: Sequence[float], other: Sequence[float], pairs: int, p: float, overlap: float) -> Mean:
    """Return the mean difference with an interval that excludes 0 exactly when the adjusted p is below 5 %.

    A p that Holm's procedure raised m times belongs to an interval at the level 1 - α/m.
    """
    test = paired_test(first, other, overlap=overlap)
    if not 0 < test.difference.half_width < math.inf:
        return test.difference
    times = pairs if test.p == 0 or p == 1 else min(pairs, p / test.p)
    return mean_interval(np.subtract(other, first), overlap=overlap, comparisons=times)


def _with_interval(mean: Mean) -> str:
    if not math.isfinite(mean.mean):
        return "–"
    if not 0 < mean.half_width < math.inf:
        return f"{mean.mean:.4g}"
    decimals = max(0, 1 - math.floor(math.log10(mean.half_width)))
    return f"{mean.mean:.{decimals}f} ± {mean.half_width:.{decimals}f}"


def _plain(mean: Mean) -> dict[str, float | int | None]:
    numbers = {"mean": mean.mean, "half_width": mean.half_width}
    return {**{name: value if math.isfinite(value) else None for name, value in numbers.items()}, "n": mean.n}
