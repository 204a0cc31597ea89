"""Fetches a data set of OpenML by name, once; afterwards it is read from the cache, also without a network."""

import http.client
import re
import warnings
from pathlib import Path
from urllib.error import HTTPError, URLError

import pandas as pd
from sklearn.datasets import fetch_openml

from pipeline.config import DataConfig
from pipeline.data.tables import Source, Table
from pipeline.errors import DataError

RETRIES = 2
DELAY_S = 1.0  # between tries


def read_openml(config: DataConfig, cache: Path) -> Source:
    """The data set `data.name`, with `data.target` or the data set's own target; warnings become notes."""
    if not re.fullmatch(r"[\w.()+-]+", config.name):
        raise DataError(f"data.name={config.name!r} is not the name of an OpenML data set, such as mnist_784.")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        bunch = _fetch(config, cache)
    if not isinstance(bunch.data, pd.DataFrame):
        raise DataError(f"The OpenML data set {config.name!r} is sparse, which is not supported.")
    if not isinstance(bunch.target, pd.Series):
        raise DataError(
            f"The OpenML data set {config.name!r} names no single target: give data.target, one of its columns."
        )
    texts = [" ".join(str(warning.message).split()) for warning in caught]
    notes = [text for text in texts if "network error" not in text]
    return Source(Table(bunch.data, bunch.target), notes=notes)


def _fetch(config: DataConfig, cache: Path):  # type: ignore[no-untyped-def]  # scikit-learn's Bunch has no types
    try:
        return fetch_openml(
            config.name,
            version=config.version,
            target_column=config.target or "default-target",
            data_home=str(cache),
            as_frame="auto",
            n_retries=RETRIES,
            delay=DELAY_S,
        )
    except HTTPError as error:
        reason = f"OpenML answered {error.code} {error.reason}"
        error.close()
    except (URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
        reason = f"OpenML cannot be reached ({getattr(error, 'reason', error)}) and it is not in the cache yet"
    except (ValueError, KeyError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
    raise DataError(
        f"The OpenML data set {config.name!r} could not be fetched: {reason};"
        " a file of your own works offline (data=file data.path=…)."
    )
