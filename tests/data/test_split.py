import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config.errors import DataError
from pipeline.config.trial import DataConfig
from pipeline.data.split import _random_state, part_sizes, sample, split

NAMES = [f"c{k}" for k in range(10)]


def labels(*counts):
    return np.repeat(np.arange(len(counts)), counts)


@pytest.mark.parametrize(
    ("m", "test", "dev_size", "test_size"),
    [
        (100, "auto", 20, 20),
        (100, "none", 30, 0),
        (1_797, "auto", 359, 359),
        (1_000_000, "auto", 10_000, 10_000),
        (4_000_000, "auto", 10_000, 10_000),
        (1_000_000, "none", 10_000, 0),
    ],
)
def test_the_rule_gives_the_sizes_of_the_notes(m, test, dev_size, test_size):
    assert part_sizes(m, None, None, test) == (dev_size, test_size)


@pytest.mark.parametrize(
    ("train", "dev", "test", "sizes"),
    [
        (0.98, 0.01, 0.01, (10, 10)),
        (0.7, 0.3, "none", (300, 0)),
        (0.8, None, "auto", (100, 100)),
        (0.8, None, "none", (200, 0)),
        (0.8, 0.15, "auto", (150, 50)),
        (None, 0.1, "auto", (100, 200)),
        (None, None, 0.1, (200, 100)),
    ],
)
def test_ratios_override_the_rule_and_open_parts_share_the_rest(train, dev, test, sizes):
    assert part_sizes(1000, train, dev, test) == sizes


@pytest.mark.parametrize(
    ("train", "dev", "test", "told"),
    [
        (0.5, 0.2, 0.2, "must sum to 1, but sum to 0.9"),
        (0.7, 0.3, 0.3, "must sum to 1, but sum to 1.3"),
        (0.9, 0.2, "auto", "must sum to 1"),
        (None, 0.6, 0.5, "nothing to train on"),
        (None, 0.9, "auto", "nothing to train on: dev 900 and test 200 of 1,000 examples"),
    ],
)
def test_impossible_ratios_are_refused_with_their_sum(train, dev, test, told):
    with pytest.raises(DataError, match=told):
        part_sizes(1000, train, dev, test)


def parts_of(y, **fields):
    return split(y, NAMES[: y.max() + 1], DataConfig(**fields))


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.integers(5, 60), min_size=2, max_size=5),
    seed=st.integers(0, 2**40),
    test=st.sampled_from(["auto", "none"]),
)
def test_every_row_is_in_exactly_one_part_and_classes_keep_their_shares(counts, seed, test):
    y = labels(*counts)
    parts = split(y, NAMES[: len(counts)], DataConfig(split_seed=seed, test=test))
    (train, dev), tested = parts.pairs[0], parts.test
    assert sorted([*train, *dev, *tested]) == list(range(len(y)))
    for rows in (train, dev, tested) if test == "auto" else (train, dev):
        expected = np.array(counts) * len(rows) / len(y)
        assert (np.abs(np.bincount(y[rows], minlength=len(counts)) - expected) <= 2).all()


def test_the_split_depends_on_its_own_seed_alone_and_repeats():
    y = labels(50, 50)
    same = [parts_of(y, split_seed=3).test for _ in range(2)]
    np.testing.assert_array_equal(*same)
    assert (parts_of(y, split_seed=4).test != same[0]).any()


def test_the_test_part_is_the_same_with_and_without_folds():
    y = labels(60, 60)
    np.testing.assert_array_equal(parts_of(y).test, parts_of(y, folds=4).test)


def test_folds_cover_every_visible_row_once_as_dev_and_leave_the_test_part_out():
    y = labels(50, 30, 20)
    parts = split(y, NAMES[:3], DataConfig(folds=5))
    devs = np.concatenate([dev for _, dev in parts.pairs])
    assert sorted(devs) == sorted(parts.visible)
    assert not set(devs) & set(parts.test)
    for train, dev in parts.pairs:
        assert not set(train) & set(dev)
        np.testing.assert_allclose(np.bincount(y[dev]), [8, 5, 3], atol=1)


