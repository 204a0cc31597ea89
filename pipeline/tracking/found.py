"""What the tracking store says about a run, without the run's files."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.config.errors import RecordError
from pipeline.config.text import printable
from pipeline.tracking import facts

if TYPE_CHECKING:
    from mlflow.entities import Run


MEASURES = ("dev_cost", "dev_error", "balanced_error")


@dataclass(frozen=True)
class Found:
    """A run as the store shows it."""

    run_id: str
    name: str
    kind: str
    study: str
    status: str
    outcome: str
    started_at: float
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    artifact_uri: str

    @property
    def handle(self) -> str:
        """The name that a user types: `<study>/trial-0007`, or the id where there is no study."""
        return facts.handle(self.kind, self.study, self.name, self.run_id)


def objective(parent: Found) -> str:
    """Return the measure by which the study chose: its objective, or the first of several that is a dev measure."""
    text = parent.params.get("study.objective", "dev_cost")
    try:
        given = json.loads(text) if text.startswith("[") else [text]
    except ValueError:
        raise RecordError(
            f"study.objective of {parent.study} must be a name or a list of names, but is {text}."
        ) from None
    return next((name for name in given if name in MEASURES), "dev_cost")


def found_of(run: "Run") -> Found:
    """Read MLflow's run, with all texts safe to print."""
    tags = _safe(run.data.tags)
    return Found(
        run_id=printable(str(run.info.run_id)),
        name=" ".join(printable(str(run.info.run_name)).split()),
        kind=tags.get("kind", ""),
        study=tags.get("study", ""),
        status=str(run.info.status),
        outcome=tags.get("outcome", ""),
        started_at=(run.info.start_time or 0) / 1000,
        params=_safe(run.data.params),
        metrics=dict(run.data.metrics),
        tags=tags,
        artifact_uri=str(run.info.artifact_uri or ""),
    )


def _safe(words: Mapping[str, str]) -> dict[str, str]:
    """Return names and texts safe to print; runs share equal ones, which halves what a thousand of them take."""
    return {sys.intern(printable(key)): sys.intern(printable(value)) for key, value in words.items()}
