"""A table read in pieces is what pandas reads in one."""

import io

import numpy as np
import pandas as pd
import pytest

from pipeline.data import csv_chunks

ROWS = 2_500


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_chunks, "CHUNK_VALUES", 1)  # then a piece has 1,000 rows


def columns() -> dict[str, object]:
    rng = np.random.default_rng(0)
    return {
        "number": rng.normal(size=ROWS),
        "whole": rng.integers(0, 1000, ROWS),
        "later a fraction": [*range(ROWS - 1), 0.5],
        "later missing": [*range(ROWS - 1), None],
        "text": rng.choice(["a", "b", "c"], ROWS),
        "sometimes missing": [None if i % 3 else "x" for i in range(ROWS)],
        "later text": [*range(ROWS - 1), "end"],
        "true": [i % 2 == 0 for i in range(ROWS)],
        "first missing": [None] * 1_500 + ["t"] * 1_000,
        "large": [2**63 - 1] * ROWS,
        "larger": [1] * 1_500 + [2**64 - 1] * 1_000,
        "lines": ["two\nlines"] * ROWS,
    }


@pytest.mark.parametrize("name", columns())
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_each_kind_of_column_is_read_as_pandas_reads_it_whole(name: str, end: str) -> None:
    table = pd.DataFrame({"id": range(ROWS), name: columns()[name]})
    stream = io.BytesIO(table.to_csv(index=False, lineterminator=end).encode())
    options = {"header": 0, "index_col": False}
    whole = pd.read_csv(io.BytesIO(stream.getvalue()), names=["id", name], low_memory=False, **options)
    pd.testing.assert_frame_equal(csv_chunks.read_csv(stream, ["id", name], ",", **options), whole, check_exact=True)


BLOCK = 2**20
"""Bytes of the file that are looked through at a time."""


@pytest.mark.parametrize(
    "start",
    [
        "a;b\nx; y\n",
        "a;b\n x;y\n",
        "a;b\nx; ?\n",
        'a;b\n"x"; "y;y"\n',
        "a;b\nx;\ty\n",
        "\ufeff a;b\nx;y \n",
        "a;b\n" + "x" * (BLOCK - 5) + "; y\n",
        "a;b\n" + "x" * (BLOCK - 7) + ";y\n x;y\n",
    ],
    ids=[
        "value",
        "line",
        "missing",
        "quoted",
        "tab",
        "first name",
        "value in the next block",
        "line in the next block",
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r"])
def test_spaces_before_a_value_are_left_out_wherever_they_are(start: str, end: str) -> None:
    content = (start + "x;y\n" * ROWS).replace("\n", end).encode()
    options = {"header": 0, "index_col": False, "encoding": "utf-8-sig", "na_values": ["?"]}
    whole = pd.read_csv(
        io.BytesIO(content), names=["a", "b"], sep=";", skipinitialspace=True, low_memory=False, **options
    )
    read = csv_chunks.read_csv(io.BytesIO(content), ["a", "b"], ";", **options)
    pd.testing.assert_frame_equal(read, whole, check_exact=True)


def test_a_large_table_of_numbers_is_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    read = pd.read_csv

    def in_pieces(*given: object, **options: object) -> object:
        assert "chunksize" in options
        return read(*given, **options)

    stream = io.BytesIO(pd.DataFrame({"a": range(ROWS), "b": ["x"] * ROWS}).to_csv(index=False).encode())
    monkeypatch.setattr(pd, "read_csv", in_pieces)
    assert len(csv_chunks.read_csv(stream, ["a", "b"], ",", header=0)) == ROWS
