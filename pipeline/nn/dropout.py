"""Inverted dropout: masks already divided by keep_prob, so that nothing is rescaled at evaluation.

A unit is kept when a random 16-bit word is below keep_prob · 2^16: the fraction kept is keep_prob to within 2^-17, and
the scale is 1 / keep_prob. Hinton et al. 2012; inverted form as in Srivastava et al. 2014, section 10.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
WORDS = 2**16


def draw_words(count: int, *, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Return `count` random 16-bit words, four from each raw 64-bit output of the bit generator.

    The one array that a training step allocates: NumPy has no raw draw into given memory.
    """
    raw = rng.bit_generator.random_raw(-(-count // 4))
    return raw.view(np.uint16)[:count]


def fill_mask(words: Array, keep_prob: float, D: Array) -> None:
    """Fill D = (word < keep_prob · 2^16) / keep_prob: 0 or 1 / keep_prob.  words, D : any one shape."""
    np.less(words, max(1, round(keep_prob * WORDS)), out=D)
    np.multiply(D, 1 / keep_prob, out=D)


def apply(A: Array, D: Array, out: Array | None = None) -> Array:
    """Return A * D, in `out` if it is given.  A, D, out : (n_l, m)."""
    return np.multiply(A, D, out=out)


def backward(dA: Array, D: Array) -> None:
    """Turn dA into dA * D, the same mask and scale as forward.  dA, D : (n_l, m)."""
    np.multiply(dA, D, out=dA)
