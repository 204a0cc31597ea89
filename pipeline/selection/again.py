"""Draws a sweep's conclusion again from the records of its runs, so that what the sweep claims can be compared."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Literal

from optuna.trial import TrialState

from pipeline.config.commands import SweepConfig
from pipeline.config.errors import ConfigError, RecordError
from pipeline.config.trial import TrialConfig
from pipeline.config.validation import parse
from pipeline.search.coordinator import run_name
from pipeline.search.making import objective_names
from pipeline.search.replay import StudyHistory
from pipeline.search.space import Space
from pipeline.selection import race
from pipeline.selection.blocks import blocks, digest_of
from pipeline.selection.recommendation import Recommendation, recommend, run_of
from pipeline.tracking.archive import Archive
from pipeline.tracking.found import Found

Fits = Mapping[str, Mapping[int, float]]
"""The measure by digest of the configuration and repeat."""


def draw_again(
    archive: Archive, runs: Sequence[Found], recorded: StudyHistory, prefer: Literal["best", "simplest"]
) -> Recommendation | None:
    """Draw the conclusion again from the records of a study's runs; None without a trial trained to its end.

    Parameters
    ----------
    runs : the study's trials, baseline and further repeats.

    Raises
    ------
    RecordError
        A run that the race looked at is not there or cannot be read, or the history does not fit this version.
    """
    try:
        config = parse(SweepConfig, recorded.config)
        space = Space(config.search.space, asdict(config.trial))
    except ConfigError as error:
        raise RecordError(f"the study's configuration does not fit this version: {error}") from None
    measure = objective_names(config)[0]
    fits, baseline = _fits(archive, runs, measure)
    ended = [trial for trial in recorded.trials if trial.state == TrialState.COMPLETE and trial.outcome]
    entries = [race.Entry(each.name, space.values(each.params)) for each in recorded.before if each.values is not None]
    entries += [race.Entry(run_name(trial.number), space.values(trial.params)) for trial in ended]
    known: dict[str, dict[int, float]] = {}
    for each in recorded.before:
        values = {repeat: value for repeat, value in enumerate(each.repeats.get(measure, ())) if value is not None}
        known.setdefault(race.key_of(space.values(each.params)), values)

    def look(wanted: Sequence[race.Wanted]) -> None:
        for fit in wanted:
            digest = baseline if fit.entry.name == race.BASELINE else _digest(space, fit.entry.values)
            value = fits.get(digest, {}).get(fit.repeat)
            if value is None:
                raise RecordError(
                    f"no run has repeat {fit.repeat} of {fit.entry.name}, which the race over these records wants: a "
                    "run is gone or a record was changed"
                )
            known.setdefault(fit.entry.key, {})[fit.repeat] = value

    first = range(config.repeats)
    own = [entry for entry in entries if entry.key not in known]
    look([race.Wanted(entry, repeat) for entry in own for repeat in first])
    if config.study.baseline:
        look([race.Wanted(race.Entry(race.BASELINE, {}), repeat) for repeat in first])
    steps = race.run(
        space.leaves, entries, known, repeats=config.repeats, baseline=config.study.baseline, prefer=prefer
    )
    outcome = race.settle(steps, look)
    if outcome is None:
        return None
    found = recommend(outcome, space.leaves, measure, trial_repeats=config.repeats)
    chosen = parse(TrialConfig, space.apply(found.values))
    return replace(found, run=run_of(outcome.recommended, blocks(chosen, first)))


def _digest(space: Space, values: Mapping[str, Any]) -> str:
    return digest_of(parse(TrialConfig, space.apply(values)))


def _fits(archive: Archive, runs: Sequence[Found], measure: str) -> tuple[Fits, str]:
    """Return the measure of every recorded fit, and the digest of the baseline's configuration."""
    fits: dict[str, dict[int, float]] = {}
    baseline = ""
    for run in runs:
        record = archive.load(run)
        if record.outcome == "failed":
            continue
        digest = digest_of(parse(TrialConfig, record.config))
        fits.setdefault(digest, {}).update(record.values(measure))
        baseline = digest if run.kind == "baseline" else baseline
    return fits, baseline
