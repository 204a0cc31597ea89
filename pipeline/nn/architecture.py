"""What a network is made of and how it is regularised, as plain values; checked once, here."""

from dataclasses import dataclass

from pipeline.nn.activations import ACTIVATIONS
from pipeline.nn.costs import OUTPUTS


@dataclass(frozen=True)
class Architecture:
    """Sizes (n_0 = n_x, n_1, ..., n_L), one activation per hidden layer, and the output.

    The output "softmax" has n_L = C units for C classes; "sigmoid" has n_L = 1 unit for C = 2.
    """

    layer_sizes: tuple[int, ...]
    activations: tuple[str, ...]
    output: str

    def __post_init__(self) -> None:
        """Check the parts against each other."""
        if len(self.layer_sizes) < 2 or min(self.layer_sizes) < 1:
            raise ValueError(f"layer_sizes must be two or more positive sizes, got {self.layer_sizes}")
        if len(self.activations) != len(self.layer_sizes) - 2:
            raise ValueError(
                f"activations must be one per hidden layer ({len(self.layer_sizes) - 2}), got {self.activations}"
            )
        for name in self.activations:
            if name not in ACTIVATIONS:
                raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {name!r}")
        if self.output not in OUTPUTS:
            raise ValueError(f"output must be one of {', '.join(OUTPUTS)}, got {self.output!r}")
        if self.output == "sigmoid" and self.layer_sizes[-1] != 1:
            raise ValueError(f"a sigmoid output has one unit, got {self.layer_sizes[-1]}")

    @property
    def num_layers(self) -> int:
        """L, the number of layers with parameters."""
        return len(self.layer_sizes) - 1

    @property
    def num_classes(self) -> int:
        """C, the number of classes."""
        return 2 if self.output == "sigmoid" else self.layer_sizes[-1]


@dataclass(frozen=True, kw_only=True)
class Regularization:
    """Strengths of L2 and L1, the fractions kept by dropout, and m, the size of the whole training set.

    `keep_prob` has one value per hidden layer; an empty tuple keeps everything. The neutral values are 0, 0, 1 and 1.
    """

    m: int
    lambd: float = 0.0
    lambd_l1: float = 0.0
    keep_prob: tuple[float, ...] = ()
    keep_prob_input: float = 1.0

    def __post_init__(self) -> None:
        """Check every value on its own."""
        if self.m < 1:
            raise ValueError(f"m must be at least 1, got {self.m}")
        for name, strength in (("lambd", self.lambd), ("lambd_l1", self.lambd_l1)):
            if not 0 <= strength < float("inf"):
                raise ValueError(f"{name} must be finite and not negative, got {strength}")
        for name, keep in (("keep_prob_input", self.keep_prob_input), *(("keep_prob", k) for k in self.keep_prob)):
            if not 0 < keep <= 1:
                raise ValueError(f"{name} must be in (0, 1], got {keep}")
