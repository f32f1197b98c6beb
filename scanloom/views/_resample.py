"""Images read at any places by linear interpolation: what views that turn, bend or tilt an image share.

Such a view has `coordinates(places, draws, spatial, settings)`: to each place of the image it makes, the place of the
image it got. Places are float32 `[batch or 1, rank, points]` in pixels, the first pixel's centre at 0. The pipeline
chains the coordinates of neighbours and reads the image once, so three such views blur it no more than one.
"""

import itertools
import math
from typing import Literal

import numpy as np

from scanloom.lazy import keras

Outside = Literal["black", "edge", "mirror"]
OUTSIDE = "what lies beyond the image: black (0), edge (its outermost pixels repeated), mirror (the image reflected)"


def grid(spatial: tuple[int, ...]) -> np.ndarray:
    """The places of all pixels, float32 [1, rank, points], in the order of a flattened image."""
    axes = np.meshgrid(*(np.arange(size, dtype=np.float32) for size in spatial), indexing="ij")
    return np.stack([axis.reshape(-1) for axis in axes])[None]


def sample(images, places):
    """Images [batch, *spatial, channels] read at places [batch or 1, rank, points], as many as the image has pixels.

    Linear between the 2^rank pixels around a place; beyond the image there are zeros, one pixel away from its last
    pixel and further (SciPy calls this `grid-constant`).
    """
    ops = keras.ops
    spatial, channels = images.shape[1:-1], images.shape[-1]
    rank = len(spatial)
    # A frame of zeros, one pixel wide, makes every pixel around every place exist: no masks are needed.
    framed = ops.reshape(ops.pad(images, [[0, 0], *[[1, 1]] * rank, [0, 0]]), (-1, channels))
    strides = [math.prod(size + 2 for size in spatial[axis + 1 :]) for axis in range(rank)]
    first = ops.expand_dims(ops.arange(ops.shape(images)[0], dtype="int32") * ((spatial[0] + 2) * strides[0]), 1)
    shares = []
    for axis, (size, stride) in enumerate(zip(spatial, strides, strict=True)):
        place = ops.clip(places[:, axis], -1.0, float(size))
        below = ops.minimum(ops.floor(place), float(size - 1))
        shares.append(place - below)
        first = first + (ops.cast(below, "int32") + 1) * stride
    read = 0.0
    for corner in itertools.product((0, 1), repeat=rank):
        weight = math.prod(share if upper else 1.0 - share for share, upper in zip(shares, corner, strict=True))
        offset = sum(stride for stride, upper in zip(strides, corner, strict=True) if upper)
        read = read + ops.take(framed, first + offset, axis=0) * ops.expand_dims(weight, -1)
    return ops.reshape(read, (-1, *spatial, channels))


def mapped(places, matrix):
    """Places [batch or 1, rank, points] times `matrix` [batch, rank, rank + 1], which acts on (place, 1).

    With `rank` further rows each axis is divided by what its own one gives (a projection; an axis that is not part of
    it has the row 0, ..., 0, 1).
    """
    ops = keras.ops
    rank = places.shape[1]

    def row(index: int):
        # Sums and not a matrix product: accelerators round the factors of those to 10 bits, up to 0.1 pixels here.
        terms = [matrix[:, index, axis : axis + 1] * places[:, axis] for axis in range(rank)]
        return sum(terms) + matrix[:, index, rank : rank + 1]

    rows = [row(index) for index in range(matrix.shape[1])]
    made = ops.stack(rows[:rank], axis=1)
    return made / ops.stack(rows[rank:], axis=1) if rows[rank:] else made


def brought_inside(places, spatial: tuple[int, ...], outside: Outside):
    """Places with those beyond the image replaced by what `outside` says; for "black" they stay, `sample` reads 0."""
    ops = keras.ops
    if outside == "black":
        return places
    last = np.array([size - 1 for size in spatial], np.float32)[None, :, None]
    if outside == "mirror":
        there_and_back = np.maximum(2 * last, 1)
        places = last - ops.abs(last - ops.mod(places, there_and_back))
    return ops.clip(places, 0.0, last)


def share_inside(places, spatial: tuple[int, ...]):
    """[batch or 1, points]: 1 at places in the image, falling to 0 over one pixel beyond it, as `sample` reads it."""
    ops = keras.ops
    last = np.array([size - 1 for size in spatial], np.float32)[None, :, None]
    beyond = ops.maximum(ops.relu(-places), ops.relu(places - last))
    return ops.prod(ops.relu(1.0 - beyond), axis=1)


def about_centre(linear: np.ndarray, shift_px: np.ndarray, spatial: tuple[int, ...]) -> np.ndarray:
    """float32 [batch, rank, rank + 1] for `mapped`: `linear` about the image's centre, then a shift.

    linear: [batch, rank, rank]. shift_px: [batch, rank]. Made in float64, so quarter turns meet the pixels exactly.
    """
    centre = (np.array(spatial, np.float64) - 1) / 2
    offset = centre - linear @ centre + shift_px
    return np.concatenate([linear, offset[..., None]], axis=2).astype(np.float32)


def planes_of(rank: int) -> list[tuple[int, int]]:
    """Pairs of axes in which an image can be turned: one at rank 2; at rank 3 within slices first."""
    return [(rank - 2, rank - 1), *((0, axis) for axis in (2, 1) if rank == 3)]


def turned(angles: np.ndarray, rank: int) -> np.ndarray:
    """float64 [batch, rank, rank]: turns by `angles` [batch, planes] (radians), one plane after another."""
    linear = np.broadcast_to(np.eye(rank), (len(angles), rank, rank))
    for plane, (i, j) in enumerate(planes_of(rank)):
        cosine, sine = np.cos(angles[:, plane]), np.sin(angles[:, plane])
        turn = np.broadcast_to(np.eye(rank), linear.shape).copy()
        turn[:, i, i], turn[:, j, j], turn[:, i, j], turn[:, j, i] = cosine, cosine, sine, -sine
        linear = linear @ turn
    return linear
