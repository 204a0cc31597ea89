"""The typed configuration of each command, built around the trial's (`pipeline.config.trial`)."""

from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Len

from pipeline.config.trial import Count, Positive, Seed, Strict, TrialConfig

DevMeasure = Literal["dev_cost", "dev_error", "balanced_error"]
Objective = Literal["dev_cost", "dev_error", "balanced_error", "parameters"]


@dataclass
class TrackingConfig(Strict):
    """Where runs are recorded."""

    uri: str | None = None  # an MLflow tracking URI; null: an SQLite file in `store`
    experiment: Annotated[str, Len(1)] = "pipeline"  # name of the MLflow experiment
    artifacts: str | None = None  # where a new experiment keeps its files; null: in `store`, or as the server decides
    # folder of everything local: mlflow.db, artifacts, studies, outbox, arrays
    store: Annotated[str, Len(1)] = "mlruns"
    code_diff: bool = True  # record uncommitted changes with each run
    pictures: bool = True  # draw the sweep's pictures at its end


@dataclass
class StudyConfig(Strict):
    """What a sweep does, and when it ends."""

    name: str | None = None  # null: <data>-<8 hex digits of the configuration's digest>
    trials: Count = 24  # in total, including those of earlier calls
    minutes: Positive | None = None  # a budget of time for this call
    objective: Objective | list[Objective] = "dev_cost"  # several: a Pareto front, without pruning
    fresh: bool = False  # start <name>-2, -3, … instead of continuing
    take_over: bool = False  # go on although another coordinator may still hold the study
    storage: str | None = None  # an Optuna storage URL or a journal file; null: a journal file in `tracking.store`
    enqueue: list[dict[str, Any]] = field(default_factory=list)  # configurations to try first, as in search.space
    baseline: bool = True  # beside the trials, one run without regularisation
    max_failures: Count = 3  # failed trials in a row that stop the sweep
    # after the trials, train the leaders on further repeats and recommend one; needs a single objective
    race: bool = True
    # simplest: recommend the configuration with the fewest parts that does as well
    prefer: Literal["best", "simplest"] = "best"
    stall: Count | None = None  # finished trials without improvement that stop the sweep; null: never
    from_: str | None = None  # an earlier study whose trials are reused if they lie in this one's space
    # each proposal ignores the results of this many trials before it; null: the search does not repeat
    lag: Annotated[int, Ge(0)] | None = 4


@dataclass
class SearchConfig(Strict):
    """The search space: a tree like the configuration's, with ranges or choices at its leaves."""

    space: dict[str, Any] = field(default_factory=dict)  # {low, high[, log, step]} or {choices} at each leaf


@dataclass
class SamplerConfig(Strict):
    """Which Optuna sampler proposes configurations."""

    name: Literal["tpe", "random", "grid", "qmc", "cmaes", "gp"] = "tpe"  # how configurations are proposed
    seed: Seed = 0  # governs the search, and nothing else
    startup_trials: Annotated[int, Ge(0)] = 10  # random trials before the model is used (tpe, cmaes, gp)


@dataclass
class PrunerConfig(Strict):
    """Which Optuna pruner stops hopeless trials, and the epochs (rungs) at which it looks."""

    name: Literal["none", "median", "successive_halving", "hyperband", "threshold"] = "none"  # how trials are compared
    first_rung: Count | None = None  # epochs before the first look; null: a tenth of training.num_epochs
    reduction_factor: Annotated[int, Ge(2)] = 2  # each rung is this many times the one before
    startup_trials: Annotated[int, Ge(0)] = 5  # finished trials before median prunes
    upper: float | None = None  # threshold: prune above this value of the objective


@dataclass
class WorkersConfig(Strict):
    """Who trains."""

    count: Count = 2  # local processes; on a cluster: trials under way at once
    backend: Literal["processes", "dask"] = "processes"  # on this machine, or a Dask cluster
    address: str | None = None  # of the Dask scheduler
    patience: Positive = 60.0  # seconds of silence after which a worker is replaced
    queued: Annotated[int, Ge(0)] = 1  # trials queued at each worker, so that it does not wait for the coordinator

    @property
    def slots(self) -> int:
        """How many trials are under way at once."""
        return self.count * (1 + self.queued)


@dataclass
class TrainConfig(TrialConfig):
    """`make train`: one tracked run."""

    kernels: Literal["native", "portable"] = "native"  # portable: bits that every x86-64 processor since 2013 repeats
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    @property
    def trial(self) -> TrialConfig:
        """The trial's part of the configuration, its monitor resolved."""
        trial = TrialConfig(**{field.name: getattr(self, field.name) for field in fields(TrialConfig)})
        if trial.training.monitor == "auto":
            trial.training = replace(trial.training, monitor=self.measure)
        return trial

    @property
    def measure(self) -> DevMeasure:
        """What decides on the best epoch if the configuration does not say."""
        return "dev_cost"


