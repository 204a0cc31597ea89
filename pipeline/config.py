"""The typed schema of everything a user can set, as plain dataclasses; it reads no file and knows no framework.

Every field carries its rule in its type (`Annotated[float, Ge(0)]`), so that `pipeline.validation` can check a value
from YAML, the command line or a record and name the field, the rule and the value. The defaults here are those of the
files under `conf/`; a test holds the two equal.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Le, Len, Lt

Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Fraction = Annotated[float, Ge(0), Lt(1)]
KeepProb = Annotated[float, Gt(0), Le(1)]
Seed = Annotated[int, Ge(0)]
Count = Annotated[int, Ge(1)]
Activation = Literal["relu", "leaky_relu", "tanh", "sigmoid", "identity"]
Objective = Literal["dev_cost", "dev_error", "parameters"]


@dataclass
class Strict:
    """Base of every section: an unknown name and a value of another type are refused, never coerced."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True, "allow_inf_nan": False}


@dataclass
class DataConfig(Strict):
    """Where the examples come from and how they are split; none of it is ever swept."""

    name: str = "digits"  # digits, breast_cancer, circles, moons, course_circles, file, or an OpenML name
    source: Literal["builtin", "file", "openml"] = "builtin"
    path: str | None = None  # of the user's file, for source=file
    target: str | None = None  # name of the target column (file, openml)
    version: int | str = "active"  # OpenML version of the data set
    given: str | None = None  # a second file that dev and test are drawn from; `path` is then training data only
    split_seed: Seed = 0  # governs the split and the folds, and nothing else
    train: Annotated[float, Gt(0), Lt(1)] | None = None  # explicit ratios; all null: the rule of the course
    dev: Annotated[float, Gt(0), Lt(1)] | None = None
    test: Annotated[float, Gt(0), Lt(1)] | Literal["none", "auto"] = "auto"
    folds: Annotated[int, Ge(2)] | None = None  # k-fold cross-validation instead of a fixed dev part
    standardize: bool | Literal["pixels"] = True  # pixels: one mean and deviation for all, as augmentation wants it
    missing: Literal["refuse", "median"] = "refuse"
    image_shape: Annotated[list[Count], Len(2, 3)] | None = None  # rows, columns[, channels]
    optimal_error: Annotated[float, Ge(0), Le(1)] = 0.0  # Bayes or human error, for the diagnosis
    examples: Count | None = None  # circles, moons: how many to draw; other sources: a stratified sample of that size
    noise: NonNegative = 0.2  # circles, moons
    drop: list[str] = field(default_factory=list)  # columns to leave out, such as identifiers (file, openml)
    max_categories: Count = 100  # a text column with more distinct values is refused


@dataclass
class InitConfig(Strict):
    """Initial weights: the scheme fixes the variance, `scale` multiplies the standard deviation."""

    # auto: he for relu and leaky_relu, xavier for the rest and the output layer
    scheme: Literal["auto", "he", "xavier", "glorot", "fixed", "zeros", "identity"] = "auto"
    scale: Positive = 1.0
    legacy_seed: Seed | None = None  # draw from NumPy's legacy stream; for the course's exercise alone


@dataclass
class ModelConfig(Strict):
    """The network: input and output sizes come from the data; without `hidden_units` it is logistic regression."""

    hidden_units: list[Count] = field(default_factory=lambda: [64, 32])
    activation: Activation | list[Activation] = "relu"
    init: InitConfig = field(default_factory=InitConfig)


@dataclass
class RegularizationConfig(Strict):
    """L2, L1 and inverted dropout; the neutral values 0, 0, 1, 1 are no regularisation."""

    lambd: NonNegative = 0.0
    lambd_l1: NonNegative = 0.0
    keep_prob: KeepProb | list[KeepProb] = 1.0  # one for every hidden layer, or one each
    keep_prob_input: KeepProb = 1.0


