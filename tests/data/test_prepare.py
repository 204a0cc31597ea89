import errno
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_digits, make_circles

from pipeline.config.errors import DataError
from pipeline.config.trial import DataConfig
from pipeline.data import prepare as prepare_module
from pipeline.data import store as store_module
from pipeline.data.arrays import digest_arrays, load_arrays
from pipeline.data.batches import normalize
from pipeline.data.changes import what_changed
from pipeline.data.encoding import encode
from pipeline.data.heldout import open_heldout
from pipeline.data.prepare import find_arrays, prepare, smallest_type


def people(m: int = 200) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "age": rng.integers(18, 90, m),
            "income": rng.normal(3e4, 1e4, m).round(2),
            "city": rng.choice(["Rome", "Oslo", "Łódź"], m),
            "member": rng.choice([True, False], m),
            "label": rng.choice(["yes", "no"], m),
        }
    )


def file_config(tmp_path: Path, frame: pd.DataFrame, name: str = "people.csv", **fields: object) -> DataConfig:
    path = tmp_path / name
    frame.to_csv(path, index=False)
    return DataConfig(**{"name": "people", "source": "file", "path": str(path), "target": "label"} | fields)


def test_digits_are_the_arrays_of_scikit_learn_split_by_the_rule(tmp_path: Path) -> None:
    prepared = prepare(DataConfig(), tmp_path)
    arrays, heldout = load_arrays(prepared.path), open_heldout(prepared.heldout)
    bunch = load_digits()
    rows = np.load(prepared.path / "rows.npy")
    np.testing.assert_array_equal(arrays.X, bunch.data[rows])
    np.testing.assert_array_equal(arrays.y, bunch.target[rows])
    np.testing.assert_array_equal(heldout.X, bunch.data[heldout.rows])
    assert sorted([*rows, *heldout.rows]) == list(range(1797))
    assert (len(arrays.folds[0].train), len(arrays.folds[0].dev), len(heldout.y)) == (1079, 359, 359)
    assert arrays.X.dtype == np.uint8
    assert isinstance(arrays.X, np.memmap)
    assert arrays.image_shape == (8, 8)
    assert arrays.classes == tuple("0123456789")


def test_breast_cancer_names_its_classes_and_keeps_every_bit(tmp_path: Path) -> None:
    prepared = prepare(DataConfig(name="breast_cancer"), tmp_path)
    arrays, bunch = load_arrays(prepared.path), load_breast_cancer()
    rows = np.load(prepared.path / "rows.npy")
    np.testing.assert_array_equal(arrays.X, bunch.data[rows])
    assert arrays.classes == ("benign", "malignant")
    np.testing.assert_array_equal(np.array(arrays.classes)[arrays.y], bunch.target_names[bunch.target[rows]])
    assert prepared.description["task"] == "binary"


def test_the_courses_points_are_drawn_with_its_legacy_seeds_and_left_as_they_are(tmp_path: Path) -> None:
    prepared = prepare(DataConfig(name="course_circles", test="none", standardize=False), tmp_path)
    arrays = load_arrays(prepared.path)
    for part, seed, m in ((arrays.folds[0].train, 1, 300), (arrays.folds[0].dev, 2, 100)):
        state = np.random.get_state()  # noqa: NPY002
        np.random.seed(seed)  # noqa: NPY002
        X, y = make_circles(n_samples=m, noise=0.05)
        np.random.set_state(state)  # noqa: NPY002
        np.testing.assert_array_equal(arrays.X[part], X)
        np.testing.assert_array_equal(arrays.y[part], y)
    normalization = arrays.folds[0].normalization
    np.testing.assert_array_equal(normalization.mean, 0)
    np.testing.assert_array_equal(normalization.inv_std, 1)
    assert len(open_heldout(prepared.heldout).y) == 0


@pytest.mark.parametrize("name", ["circles", "moons"])
def test_drawn_sets_have_the_size_and_noise_asked_for_and_always_the_same_points(tmp_path: Path, name: str) -> None:
    digests = {prepare(DataConfig(name=name, split_seed=seed), tmp_path).source_digest for seed in (0, 1)}
    assert len(digests) == 1
    assert prepare(DataConfig(name=name, noise=0.1), tmp_path).source_digest not in digests
    assert prepare(DataConfig(name=name, examples=300), tmp_path).description["rows"] == 300


