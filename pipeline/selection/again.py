"""Draws a sweep's conclusion again from the records of its runs, so that what the sweep claims can be compared."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Literal, Self

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
from pipeline.trials.record import ENDED


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
    config, space = _search(recorded)
    measure, first = objective_names(config)[0], range(config.repeats)
    fits = _Fits(space, measure).read(archive, runs)
    entries, known = _entries(recorded, space), _taken_over(recorded, space, measure)

    def look(wanted: Sequence[race.Wanted]) -> None:
        for fit in wanted:
            known.setdefault(fit.entry.key, {})[fit.repeat] = fits.value(fit)

    own = [entry for entry in entries if entry.key not in known]
    look([race.Wanted(entry, repeat) for entry in own for repeat in first])
    steps = race.run(
        space.leaves, entries, known, repeats=config.repeats, baseline=config.study.baseline, prefer=prefer
    )
    outcome = race.settle(steps, look)
    if outcome is None:
        return None
    found = recommend(outcome, space.leaves, measure, trial_repeats=config.repeats)
    chosen = parse(TrialConfig, space.apply(found.values))
    return replace(found, run=run_of(outcome.recommended, blocks(chosen, first)))


def _search(recorded: StudyHistory) -> tuple[SweepConfig, Space]:
    """Return the configuration and the space of a study."""
    try:
        config = parse(SweepConfig, recorded.config)
        return config, Space(config.search.space, asdict(config.trial))
    except ConfigError as error:
        raise RecordError(f"the study's configuration does not fit this version: {error}") from None


def _entries(recorded: StudyHistory, space: Space) -> list[race.Entry]:
    """Return the participants of the race: trials taken over, then the study's own, that were trained to their end."""
    before = [(each.name, each.params) for each in recorded.before if each.values is not None]
    own = [(run_name(each.number), each.params) for each in recorded.trials if each.outcome in ENDED]
    return [race.Entry(name, space.values(params)) for name, params in [*before, *own]]


def _taken_over(recorded: StudyHistory, space: Space, measure: str) -> dict[str, dict[int, float]]:
    """Return the values of the trials taken over, which have no run in this study, by entry's key and repeat."""
    known: dict[str, dict[int, float]] = {}
    for each in recorded.before:
        values = {repeat: value for repeat, value in enumerate(each.repeats.get(measure, ())) if value is not None}
        known.setdefault(race.key_of(space.values(each.params)), values)
    return known


@dataclass
class _Fits:
    """The measure of every recorded fit.

    Attributes
    ----------
    by_repeat : the measure by digest of the configuration and by repeat.
    baseline : digest of the configuration without regularisation.
    """

    space: Space
    measure: str
    by_repeat: dict[str, dict[int, float]] = field(default_factory=dict)
    baseline: str = ""

    def read(self, archive: Archive, runs: Sequence[Found]) -> Self:
        """Read the records of these runs; return this object."""
        for run in runs:
            record = archive.load(run)
            if record.outcome == "failed":
                continue
            digest = digest_of(parse(TrialConfig, record.config))
            self.by_repeat.setdefault(digest, {}).update(record.values(self.measure))
            self.baseline = digest if run.kind == "baseline" else self.baseline
        return self

    def value(self, fit: race.Wanted) -> float:
        """Return the measure of a fit that the race needs.

        Raises
        ------
        RecordError
            No record has it.
        """
        value = self.by_repeat.get(self._digest(fit.entry), {}).get(fit.repeat)
        if value is None:
            raise RecordError(
                f"no run has repeat {fit.repeat} of {fit.entry.name}, which the race over these records wants: a run "
                "is gone or a record was changed"
            )
        return value

    def _digest(self, entry: race.Entry) -> str:
        if entry.name == race.BASELINE:
            return self.baseline
        return digest_of(parse(TrialConfig, self.space.apply(entry.values)))
