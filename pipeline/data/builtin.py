"""Data sets from scikit-learn: digits and breast cancer are real, circles and moons are generated."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from sklearn import datasets

from pipeline.config.errors import DataError
from pipeline.config.trial import DataConfig
from pipeline.data.tables import Source, Table

DRAWN = 1_000  # circles, moons: default number of examples


def read_builtin(config: DataConfig) -> Source:
    """Return the built-in data set of that name."""
    if config.name not in BUILTIN:
        raise DataError(f"data.name={config.name!r} is not built in; known are {', '.join(BUILTIN)}.")
    return BUILTIN[config.name](config)


def _table(X: Any, y: Any, names: list[str]) -> Table:
    return Table(pd.DataFrame(X, columns=names), pd.Series(y, name="target"))


def _digits(config: DataConfig) -> Source:
    """1,797 handwritten digits of 8×8 pixels, 0..16."""
    bunch = datasets.load_digits()
    return Source(_table(bunch.data, bunch.target, list(bunch.feature_names)), image_shape=(8, 8))


def _breast_cancer(config: DataConfig) -> Source:
    """569 tumours, 30 measurements; the classes are malignant and benign."""
    bunch = datasets.load_breast_cancer()
    return Source(_table(bunch.data, bunch.target_names[bunch.target], list(bunch.feature_names)))


def _circles(config: DataConfig) -> Source:
    m, rng = config.examples or DRAWN, _drawing()
    return Source(_points(datasets.make_circles(m, noise=config.noise, factor=0.5, random_state=rng)))


def _moons(config: DataConfig) -> Source:
    return Source(_points(datasets.make_moons(config.examples or DRAWN, noise=config.noise, random_state=_drawing())))


def _course_circles(config: DataConfig) -> Source:
    """Draw the course's "Initialization" exercise: 300 training points and the 100 that it calls its test set."""
    drawn = [
        datasets.make_circles(n_samples=m, noise=0.05, random_state=np.random.RandomState(seed))
        for m, seed in ((300, 1), (100, 2))
    ]
    return Source(_points(drawn[0]), given=_points(drawn[1]))


def _points(drawn: tuple[Any, Any]) -> Table:
    return _table(*drawn, ["x1", "x2"])


def _drawing() -> np.random.RandomState:
    """Return the generator of the points, which are always the same; `data.split_seed` only divides them."""
    return np.random.RandomState(0)


BUILTIN: dict[str, Callable[[DataConfig], Source]] = {
    "digits": _digits,
    "breast_cancer": _breast_cancer,
    "circles": _circles,
    "moons": _moons,
    "course_circles": _course_circles,
}
