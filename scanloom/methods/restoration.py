"""Restoration: the image is distorted in grey values, texture and extent, and the network has to undo it.

Grey values go through a random monotone curve, pixels are shuffled within small windows, and windows of the image, or
all but windows of it, are painted over with noise. To undo them a network has to know appearance, texture and context.

    L = mean (decoded - image)^2

Zhou et al. (Models Genesis), MICCAI 2019 and Medical Image Analysis 2021, arXiv 1908.06912 and 2004.07882, with the
probabilities and window sizes of the authors' code (its flips are the study's views here). Differences: the falling
half of the curves is monotone too; shuffles are read from a few tables at random places; and by default the decoder
gets no skips, so everything has to pass the encoder's last features: set `skips` for the paper's U-Net.
"""

import functools
import math

import numpy as np
from pydantic import Field

from scanloom.lazy import keras
from scanloom.strict_models import Strict

TRAINS = True
USES_LABELS = False
FRESH_PER_SEED = False
BRANCHES = 1

CURVE_POINTS = 256
BEZIER_TIMES = 129
PAINTED_WINDOWS = 5
NEXT_WINDOW = 0.95  # probability of each further window
BORDER = 3  # pixels that painted windows stay away from the border, where there is room
SHUFFLES = 8
SHUFFLE_ROUNDS = 2
LARGEST_TABLES = 2**21  # numbers in all tables of shuffles together
NOISE = 2**20  # numbers in the table of noise


class Settings(Strict):
    """How often each distortion, and the decoder."""

    curve: float = Field(0.9, ge=0, le=1, description="probability of a grey-value curve, half of them falling")
    shuffle: float = Field(0.5, ge=0, le=1, description="probability of shuffling pixels within windows")
    shuffle_window: float = Field(
        0.1, gt=0, le=1, description="largest such window, share of each axis (2 px at least)"
    )
    paint: float = Field(0.9, ge=0, le=1, description="probability of painting over parts of the image")
    outside: float = Field(0.8, ge=0, le=1, description="share of these that paint all but the windows")
    skips: bool = Field(False, description="the decoder also gets the encoder's larger feature maps, as a U-Net")
    decoder_width: int = Field(32, ge=1, description="channels of the decoder at full size, doubled per level below")
    use_views: bool = Field(True, description="distort the study's views; false: the images as they are")


def draw(uniform, settings: Settings, image_shape: tuple[int, ...]) -> dict:
    """Per image: curve float32 [batch, 256], table, place int32 of its shuffle, low, high int32 of painted windows,
    paint int32 (0 nothing, 1 inside, 2 outside), noise int32 (place in the table of noise)."""
    rank, spatial = len(image_shape) - 1, np.array(image_shape[:-1])
    u = uniform(12 + rank + 2 * PAINTED_WINDOWS * rank + PAINTED_WINDOWS)
    few, shifts, windows, further = np.split(u, [12, 12 + rank, 12 + rank + 2 * PAINTED_WINDOWS * rank], axis=1)
    chosen = few[:, :3] < np.array([settings.curve, settings.shuffle, settings.paint])
    outside = few[:, 3] < settings.outside
    low, high = _windows(windows.reshape(-1, PAINTED_WINDOWS, 2, rank), further, outside, spatial)
    tables = _table_count(math.prod(image_shape[:-1]))
    return {
        "curve": np.where(chosen[:, :1], curves(few[:, 4:8], few[:, 8] < 0.5), np.linspace(0, 1, CURVE_POINTS)).astype(
            np.float32
        ),
        "table": np.where(chosen[:, 1], (few[:, 9] * tables).astype(np.int32), -1).astype(np.int32),
        "place": (shifts * spatial).astype(np.int32),
        "low": low.astype(np.int32),
        "high": high.astype(np.int32),
        "paint": (chosen[:, 2] * (1 + outside)).astype(np.int32),
        "noise": (few[:, 10] * NOISE).astype(np.int32),
    }


