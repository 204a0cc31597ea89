import datetime
import decimal
import json
import re

import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import OneHotEncoder

from pipeline.config.errors import DataError
from pipeline.data.arrays import Normalization
from pipeline.data.batches import normalize
from pipeline.data.encoding import (
    as_text,
    column_kind,
    encode,
    feature_names,
    learn_columns,
    natural_order,
    typed_columns,
    unseen,
)


def table():
    return pd.DataFrame({"age": [30, 40, 50], "colour": ["red", "blue", "red"], "ok": [True, False, True]})


def recipe(frame, missing="refuse", max_categories=100):
    return {"columns": learn_columns(frame, np.arange(len(frame)), max_categories=max_categories), "missing": missing}


def test_text_becomes_one_column_per_category_where_it_stands():
    learnt = recipe(table())
    assert feature_names(learnt) == ["age", "colour=blue", "colour=red", "ok"]
    np.testing.assert_array_equal(encode(learnt, table()), [[30, 0, 1, 1], [40, 1, 0, 0], [50, 0, 1, 1]])


def test_one_hot_agrees_with_scikit_learns_encoder_also_on_unseen_categories():
    rng = np.random.default_rng(0)
    train = pd.DataFrame({"a": rng.choice(list("xyz"), 50), "b": rng.choice(["1", "2", "10"], 50)})
    new = pd.DataFrame({"a": rng.choice(list("wxyz"), 50), "b": rng.choice(["3", "2", "10"], 50)})
    learnt = recipe(train)
    categories = [column["categories"] for column in learnt["columns"]]
    theirs = OneHotEncoder(categories=categories, handle_unknown="ignore", sparse_output=False).fit(train)
    np.testing.assert_array_equal(encode(learnt, new), theirs.transform(new))
    assert unseen(learnt, new) == {"a": (new["a"] == "w").sum(), "b": (new["b"] == "3").sum()}


def test_a_recipe_is_json_and_applies_unchanged_after_a_round_trip():
    learnt = recipe(table())
    np.testing.assert_array_equal(encode(json.loads(json.dumps(learnt)), table()), encode(learnt, table()))


def test_columns_are_found_by_name_in_any_order_and_others_are_ignored():
    learnt = recipe(table())
    shuffled = table().assign(extra=1)[["ok", "extra", "colour", "age"]]
    np.testing.assert_array_equal(encode(learnt, shuffled), encode(learnt, table()))


def test_the_same_category_is_recognised_as_a_number_and_as_text():
    learnt = recipe(pd.DataFrame({"zone": ["1", "2", "x"]}))
    np.testing.assert_array_equal(encode(learnt, pd.DataFrame({"zone": [2, 1]})), [[0, 1, 0], [1, 0, 0]])
    np.testing.assert_array_equal(encode(learnt, pd.DataFrame({"zone": [2.0, 1.0]})), [[0, 1, 0], [1, 0, 0]])


def test_missing_text_is_a_category_of_its_own_where_missing_values_are_allowed():
    frame = pd.DataFrame({"colour": ["red", None, "blue"]})
    learnt = recipe(frame, missing="median")
    assert feature_names(learnt) == ["colour=(missing)", "colour=blue", "colour=red"]
    assert encode(learnt, frame)[1].tolist() == [1, 0, 0]


def test_missing_numbers_stay_missing_until_normalisation_fills_them():
    frame = pd.DataFrame({"age": [30, np.nan, 50]})
    X = encode(recipe(frame, missing="median"), frame)
    assert np.isnan(X[1, 0])
    normalized = np.empty_like(X)
    normalize(X, Normalization(np.array([40.0]), np.array([40.0]), np.array([0.1])), normalized)
    np.testing.assert_allclose(normalized, [[-1], [0], [1]])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"age": [30, None, 50]}, r"1 missing value\(s\) in column 'age' \(1\), and the model was trained without any"),
        ({"colour": ["red", None, None]}, r"2 missing value\(s\) in column 'colour' \(2\), and the model was"),
        ({"age": [30, np.inf, 50]}, r"1 infinite value\(s\) in column 'age'"),
        ({"age": ["30", "forty", "50"]}, "Column 'age' holds numbers, but also something else"),
    ],
)
def test_new_rows_that_cannot_be_encoded_are_refused_with_their_column(change, told):
    with pytest.raises(DataError, match=told):
        encode(recipe(table()), table().assign(**change))