def test_what_is_in_no_source_is_refused_with_the_known_names(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.name='digit' is not built in; known are digits, breast_cancer"):
        prepare(DataConfig(name="digit"), tmp_path)


def test_a_users_table_is_encoded_split_and_described(tmp_path: Path) -> None:
    prepared = prepare(file_config(tmp_path, people()), tmp_path / "store")
    arrays, told = load_arrays(prepared.path), prepared.description
    assert arrays.X.shape == (160, 6)
    assert told["examples"] == {"train": 120, "dev": 40, "test": 40}
    assert told["columns"] == ["age", "income", "city", "member"]
    assert told["features"] == 6
    assert told["classes"] == ["no", "yes"]
    assert [sum(counts) for counts in told["class_counts"].values()] == [120, 40, 40]
    json.dumps([told, prepared.recipe])


def test_the_recipe_turns_new_rows_into_exactly_what_training_saw(tmp_path: Path) -> None:
    frame = people()
    prepared = prepare(file_config(tmp_path, frame), tmp_path / "store")
    arrays, rows = load_arrays(prepared.path), np.load(prepared.path / "rows.npy")
    recipe = json.loads(json.dumps(prepared.recipe))
    X = encode(recipe, frame)
    np.testing.assert_array_equal(X[rows], arrays.X)
    fold = arrays.folds[0]
    seen = np.empty_like(arrays.X)
    normalize(X[rows], fold.normalization, seen)
    np.testing.assert_allclose(seen[fold.train].mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(seen[fold.train].std(axis=0), 1, rtol=1e-12)
    assert recipe["classes"] == ["no", "yes"]


def test_the_digest_changes_with_every_part_of_the_data_and_with_nothing_else(tmp_path: Path) -> None:
    frame, store = people(), tmp_path / "store"
    first = prepare(file_config(tmp_path, frame), store)
    other_name = prepare(file_config(tmp_path, frame, name="copy.csv"), store)
    assert (other_name.digest, other_name.source_digest) == (first.digest, first.source_digest)
    last_value = frame.copy()
    last_value.loc[199, "income"] += 0.01
    last_label = frame.copy()
    last_label.loc[199, "label"] = {"yes": "no", "no": "yes"}[last_label.loc[199, "label"]]
    renamed = frame.rename(columns={"age": "years"})
    changed = [prepare(file_config(tmp_path, data), store) for data in (last_value, last_label, renamed)]
    config = file_config(tmp_path, frame)
    resplit = [
        prepare(replace(config, **kw), store)
        for kw in ({"split_seed": 1}, {"folds": 4}, {"standardize": False}, {"missing": "median"})
    ]
    assert len({item.digest for item in [first, *changed, *resplit]}) == 8
    assert len({item.source_digest for item in [first, *changed]}) == 4
    assert {item.source_digest for item in resplit} == {first.source_digest}


def test_the_same_table_in_another_format_has_the_same_digests(tmp_path: Path) -> None:
    frame, store = people(), tmp_path / "store"
    first = prepare(file_config(tmp_path, frame), store)
    frame.to_parquet(tmp_path / "people.parquet")
    config = replace(file_config(tmp_path, frame), path=str(tmp_path / "people.parquet"))
    again = prepare(config, store)
    assert (again.digest, again.source_digest) == (first.digest, first.source_digest)


def test_each_fold_is_normalised_by_its_own_training_part(tmp_path: Path) -> None:
    arrays = load_arrays(prepare(file_config(tmp_path, people(), folds=4), tmp_path / "store").path)
    X = np.asarray(arrays.X)
    assert len(arrays.folds) == 4
    for fold in arrays.folds:
        np.testing.assert_allclose(fold.normalization.mean, X[fold.train].mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(arrays.everything.normalization.mean, X.mean(axis=0), rtol=1e-12)
    assert (len(arrays.everything.train), len(arrays.everything.dev)) == (160, 0)


def test_a_category_that_a_folds_training_part_lacks_tells_it_nothing(tmp_path: Path) -> None:
    frame = people()
    frame.loc[7, "city"] = "Bari"
    prepared = prepare(file_config(tmp_path, frame, folds=5, test="none"), tmp_path / "store")
    arrays = load_arrays(prepared.path)
    column = json.loads((prepared.path / "meta.json").read_text())["features"].index("city=Bari")
    lacking = [7 in fold.dev for fold in arrays.folds]
    assert sum(lacking) == 1
    assert [fold.normalization.inv_std[column] == 0 for fold in arrays.folds] == lacking
    assert prepared.description["unseen_in_dev"] == {"city": 1}


def test_categories_are_learnt_on_the_training_part_and_unseen_ones_counted(tmp_path: Path) -> None:
    frame, store = people(), tmp_path / "store"
    first = prepare(file_config(tmp_path, frame), store)
    arrays, rows = load_arrays(first.path), np.load(first.path / "rows.npy")
    frame.loc[rows[arrays.folds[0].dev[:3]], "city"] = "Bari"
    tested = open_heldout(first.heldout).rows
    frame.loc[tested[:2], "city"] = "Pisa"
    again = prepare(file_config(tmp_path, frame), store)
    assert again.description["unseen_in_dev"] == {"city": 3}
    assert open_heldout(again.heldout).unseen == {"city": 2}
    assert load_arrays(again.path).X[arrays.folds[0].dev[:3], 2:5].sum() == 0


def test_missing_values_are_refused_by_column_or_filled_from_the_training_part(tmp_path: Path) -> None:
    frame, store = people().astype({"age": float}), tmp_path / "store"
    frame.loc[::9, "age"], frame.loc[:3, "city"] = np.nan, None
    told = r"27 missing value\(s\) in columns 'age' \(23\), 'city' \(4\); data\.missing=median fills them in"
    with pytest.raises(DataError, match=told):
        prepare(file_config(tmp_path, frame), store)
    prepared = prepare(file_config(tmp_path, frame, missing="median"), store)
    arrays = load_arrays(prepared.path)
    fold = arrays.folds[0]
    assert fold.normalization.fill[0] == np.nanmedian(arrays.X[fold.train, 0])
    assert prepared.description["missing"] == {"age": 23, "city": 4}


def test_dev_and_test_come_from_a_given_file_alone(tmp_path: Path) -> None:
    web, app = people(), people(60).assign(income=1.0, city="Paris")
    app.to_csv(tmp_path / "app.csv", index=False)
    config = file_config(tmp_path, web, given=str(tmp_path / "app.csv"))
    prepared = prepare(config, tmp_path / "store")
    arrays, heldout = load_arrays(prepared.path), open_heldout(prepared.heldout)
    income = 1
    assert (arrays.X[arrays.folds[0].dev, income] == 1).all()
    assert (heldout.X[:, income] == 1).all()
    np.testing.assert_array_equal(arrays.X[arrays.folds[0].train, income], web["income"])
    assert prepared.description["examples"] == {"train": 200, "dev": 30, "test": 30}
    assert prepared.description["unseen_in_dev"] == {"city": 30}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"label": "yes"}, "has one class only, 'yes'"),
        ({"label": range(200)}, r"has as many classes as rows \(200\)"),
        ({"label": np.r_[np.nan, np.ones(199)]}, r"The target 'label' has 1 missing value\(s\) in 200 rows"),
        ({"label": np.arange(200) % 199}, "Class '1' has 1 example.*is the target a class, or a number to predict"),
        ({"name": [f"n{i}" for i in range(200)]}, "distinct values in the training part, but 'name' has 120"),
        ({"income": np.r_[np.inf, np.ones(199)]}, r"1 infinite value\(s\) in column 'income' \(1\)"),
        ({"": range(200)}, r"A column has no name .*data\.drop=\['Unnamed: 5'\]"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_in_one_sentence(tmp_path: Path, change: dict, told: str) -> None:
    with pytest.raises(DataError, match=told):
        prepare(file_config(tmp_path, people().assign(**change)), tmp_path / "store")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"drop": ["nmae"]}, "data.drop names column 'nmae', which is not a feature column"),
        ({"drop": ["age", "income", "city", "member"]}, "200 rows and 0 feature columns"),
        ({"image_shape": [2, 2]}, r"data\.image_shape=\[2, 2\] is for pixels, but column 'city' holds text"),
        ({"image_shape": [2, 2], "drop": ["city"]}, "is 4 pixels, but there are 3 feature columns"),
        ({"standardize": "pixels"}, "data.standardize=pixels is for images"),
        ({"target": None}, "data.target must be given for data=file"),
        ({"path": None}, "data.path must be given for data=file"),
        ({"source": "builtin", "name": "digits"}, "say data=file to read a file"),
        ({"examples": 500}, "more than the 200 rows"),
    ],
)
def test_settings_that_do_not_fit_the_table_are_refused(tmp_path: Path, fields: dict, told: str) -> None:
    with pytest.raises(DataError, match=told):
        prepare(file_config(tmp_path, people(), **fields), tmp_path / "store")