def build(encoder, settings: Settings, views, seed: int, classes: int | None = None):
    """The model to train; its inputs are described in scanloom/methods/_reconstruction.py."""
    from scanloom.methods._reconstruction import ReconstructionModel

    tables = _shuffle_tables(tuple(views.image_shape[:-1]), settings.shuffle_window)

    def damage(images, draws):
        images = shuffled(images, draws["table"], draws["place"], tables)
        return painted(on_curve(images, draws["curve"]), draws)

    def loss(wanted, decoded, draws):
        return keras.ops.mean(keras.ops.square(decoded - wanted))

    pipeline = views if settings.use_views else None
    shape, width = views.image_shape, settings.decoder_width
    return ReconstructionModel(encoder, width, seed, pipeline, shape, damage, loss, settings.skips)


def curves(control: np.ndarray, falling: np.ndarray) -> np.ndarray:
    """float64 [batch, 256] at 256 even grey values: cubic Bezier curves, (0, 0) to (1, 1), made monotone by sorting.

    control [batch, 4]: x and y of the two points between; falling bool [batch]: y sorted the other way round.
    """
    t = np.linspace(0.0, 1.0, BEZIER_TIMES)
    first, second, last = 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3
    x, y = (np.sort(control[:, [i]] * first + control[:, [i + 2]] * second + last, axis=1) for i in (0, 1))
    y = np.where(falling[:, None], y[:, ::-1], y)
    grey = np.linspace(0.0, 1.0, CURVE_POINTS)
    right = np.clip((x[:, :, None] < grey).sum(axis=1), 1, BEZIER_TIMES - 1)
    x0, x1 = (np.take_along_axis(x, index, axis=1) for index in (right - 1, right))
    y0, y1 = (np.take_along_axis(y, index, axis=1) for index in (right - 1, right))
    return y0 + (y1 - y0) * np.clip((grey - x0) / np.maximum(x1 - x0, 1e-12), 0.0, 1.0)


def on_curve(images, curve):
    """Images [batch, *spatial, channels] in [0, 1] through each one's curve [batch, 256], linear between its points."""
    ops = keras.ops
    flat = ops.reshape(images, (-1, math.prod(images.shape[1:]))) * (CURVE_POINTS - 1.0)
    lower = ops.clip(ops.floor(flat), 0.0, CURVE_POINTS - 2.0)
    index = ops.cast(lower, "int32")
    left, right = (ops.take_along_axis(curve, index + step, axis=1) for step in (0, 1))
    return ops.reshape(left + (right - left) * (flat - lower), (-1, *images.shape[1:]))


def shuffled(images, table, place, tables: np.ndarray):
    """Images [batch, *spatial, channels] with pixels moved within small windows.

    table int32 [batch]: which of the tables [tables, pixels], -1 for none; place int32 [batch, rank]: where the table
    begins. It goes on at the opposite border, so windows that lie across a border are not small.
    """
    ops = keras.ops
    spatial, pixels = images.shape[1:-1], tables.shape[1]
    sizes = np.array(spatial, np.int32)
    here = np.stack(np.unravel_index(np.arange(pixels), spatial), axis=-1).astype(np.int32)
    place = ops.expand_dims(place, 1)
    in_table = _flat((ops.expand_dims(ops.convert_to_tensor(here), 0) + place) % sizes, spatial)
    source = ops.take_along_axis(
        ops.take(ops.convert_to_tensor(tables), ops.maximum(table, 0), axis=0), in_table, axis=1
    )
    source = _flat((_unflat(source, spatial) - place + sizes) % sizes, spatial)
    still = ops.expand_dims(ops.arange(pixels, dtype="int32"), 0)
    source = ops.where(ops.expand_dims(table, 1) < 0, still, source)
    flat = ops.reshape(images, (-1, pixels, images.shape[-1]))
    moved = ops.take_along_axis(flat, ops.repeat(ops.expand_dims(source, -1), images.shape[-1], axis=-1), axis=1)
    return ops.reshape(moved, (-1, *images.shape[1:]))