@dataclass
class TrainingConfig(Strict):
    """Optimisation and early stopping."""

    optimizer: Literal["gradient_descent", "momentum", "rmsprop", "adam"] = "momentum"
    learning_rate: Positive = 0.05
    momentum: Fraction = 0.9  # beta_1 of momentum and Adam
    beta2: Fraction = 0.999  # of RMSProp and Adam
    epsilon: Positive = 1e-8  # of RMSProp and Adam
    decay: Literal["none", "inverse", "exponential", "cosine"] = "none"
    decay_rate: NonNegative = 0.0  # inverse: alpha / (1 + rate * epoch); exponential: alpha * exp(-rate * epoch)
    num_epochs: Count = 150
    batch_size: Count | Literal["full"] = 64  # a smaller training part is one batch
    monitor: Literal["dev_cost", "dev_error"] = "dev_cost"  # what early stopping watches and `best_epoch` refers to
    patience: Count | None = 20  # epochs without improvement; null: never stop early
    min_delta: NonNegative = 0.0
    dtype: Literal["float32", "float64"] = "float32"


@dataclass
class AugmentationConfig(Strict):
    """Random changes to training images, before normalisation; all neutral by default."""

    flip: Annotated[float, Ge(0), Le(1)] = 0.0  # probability of a horizontal flip
    shift: Annotated[float, Ge(0), Lt(1)] = 0.0  # largest shift, as a fraction of the side
    rotation: Annotated[float, Ge(0), Le(180)] = 0.0  # largest angle, degrees
    zoom: Annotated[float, Ge(0), Lt(1)] = (
        0.0  # largest share of the side that a random crop removes before zooming back
    )
    distortion: NonNegative = 0.0  # elastic distortion: standard deviation of the displacement, pixels
    smoothness: Positive = 4.0  # elastic distortion: width of the Gaussian that smooths the displacement, pixels


@dataclass
class GradcheckConfig(Strict):
    """The gradient check before and after training."""

    enabled: bool = True
    examples: Count = 10  # size of the stratified batch that is checked
    epsilon: Positive = 1e-5
    max_coordinates: Count = 20_000  # above it: a seeded sample per tensor plus directional derivatives
    directions: Annotated[int, Ge(0)] = 8
    max_kink_share: Annotated[float, Ge(0), Le(1)] = 0.1  # more kinks than this: inconclusive
    allow_wrong: bool = False  # train although the check says wrong
    sweep_epsilon: bool = False  # preflight: draw the error against ε for the three formulas


@dataclass
class DiagnosisConfig(Strict):
    """When bias and variance count as high."""

    threshold: Positive = 0.02