def test_dropped_columns_are_neither_read_nor_asked_for(tmp_path: Path) -> None:
    frame = people().assign(name=[f"n{i}" for i in range(200)])
    prepared = prepare(file_config(tmp_path, frame, drop=["name"]), tmp_path / "store")
    assert encode(prepared.recipe, people()).shape == (200, 6)


def test_probable_mistakes_are_noted(tmp_path: Path) -> None:
    frame = people(100).assign(id=np.arange(7, 107), day=[f"2020-{i}" for i in range(100)])
    frame["age"] = frame["age"].where(frame.index != 3, "old")
    notes = prepare(file_config(tmp_path, frame), tmp_path / "store").description["notes"]
    assert notes == [
        "Column 'age' is read as text because of 'old'.",
        "Column 'id' numbers the rows: if that says nothing about the class, data.drop=['id'].",
        "Text column 'day' differs in every row: if it is no category, data.drop=['day'].",
    ]


def test_a_sample_of_the_rows_is_stratified_and_its_size_is_kept(tmp_path: Path) -> None:
    told = prepare(DataConfig(examples=500), tmp_path).description
    assert told["rows"] == 500
    assert told["examples"] == {"train": 300, "dev": 100, "test": 100}


def test_a_trial_directory_holds_no_test_row(tmp_path: Path) -> None:
    frame = people().assign(number=np.arange(200) + 0.5)
    prepared = prepare(file_config(tmp_path, frame), tmp_path / "store")
    heldout = open_heldout(prepared.heldout)
    for path in prepared.path.iterdir():
        for value in heldout.X[:, -1]:
            assert np.float64(value).tobytes() not in path.read_bytes()


