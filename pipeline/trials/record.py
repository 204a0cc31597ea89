"""The record of a trial, one plain value that can be written to a single file and read back.

A record file is an `.npz` archive of arrays and one JSON text, read without pickle, so that nothing in it can run.
"""

import dataclasses
import json
import math
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.config.writing import replacing
from pipeline.training.means import mean_by_repeat

if TYPE_CHECKING:
    from pipeline.data.prepare import PreparedData

FORMAT = 2
"""Version of the record's layout; readers refuse unknown versions.

In format 1 a trial has one fit or one for each fold; with folds, `stop_epoch` counts folds, `curves` end where the
shortest fold did, and `fits` is empty.
"""
FORMATS = (1, 2)

ENDED = ("completed", "early_stopped")
"""Outcomes of trainings that ran to their own end, so that their results count."""

_META = "record.json"


def no_result(outcomes: Iterable[str]) -> str:
    """Return why a study without a completed trial has no result: "… to its end: 3 diverged, 1 pruned."; no others."""
    counts = Counter(outcome for outcome in outcomes if outcome)
    if not counts:
        return "No trial has been trained to its end yet."
    why = ", ".join(f"{count:,} {outcome}" for outcome, count in counts.items())
    remedy = " A smaller training.learning_rate or model.init.scale may help." if counts["diverged"] else ""
    return f"No trial has been trained to its end: {why}.{remedy}"


