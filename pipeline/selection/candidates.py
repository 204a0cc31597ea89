"""The trials of a study that may be chosen: the best by its own objective, read from the store alone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.config.errors import ConfigError, DataError, RecordError
from pipeline.config.trial import DataConfig, TrialConfig
from pipeline.config.validation import parse
from pipeline.data.changes import what_changed
from pipeline.data.divisions import is_fixed
from pipeline.data.prepare import PreparedData, prepare
from pipeline.selection.recommendation import Recommendation
from pipeline.tracking.archive import CONCLUSION, Archive
from pipeline.tracking.found import Found, objective
from pipeline.tracking.sizes import check_sizes
from pipeline.trials.record import ENDED, TrialRecord, no_result

ENOUGH = 8
"""So many repeats of the recommended and the baseline, unused by any choice, count as a confirmation."""


@dataclass(frozen=True)
class Candidate:
    """A recorded trial with its configuration."""

    run: Found
    record: TrialRecord
    config: TrialConfig

    @property
    def name(self) -> str:
        """The trial's name, trial-0007."""
        return self.run.name


def ranked(archive: Archive, study: str, measure: str) -> list[Found]:
    """Return the completed trials of a study, best first.

    Raises
    ------
    RecordError
        There is no such study, or none of its trials has been completed.
    """
    trials = archive.trials(study)
    completed = [run for run in trials if run.outcome in ENDED and _value(run, measure) < math.inf]
    if not completed:
        raise RecordError(f"Study {study}: {no_result(run.outcome for run in trials)}")
    return sorted(completed, key=lambda run: (_value(run, measure), run.name))


def _value(run: Found, measure: str) -> float:
    value = run.metrics.get(f"best_{measure}", math.inf)
    return value if math.isfinite(value) else math.inf


def load(archive: Archive, run: Found) -> Candidate:
    """Read a trial's record and its configuration, checked against the schema and the recorded parameters.

    Raises
    ------
    RecordError
        The record is incomplete, was altered, or does not fit this version's schema.
    """
    record = archive.load(run)
    try:
        config = parse(TrialConfig, record.config)
    except ConfigError as error:
        raise RecordError(f"The record of {run.handle} does not fit this version: {error}") from None
    check_sizes(config, record)
    return Candidate(run, record, config)


def prepare_data(archive: Archive, candidates: Sequence[Candidate], store: Path, *, allow_path: bool) -> PreparedData:
    """Prepare the arrays of a study's trials, which must be unchanged to the last bit.

    Raises
    ------
    RecordError
        The study was made elsewhere, and its file or download must be allowed first.
    DataError
        The data have changed; the message says how.
    """
    first, data = candidates[0].run, candidates[0].config.data
    check_permission(first.handle, data, foreign=archive.is_foreign(first), allow_path=allow_path)
    prepared = prepare(data, store)
    for candidate in candidates:
        changed = what_changed(candidate.record.data, prepared.description | {"digest": prepared.digest})
        if changed is not None:
            raise DataError(f"The data are not those that {candidate.run.handle} was trained on: {changed}.")
    return prepared


def check_permission(handle: str, data: DataConfig, *, foreign: bool, allow_path: bool) -> None:
    """Refuse to read the file or download that a record from elsewhere names, unless the user allows it."""
    if foreign and data.source != "builtin" and not allow_path:
        raise RecordError(
            f"The record of {handle} comes from elsewhere and reads {data.path or data.name} ({data.source}); "
            "look whether you trust that, and allow it with allow_path=true."
        )


def shared_rows(candidate: Candidate) -> float:
    """Return the ratio of dev to training rows, which measures how much divisions overlap; 0 with one division.

    Of k folds each is the dev part once, so the ratio is 1 / (k - 1).
    """
    data = candidate.config.data
    if is_fixed(data):
        return 0.0
    if data.folds is not None:
        return 1 / (data.folds - 1)
    examples = candidate.record.data["examples"]
    return float(examples["dev"]) / float(examples["train"])


@dataclass(frozen=True)
class Choice:
    """The chosen trial of a study.

    Attributes
    ----------
    confirmed : whether it was repeated on new seeds.
    why : a sentence on the evidence for and against it.
    """

    run: Found
    confirmed: bool
    why: str


def choose(archive: Archive, study: str) -> Choice:
    """Return the winner of the study's confirmation, else its best trial, marked as unconfirmed."""
    parent = archive.parent(study)
    measure = objective(parent)
    ranking = ranked(archive, study, measure)
    words = measure.replace("_", " ")
    children = [run for run in archive.children(study) if run.outcome in ENDED]
    for confirmation in archive.below(parent.run_id):
        winner = next((run for run in children if run.run_id == confirmation.tags.get("winner_run_id")), None)
        if confirmation.kind == "confirm" and winner is not None:
            return Choice(winner, True, confirmation.tags["verdict"] + _found_since(ranking, confirmation, words))
    if "recommended" in parent.tags:
        return _recommended(archive, parent, words)
    best = ranking[0]
    baselines = [_value(run, measure) for run in archive.children(study) if run.kind == "baseline"]
    lower = [value for value in baselines if value < _value(best, measure)]
    ahead = "".join(f" Without regularisation it was lower: {value:.4g}." for value in lower)
    repeats = int(parent.params.get("repeats", 1))
    each = "one seed each" if repeats == 1 else f"{repeats} repeats each"
    return Choice(
        best,
        False,
        f"{best.name} is unconfirmed: its {words} of {_value(best, measure):.4g} is the lowest of {len(ranking)} "
        f"trials, with {each}; `make confirm STUDY={study}` would tell skill from luck.{ahead}",
    )


def _recommended(archive: Archive, parent: Found, words: str) -> Choice:
    """Return the sweep's recommendation; confirmed if it and the baseline have enough repeats that no choice used."""
    found = Recommendation.from_dict(archive.read_json(parent, CONCLUSION))
    run, expected = archive.best(parent.study), found.expected
    if expected.mean is None:
        return Choice(run, False, f"{found.name} is recommended, but diverged on a further repeat.")
    confirmed = expected.repeats >= ENOUGH and found.baseline is not None
    base = None if found.baseline is None else found.baseline.mean
    against = "" if base is None else f" against {base:.4g} without regularisation"
    more = "" if confirmed else f" It is unconfirmed: `make confirm STUDY={parent.study}` repeats it."
    return Choice(
        run,
        confirmed,
        f"{found.name} is recommended, with a mean {words} of {expected.mean:.4g}{against} over {expected.repeats} "
        f"repeats that had no part in the choice.{more}",
    )


def _found_since(ranking: list[Found], confirmation: Found, words: str) -> str:
    """Return a sentence about better trials that the confirmation did not include."""
    best = ranking[0]
    if best.name in confirmation.tags.get("repeated", "").split(", "):
        return ""
    return f" Since then the study has found {best.name} with a lower {words}; `make confirm` again would include it."