def test_arrays_are_found_again_without_scikit_learn_or_pandas(tmp_path: Path) -> None:
    prepare(DataConfig(), tmp_path)
    code = (
        "import sys; from pathlib import Path; from pipeline.config.trial import DataConfig;"
        "from pipeline.data.prepare import prepare; from pipeline.data.arrays import load_arrays;"
        f"load_arrays(prepare(DataConfig(), Path({str(tmp_path)!r})).path);"
        "print([name for name in ('sklearn', 'pandas', 'scipy') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_changed_arrays_on_disk_are_noticed_and_made_again(tmp_path: Path) -> None:
    first = prepare(DataConfig(), tmp_path)
    X = np.load(first.path / "X.npy", mmap_mode="r+")
    X[0, 0] += 1
    X.flush()
    again = prepare(DataConfig(), tmp_path)
    assert again.digest == first.digest
    np.testing.assert_array_equal(load_arrays(again.path).X[0, 0], load_digits().data[0, 0])


@pytest.mark.parametrize("content", ["", "[]", "null", "{}", '{"digest": 5}', '{"digest": "x", "more": 1}', "\\xff"])
@pytest.mark.parametrize("name", ["prepared/*.json", "arrays/*/meta.json"])
def test_damaged_notes_on_the_arrays_are_made_anew(tmp_path: Path, name: str, content: str) -> None:
    config = DataConfig(name="circles", examples=60)
    first = prepare(config, tmp_path)
    (path,) = tmp_path.glob(name)
    path.write_bytes(content.encode("latin-1"))
    again = prepare(config, tmp_path)
    assert again == first
    assert load_arrays(again.path).digest == first.digest


def test_a_half_removed_store_is_made_again(tmp_path: Path) -> None:
    first = prepare(DataConfig(name="moons"), tmp_path)
    (first.path / "folds.npz").unlink()
    assert prepare(DataConfig(name="moons"), tmp_path).path.joinpath("folds.npz").is_file()
    for file in first.heldout.iterdir():
        file.unlink()
    first.heldout.rmdir()
    assert len(open_heldout(prepare(DataConfig(name="moons"), tmp_path).heldout).y) == 200


def test_changed_test_rows_are_refused(tmp_path: Path) -> None:
    prepared = prepare(DataConfig(name="moons"), tmp_path)
    y = np.load(prepared.heldout / "y.npy")
    np.save(prepared.heldout / "y.npy", 1 - y)
    with pytest.raises(DataError, match="have changed since they were written"):
        open_heldout(prepared.heldout)
    with pytest.raises(DataError, match="cannot be read"):
        open_heldout(tmp_path)


def test_a_failure_half_way_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(prepare_module, "_folds", fail)
    with pytest.raises(KeyboardInterrupt):
        prepare(DataConfig(name="moons"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_several_preparations_at_once_agree(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        digests = {
            prepared.digest for prepared in pool.map(lambda _: prepare(DataConfig(name="moons"), tmp_path), range(8))
        }
    assert len(digests) == 1
    assert [path.name for path in (tmp_path / "arrays").iterdir()] == [*digests]
    assert not list(tmp_path.glob(".draft*"))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 255], "uint8"),
        ([-1, 100], "int8"),
        ([0, 256], "uint16"),
        ([-1, 300], "int16"),
        ([0.5, 0.25], "float32"),
        ([0.1], "float64"),
        ([np.nan, 1], "float32"),
        ([2.0**24 + 1], "int32"),
        ([1e300], "float64"),
        ([2.0**40 + 1], "float64"),
    ],
)
def test_rows_are_stored_in_the_smallest_type_that_is_exact(values: list[float], expected: str) -> None:
    blocks = [np.zeros((1, 1)), np.array([values], dtype=np.float64)]
    assert smallest_type(blocks) == expected