def painted(images, draws: dict):
    """Images [batch, *spatial, channels] with noise over the windows, or over everything else."""
    ops = keras.ops
    inside = None
    for axis, size in enumerate(images.shape[1:-1]):
        shape = [1] * (len(images.shape) - 2)
        shape[axis] = size
        at = ops.reshape(ops.arange(size, dtype="int32"), (1, 1, size))
        low, high = (ops.expand_dims(draws[name][:, :, axis], -1) for name in ("low", "high"))
        along = ops.reshape(ops.logical_and(at >= low, at < high), (-1, PAINTED_WINDOWS, *shape))
        inside = along if inside is None else ops.logical_and(inside, along)
    inside = ops.expand_dims(ops.any(inside, axis=1), -1)
    paint = ops.reshape(draws["paint"], (-1,) + (1,) * (len(images.shape) - 1))
    over = ops.logical_or(ops.logical_and(inside, paint == 1), ops.logical_and(ops.logical_not(inside), paint == 2))
    count = math.prod(images.shape[1:])
    places = ops.expand_dims(draws["noise"], 1) + ops.expand_dims(ops.arange(count, dtype="int32"), 0)
    noise = ops.reshape(ops.take(ops.convert_to_tensor(_noise()), places % NOISE, axis=0), (-1, *images.shape[1:]))
    return ops.where(over, noise, images)


def _windows(u: np.ndarray, further: np.ndarray, outside: np.ndarray, spatial: np.ndarray):
    """low, high [batch, windows, rank] of the painted windows; high = low for those that are not there.

    Inside: up to five windows of 1/6 to 1/3 of the image. Outside: one to five of 3/7 to 4/7 that stay visible.
    """
    least = np.where(outside[:, None], spatial - 4 * spatial // 7, np.maximum(spatial // 6, 1))[:, None]
    most = np.where(outside[:, None], spatial - 3 * spatial // 7, np.maximum(spatial // 3, 1))[:, None]
    size = least + (u[:, :, 0] * (most - least + 1)).astype(int)
    border = np.minimum(BORDER, (spatial - size) // 2)
    low = border + (u[:, :, 1] * (spatial - size - 2 * border + 1)).astype(int)
    wanted = further < NEXT_WINDOW
    wanted[:, 0] |= outside
    there = np.logical_and.accumulate(wanted, axis=1)
    return low, low + size * there[:, :, None]


@functools.lru_cache(maxsize=4)
def _shuffle_tables(spatial: tuple[int, ...], share: float) -> np.ndarray:
    """int32 [tables, pixels]: the pixel that each pixel gets its value from; every row is a permutation."""
    pixels = math.prod(spatial)
    rng = np.random.default_rng([19, 0x5F, *spatial])
    count = _table_count(pixels)
    return np.stack([_shuffle(rng, spatial, share, count < SHUFFLES) for _ in range(count)])


def _table_count(pixels: int) -> int:
    return max(1, min(SHUFFLES, LARGEST_TABLES // pixels))


def _shuffle(rng: np.random.Generator, spatial: tuple[int, ...], share: float, few: bool) -> np.ndarray:
    """Some rounds of: cut the image into windows of a random size at a random place, permute each."""
    here = np.indices(spatial).reshape(len(spatial), -1)
    source = np.arange(here.shape[1])
    for _ in range(SHUFFLE_ROUNDS):
        sizes = [int(rng.integers(1, max(2, int(size * share)) + 1)) for size in spatial]
        if few:  # they are all there is to see: every axis is shuffled in each
            sizes = [max(2, size) for size in sizes]
        cuts = [(axis + rng.integers(size)) // size for axis, size in zip(here, sizes, strict=True)]
        window = np.ravel_multi_index(cuts, [size + 1 for size in spatial])
        moved = np.empty_like(source)
        moved[np.argsort(window, kind="stable")] = np.lexsort((rng.random(len(source)), window))
        source = source[moved]
    return source.astype(np.int32)


@functools.cache
def _noise() -> np.ndarray:
    return np.random.default_rng([19, 0xA1]).random(NOISE, dtype=np.float32)


def _flat(index, spatial: tuple[int, ...]):
    """Indices [..., rank] as one number each."""
    flat = index[..., 0]
    for axis, size in enumerate(spatial[1:], start=1):
        flat = flat * size + index[..., axis]
    return flat


def _unflat(flat, spatial: tuple[int, ...]):
    index = []
    for size in reversed(spatial):
        index.append(flat % size)
        flat = flat // size
    return keras.ops.stack(index[::-1], axis=-1)
