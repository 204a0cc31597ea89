"""The register of opened test sets: a run of kind `final` in the tracking store for each, found by the source's digest.

It looks through every experiment of the store, and at deleted runs too: what has been seen stays seen.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.tracking.store import Store, connect, explain

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


@dataclass(frozen=True)
class Opening:
    """One time that somebody looked at a test set.

    Attributes
    ----------
    opened_at : by the clock of whoever opened it, in ISO 8601, UTC.
    test_error : what was seen; None when the evaluation did not come to its end.
    """

    run_id: str
    study: str
    trial: str
    opened_at: str
    data_digest: str
    test_error: float | None

    @property
    def sentence(self) -> str:
        """When, for what, and what it showed."""
        when = self.opened_at.replace("T", " ").replace("+00:00", " UTC")
        seen = "" if self.test_error is None else f", which showed a test error of {self.test_error:.2%}"
        return f"on {when} for {self.study}/{self.trial} (run {self.run_id}){seen}"


def openings(store: Store, source_digest: str) -> list[Opening]:
    """Every opening of a test set drawn from the data with this digest, under whatever split and study, in order."""
    client = connect(store)
    try:
        found = _search(client, source_digest)
    except Exception as error:
        raise explain(error, store) from error
    return sorted(found, key=lambda opening: opening.opened_at)


def test_set_sentence(found: list[Opening]) -> str:
    """Whether anybody has looked at a test set, and what they saw."""
    if not found:
        return "The test set is unopened; no trial can read it."
    times = "once" if len(found) == 1 else f"{len(found)} times"
    return f"The test set has been opened {times}: {'; '.join(opening.sentence for opening in found)}."


def _search(client: "MlflowClient", source_digest: str) -> list[Opening]:
    from mlflow.entities import ViewType

    condition = f"tags.kind = 'final' and tags.test_opened = 'true' and tags.source_digest = '{source_digest}'"
    experiments = [e.experiment_id for e in client.search_experiments(view_type=ViewType.ALL)]
    found, token = [], None
    while True:
        page = client.search_runs(experiments, condition, ViewType.ALL, max_results=1000, page_token=token)
        for run in page:
            tags = run.data.tags
            found.append(
                Opening(
                    run_id=str(run.info.run_id),
                    study=tags.get("study", ""),
                    trial=tags.get("trial_name", ""),
                    opened_at=tags.get("opened_at", ""),
                    data_digest=tags.get("data_digest", ""),
                    test_error=run.data.metrics.get("test_error"),
                )
            )
        token = page.token
        if not token:
            return found
