"""Patches of images on a grid, and the guards against answers that need no understanding of the image.

Neighbouring patches betray each other by lines that go on across their border, by shading, and in colour by chromatic
aberration (Doersch et al., arXiv 1505.05192; Noroozi & Favaro, arXiv 1603.09246). Against
that: a gap between patches, a position that varies inside the cell, the same mean and standard deviation for every
patch, and brightness, contrast and channels changed patch by patch. Everything random is drawn on the host.
"""

from dataclasses import dataclass

import numpy as np
from pydantic import Field

from scanloom.lazy import keras
from scanloom.strict_models import Strict

SMALLEST_PX = 2
FLAT_STD = 0.01
"""Standard deviations well below this (images span [0, 1]) are noise and not blown up: two grey levels of 8 bits."""


class PatchSettings(Strict):
    """Size of the patches and their guards; lengths are shares of a grid cell and suit every image size."""

    jitter: float = Field(0.1, ge=0, lt=1, description="room of a patch to move, as share of its cell")
    patch_px: int | None = Field(
        None,
        ge=1,
        description="edge of the patches, for encoders that need a certain size; null: what jitter "
        "(and gap) leave. Where it is set, jitter is all the room that is left",
    )
    normalise: bool = Field(
        True, description="every patch gets the mean and standard deviation of the batch's pixels, channel by channel"
    )
    intensity_jitter: float = Field(
        0.1, ge=0, lt=1, description="brightness +- this and contrast 1 +- this of each patch and channel"
    )
    channel_drop: float = Field(
        0.0, ge=0, le=1, description="probability that a patch keeps one channel only, copied to the others"
    )


class CellSettings(PatchSettings):
    """The guards of patches that do not overlap."""

    gap: float = Field(0.1, ge=0, lt=1, description="least distance of neighbouring patches, as share of the cell")


@dataclass(frozen=True)
class Grid:
    """Where patches lie: first corners of the cells' fixed part int32 [cells, rank], patch size, room to move."""

    corners: np.ndarray
    patch: tuple[int, ...]
    room: tuple[int, ...]

    @property
    def cells(self) -> int:
        return len(self.corners)


def cell_grid(settings: CellSettings, per_side: int, image_shape: tuple[int, ...]) -> Grid:
    """`per_side` cells along each axis of images of shape (*spatial, channels), in raster order, no two overlapping.

    Raises ValueError where no patch of at least two pixels is left.
    """
    starts, patch, room = [], [], []
    for size in image_shape[:-1]:
        cell = size // per_side
        gap, jitter = _share(settings.gap, cell), _share(settings.jitter, cell)
        edge = settings.patch_px or cell - gap - jitter
        if edge < SMALLEST_PX or edge + gap > cell:
            raise ValueError(
                f"images of shape {tuple(image_shape)} have {per_side} cells of {cell} px along an axis of {size} px; "
                f"with a gap of {gap} px and "
                + (f"patch_px {edge}" if settings.patch_px else f"a jitter of {jitter} px")
                + f" there is no patch of at least {SMALLEST_PX} px inside a cell. "
                "Use larger images, fewer cells, or less gap, jitter or patch_px"
            )
        first = (size - per_side * cell) // 2 + gap // 2
        starts.append(first + cell * np.arange(per_side))
        patch.append(edge)
        room.append(cell - gap - edge)
    return Grid(_raster(starts), tuple(patch), tuple(room))