def test_a_table_without_a_column_of_the_model_is_refused_by_name():
    with pytest.raises(DataError, match="lacks columns 'age', 'ok'"):
        encode(recipe(table()), table()[["colour"]])


def test_too_many_distinct_texts_are_refused_with_the_way_out():
    frame = pd.DataFrame({"id": [f"n{i}" for i in range(10_000)]})
    with pytest.raises(DataError, match=r"data\.max_categories=100 .*'id' has 10,000; .*data\.drop=\['id'\]"):
        recipe(frame)
    assert len(feature_names(recipe(frame, max_categories=10_000))) == 10_000


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ([f"{n / 7:.1f}%" for n in range(200)], "'rate' has 200, which are percentages such as '9.9%'"),
        ([f"{n:,}" for n in range(1000, 1200)], "'rate' has 200, which are numbers with separators such as '1,199'"),
    ],
)
def test_numbers_formatted_for_people_are_recognised(texts, said):
    with pytest.raises(DataError, match=re.escape(f"{said}: write them as plain numbers")):
        recipe(pd.DataFrame({"rate": texts}))


def test_all_columns_of_too_many_texts_are_named_at_once_with_what_spoils_their_numbers():
    texts = [str(i) for i in range(200)]
    frame = pd.DataFrame({"age": [*texts[1:], "unknown"], "name": [f"n{text}" for text in texts]})
    told = r"'age' has 200, which would be numbers but for 'unknown'; 'name' has 200; .*data\.drop=\['age','name'\]"
    with pytest.raises(DataError, match=told):
        recipe(frame)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2], "number"),
        ([1.5, None], "number"),
        ([True, False], "number"),
        (pd.array([1, None], dtype="Int64"), "number"),
        (pd.array([True, None], dtype="boolean"), "number"),
        ([decimal.Decimal("1.5"), None], "number"),
        (["a", None], "category"),
        ([1, "a"], "category"),
        (pd.Categorical(["a", "b"]), "category"),
        ([None, None], "category"),
    ],
)
def test_columns_are_numbers_or_categories(values, kind):
    column = pd.Series(values, name="x")
    assert column_kind(column) == kind
    typed = typed_columns(column.to_frame(), {"x": kind})
    assert typed["x"].to_numpy().dtype.kind in ("f" if kind == "number" else "O", "i")


@pytest.mark.parametrize(
    "values",
    [
        pd.to_datetime(["2020-01-01", "2020-01-02"]),
        [datetime.date(2020, 1, 1), None],
        pd.to_timedelta([1, 2], unit="s"),
        [[1, 2], [3]],
        [b"a", b"b"],
        [1 + 2j, 0j],
    ],
)
def test_what_is_neither_a_number_nor_text_is_refused_by_column(values):
    with pytest.raises(DataError, match=r"Column 'x' .*data\.drop"):
        column_kind(pd.Series(values, name="x"))


def test_labels_of_any_type_read_the_same():
    for values in ([1, 2], [1.0, 2.0], ["1", " 2"], pd.array([1, 2], dtype="Int8"), pd.Categorical([1, 2])):
        assert as_text(pd.Series(values)).tolist() == ["1", "2"]
    assert as_text(pd.Series([True, None], dtype=object)).tolist() == ["True", None]
    assert as_text(pd.Series([1.5, np.nan])).tolist() == ["1.5", None]


@pytest.mark.parametrize(
    ("texts", "order"),
    [
        (["10", "9", "2"], ["2", "9", "10"]),
        (["b", "10", "a", "b"], ["10", "a", "b"]),
        (["nan", "2", "10"], ["10", "2", "nan"]),
        (["-1", "0.5", "1"], ["-1", "0.5", "1"]),
    ],
)
def test_classes_are_ordered_as_numbers_when_all_are_numbers(texts, order):
    assert natural_order(texts) == order
