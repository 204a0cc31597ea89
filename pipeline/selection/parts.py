"""The parts that a sweep can leave out: L2, L1, dropout and the init scale, each with its neutral value."""

from collections.abc import Mapping, Sequence
from itertools import chain, combinations
from typing import Any

from pipeline.search.space import Leaf

NEUTRAL: Mapping[str, Mapping[str, float]] = {
    "λ": {"regularization.lambd": 0.0},
    "λ₁": {"regularization.lambd_l1": 0.0},
    "dropout": {"regularization.keep_prob": 1.0, "regularization.keep_prob_input": 1.0},
    "init scale": {"model.init.scale": 1.0},
}
"""The values that switch each part off; `keep_prob.0`, one hidden layer's, belongs to the same part."""

STRONGER = {
    "regularization.lambd": +1,
    "regularization.lambd_l1": +1,
    "regularization.keep_prob": -1,
    "regularization.keep_prob_input": -1,
}
"""The direction in which a value regularises more strongly."""

MOST_PARTS = 3
"""With more searched parts than this, each part alone and each left out are tried, not every subset."""


def base_path(path: str) -> str:
    """Return the path without a layer's index: regularization.keep_prob.0 belongs to regularization.keep_prob."""
    parent, _, last = path.rpartition(".")
    return parent if last.isdigit() else path


def part_of(path: str) -> str | None:
    """Return the part of a searched path; None for one without a neutral value, such as the learning rate."""
    return next((part for part, paths in NEUTRAL.items() if base_path(path) in paths), None)


def searched_parts(leaves: Sequence[Leaf]) -> list[str]:
    """Return the searched parts, in the order of NEUTRAL."""
    found = {part_of(leaf.path) for leaf in leaves}
    return [part for part in NEUTRAL if part in found]


def neutral_values(leaves: Sequence[Leaf], kept: Sequence[str]) -> dict[str, float]:
    """Return the neutral value of every searched leaf whose part is not in `kept`."""
    return {
        leaf.path: NEUTRAL[part][base_path(leaf.path)]
        for leaf in leaves
        if (part := part_of(leaf.path)) is not None and part not in kept
    }


def subsets(parts: Sequence[str]) -> list[tuple[str, ...]]:
    """Return every proper, non-empty subset of the parts, smallest first."""
    sizes = range(1, len(parts)) if len(parts) <= MOST_PARTS else sorted({1, len(parts) - 1})
    return list(chain.from_iterable(combinations(parts, size) for size in sizes))


def ingredients(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the parts that a configuration uses, those with a non-neutral value."""
    used = {
        part
        for path, value in values.items()
        if (part := part_of(path)) is not None and value != NEUTRAL[part][base_path(path)]
    }
    return tuple(part for part in NEUTRAL if part in used)


def strength(leaves: Sequence[Leaf], values: Mapping[str, Any]) -> float:
    """Return how strongly a configuration regularises: the sum of its values' positions in their ranges."""
    from pipeline.selection.surrogate import place

    return sum(
        STRONGER[base_path(leaf.path)] * place(leaf, values[leaf.path])
        for leaf in leaves
        if base_path(leaf.path) in STRONGER and leaf.path in values and not leaf.is_choice
    )
