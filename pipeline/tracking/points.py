"""Writes the points of metrics: each step of a metric once, at times that never decrease with the step."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

Curves = Mapping[str, Mapping[int, float]]
"""The values of metrics by name and step."""


@dataclass(frozen=True)
class Span:
    """When step 0 and the last of `steps` steps happened, in seconds since 1970-01-01 UTC.

    Both times are by the clock of the training process, so that they are consistent on any machine.
    """

    began: float
    ended: float
    steps: int = 0

    @classmethod
    def of(cls, curves: Mapping[str, np.ndarray], started_at: float, elapsed_s: float) -> "Span":
        """Return the span of a trial that has worked for `elapsed_s` seconds and has these curves."""
        steps = max((len(values) - 1 for values in curves.values()), default=0)
        return cls(started_at, started_at + elapsed_s, steps)

    def times(self, stored: Mapping[int, int], not_before: int = 0) -> dict[int, int]:
        """Return times in ms of the steps 0 to `steps`, spread evenly between those of the stored steps.

        Parameters
        ----------
        stored : times in ms of steps that are already in the store; they are kept.
        not_before : the run's start in ms.
        """
        known = {0: round(1000 * self.began), self.steps: round(1000 * self.ended)} | dict(stored)
        at = sorted(known)
        clock = np.maximum.accumulate([max(known[step], not_before) for step in at])
        steps = np.arange(max(at) + 1)
        return dict(enumerate(np.rint(np.interp(steps, at, clock)).astype(int).tolist()))


class Points:
    """A cache of the metric points that runs have in the store."""

    def __init__(self, client: "MlflowClient") -> None:
        self._client = client
        self._stored: dict[str, dict[str, dict[int, int]]] = {}  # run id → metric → step → time in ms

    def begin(self, run_id: str) -> None:
        """Note that a run has just been created and has no points in the store."""
        self._stored[run_id] = _Empty()

    def missing(self, run_id: str, curves: Curves, span: Span, not_before: int = 0) -> list["Metric"]:
        """Return the points that the run does not have yet, with their times."""
        from mlflow.entities import Metric

        known = self._known(run_id, curves)
        times = span.times({step: time for steps in known.values() for step, time in steps.items()}, not_before)
        return [
            Metric(name, value, times.get(step, max(times.values())), step)
            for name, values in curves.items()
            for step, value in values.items()
            if step not in known[name]
        ]

    def add(self, run_id: str, metrics: Sequence["Metric"]) -> None:
        """Note that these points have been written."""
        for metric in metrics:
            self._stored[run_id].setdefault(metric.key, {})[metric.step] = metric.timestamp

    def latest(self, run_id: str) -> int:
        """Return the latest known time in ms of a run's points."""
        return max((time for steps in self._stored.get(run_id, {}).values() for time in steps.values()), default=0)

    def forget(self, run_id: str | None = None) -> None:
        """Clear the cache of a run, or of all runs, so that the store is read again."""
        if run_id is None:
            self._stored.clear()
        else:
            self._stored.pop(run_id, None)

    def _known(self, run_id: str, names: Iterable[str]) -> dict[str, dict[int, int]]:
        """Return the stored points of each named metric, reading the store once for runs of earlier processes."""
        known = self._stored.setdefault(run_id, {})
        unknown = [name for name in names if name not in known]
        there = self._client.get_run(run_id).data.metrics if unknown and not isinstance(known, _Empty) else {}
        for name in unknown:
            history = self._client.get_metric_history(run_id, name) if name in there else []
            known[name] = {point.step: point.timestamp for point in history}
        return known


class _Empty(dict[str, dict[int, int]]):
    """The points of a run created by this process: a metric without an entry is not in the store either."""