@dataclass
class SweepConfig(TrainConfig):
    """`make sweep`."""

    repeats: Count = 2  # of each configuration and of the baseline
    study: StudyConfig = field(default_factory=StudyConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    pruner: PrunerConfig = field(default_factory=PrunerConfig)
    workers: WorkersConfig = field(default_factory=WorkersConfig)

    @property
    def measure(self) -> DevMeasure:
        """The first objective that is measured on the dev part."""
        objectives = self.study.objective if isinstance(self.study.objective, list) else [self.study.objective]
        return next((name for name in objectives if name != "parameters"), "dev_cost")


@dataclass
class RerunConfig(Strict):
    """`make rerun`: which record, and which differences are accepted."""

    # a run id, <study>/trial-0007, best, all, search, models:/<name>@<alias>, or an exported folder
    run: Annotated[str, Len(1)] = "best"
    study: str | None = None  # for best, all and search; null: the latest sweep
    accept: Literal["identical", "tolerance"] = "identical"  # verdicts that exit with 0
    rtol: Positive = 1e-6  # the largest relative difference that counts as within tolerance
    changed_data: bool = False  # rerun although the data's digest has changed
    allow_path: bool = False  # read the data file that a foreign record names
    track: bool = True  # record the rerun
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    workers: WorkersConfig = field(default_factory=WorkersConfig)


@dataclass
class UiConfig(Strict):
    """`make ui`."""

    port: Annotated[int, Ge(1), Le(65535)] = 5000  # on 127.0.0.1
    tracking: TrackingConfig = field(default_factory=TrackingConfig)


@dataclass
class ReportConfig(Strict):
    """`make report`."""

    study: str | None = None  # null: the latest sweep
    output: str | None = None  # the HTML file; null: <tracking.store>/reports/<study>.html
    tracking: TrackingConfig = field(default_factory=TrackingConfig)


@dataclass
class RunsConfig(Strict):
    """`make runs`."""

    study: str | None = None  # null: all studies, and the trials of the latest
    count: Count = 50  # runs on a page
    page: Count = 1  # number of the page; runs are sorted by name
    sizes: bool = False  # also the size of each study on disk, for which all its runs are read
    tracking: TrackingConfig = field(default_factory=TrackingConfig)


@dataclass
class ConfirmConfig(Strict):
    """`make confirm`: how many of the best configurations, each on how many new seeds."""

    study: str | None = None  # null: the latest sweep
    top: Count = 5  # how many of the best configurations
    seeds: Annotated[int, Ge(2)] = 10  # new seeds for each configuration
    allow_path: bool = False  # read the data file that a study from elsewhere names
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    workers: WorkersConfig = field(default_factory=WorkersConfig)


@dataclass
class FinalConfig(Strict):
    """`make final`: which study's test set to open, and what to register."""

    study: str | None = None  # null: the store's only study; required if there are several
    evaluate: bool = True  # false: leave the test set alone and only register the model
    force: bool = False  # open a test set again that was opened before
    unconfirmed: bool = False  # open the test set although nothing was confirmed
    allow_path: bool = False  # read the data file that a study from elsewhere names
    register: bool = True  # register the model
    model: str | None = None  # name of the registered model; null: <data>-classifier
    tracking: TrackingConfig = field(default_factory=TrackingConfig)


@dataclass
class PredictConfig(Strict):
    """`make predict`: which model, on which table."""

    model: str | None = None  # models:/<name>@<alias> or models:/<name>/<version>
    input: str | None = None  # CSV, Parquet or NPZ with the raw feature columns
    output: str | None = None  # CSV or Parquet, or - for the terminal
    escape: bool = False  # put an apostrophe before labels that a spreadsheet would run as formulas
    tracking: TrackingConfig = field(default_factory=TrackingConfig)


@dataclass
class ExportConfig(Strict):
    """`make export`."""

    run: Annotated[str, Len(1)] = "best"  # as for rerun
    study: str | None = None  # for best; null: the latest sweep
    folder: str | None = None  # null: <store>/exports/<run>
    tracking: TrackingConfig = field(default_factory=TrackingConfig)


@dataclass
class RemoveConfig(Strict):
    """`make remove`: which study; records of opened test sets are kept."""

    study: str | None = None  # must be named
    storage: str | None = None  # as study.storage of the sweep, where it was given
    yes: bool = False  # remove without asking
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
