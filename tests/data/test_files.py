import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.config.errors import DataError
from pipeline.data.files import read_columns, read_table
from pipeline.data.fingerprint import file_digest, local_path


def people() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "age": [31, 42, 53, 64],
            "income": [1.5, 2.25, 3.0, 4.125],
            "city": ["Łódź", "Oslo", "a, b", "Oslo"],
            "label": ["yes", "no", "yes", "no"],
        }
    )


def written(tmp_path: Path, name: str, content: str | bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def as_csv(**options: object) -> str:
    return people().to_csv(index=False, **options)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("comma.csv", as_csv()),
        ("semicolon.csv", as_csv(sep=";")),
        ("tab.tsv", as_csv(sep="\t")),
        ("bar.TXT", as_csv(sep="|")),
        ("windows.csv", as_csv(lineterminator="\r\n")),
        ("mark.csv", as_csv().encode("utf-8-sig")),
        ("blank_lines.csv", "\n\n" + as_csv() + "\n\n"),
        ("quoted.csv", as_csv(quoting=1)),
        ("spaces.csv", as_csv().replace("age,income", "age , income").replace(",yes", ", yes")),
        ("zipped.csv.gz", gzip.compress(as_csv().encode(), mtime=0)),
    ],
)
def test_text_tables_of_every_usual_shape_read_the_same(tmp_path: Path, name: str, content: str | bytes) -> None:
    table, image_shape, notes = read_table(written(tmp_path, name, content), "label")
    pd.testing.assert_frame_equal(table.features, people().drop(columns="label"))
    assert table.target.tolist() == ["yes", "no", "yes", "no"]
    assert (image_shape, notes) == (None, [])


def test_decimal_commas_are_read_where_semicolons_divide_the_columns(tmp_path: Path) -> None:
    table, _, notes = read_table(written(tmp_path, "t.csv", "a;b;label\n1,5;x,1;u\n-2;y;v\n;z;u\n"), "label")
    np.testing.assert_array_equal(table.features["a"], [1.5, -2, np.nan])
    assert table.features["b"].tolist() == ["x,1", "y", "z"]
    assert notes == ["Read with decimal commas: 'a'."]


def test_a_column_name_may_hold_a_line_break(tmp_path: Path) -> None:
    table, _, _ = read_table(written(tmp_path, "t.csv", 'label,"a\nb"\nx,1\ny,2\n'), "label")
    assert table.features.to_dict("list") == {"a\nb": [1, 2]}


