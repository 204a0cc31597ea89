"""When to stop, judged on the dev part after each epoch, and which epoch was the best."""

import math
from dataclasses import dataclass, replace

MONITORS = ("dev_cost", "dev_error", "balanced_error")


@dataclass(frozen=True)
class Memory:
    """What early stopping remembers between epochs.

    Attributes
    ----------
    best, best_epoch : the lowest value so far and the first epoch that had it; its parameters are the ones returned.
    reference, reference_epoch : the last value that improved on the one before it by more than `min_delta`.
    """

    best: float = math.inf
    best_epoch: int = 0
    reference: float = math.inf
    reference_epoch: int = 0


@dataclass(frozen=True)
class EarlyStopping:
    """Stop after `patience` epochs in a row without an improvement by more than `min_delta`; None never stops."""

    monitor: str = "dev_cost"
    patience: int | None = 20
    min_delta: float = 0.0

    def __post_init__(self) -> None:
        """Check every value on its own."""
        if self.monitor not in MONITORS:
            raise ValueError(f"monitor must be one of {', '.join(MONITORS)}, got {self.monitor!r}")
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"patience must be at least 1 or None, got {self.patience}")
        if not 0 <= self.min_delta < math.inf:
            raise ValueError(f"min_delta must be finite and not negative, got {self.min_delta}")

    def update(self, memory: Memory, epoch: int, value: float) -> Memory:
        """Return the memory after an epoch; NaN never counts as an improvement."""
        if value < memory.best:
            memory = replace(memory, best=value, best_epoch=epoch)
        if value < memory.reference - self.min_delta:
            memory = replace(memory, reference=value, reference_epoch=epoch)
        return memory

    def reason_to_stop(self, memory: Memory, epoch: int) -> str | None:
        """Say in a sentence why to stop after this epoch, or return None to go on."""
        waited = epoch - memory.reference_epoch
        if self.patience is None or waited < self.patience:
            return None
        by = f" by more than {self.min_delta:g}" if self.min_delta else ""
        return (
            f"{self.monitor} has not improved{by} for {waited} epochs, since {memory.reference:.6g} in epoch"
            f" {memory.reference_epoch}; the parameters of epoch {memory.best_epoch} are kept"
        )
