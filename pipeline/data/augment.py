"""Random changes to training images: flip, shift, rotation, crop and zoom, elastic distortion; all in one resampling.

It works on raw rows, before normalisation, and is called for training rows only.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.config.errors import DataError

Array = npt.NDArray[Any]
Augment = Callable[[Array, np.random.Generator], Array]

BLOCK_PIXELS = 2**15  # resampled at a time, so that the work stays in the processor's cache
SMALLEST_WAVE = 0.01  # waves of the elastic field weaker than this share of the strongest are left out


def make_augment(
    *,
    image_shape: tuple[int, ...] | None,
    flip: float = 0.0,
    shift: float = 0.0,
    rotation: float = 0.0,
    zoom: float = 0.0,
    distortion: float = 0.0,
    smoothness: float = 4.0,
) -> Augment | None:
    """Return a function (rows (b, n_x), rng) -> rows (b, n_x), or None if every strength is 0.

    Parameters
    ----------
    image_shape
        (rows, columns) or (rows, columns, channels); n_x is their product.
    flip
        Probability of a horizontal flip.
    shift, zoom
        Largest shift, and largest share that a random crop removes before it is zoomed back, as fractions of the side.
    rotation
        Largest angle, in degrees.
    distortion, smoothness
        Elastic displacement: its standard deviation, and that of the Gaussian which smooths it, in pixels (Simard,
        Steinkraus and Platt 2003).

    Raises
    ------
    DataError
        The examples are not images.
    """
    if not any((flip, shift, rotation, zoom, distortion)):
        return None
    if image_shape is None:
        raise DataError("Augmentation is for images, but this data set has no data.image_shape, such as [28, 28].")
    height, width = image_shape[:2]
    waves = (_waves(height, smoothness), _waves(width, smoothness)) if distortion else None
    resampling = bool(shift or rotation or zoom or distortion)
    geometry = Geometry(height, width, shift, np.deg2rad(rotation), zoom, distortion, waves) if resampling else None
    return Augmentation(height, width, prod(image_shape[2:]), flip, geometry)


def _waves(side: int, smoothness: float) -> Array:
    """Return the factor (side, k) that turns k independent normal numbers into smoothed noise of unit variance.

    Filtering white noise n by the Gaussian G gives the covariance G Gᵀ. With the singular values G = U S Vᵀ the same
    covariance is that of U S c, c normal, and nearly all of it lies in the few largest of S.
    """
    from scipy import ndimage

    G = ndimage.gaussian_filter1d(np.eye(side), smoothness, axis=0, mode="reflect")
    U, S, _ = np.linalg.svd(G)
    factor = (U * S)[:, S / S[0] > SMALLEST_WAVE]
    scaled: Array = factor / np.sqrt(np.square(factor).sum(axis=1).mean())
    return scaled.astype(np.float32)


class Buffers:
    """Arrays reused from call to call, because allocating them would take longer than the arithmetic."""

    def __init__(self) -> None:
        self._kept: dict[str, Array] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float32) -> Array:
        """Return an uninitialised array of that shape."""
        kept = self._kept.get(name)
        if kept is None or len(kept) < shape[0] or kept.shape[1:] != shape[1:] or kept.dtype != dtype:
            kept = self._kept[name] = np.empty(shape, dtype)
        return kept[: shape[0]]


@dataclass(frozen=True)
class Geometry:
    """Draws, for every image, where in it each output pixel is taken from."""

    height: int
    width: int
    shift: float
    angle: float
    zoom: float
    distortion: float
    waves: tuple[Array, Array] | None

    def positions(self, u: Array, rng: np.random.Generator, buffers: Buffers) -> tuple[Array, Array]:
        """Return the input coordinates of the output pixels: y and x, each (b, height * width).

        With the centre c, the angle a and the zoom s = 1 - zoom · u:
        q = s · R(a) · (p - c) + c + crop + shift + elastic displacement.

        Parameters
        ----------
        u : (b, 6)
            Uniform in 0..1: two for the shift, one for the angle, one for the zoom, two for the place of the crop.
        """
        centre_y, centre_x = (self.height - 1) / 2, (self.width - 1) / 2
        signed = 2.0 * u - 1.0
        s = 1.0 - self.zoom * u[:, 3]
        cos, sin = s * np.cos(self.angle * signed[:, 2]), s * np.sin(self.angle * signed[:, 2])
        to_y = centre_y * (1.0 + (1.0 - s) * signed[:, 4]) + self.shift * self.height * signed[:, 0]
        to_x = centre_x * (1.0 + (1.0 - s) * signed[:, 5]) + self.shift * self.width * signed[:, 1]
        i, j = np.indices((self.height, self.width)).reshape(2, -1)
        p = np.stack([i - centre_y, j - centre_x, np.ones(i.shape)]).astype(np.float32)
        y, x = (buffers.take(name, (len(u), p.shape[1])) for name in "yx")
        np.matmul(np.column_stack([cos, -sin, to_y]).astype(np.float32), p, out=y)
        np.matmul(np.column_stack([sin, cos, to_x]).astype(np.float32), p, out=x)
        if self.waves is not None:
            y += self._elastic(len(u), rng, buffers)
            x += self._elastic(len(u), rng, buffers)
        return y, x

    def _elastic(self, b: int, rng: np.random.Generator, buffers: Buffers) -> Array:
        """Return a smooth random displacement: (b, height * width)."""
        assert self.waves is not None
        down, across = self.waves
        c = rng.standard_normal((b, across.shape[1], down.shape[1]), dtype=np.float32)
        columns = np.ascontiguousarray((c @ down.T).swapaxes(1, 2)).reshape(b * self.height, -1)
        field = buffers.take("field", (b * self.height, self.width))
        np.matmul(columns, np.float32(self.distortion) * across.T, out=field)
        return field.reshape(b, self.height * self.width)


@dataclass
class Augmentation:
    """The changes as a function of raw rows, with its buffers."""

    height: int
    width: int
    channels: int
    flip: float
    geometry: Geometry | None
    _buffers: Buffers = field(default_factory=Buffers, repr=False)

    def __call__(self, rows: Array, rng: np.random.Generator) -> Array:
        """Return changed copies of the rows, in float32 (float64 if the rows need it): (b, n_x) -> (b, n_x).

        Every image takes the same number of random values whatever the strengths of flip, shift, rotation and zoom,
        so that the streams of two strengths stay comparable; distortion takes more.
        """
        out = rows.astype(np.result_type(rows.dtype, np.float32))
        images = out.reshape(len(rows), self.height, self.width, self.channels)
        u = rng.random((len(rows), 7))
        flipped = u[:, 0] < self.flip
        images[flipped] = images[flipped, :, ::-1]
        if self.geometry is not None:
            step = max(1, BLOCK_PIXELS // (self.height * self.width))
            for start in range(0, len(rows), step):
                block = slice(start, start + step)
                self._resample(images[block], *self.geometry.positions(u[block, 1:], rng, self._buffers))
        return out

    def _resample(self, images: Array, y: Array, x: Array) -> None:
        """Interpolate bilinearly in place; beyond the border the nearest pixel counts.

        The four neighbours are gathered from the block as one long list of pixels, which is several times faster
        than `scipy.ndimage.map_coordinates` with order 1, and gives the same values.
        """
        pixels = y.size
        at, wy, wx = self._neighbours(y, x)
        source = self._buffers.take("source", (pixels + self.width + 1, self.channels), images.dtype)
        source[:pixels] = images.reshape(pixels, self.channels)
        source[pixels:] = 0.0
        corners = []
        for k, offset in enumerate((0, 1, self.width, self.width + 1)):
            corner = self._buffers.take(f"corner {k}", (pixels, self.channels), images.dtype)
            # all indices are valid; `wrap` is the fastest mode without a check of each
            corners.append(np.take(source[offset : offset + pixels], at, axis=0, out=corner, mode="wrap"))
        top, top_right, bottom, bottom_right = corners
        _mix(top_right, top, wx)
        _mix(bottom_right, bottom, wx)
        _mix(bottom_right, top_right, wy)
        images[...] = bottom_right.reshape(images.shape)

    def _neighbours(self, y: Array, x: Array) -> tuple[Array, Array, Array]:
        """Return the position of each upper left neighbour in the list of pixels, and the other neighbours' weights."""
        row, column = (self._buffers.take(name, y.shape) for name in ("row", "column"))
        _floor_and_rest(y, self.height, row)
        _floor_and_rest(x, self.width, column)
        row *= np.float32(self.width)
        row += column
        at, at_32 = self._buffers.take("at", y.shape, np.intp), self._buffers.take("at 32", y.shape, np.int32)
        np.copyto(at_32, row, casting="unsafe")
        at_32 += np.arange(0, y.size, y.shape[1], dtype=np.int32)[:, None]
        np.copyto(at, at_32)
        return at.reshape(-1), y.reshape(-1, 1), x.reshape(-1, 1)


def _floor_and_rest(position: Array, side: int, whole: Array) -> None:
    """Clip positions to the image; `whole` becomes the pixel before each, `position` the distance from it."""
    last = np.nextafter(np.float32(side - 1), np.float32(0))
    np.clip(position, np.float32(0), last, out=position)
    np.floor(position, out=whole)
    position -= whole


def _mix(b: Array, a: Array, weight: Array) -> None:
    """Move b towards a in place: b ← a + weight · (b - a)."""
    b -= a
    b *= weight
    b += a
