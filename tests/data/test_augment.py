import math

import numpy as np
import pytest
from scipy import ndimage

from pipeline.config.errors import DataError
from pipeline.data.augment import BLOCK_PIXELS, Buffers, Geometry, _waves, make_augment


def rng():
    return np.random.default_rng(7)


def images(b=6, shape=(8, 8), dtype=np.uint8):
    return rng().integers(0, 17, (b, math.prod(shape))).astype(dtype)


def resampled(rows, shape, y, x):
    """Put images through given positions by way of the augmentation's own resampling."""
    augment = make_augment(image_shape=shape, rotation=1.0)
    batch = rows.astype(np.float32).reshape(len(rows), *shape, -1)
    augment._resample(batch, y.astype(np.float32), x.astype(np.float32))
    return batch.reshape(rows.shape)


def test_no_strength_at_all_means_no_augmentation():
    assert make_augment(image_shape=(8, 8)) is None
    assert make_augment(image_shape=None) is None


def test_tabular_data_is_refused_in_one_sentence():
    with pytest.raises(DataError, match=r"data\.image_shape"):
        make_augment(image_shape=None, rotation=5.0)


def test_a_certain_flip_mirrors_each_image_exactly_and_twice_gives_it_back():
    rows = images()
    augment = make_augment(image_shape=(8, 8), flip=1.0)
    once = augment(rows, rng())
    np.testing.assert_array_equal(once.reshape(-1, 8, 8), rows.reshape(-1, 8, 8)[:, :, ::-1])
    np.testing.assert_array_equal(augment(once, rng()), rows)


def test_a_flip_of_half_probability_flips_about_half_and_leaves_the_others_untouched():
    rows = images(2000)
    changed = make_augment(image_shape=(8, 8), flip=0.5)(rows, rng())
    same = (changed == rows).all(axis=1)
    mirrored = (changed.reshape(-1, 8, 8) == rows.reshape(-1, 8, 8)[:, :, ::-1]).all(axis=(1, 2))
    assert (same | mirrored).all()
    assert 0.45 < mirrored.mean() < 0.55


@pytest.mark.parametrize("shape", [(8, 8), (5, 9), (6, 7, 3)])
def test_resampling_agrees_with_scipys_map_coordinates(shape):
    rows = images(4, shape, np.float32)
    height, width = shape[:2]
    y = rng().uniform(-2, height + 1, (4, height * width))
    x = rng().uniform(-2, width + 1, (4, height * width))
    ours = resampled(rows, shape, y, x).reshape(4, height * width, -1)
    for k, image in enumerate(rows.reshape(4, height, width, -1)):
        for channel in range(image.shape[2]):
            positions = np.stack([y[k], x[k]]).astype(np.float32)
            theirs = ndimage.map_coordinates(image[..., channel], positions, order=1, mode="nearest")
            np.testing.assert_allclose(ours[k, :, channel], theirs, atol=2e-4)


def test_a_shift_by_whole_pixels_moves_the_image():
    image = images(1, (8, 8), np.float32)
    i, j = np.indices((8, 8)).reshape(2, -1)
    moved = resampled(image, (8, 8), (i + 2)[None], (j + 1)[None]).reshape(8, 8)
    np.testing.assert_allclose(moved[:6, :7], image.reshape(8, 8)[2:, 1:], atol=1e-4)


def positions(u, **strengths):
    values = {"shift": 0.0, "angle": 0.0, "zoom": 0.0, "distortion": 0.0, "waves": None} | strengths
    y, x = Geometry(5, 5, **values).positions(np.atleast_2d(np.array(u, float)), rng(), Buffers())
    return y.reshape(-1, 5, 5), x.reshape(-1, 5, 5)


def test_a_quarter_turn_takes_the_first_row_from_the_last_column():
    y, x = positions([0.5, 0.5, 1.0, 0.0, 0.5, 0.5], angle=math.pi / 2)
    np.testing.assert_allclose(y[0, 0], [4, 3, 2, 1, 0], atol=1e-6)
    np.testing.assert_allclose(x[0, 0], 0, atol=1e-6)


