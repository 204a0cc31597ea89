"""A small sample of a part that has every class in it, for checks that cannot look at every example."""

import numpy as np


def stratified_sample(y: np.ndarray, count: int, *, rng: np.random.Generator) -> np.ndarray:
    """Positions of `count` examples, taken from the classes in turn, so that each class present is there if it can be.

    Parameters
    ----------
    y : (m,) class numbers.
    """
    order = rng.permutation(len(y))
    turn = np.empty(len(y), dtype=np.int64)  # an example's place among those of its class
    for label in np.unique(y):
        of_class = order[y[order] == label]
        turn[of_class] = np.arange(len(of_class))
    return order[np.argsort(turn[order], kind="stable")][:count]