@pytest.mark.parametrize("suffix", [".parquet", ".parquet.gz"])
def test_parquet_reads_the_same_and_leaves_a_stored_index_out(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "t.parquet"
    people().set_index(pd.Index([5, 6, 7, 8], name="id")).to_parquet(path)
    if suffix.endswith(".gz"):
        path = written(tmp_path, "t.parquet.gz", gzip.compress(path.read_bytes(), mtime=0))
    table, _, notes = read_table(path, "label")
    pd.testing.assert_frame_equal(table.features.reset_index(drop=True), people().drop(columns="label"))
    assert notes == [f"Left out of {path.name}, the table's index: id."]


@pytest.mark.parametrize("mark", ["", "NA", "NaN", "null", "?", " ?"])
def test_the_usual_marks_are_missing_values(tmp_path: Path, mark: str) -> None:
    table, _, _ = read_table(written(tmp_path, "t.csv", f"a,label\n1,x\n{mark},y\n"), "label")
    assert table.features["a"].isna().tolist() == [False, True]


def test_images_in_npz_become_pixels_and_their_shape_is_known(tmp_path: Path) -> None:
    X = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
    np.savez(tmp_path / "t.npz", x_train=X, y_train=[0, 1, 0], x_test=X[:2])
    table, image_shape, notes = read_table(tmp_path / "t.npz", "y_train")
    np.testing.assert_array_equal(table.features.to_numpy(), X.reshape(3, 20))
    assert list(table.features)[:2] == ["x_train[0]", "x_train[1]"]
    assert image_shape == (4, 5)
    assert notes == ["Ignored in t.npz, not of 3 rows: x_test."]


def test_one_dimensional_arrays_in_npz_are_columns(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", age=[1.0, 2.0], city=["Rome", "Oslo"], code=np.array([b"a", b"b"]), y=[[1], [2]])
    table, image_shape, _ = read_table(tmp_path / "t.npz", "y")
    assert table.features.to_dict("list") == {"age": [1, 2], "city": ["Rome", "Oslo"], "code": ["a", "b"]}
    assert table.target.tolist() == [1, 2]
    assert image_shape is None


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "t.npz"])
def test_for_prediction_a_file_is_read_without_taking_a_target(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    frame = people()
    if name == "t.csv":
        frame.to_csv(path, index=False)
    elif name == "t.parquet":
        frame.to_parquet(path)
    else:
        np.savez(path, **{column: frame[column].to_numpy().astype(str) for column in frame})
    assert list(read_columns(path)) == ["age", "income", "city", "label"]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("t.csv", "", "'t.csv' is empty"),
        ("t.csv", " \n\n", "'t.csv' is empty"),
        ("t.csv", '{"a": 1}', "There is no column 'label' in t.csv|is not a table"),
        ("t.csv", "<html>\n<body>Not found</body>", "'t.csv' is not a table: its first line has no comma"),
        ("t.csv", "a,b,label\n1,2,x\n1,2,3,y\n", "is not a table: Expected 3 fields in line 3, saw 4"),
        ("t.csv", "a,label\n1,x,9\n2,y,9\n", "is not a table: Length of header"),
        ("t.csv", 'a,label\n1,"x\n', "is not a table: EOF inside string"),
        ("t.csv", bytes(range(256)), "is not a table of UTF-8 text"),
        ("t.csv", "a,é,label\n".encode("latin-1"), "is not a table of UTF-8 text"),
        ("t.csv", "a,a,label\n1,2,x\n", "occur more than once: 'a'"),
        ("t.csv", "5.1,3.5,setosa\n4.9,3.0,setosa\n", r"no column 'label' in t\.csv; its columns are '5\.1', '3\.5'"),
        ("t.csv.gz", b"plain", "is not a whole gzip file"),
        ("t.csv.gz", gzip.compress(b"a,label\n1,x\n", mtime=0)[:-9], "is not a whole gzip file"),
        ("t.parquet", b"plain", "is not a Parquet table"),
        ("t.npz", b"plain", "is not an NPZ file of plain arrays"),
        ("t.npz", b"PK\x03\x04broken", "is not an NPZ file of plain arrays"),
        ("t.xlsx", b"plain", r"must end in \.csv, .*, or one of these and \.gz"),
        ("t", b"plain", "must end in"),
        ("t.gz", b"plain", "must end in"),
    ],
)
def test_a_file_that_is_not_a_table_is_refused_in_one_sentence(
    tmp_path: Path, name: str, content: str, told: str
) -> None:
    with pytest.raises(DataError, match=told) as refusal:
        read_table(written(tmp_path, name, content), "label")
    assert str(refusal.value).endswith((".", ")."))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"X": np.ones((3, 2))}, r"^There is no array 'y' in t\.npz; its arrays are 'X'\.$"),
        ({"X": np.array([{}, 1, 2], dtype=object), "y": [1, 2, 3]}, "is not an NPZ file of plain arrays"),
        ({"X": np.ones((3, 2)), "y": np.eye(3)}, r"one label per row, but its shape is \(3, 3\)"),
        ({"X": np.zeros(3, dtype=[("a", int)]), "y": [1, 2, 3]}, "'X' holds neither numbers nor text"),
    ],
)
def test_arrays_that_are_no_table_are_refused_and_nothing_is_unpickled(tmp_path: Path, arrays: dict, told: str) -> None:
    np.savez(tmp_path / "t.npz", **arrays)
    with pytest.raises(DataError, match=told):
        read_table(tmp_path / "t.npz", "y")


def test_a_missing_file_and_a_directory_are_refused_by_name(tmp_path: Path) -> None:
    for read in (file_digest, lambda path: read_table(path, "y")):
        with pytest.raises(DataError, match=r"There is no file '.*nosuch\.csv'"):
            read(tmp_path / "nosuch.csv")
    (tmp_path / "d.csv").mkdir()
    for read in (file_digest, lambda path: read_table(path, "y")):
        with pytest.raises(DataError, match="cannot be read: Is a directory"):
            read(tmp_path / "d.csv")


@pytest.mark.parametrize(
    "address",
    [
        "https://me:secret@host.org/a.csv?token=secret",
        "https://secret@host.org/secret.csv#secret",
        "s3://me:sec@ret@host.org/a.csv",
        "postgresql+psycopg2://me:secret@host.org:5432/db",
    ],
)
def test_an_address_is_refused_without_showing_anything_that_could_be_a_secret(address: str) -> None:
    with pytest.raises(DataError, match=r"data\.path must be a file on this machine") as refusal:
        local_path(address, "data.path")
    assert "host.org" in str(refusal.value)
    assert not {"secret", "sec", "ret", "me", "token"} & set(str(refusal.value).replace("/", " ").split())
    assert "secret" not in str(refusal.value)