def overlapping_grid(settings: PatchSettings, per_side: int, overlap: float, image_shape: tuple[int, ...]) -> Grid:
    """`per_side` windows along each axis, neighbours sharing `overlap` of their edge; the windows fill the image.

    A patch lies inside its window and moves there by the jitter (a share of the window). Raises ValueError.
    """
    starts, patch, room = [], [], []
    for size in image_shape[:-1]:
        stride = int(size / (per_side - 1 + 1 / (1 - overlap)))
        # Rounded down, and after the stride, so that no two windows share more than was asked for.
        window = int(stride / (1 - overlap))
        edge = settings.patch_px or window - _share(settings.jitter, window)
        if edge < SMALLEST_PX or edge > window or stride < 1:
            raise ValueError(
                f"images of shape {tuple(image_shape)}: {per_side} windows along {size} px that share {overlap:g} of "
                f"their edge are {window} px wide, {stride} px apart, with patches of {edge} px; patches need "
                f"{SMALLEST_PX} px and windows 1 px of distance. Use larger images, a smaller per_side or less overlap"
            )
        starts.append((size - window - stride * (per_side - 1)) // 2 + stride * np.arange(per_side))
        patch.append(edge)
        room.append(window - edge)
    return Grid(_raster(starts), tuple(patch), tuple(room))


def _share(share: float, length_px: int) -> int:
    """Pixels; at least one where there is a share at all, for a guard that small images lose guards nothing."""
    return max(1, round(share * length_px)) if share else 0


def patch_shape(grid: Grid, image_shape: tuple[int, ...]) -> tuple[int, ...]:
    """(*patch, channels): what an encoder of patches is built for."""
    return (*grid.patch, image_shape[-1])


def numbers(patches: int, image_shape: tuple[int, ...]) -> int:
    """How many uniform numbers `draw_patches` takes for each image."""
    rank, channels = len(image_shape) - 1, image_shape[-1]
    return patches * (rank + 2 * channels + 2)


def draw_patches(u: np.ndarray, cells: np.ndarray, grid: Grid, settings: PatchSettings, image_shape) -> dict:
    """Where and how patches are cut: draws for `cut`.

    u: uniform float32 [batch, numbers(patches, image_shape)]; cells: int [batch, patches], the grid cell of each patch.
    Returned: corners int32 [batch, patches, rank], and where the settings ask for them contrast and brightness float32
    and kept int32 (channel, -1 for all).
    """
    rank, channels = len(image_shape) - 1, image_shape[-1]
    batch, patches = cells.shape
    u = u.reshape(batch, patches, -1)
    moved = (u[..., :rank] * (np.array(grid.room) + 1)).astype(np.int32)
    made = {"corners": grid.corners[cells].astype(np.int32) + moved}
    if settings.intensity_jitter:
        shifts = (2 * u[..., rank : rank + 2 * channels] - 1) * np.float32(settings.intensity_jitter)
        made |= {"contrast": 1 + shifts[..., :channels], "brightness": shifts[..., channels:]}
    if settings.channel_drop and channels > 1:
        kept = (u[..., -1] * channels).astype(np.int32)
        made["kept"] = np.where(u[..., -2] < settings.channel_drop, kept, -1).astype(np.int32)
    return made


def cut(images, draws: dict, grid: Grid, settings: PatchSettings):
    """Patches [batch, patches, *patch, channels] of float32 images [batch, *spatial, channels]."""
    ops = keras.ops
    spatial = images.shape[1:-1]
    strides = np.cumprod([1, *spatial[:0:-1]])[::-1].astype(np.int32)
    start = ops.sum(draws["corners"] * strides, axis=-1)
    patches = boxes(images, start, ops.zeros_like(draws["corners"]) + strides, grid.patch)
    ones = (1,) * len(spatial)
    if settings.normalise:
        patches = _like_the_batch(patches, images)
    if "kept" in draws:
        kept = ops.reshape(draws["kept"], (-1, draws["kept"].shape[1], *ones, 1))
        alone = ops.sum(patches * ops.cast(ops.equal(kept, np.arange(images.shape[-1])), "float32"), -1, keepdims=True)
        patches = ops.where(kept < 0, patches, alone)
    if "contrast" in draws:
        shape = (-1, draws["contrast"].shape[1], *ones, images.shape[-1])
        contrast, brightness = (ops.reshape(draws[name], shape) for name in ("contrast", "brightness"))
        mean = ops.mean(patches, axis=tuple(range(2, 2 + len(spatial))), keepdims=True)
        patches = (patches - mean) * contrast + mean + brightness
    return patches


def boxes(images, start, step, size: tuple[int, ...]):
    """Parts [batch, parts, *size, channels] of images [batch, *spatial, channels], by one gather.

    start: int32 [batch, parts], step: int32 [batch, parts, rank], both in pixels of the flattened image: the value at o
    is the pixel start + sum_a step_a * o_a.
    """
    ops = keras.ops
    rank, parts = len(size), start.shape[1]
    pixels = int(np.prod(images.shape[1:-1]))
    ones = (1,) * rank
    first = ops.reshape(ops.arange(ops.shape(images)[0], dtype="int32") * pixels, (-1, 1, *ones))
    index = ops.reshape(ops.cast(start, "int32"), (-1, parts, *ones)) + first
    for axis, length in enumerate(size):
        along = np.arange(length, dtype=np.int32).reshape([-1 if a == axis else 1 for a in range(rank)])
        index = index + ops.reshape(ops.cast(step[..., axis], "int32"), (-1, parts, *ones)) * along
    return ops.take(ops.reshape(images, (-1, images.shape[-1])), index, axis=0)


def _like_the_batch(patches, images):
    """Each patch and channel with the mean and deviation of the whole batch: equal for all, and the encoder's range."""
    ops = keras.ops
    own_axes, all_axes = tuple(range(2, len(patches.shape) - 1)), tuple(range(len(images.shape) - 1))
    own_std = ops.std(patches, axis=own_axes, keepdims=True)
    centred = (patches - ops.mean(patches, axis=own_axes, keepdims=True)) / (own_std + FLAT_STD)
    return centred * ops.std(images, axis=all_axes) + ops.mean(images, axis=all_axes)


def _raster(starts: list[np.ndarray]) -> np.ndarray:
    return np.stack(np.meshgrid(*starts, indexing="ij"), axis=-1).reshape(-1, len(starts)).astype(np.int32)