@dataclass
class TrialRecord:
    """Everything a trial produced. Every value is JSON-able or a NumPy array.

    Attributes
    ----------
    config : the `TrialConfig` as plain values.
    data : what the arrays were (digest, sizes, classes), as plain values.
    outcome : "completed", "early_stopped", "pruned", "diverged" or "failed".
    reason : a sentence that says why it ended.
    stop_epoch : epochs trained, of the fit that was trained longest. A rerun passes it to stop at the same place.
    curves : per-epoch values, each (epochs + 1,); row 0 is the initial parameters. Of several fits the means, with the
        standard deviations dev_cost_sd and so on.
    parameters : W1, b1, … at the best epoch; of several fits repeat0_W1, fold1_W1 or repeat0_fold1_W1.
    summary : best_epoch, best_dev_cost, …; of several fits the means, with best_dev_cost_se and so on.
    fits : of each fit its repeat, fold (from 1, or None), outcome, reason, epochs and summary. The outcome is one of
        the trial's, or "stopped" for a fit that was cut off because another diverged.
    fit_curves : the curves of each fit, if there are several.
    gradient_checks : "init" and "trained" reports as plain values.
    diagnosis : bias and variance with verdicts and remedies.
    environment : the software and hardware that trained it.
    started_at : seconds since 1970-01-01 UTC.
    duration_s : seconds of work, waiting between segments not counted.
    pruned : of a pruned trial its value, the epoch, the limit, and a sentence with all three. The search adds it; a
        rerun does not, and records before 0.3 lack it.
    format : version of the layout.
    """

    config: dict[str, Any]
    data: dict[str, Any] = field(default_factory=dict)
    outcome: str = "completed"
    reason: str = ""
    stop_epoch: int = 0
    curves: dict[str, np.ndarray] = field(default_factory=dict)
    parameters: dict[str, np.ndarray] = field(default_factory=dict)
    summary: dict[str, float] = field(default_factory=dict)
    gradient_checks: dict[str, dict[str, Any]] = field(default_factory=dict)
    diagnosis: dict[str, Any] = field(default_factory=dict)
    fits: list[dict[str, Any]] = field(default_factory=list)
    fit_curves: list[dict[str, np.ndarray]] = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)
    started_at: float = 0.0
    duration_s: float = 0.0
    pruned: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def fit_names(self) -> list[str]:
        """The name of each fit that has curves of its own: "repeat 2, fold 1"."""
        if not self.fits:
            return [f"fold {number}" for number in range(1, len(self.fit_curves) + 1)]
        return [fit_name(fit["repeat"], fit["fold"]) for fit in self.fits]

    @property
    def num_parameters(self) -> int:
        """Number of parameters of one fit; 0 if none were recorded."""
        return sum(values.size for values in self.parameters.values()) // max(1, len(self.fit_curves))

    def first_parameters(self) -> dict[str, np.ndarray]:
        """Return W1, b1, … of the first fit."""
        if self.fits:
            prefix = prefixes([(fit["repeat"], fit["fold"]) for fit in self.fits])[0]
        else:
            prefix = "fold1_" if self.fit_curves else ""
        return _under(prefix, self.parameters)

    def values(self, measure: str) -> dict[int, float]:
        """Return the best value of "dev_cost", "dev_error" or "balanced_error" by repeat, the mean over its folds.

        It is infinite where a fit diverged, failed or was cut off because another diverged.
        """
        if self.fits:
            return mean_by_repeat(
                [
                    math.inf if fit["outcome"] in ("diverged", "stopped") else fit["summary"][f"best_{measure}"]
                    for fit in self.fits
                ],
                [fit["repeat"] for fit in self.fits],
            )
        first, repeats = self.config.get("first_repeat", 0), self.config.get("repeats", 1)
        known = self.outcome not in ("diverged", "failed")
        value = self.summary[f"best_{measure}"] if known else math.inf
        return dict.fromkeys(range(first, first + repeats), value)

    def add_origin(self, prepared: "PreparedData", code: dict[str, Any]) -> None:
        """Add the data's description and the code's version, which the trial does not know."""
        self.data |= prepared.description | {"digest": prepared.digest, "source_digest": prepared.source_digest}
        self.environment["code"] = code

    def save(self, path: Path) -> None:
        """Write the record atomically."""
        arrays = {f"curves/{name}": values for name, values in self.curves.items()}
        arrays |= {f"parameters/{name}": values for name, values in self.parameters.items()}
        for number, curves in enumerate(self.fit_curves):
            arrays |= {f"fit_curves/{number}/{name}": values for name, values in curves.items()}
        meta = {name: getattr(self, name) for name in _PLAIN_FIELDS}
        arrays[_META] = np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8)
        with replacing(path, durable=True) as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> "TrialRecord":
        """Read a record written by `save`.

        Raises
        ------
        ValueError
            The file is not a record, is damaged, or has a format that this version does not know.
        OSError
            It cannot be read at all.
        """
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                meta = json.loads(bytes(archive[_META]))
                arrays = {name: archive[name] for name in archive.files if name != _META}
        except (KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path.name} is no whole record: {error}") from None
        if meta.get("format") not in FORMATS:
            raise ValueError(f"{path.name} is not a record of format {' or '.join(map(str, FORMATS))}")
        arrays = {name.replace("fold_curves/", "fit_curves/"): values for name, values in arrays.items()}  # format 1
        fits = sorted({int(name.split("/")[1]) for name in arrays if name.startswith("fit_curves/")})
        return cls(
            **meta,
            curves=_under("curves/", arrays),
            parameters=_under("parameters/", arrays),
            fit_curves=[_under(f"fit_curves/{number}/", arrays) for number in fits],
        )


def fit_name(repeat: int, fold: int | None) -> str:
    """Return the name of a fit for display: "repeat 2", or "repeat 2, fold 1"."""
    return f"repeat {repeat}" if fold is None else f"repeat {repeat}, fold {fold}"


def prefixes(fits: Sequence[tuple[int, int | None]]) -> list[str]:
    """Return the prefix of parameter names of each (repeat, fold): empty for a single fit, else `repeat0_fold1_`.

    The repeat is left out if there is only one.
    """
    several = len({repeat for repeat, _ in fits}) > 1
    return [
        (f"repeat{repeat}_" if several else "") + (f"fold{fold}_" if fold is not None else "") for repeat, fold in fits
    ]


_ARRAY_FIELDS = ("curves", "parameters", "fit_curves")
_PLAIN_FIELDS = tuple(f.name for f in dataclasses.fields(TrialRecord) if f.name not in _ARRAY_FIELDS)


def _under(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}
