"""A small sample of a part with every class, for checks that cannot use every example."""

import numpy as np


def stratified_sample(y: np.ndarray, count: int, *, rng: np.random.Generator) -> np.ndarray:
    """Return the positions of `count` examples, taken from the classes in turn so that as many as possible occur.

    Parameters
    ----------
    y : (m,) class numbers.
    """
    order = rng.permutation(len(y))
    turn = np.empty(len(y), dtype=np.int64)  # rank of an example within its class
    for label in np.unique(y):
        of_class = order[y[order] == label]
        turn[of_class] = np.arange(len(of_class))
    return order[np.argsort(turn[order], kind="stable")][:count]
