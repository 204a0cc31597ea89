"""Turns a table of numbers and text into the matrix a network takes, by a recipe that is plain JSON.

The recipe is learnt once from training rows, recorded with the model, and applied unchanged to dev, test and new data;
applying it needs pandas and NumPy only.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline.config.errors import DataError
from pipeline.data.arrays import CACHE_VALUES, Index, Vector, row_blocks

if TYPE_CHECKING:
    import pandas as pd

Recipe = dict[str, Any]
LARGEST = 1e150  # the square of a larger number may overflow
_DATE = re.compile(r"\s*(\d{4}([-/.])\d{1,2}\2\d{1,2}|\d{1,2}([-/.])\d{1,2}\3\d{4})([ T]\d{1,2}:\d{2}\S*)?\s*")
PERCENTAGE = re.compile(r"[+-]?\d+([.,]\d+)?\s*%")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}([, '\u00a0]\d{3})+(\.\d+)?|[+-]?\d+(\.\d+)?")
MISSING = "(missing)"  # the category of a missing text, if missing values are allowed


def column_kind(column: "pd.Series[Any]") -> str:
    """Return the kind of a column, number or category; refuse others, such as dates and lists."""
    from pandas.api import types

    if types.is_complex_dtype(column.dtype):
        raise DataError(f"Column {column.name!r} holds complex numbers; leave it out with data.drop.")
    if types.is_numeric_dtype(column.dtype):
        return "number"
    if types.is_datetime64_any_dtype(column.dtype) or types.is_timedelta64_dtype(column.dtype):
        raise DataError(f"Column {column.name!r} holds dates; turn it into numbers, or leave it out with data.drop.")
    return _object_kind(column)


def _object_kind(column: "pd.Series[Any]") -> str:
    from pandas.api import types

    inferred = types.infer_dtype(column, skipna=True)
    if inferred == "string" and _all_dates(column):
        inferred = "date"
    if inferred in ("decimal", "floating", "integer", "mixed-integer-float"):
        return "number"
    if inferred in ("date", "datetime", "datetime64", "time", "timedelta", "timedelta64", "period", "interval"):
        raise DataError(f"Column {column.name!r} holds dates; turn it into numbers, or leave it out with data.drop.")
    if inferred in ("bytes", "mixed", "complex") and not _all_scalar(column):
        raise DataError(f"Column {column.name!r} holds neither numbers nor text; leave it out with data.drop.")
    return "category"


def _all_dates(column: "pd.Series[Any]") -> bool:
    """Return whether every text is a date with a year of four digits, possibly followed by a time."""
    distinct = column.dropna().unique()
    return all(_DATE.fullmatch(text) for text in distinct)


def _all_scalar(column: "pd.Series[Any]") -> bool:
    return all(isinstance(value, str | int | float | bool | np.generic) or value is None for value in column)


def as_text(column: "pd.Series[Any]") -> npt.NDArray[np.object_]:
    """Return labels or categories as text, None where missing; 1, 1.0 and "1" become the same text."""
    import pandas as pd

    try:
        codes, distinct = pd.factorize(column)
    except TypeError:
        raise DataError(f"Column {column.name!r} holds neither numbers nor text.") from None
    texts = np.array([*map(_one_text, distinct), None], dtype=object)
    return texts[codes]  # the code of a missing value is -1, which takes the None


def _one_text(value: Any) -> str:
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return value.strip() if isinstance(value, str) else str(value)


def as_numbers(column: "pd.Series[Any]") -> npt.NDArray[Any]:
    """Return the column as NumPy numbers, in its own type if it has one, else float64 with NaN where missing: (m,)."""
    import pandas as pd

    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "iuf":
        return column.to_numpy()
    try:
        return pd.to_numeric(column).to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise DataError(f"Column {column.name!r} holds numbers, but also something else: {error}.") from None


def typed_columns(table: "pd.DataFrame", kinds: Mapping[Any, str]) -> "pd.DataFrame":
    """Return the columns as NumPy numbers or text objects; a table of plain numbers is returned unchanged."""
    import pandas as pd

    plain = all(isinstance(dtype, np.dtype) and dtype.kind in "iuf" for dtype in table.dtypes)
    if plain and "category" not in kinds.values():
        return table
    read = {"number": as_numbers, "category": as_text}
    columns = {
        name: pd.Series(read[kind](table[name]), dtype=None if kind == "number" else object)
        for name, kind in kinds.items()
    }
    return pd.DataFrame(columns)


def pick(table: "pd.DataFrame", names: Sequence[Any]) -> "pd.DataFrame":
    """Return these columns, without a copy if they are all of the table's."""
    return table if list(table.columns) == list(names) else table[list(names)]