def test_the_digest_covers_every_byte_name_shape_and_type() -> None:
    X = np.arange(12, dtype=np.uint8).reshape(4, 3)
    digests = {digest_arrays({"X": X}), digest_arrays({"y": X}), digest_arrays({"X": X.reshape(3, 4)})}
    digests |= {digest_arrays({"X": X.astype(np.int8)}), digest_arrays({"X": X}, "text"), digest_arrays({"X": X[:0]})}
    for k in range(12):
        changed = X.copy()
        changed.flat[k] += 1
        digests.add(digest_arrays({"X": changed}))
    assert len(digests) == 18
    assert digest_arrays({"X": np.asfortranarray(X)}) == digest_arrays({"X": X})
    assert digest_arrays({"X": X.astype(">u2")}) == digest_arrays({"X": X.astype("<u2")})


def test_what_changed_is_said_in_rows_columns_and_digest(tmp_path: Path) -> None:
    store, frame = tmp_path / "store", people()
    first = prepare(file_config(tmp_path, frame), store).description
    assert what_changed(first, first) is None
    smaller = frame.drop(columns="age").assign(size=1).iloc[:150]
    told = what_changed(first, prepare(file_config(tmp_path, smaller), store).description)
    assert told is not None
    assert "columns 4 → 4, without age and with size" in told
    assert "rows 200 → 150" in told
    assert f"digest {first['digest']} → " in told
    value = frame.copy()
    value.loc[0, "age"] += 1
    told = what_changed(first, prepare(file_config(tmp_path, value), store).description)
    assert told is not None
    assert told.startswith("source digest ")


def damage_statistics(arrays: Path) -> None:
    """Change one mean by a millionth, as no digest of rows and labels can see."""
    with np.load(arrays / "folds.npz") as parts:
        changed = {name: parts[name] for name in parts.files}
    changed["mean_0"] = changed["mean_0"] * (1 + 1e-6)
    np.savez(arrays / "folds.npz", **changed)


def test_changed_statistics_are_refused_by_whoever_loads_them(tmp_path: Path) -> None:
    prepared = prepare(DataConfig(name="moons"), tmp_path)
    damage_statistics(prepared.path)
    with pytest.raises(DataError, match=r"folds\.npz is not what was written"):
        load_arrays(prepared.path)


@pytest.mark.parametrize("of_an_old_release", [False, True])
def test_changed_statistics_are_computed_anew_and_the_digest_stays(tmp_path: Path, of_an_old_release: bool) -> None:
    prepared = prepare(DataConfig(name="moons"), tmp_path)
    before = load_arrays(prepared.path)
    damage_statistics(prepared.path)
    if of_an_old_release:
        meta = json.loads((prepared.path / "meta.json").read_text())
        del meta["arrays_checksum"]
        (prepared.path / "meta.json").write_text(json.dumps(meta))
    described = {"digest": prepared.digest}
    found = prepare(DataConfig(name="moons"), tmp_path) if of_an_old_release else find_arrays(described, tmp_path)
    assert found is not None
    again = load_arrays(found.path)
    assert (again.digest, again.checksum) == (before.digest, before.checksum)
    np.testing.assert_array_equal(again.folds[0].normalization.mean, before.folds[0].normalization.mean)


def test_statistics_that_cannot_be_written_are_reported_and_the_arrays_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    prepared = prepare(DataConfig(name="moons"), tmp_path)
    damage_statistics(prepared.path)
    monkeypatch.setattr(store_module, "write_folds", full)
    with pytest.raises(DataError, match="cannot be written: No space left on device"):
        prepare(DataConfig(name="moons"), tmp_path)
    assert (prepared.path / "X.npy").is_file()
