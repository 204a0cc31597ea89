"""The typed configuration of one trial, as plain dataclasses; it reads no file and knows no framework.

Every field carries its rule in its type (`Annotated[float, Ge(0)]`), so that `pipeline.config.validation` can check a
value from YAML, the command line or a record and name the field, the rule and the value. The defaults here are
those of the files under `conf/`; a test compares the two.
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


def spelled(field: str) -> str:
    """How a configuration spells a field: without the underscore that keeps `from_` from being a Python keyword."""
    return field.rstrip("_")


@dataclass
class Strict:
    """Base of every section: unknown names and values of another type are refused, never coerced."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {
        "extra": "forbid",
        "strict": True,
        "allow_inf_nan": False,
        "alias_generator": spelled,
    }


@dataclass
class DataConfig(Strict):
    """Where the examples come from and how they are split; none of it is ever swept."""

    name: str = "digits"  # digits, breast_cancer, circles, moons, course_circles, file, or an OpenML name
    source: Literal["builtin", "file", "openml"] = "builtin"  # chosen with data=file and data=openml
    path: str | None = None  # of the user's file, for source=file
    target: str | None = None  # name of the target column (file, openml)
    version: int | str = "active"  # OpenML version of the data set
    given: str | None = None  # a second file for dev and test; `path` then holds training data only
    split_seed: Seed = 0  # governs the split and the folds, and nothing else
    train: Annotated[float, Gt(0), Lt(1)] | None = None  # explicit ratios; all null: the rule of the course
    dev: Annotated[float, Gt(0), Lt(1)] | None = None  # as `train`
    test: Annotated[float, Gt(0), Lt(1)] | Literal["none", "auto"] = "auto"  # none: no test part; auto: by the rule
    folds: Annotated[int, Ge(2)] | None = None  # k-fold cross-validation instead of a fixed dev part
    standardize: bool | Literal["pixels"] = True  # pixels: one mean and deviation for all pixels, as augmentation needs
    missing: Literal["refuse", "median"] = "refuse"  # median: replace missing values by the training part's median
    image_shape: Annotated[list[Count], Len(2, 3)] | None = None  # rows, columns[, channels]
    optimal_error: Annotated[float, Ge(0), Le(1)] = 0.0  # Bayes or human error, for the diagnosis
    examples: Count | None = None  # circles, moons: how many to draw; other sources: a stratified sample of that size
    noise: NonNegative = 0.2  # circles, moons: standard deviation of the points about their curves
    drop: list[str] = field(default_factory=list)  # columns to leave out, such as identifiers (file, openml)
    # column of groups, such as patients, that stay in one part and one fold; not used as a feature
    group: str | None = None
    deduplicate: bool = False  # keep equal rows in one part and one fold
    max_categories: Count = 100  # a text column with more distinct values is refused


@dataclass
class InitConfig(Strict):
    """Initial weights: the scheme fixes the variance, `scale` multiplies the standard deviation."""

    # auto: he for relu and leaky_relu, xavier for the rest and the output layer
    scheme: Literal["auto", "he", "xavier", "glorot", "fixed", "zeros", "identity"] = "auto"
    scale: Positive = 1.0  # times the standard deviation of the scheme
    legacy_seed: Seed | None = None  # draw from NumPy's legacy stream; for the course's exercise alone


@dataclass
class ModelConfig(Strict):
    """The network: input and output sizes come from the data; without `hidden_units` it is logistic regression."""

    hidden_units: list[Count] = field(default_factory=lambda: [64, 32])  # units of each hidden layer
    activation: Activation | list[Activation] = "relu"  # one for every hidden layer, or one each
    init: InitConfig = field(default_factory=InitConfig)


@dataclass
class RegularizationConfig(Strict):
    """L2, L1 and inverted dropout; the neutral values 0, 0, 1, 1 are no regularisation."""

    lambd: NonNegative = 0.0  # λ of L2: J + λ/(2m) Σ‖W‖², m the whole training part
    lambd_l1: NonNegative = 0.0  # λ of L1: J + λ/(2m) Σ|W|
    keep_prob: KeepProb | list[KeepProb] = 1.0  # fraction of units kept; one for every hidden layer, or one each
    keep_prob_input: KeepProb = 1.0  # the fraction of the input features that is kept