@dataclass
class TrialConfig(Strict):
    """All that decides a trial's bits, together with the arrays."""

    seed: Seed = 0
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    regularization: RegularizationConfig = field(default_factory=RegularizationConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    gradcheck: GradcheckConfig = field(default_factory=GradcheckConfig)
    diagnosis: DiagnosisConfig = field(default_factory=DiagnosisConfig)


@dataclass
class TrackingConfig(Strict):
    """Where runs are recorded."""

    uri: str | None = None  # an MLflow tracking URI; null: an SQLite file in `store`
    experiment: str = "pipeline"
    artifacts: str | None = None  # where a new experiment keeps its files; null: in `store`, or as the server decides
    store: str = "mlruns"  # folder of everything local: mlflow.db, artifacts, studies, outbox, arrays
    code_diff: bool = True  # record uncommitted changes with each run
    pictures: bool = True  # draw the sweep's pictures at its end


@dataclass
class StudyConfig(Strict):
    """What a sweep is asked to do, and when it ends."""

    name: str | None = None  # null: <data>-<8 hex digits of the configuration's digest>
    trials: Count = 50  # in all, those of earlier calls included
    minutes: Positive | None = None  # a budget of time for this call
    objective: Objective | list[Objective] = "dev_cost"  # several: a Pareto front, without pruning
    fresh: bool = False  # start <name>-2, -3, … instead of continuing
    take_over: bool = False  # go on although another coordinator may still hold the study
    storage: str | None = None  # an Optuna storage URL or a journal file; null: a journal file in `tracking.store`
    enqueue: list[dict[str, Any]] = field(default_factory=list)  # configurations to try first, as in search.space
    baseline: bool = True  # beside the trials, one run without regularisation
    max_failures: Count = 3  # failed trials in a row that stop the sweep
    stall: Count | None = None  # finished trials without improvement that stop the sweep; null: never


@dataclass
class SearchConfig(Strict):
    """The search space: a tree like the configuration's, with ranges or choices at its leaves."""

    space: dict[str, Any] = field(default_factory=dict)


@dataclass
class SamplerConfig(Strict):
    """Which Optuna sampler proposes configurations."""

    name: Literal["tpe", "random", "grid", "qmc", "cmaes", "gp"] = "tpe"
    seed: Seed = 0  # governs the search, and nothing else
    startup_trials: Annotated[int, Ge(0)] = 10  # random trials before the model is used (tpe, cmaes, gp)


@dataclass
class PrunerConfig(Strict):
    """Which Optuna pruner stops hopeless trials, and the epochs (rungs) at which it looks."""

    name: Literal["none", "median", "successive_halving", "hyperband", "threshold"] = "none"
    first_rung: Count | None = None  # epochs before the first look; None: a tenth of training.num_epochs
    reduction_factor: Annotated[int, Ge(2)] = 2  # each rung is this many times the one before
    startup_trials: Annotated[int, Ge(0)] = 5  # finished trials before median prunes
    upper: float | None = None  # threshold: prune above this value of the objective


@dataclass
class WorkersConfig(Strict):
    """Who trains."""

    count: Count = 2  # local processes; on a cluster: trials under way at once
    backend: Literal["processes", "dask"] = "processes"
    address: str | None = None  # of the Dask scheduler
    queued: Annotated[int, Ge(0)] = 1  # trials that wait at each worker, so that it need not wait for the coordinator
    synchronous: bool = False  # decide in batches, in the order of trial numbers, so that the whole search repeats


@dataclass
class TrainConfig(TrialConfig):
    """`make train`: one tracked run."""

    tracking: TrackingConfig = field(default_factory=TrackingConfig)


@dataclass
class SweepConfig(TrainConfig):
    """`make sweep`."""

    study: StudyConfig = field(default_factory=StudyConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    pruner: PrunerConfig = field(default_factory=PrunerConfig)
    workers: WorkersConfig = field(default_factory=WorkersConfig)


@dataclass
class RerunConfig(Strict):
    """`make rerun`: which record, and what counts as the same."""

    run: str = "best"  # a run id, <study>/trial-0007, best, all, models:/<name>@<alias>, or an exported folder
    study: str | None = None  # for best and all; null: the latest sweep
    accept: Literal["identical", "tolerance"] = "identical"
    rtol: Positive = 1e-6
    changed_data: bool = False  # rerun although the data's digest is another
    allow_path: bool = False  # read the data file that a foreign record names
    track: bool = True  # record the rerun
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    workers: WorkersConfig = field(default_factory=WorkersConfig)


@dataclass
class UiConfig(Strict):
    """`make ui`."""

    port: Annotated[int, Ge(1), Le(65535)] = 5000
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
    tracking: TrackingConfig = field(default_factory=TrackingConfig)


@dataclass
class ConfirmConfig(Strict):
    """`make confirm`: how many of the best configurations, each on how many new seeds."""

    study: str | None = None  # null: the latest sweep
    top: Count = 5
    seeds: Annotated[int, Ge(2)] = 10
    allow_path: bool = False  # read the data file that a study from elsewhere names
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    workers: WorkersConfig = field(default_factory=WorkersConfig)


@dataclass
class FinalConfig(Strict):
    """`make final`: whose test, and what to register."""

    study: str | None = None  # null: the latest sweep
    evaluate: bool = True  # false: leave the test set alone and only register the model
    force: bool = False  # open a test set again that was opened before
    allow_path: bool = False  # read the data file that a study from elsewhere names
    register: bool = True
    model: str | None = None  # name of the registered model; null: <data>-classifier
    tracking: TrackingConfig = field(default_factory=TrackingConfig)


@dataclass
class PredictConfig(Strict):
    """`make predict`: which model, on which table."""

    model: str | None = None  # models:/<name>@<alias> or models:/<name>/<version>
    input: str | None = None  # CSV, Parquet or NPZ with the raw feature columns
    output: str | None = None  # CSV or Parquet, or - for the terminal
    tracking: TrackingConfig = field(default_factory=TrackingConfig)


@dataclass
class ExportConfig(Strict):
    """`make export`."""

    run: str = "best"  # as for rerun
    study: str | None = None  # for best; null: the latest sweep
    folder: str | None = None  # null: <store>/exports/<run>
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