def number_columns(table: "pd.DataFrame") -> list[Any]:
    """Return the names of a typed table's number columns."""
    return [name for name, dtype in table.dtypes.items() if np.dtype(dtype).kind != "O"]


def text_columns(table: "pd.DataFrame") -> list[Any]:
    """Return the names of a typed table's text columns."""
    return [name for name, dtype in table.dtypes.items() if np.dtype(dtype).kind == "O"]


def number_blocks(table: "pd.DataFrame") -> Iterator[Vector]:
    """Yield the typed number columns block by block: (rows, number of number columns)."""
    numbers = pick(table, number_columns(table))
    blocks = row_blocks(len(table), numbers.shape[1], CACHE_VALUES * 4)
    return (numbers.iloc[rows].to_numpy(np.float64) for rows in blocks)


def learn_columns(features: "pd.DataFrame", train: Index, *, max_categories: int) -> list[dict[str, Any]]:
    """Return the recipe's columns, with the categories of the training rows; no other row is read."""
    columns = [_learn_column(features[name], train) for name in features]
    many = [column for column in columns if len(column.get("categories", ())) > max_categories]
    if many:
        told = "; ".join(_too_many(column) for column in many[:8])
        names = ",".join(repr(str(column["name"])) for column in many)
        raise DataError(
            f"Text columns may have data.max_categories={max_categories} distinct values in the training part, but"
            f" {told}; leave out what is no category with data.drop=[{names}]."
        )
    return columns


def _learn_column(column: "pd.Series[Any]", train: Index) -> dict[str, Any]:
    kind = column_kind(column)
    if kind == "number":
        return {"name": column.name, "kind": kind}
    categories = natural_order(MISSING if text is None else text for text in as_text(column.iloc[train]))
    return {"name": column.name, "kind": kind, "categories": categories}


def _too_many(column: dict[str, Any]) -> str:
    found = [text for text in column["categories"] if text != MISSING]
    exceptions, but_for = not_numbers(found), ""
    for what, form in (("percentages", PERCENTAGE), ("numbers with separators", _THOUSANDS)):
        if found and all(map(form.fullmatch, found)):
            but_for = f", which are {what} such as {found[-1]!r}: write them as plain numbers"
    if exceptions:
        but_for = f", which would be numbers but for {', '.join(map(repr, exceptions[:3]))}"
    return f"{column['name']!r} has {len(found):,}{but_for}"


def not_numbers(texts: Sequence[str]) -> list[str]:
    """Return the minority of texts that keep a column from being numbers; empty if most are words."""
    import pandas as pd

    numbers = pd.to_numeric(pd.Series(texts, dtype=object), errors="coerce").notna().to_numpy()
    exceptions = [text for text, number in zip(texts, numbers, strict=True) if not number and text != MISSING]
    return exceptions if 2 * len(exceptions) < len(texts) else []


def natural_order(texts: Iterable[str]) -> list[str]:
    """Return distinct texts, sorted as numbers if all are numbers (2 before 10), else alphabetically."""
    distinct = sorted(set(texts))
    try:
        values = {text: float(text) for text in distinct}
    except ValueError:
        return distinct
    return sorted(distinct, key=values.__getitem__) if np.isfinite([*values.values()]).all() else distinct


def feature_names(recipe: Recipe) -> list[str]:
    """Return the names of the matrix's columns: (n_x,)."""
    names = []
    for column in recipe["columns"]:
        names += [f"{column['name']}={c}" for c in column["categories"]] if "categories" in column else [column["name"]]
    return names


def encode(recipe: Recipe, table: "pd.DataFrame") -> Vector:
    """Return the raw feature columns of a table as the raw matrix X: (m, n_x).

    A category that the training part did not have gives zeros in all columns of its feature (`unseen` counts them).
    """
    _require_columns(recipe, table)
    X = np.zeros((len(table), len(feature_names(recipe))))
    numbers = [column["name"] for column in recipe["columns"] if column["kind"] == "number"]
    if len(numbers) == X.shape[1]:
        return _checked(_matrix(pick(table, numbers)), numbers, recipe)
    at, positions = 0, []
    for column in recipe["columns"]:
        if column["kind"] == "number":
            positions.append(at)
            at += 1
        else:
            rows, codes = _codes(column, table, recipe)
            X[rows, at + codes] = 1.0
            at += len(column["categories"])
    if numbers:
        X[:, positions] = _checked(_matrix(pick(table, numbers)), numbers, recipe)
    return X


