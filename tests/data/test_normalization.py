import numpy as np
import pytest
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import StandardScaler

from pipeline.data import arrays
from pipeline.data.normalization import statistics

TRAIN = np.arange(0, 60)


def matrix():
    X = np.random.default_rng(0).normal(5, 3, (100, 4))
    X[:, 2] = 7.0
    return X


def test_statistics_are_those_of_scikit_learns_scaler_on_the_training_rows():
    X = matrix()
    ours, theirs = statistics(X, TRAIN, standardize=True), StandardScaler().fit(X[TRAIN])
    np.testing.assert_allclose(ours.mean, theirs.mean_, rtol=1e-12)
    np.testing.assert_allclose(ours.inv_std[[0, 1, 3]], 1 / theirs.scale_[[0, 1, 3]], rtol=1e-12)


def test_a_constant_feature_becomes_zero_instead_of_dividing_by_zero():
    X = matrix()
    normalization = statistics(X, TRAIN, standardize=True)
    assert normalization.inv_std[2] == 0
    assert np.isfinite((X - normalization.mean) * normalization.inv_std).all()


@pytest.mark.parametrize("value", [0.1, 1e-9, 123456.7])
def test_a_constant_feature_is_known_by_its_range_where_rounding_gives_it_a_variance(value):
    X = np.full((1000, 2), value)
    X[:, 1] += 1e-7 * value * np.arange(1000)  # hardly varies, and yet it does
    normalization = statistics(X, np.arange(1000), standardize=True)
    assert normalization.inv_std[0] == 0
    assert normalization.inv_std[1] == pytest.approx(1 / X[:, 1].std(), rel=1e-6)


def test_rows_outside_the_training_part_change_nothing():
    X = matrix()
    before = statistics(X, TRAIN, standardize=True)
    X[60:] = 1e6
    after = statistics(X, TRAIN, standardize=True)
    for field in ("fill", "mean", "inv_std"):
        np.testing.assert_array_equal(getattr(after, field), getattr(before, field))


def test_missing_values_are_filled_with_the_training_median_before_anything_else():
    X = matrix()
    X[::7, 0] = np.nan
    X[:, 3] = np.nan
    ours = statistics(X, TRAIN, standardize=True, fill_missing=True)
    imputed = SimpleImputer(strategy="median").fit_transform(X[TRAIN][:, [0]])
    assert ours.fill[0] == np.nanmedian(X[TRAIN, 0])
    np.testing.assert_allclose(ours.mean[0], imputed.mean(), rtol=1e-12)
    np.testing.assert_allclose(ours.inv_std[0], 1 / imputed.std(), rtol=1e-12)
    assert (ours.fill[3], ours.inv_std[3]) == (0, 0)
    assert ours.fill[1] == np.median(X[TRAIN, 1])  # nothing is missing here, but may be in rows to come


def test_pixels_share_one_mean_and_deviation_per_channel():
    X = np.random.default_rng(0).integers(0, 256, (50, 4 * 5 * 3)).astype(np.uint8)
    X[:, :6] = 0
    normalization = statistics(X, TRAIN[:40], standardize="pixels", channels=3)
    for channel in range(3):
        values = X[:40].reshape(40, 20, 3)[..., channel]
        np.testing.assert_allclose(normalization.mean[channel::3], values.mean(), rtol=1e-12)
        np.testing.assert_allclose(normalization.inv_std[channel::3], 1 / values.std(), rtol=1e-12)


def test_without_standardisation_the_features_stay_as_they_are():
    normalization = statistics(matrix(), TRAIN, standardize=False)
    np.testing.assert_array_equal(normalization.mean, 0)
    np.testing.assert_array_equal(normalization.inv_std, [1, 1, 0, 1])


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64"])
def test_every_stored_type_is_summed_in_float64(dtype):
    X = np.full((300, 2), 250).astype(dtype)
    X[::2] = 100
    normalization = statistics(X, np.arange(300), standardize=True)
    np.testing.assert_allclose(normalization.mean, 175)
    np.testing.assert_allclose(normalization.inv_std, 1 / 75)


def test_small_blocks_give_the_statistics_of_large_ones(monkeypatch):
    X = matrix()
    whole = statistics(X, TRAIN, standardize=True)
    monkeypatch.setattr(arrays.row_blocks, "__defaults__", (40,))
    pieces = statistics(X, TRAIN, standardize=True)
    np.testing.assert_allclose(pieces.mean, whole.mean, rtol=1e-14)
    np.testing.assert_allclose(pieces.inv_std, whole.inv_std, rtol=1e-14)