def test_a_crop_stays_inside_the_image_and_has_the_drawn_size():
    u = np.random.default_rng(0).random((500, 6))
    y, x = positions(u, zoom=0.5)
    for q in (y, x):
        assert q.min() >= -1e-6
        assert q.max() <= 4 + 1e-6
    np.testing.assert_allclose(y[:, -1, 0] - y[:, 0, 0], 4 * (1 - 0.5 * u[:, 3]), rtol=1e-5)


def test_a_shift_is_at_most_its_fraction_of_the_side():
    y, _ = positions([[1.0, 0.5, 0.5, 0, 0.5, 0.5], [0.0, 0.5, 0.5, 0, 0.5, 0.5]], shift=0.2)
    np.testing.assert_allclose(y[:, 0, 0], [1.0, -1.0], atol=1e-6)


def test_elastic_displacement_has_the_strength_and_the_smoothness_asked_for():
    waves = _waves(28, 4.0)
    field = Geometry(28, 28, 0, 0, 0, 1.5, (waves, waves))._elastic(4000, rng(), Buffers()).reshape(-1, 28, 28)
    assert field.std() == pytest.approx(1.5, rel=0.03)
    G = ndimage.gaussian_filter1d(np.eye(28), 4.0, axis=0, mode="reflect")
    covariance = G @ G.T
    theirs = covariance[14, 18] / math.sqrt(covariance[14, 14] * covariance[18, 18])
    ours = np.corrcoef(field[:, 14, 14], field[:, 18, 14])[0, 1]
    assert ours == pytest.approx(theirs, abs=0.05)


@pytest.mark.parametrize("strength", [{"shift": 0.1}, {"rotation": 20.0}, {"zoom": 0.3}, {"distortion": 1.0}])
def test_the_same_stream_gives_the_same_bits_and_another_gives_others(strength):
    rows = images(50)
    augment = make_augment(image_shape=(8, 8), **strength)
    first = augment(rows, rng())
    np.testing.assert_array_equal(make_augment(image_shape=(8, 8), **strength)(rows, rng()), first)
    np.testing.assert_array_equal(augment(rows, rng()), first)
    assert (augment(rows, np.random.default_rng(8)) != first).any()


def test_changes_stay_within_the_values_of_each_image_and_leave_the_input_alone():
    rows = images(40)
    before = rows.copy()
    changed = make_augment(image_shape=(8, 8), rotation=30, zoom=0.3, shift=0.2, distortion=1.0)(rows, rng())
    np.testing.assert_array_equal(rows, before)
    assert (changed >= rows.min(axis=1, keepdims=True) - 1e-4).all()
    assert (changed <= rows.max(axis=1, keepdims=True) + 1e-4).all()


def test_an_image_never_borrows_from_its_neighbour_in_the_batch():
    rows = np.zeros((3, 64), np.float32)
    rows[1] = np.nan
    changed = make_augment(image_shape=(8, 8), rotation=40, zoom=0.4, shift=0.3, distortion=2.0)(rows, rng())
    assert (changed[[0, 2]] == 0).all()


def test_more_images_than_one_block_are_all_changed():
    b = BLOCK_PIXELS // 64 + 10
    changed = make_augment(image_shape=(8, 8), rotation=20)(images(b), rng())
    assert (changed != images(b)).any(axis=1).mean() > 0.99


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("uint8", "float32"), ("float32", "float32"), ("float64", "float64"), ("int32", "float64")],
)
def test_the_result_is_floating_and_no_narrower_than_the_rows(dtype, expected):
    assert make_augment(image_shape=(8, 8), rotation=5)(images(dtype=dtype), rng()).dtype == expected


def test_one_pixel_high_images_can_be_augmented():
    changed = make_augment(image_shape=(1, 6), rotation=10, shift=0.2)(images(3, (1, 6)), rng())
    assert np.isfinite(changed).all()