def _matrix(table: "pd.DataFrame") -> Vector:
    return typed_columns(table, dict.fromkeys(table.columns, "number")).to_numpy(dtype=np.float64)


def _codes(column: dict[str, Any], table: "pd.DataFrame", recipe: Recipe) -> tuple[Any, Any]:
    """Return the rows with a known category, and the categories' positions."""
    codes = _category_codes(column, table)
    if recipe["missing"] == "refuse" and table[column["name"]].isna().any():
        raise _not_learnt({column["name"]: int(table[column["name"]].isna().sum())})
    known = np.flatnonzero(codes >= 0)
    return known, codes[known]


def _category_codes(column: dict[str, Any], table: "pd.DataFrame") -> npt.NDArray[np.integer[Any]]:
    import pandas as pd

    text = as_text(table[column["name"]])
    text[pd.isna(text)] = MISSING
    codes: npt.NDArray[np.integer[Any]] = pd.Index(column["categories"], dtype=object).get_indexer(text)
    return codes


def unseen(recipe: Recipe, table: "pd.DataFrame") -> dict[str, int]:
    """Return how many rows have a category unknown to the recipe, by column; columns without any are left out."""
    counts = {
        column["name"]: int((_category_codes(column, table) < 0).sum())
        for column in recipe["columns"]
        if column["kind"] == "category"
    }
    return {name: count for name, count in counts.items() if count}


def _require_columns(recipe: Recipe, table: "pd.DataFrame") -> None:
    absent = [column["name"] for column in recipe["columns"] if column["name"] not in table.columns]
    if absent:
        raise DataError(f"The table lacks {some(absent)}, which the model was trained on.")


def _checked(X: Vector, names: list[str], recipe: Recipe) -> Vector:
    infinite = too_large(X)
    if infinite.any():
        raise infinite_values(dict(zip(names, infinite.tolist(), strict=True)))
    if recipe["missing"] == "refuse":
        missing = np.isnan(X).sum(axis=0)
        if missing.any():
            raise _not_learnt(dict(zip(names, missing.tolist(), strict=True)))
    return X


def _not_learnt(counts: Mapping[str, int]) -> DataError:
    """Return the refusal of missing values by a model that was trained without any."""
    return DataError(
        f"{sum(counts.values()):,} missing value(s) in {by_column(counts)}, and the model was trained without any: "
        "fill them in, or train with data.missing=median."
    )


def missing_values(counts: Mapping[str, int]) -> DataError:
    """Return the refusal of missing values, by column."""
    return DataError(
        f"{sum(counts.values()):,} missing value(s) in {by_column(counts)}; data.missing=median fills them in."
    )


def infinite_values(counts: Mapping[str, int]) -> DataError:
    """Return the refusal of infinite values, by column."""
    return DataError(f"{sum(counts.values()):,} infinite value(s) in {by_column(counts)}, or beyond ±{LARGEST:g}.")


def too_large(X: Vector) -> npt.NDArray[np.int64]:
    """Return how many values of each column are infinite, or would be when squared: (columns,)."""
    if not len(X) or (np.fmax.reduce(X, axis=None) <= LARGEST and np.fmin.reduce(X, axis=None) >= -LARGEST):
        return np.zeros(X.shape[1], np.int64)
    counts: npt.NDArray[np.int64] = (np.abs(X) > LARGEST).sum(axis=0)
    return counts


def by_column(counts: Mapping[str, int]) -> str:
    """Return columns with their counts for a sentence; columns without any are left out."""
    return some([f"{name!r} ({count:,})" for name, count in counts.items() if count], quote=False)


def some(names: Sequence[str], *, quote: bool = True) -> str:
    """Return up to eight column names for a sentence, and how many more there are."""
    shown = ", ".join(repr(name) if quote else name for name in names[:8])
    return f"column{'s' if len(names) > 1 else ''} {shown}" + (f" and {len(names) - 8} more" if len(names) > 8 else "")