def test_given_rows_become_dev_and_test_in_halves_and_all_others_train():
    y = np.tile([0, 1], 60)
    given_rows = np.arange(100, 120)
    parts = split(y, NAMES[:2], DataConfig(), given=given_rows)
    (train, dev), tested = parts.pairs[0], parts.test
    np.testing.assert_array_equal(train, np.arange(100))
    assert sorted([*dev, *tested]) == list(given_rows)
    assert len(dev) == len(tested) == 10
    whole = split(y, NAMES[:2], DataConfig(test="none"), given=given_rows)
    np.testing.assert_array_equal(whole.pairs[0][1], given_rows)


def test_given_rows_divide_by_explicit_shares():
    parts = split(np.tile([0, 1], 60), NAMES[:2], DataConfig(dev=0.25, test=0.75), given=np.arange(80, 120))
    assert (len(parts.pairs[0][1]), len(parts.test)) == (10, 30)


@pytest.mark.parametrize(
    ("counts", "fields", "told"),
    [
        ((50, 2), {}, r"Class 'c1' has 2 example\(s\), but each of the 3 parts needs one"),
        ((50, 1), {"test": "none"}, "but each of the 2 parts needs one"),
        ((50, 5), {"folds": 5}, r"Class 'c1' has 4 example\(s\), but each of the 5 folds needs one"),
        ((3, 3), {}, "too few"),
        ((2, 2), {"folds": 2}, "too few"),
        ((30, 30), {"dev": 0.01}, "the dev part would be empty"),
        ((30, 30), {"folds": 5, "dev": 0.2}, "data.folds=5 takes the place of a dev part"),
        ((100,) * 5, {"train": 0.005}, "do not fit"),
    ],
)
def test_data_that_cannot_be_divided_are_refused_with_the_reason(counts, fields, told):
    with pytest.raises(DataError, match=told):
        split(labels(*counts), NAMES[: len(counts)], DataConfig(**fields))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"folds": 3}, "data.folds=3 cannot be used when dev examples are given"),
        ({"train": 0.5}, "data.train=0.5 cannot be used"),
        ({"dev": 0.3, "test": 0.3}, "must sum to 1"),
    ],
)
def test_settings_that_contradict_given_rows_are_refused(fields, told):
    with pytest.raises(DataError, match=told):
        split(np.tile([0, 1], 20), NAMES[:2], DataConfig(**fields), given=np.arange(20, 40))


def test_a_class_that_only_the_given_rows_have_is_refused():
    with pytest.raises(DataError, match="Class 'c1' has no example in the training part"):
        split(labels(20, 20), NAMES[:2], DataConfig(test="none"), given=np.arange(20, 40))


def test_a_sample_keeps_the_classes_in_proportion_and_is_of_the_size_asked_for():
    y = labels(800, 200)
    rows = sample(y, np.arange(1000), 100, seed=0)
    np.testing.assert_array_equal(np.bincount(y[rows]), [80, 20])
    np.testing.assert_array_equal(sample(y, np.arange(1000), 1000, seed=0), np.arange(1000))
    with pytest.raises(DataError, match=r"data\.examples=2000 is more than the 1,000 rows"):
        sample(y, np.arange(1000), 2000, seed=0)


@pytest.mark.parametrize(("name", "number"), [("test", 0), ("dev", 1), ("folds", 2), ("sample", 3), ("given", 4)])
def test_the_streams_keep_the_numbers_that_recorded_splits_were_drawn_with(name, number):
    """A renumbered stream would divide the rows of every recorded trial anew."""
    for repeat, key in ((0, (number,)), (3, (number, 3))):
        drawn = np.random.RandomState(np.random.MT19937(np.random.SeedSequence(7, spawn_key=key))).randint(
            2**31, size=4
        )
        assert (_random_state(7, name, repeat).randint(2**31, size=4) == drawn).all()
