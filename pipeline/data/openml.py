"""Fetches a data set of OpenML by name, once; later it is read from the cache, without a network."""

import http.client
import re
import warnings
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

import pandas as pd
from sklearn.datasets import fetch_openml

from pipeline.config.errors import DataError
from pipeline.config.trial import DataConfig
from pipeline.data.encoding import as_text
from pipeline.data.tables import Source, Table

RETRIES = 2
DELAY_S = 1.0  # between tries


def read_openml(config: DataConfig, cache: Path) -> Source:
    """Fetch the data set `data.name`, with `data.target` or the data set's own target; warnings become notes."""
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
    nominal = _nominal_columns(bunch, cache)
    features = bunch.data.assign(**{name: _as_labels(bunch.data[name]) for name in bunch.data if name in nominal})
    texts = [" ".join(str(warning.message).split()) for warning in caught]
    notes = [text for text in texts if "network error" not in text]
    return Source(Table(features, _as_labels(bunch.target)), notes=notes)


def _nominal_columns(bunch: Any, cache: Path) -> set[str]:
    """Return the columns that are nominal according to OpenML, even if their values are numbers; read from the cache.

    Private: scikit-learn has no public function for them once the table is read without types (see `_fetch`).
    """
    from sklearn.datasets import _openml

    features = _openml._get_data_features(int(bunch.details["id"]), str(cache))
    return {feature["name"] for feature in features if feature["data_type"].lower() == "nominal"}


def _as_labels(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """The column as text, without the single quotes that ARFF allows round it."""
    text = [None if value is None else re.sub(r"^'(.*)'$", r"\1", value) for value in as_text(column)]
    return pd.Series(text, dtype=object, name=column.name)


def _fetch(config: DataConfig, cache: Path) -> Any:
    """Read the table without types, because pandas 3.1 converts classes that look like numbers."""
    try:
        return fetch_openml(
            config.name,
            version=config.version,
            target_column=config.target or "default-target",
            data_home=str(cache),
            as_frame="auto",
            n_retries=RETRIES,
            delay=DELAY_S,
            read_csv_kwargs={"dtype": None, "low_memory": False},
        )
    except HTTPError as error:
        reason = f"OpenML answered {error.code} {error.reason}"
        error.close()
    except (URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
        reason = f"OpenML cannot be reached ({getattr(error, 'reason', error)}) and it is not in the cache yet"
    except Exception as error:  # a damaged file or an unknown column; the parser has its own exceptions
        reason = " ".join(str(error).split()).rstrip(".")
    raise DataError(
        f"The OpenML data set {config.name!r} could not be fetched: {reason};"
        " a file of your own works offline (data=file data.path=…)."
    )