@dataclass
class TrainingConfig(Strict):
    """Optimisation and early stopping."""

    optimizer: Literal["gradient_descent", "momentum", "rmsprop", "adam"] = "momentum"  # how the parameters are updated
    learning_rate: Positive = 0.05  # alpha
    momentum: Fraction = 0.9  # beta_1 of momentum and Adam
    beta2: Fraction = 0.999  # of RMSProp and Adam
    epsilon: Positive = 1e-8  # of RMSProp and Adam
    decay: Literal["none", "inverse", "exponential", "cosine"] = "none"  # of the learning rate by epoch
    decay_rate: NonNegative = 0.0  # inverse: alpha / (1 + rate * epoch); exponential: alpha * exp(-rate * epoch)
    num_epochs: Count = 150  # at most; early stopping may end before
    batch_size: Count | Literal["full"] = 64  # a training part smaller than this is one batch
    # decides on the kept epoch; auto: as study.objective
    monitor: Literal["auto", "dev_cost", "dev_error", "balanced_error"] = "auto"
    patience: Count | None = 20  # epochs without improvement; null: never stop early
    class_weight: Literal["none", "balanced"] = "none"  # balanced: each class counts alike in the cost, however rare
    min_delta: NonNegative = 0.0  # an improvement smaller than this does not count
    dtype: Literal["float32", "float64"] = "float32"  # of the arithmetic


@dataclass
class AugmentationConfig(Strict):
    """Random changes to training images, before normalisation; all neutral by default."""

    flip: Annotated[float, Ge(0), Le(1)] = 0.0  # probability of a horizontal flip
    shift: Annotated[float, Ge(0), Lt(1)] = 0.0  # largest shift, as a fraction of the side
    rotation: Annotated[float, Ge(0), Le(180)] = 0.0  # largest angle, degrees
    # largest share of the side that a random crop removes before zooming back
    zoom: Annotated[float, Ge(0), Lt(1)] = 0.0
    distortion: NonNegative = 0.0  # elastic distortion: standard deviation of the displacement, pixels
    smoothness: Positive = 4.0  # elastic distortion: width of the Gaussian that smooths the displacement, pixels


@dataclass
class GradcheckConfig(Strict):
    """The gradient check before and after training."""

    enabled: bool = True  # check before and after training
    examples: Count = 10  # size of the stratified batch that is checked
    epsilon: Positive = 1e-5  # the step of the two-sided difference
    max_coordinates: Count = 20_000  # with more parameters: a seeded sample per tensor plus directional derivatives
    directions: Annotated[int, Ge(0)] = 8  # random directions that are checked besides a sample
    max_kink_share: Annotated[float, Ge(0), Le(1)] = 0.1  # more kinks than this: inconclusive
    allow_wrong: bool = False  # train although the check says wrong
    sweep_epsilon: bool = False  # preflight: draw the error against ε for the three formulas


@dataclass
class DiagnosisConfig(Strict):
    """When bias and variance count as high."""

    threshold: Positive = 0.02  # avoidable bias or variance above this is high


@dataclass
class TrialConfig(Strict):
    """Everything that determines a trial's bits, together with the arrays."""

    seed: Seed = 0  # initial weights, shuffling, dropout and augmentation; never the split
    repeats: Count = 1  # trainings of the configuration, each with its own seed and division; means are compared
    first_repeat: Annotated[int, Ge(0)] = 0  # number of the first; 0 is `seed` and the division of data.split_seed
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    regularization: RegularizationConfig = field(default_factory=RegularizationConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    gradcheck: GradcheckConfig = field(default_factory=GradcheckConfig)
    diagnosis: DiagnosisConfig = field(default_factory=DiagnosisConfig)

    @property
    def repeat_numbers(self) -> range:
        """The numbers of the repeats that are trained."""
        return range(self.first_repeat, self.first_repeat + self.repeats)
