"""Makes the divisions of repeats: other training and dev parts of the same rows, each with its own statistics.

Only the coordinator calls it, before trials are submitted; workers read the files (`TrialArrays.division`). A division
is a function of the data, `data.split_seed` and the repeat's number. Test rows never move, groups stay whole.

Each division fits its means, deviations and medians to its own training rows. The columns of a categorical feature are
those of division 0's training part; where division r has no training row of a category, the column is constant, so its
`inv_std` is 0 and it adds nothing, as if the category had not been learnt. A category of which all visible rows are
dev rows of division 0 has no column, and stays unknown in every division.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.config.errors import DataError
from pipeline.config.trial import DataConfig
from pipeline.config.writing import replacing
from pipeline.data.arrays import Fold, TrialArrays, checksum, division_file, load_arrays, read_division
from pipeline.data.store import flat, read_groups

if TYPE_CHECKING:
    from pipeline.data.prepare import PreparedData


def ensure(prepared: "PreparedData", config: DataConfig, numbers: Iterable[int]) -> None:
    """Write the missing or damaged divisions of these repeats; repeat 0 has the prepared one.

    Raises
    ------
    DataError
        There is no dev part to compare repeats on, or the files cannot be written.
    """
    missing = [number for number in numbers if number > 0 and not _intact(prepared.path, number)]
    if not missing:
        return
    arrays = load_arrays(prepared.path)
    for number in missing:
        _write(division_file(prepared.path, number), divide(arrays, config, number))
    read_division.cache_clear()


def is_fixed(config: DataConfig) -> bool:
    """Return whether all repeats have the same division and differ only in their seeds.

    With given dev rows the training rows stay whole, and all given rows that are not test rows are the dev part.
    """
    return config.given is not None or (config.source, config.name) == ("builtin", "course_circles")


def divide(arrays: TrialArrays, config: DataConfig, number: int) -> list[Fold]:
    """Make the folds of repeat `number`."""
    from pipeline.data.normalization import fold
    from pipeline.data.split import redivide

    pairs = [(each.train, each.dev) for each in arrays.folds]
    if not all(len(dev) for _, dev in pairs):
        raise DataError("repeats must be 1 without a dev part, on which repeats are compared.")
    if not is_fixed(config):
        groups = None if arrays.path is None else read_groups(arrays.path)
        pairs = list(redivide(arrays.y, arrays.classes, config, pairs, number, groups))
    settings: dict[str, Any] = {
        "standardize": config.standardize,
        "missing": config.missing,
        "image_shape": arrays.image_shape,
    }
    return [fold(arrays.X, train, dev, **settings) for train, dev in pairs]


def _intact(path: Path, number: int) -> bool:
    read_division.cache_clear()
    try:
        read_division(path, number)
    except DataError:
        return False
    return True


def _write(path: Path, folds: list[Fold]) -> None:
    """Write a division in one step, with a checksum of its content."""
    parts = flat({str(k): fold for k, fold in enumerate(folds)})
    own = np.frombuffer(checksum(parts).encode(), np.uint8)
    try:
        path.parent.mkdir(exist_ok=True)
        with replacing(path) as file:
            np.savez(file, checksum=own, **parts)
    except OSError as error:
        raise DataError(f"The division of the data in {path} cannot be written: {error.strerror}.") from None
