"""Series to images of integers: the study's steps in order, then rounding to the stored type.

At rank 2 every slice becomes one image, at rank 3 every series one. Stored integers lead back to physical values:
physical = slope * stored + intercept, per channel.
"""

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from scanloom import plugins
from scanloom.atomic_files import whole_file
from scanloom.readers._volume import Volume
from scanloom.steps._scale import is_scaled

HU_OFFSET = 1024  # uint16 stores HU + 1024: -1024 HU, air, is 0


class CannotPreprocess(ValueError):
    """A series that the steps cannot turn into images; the message says which step to add or change."""


def ready_steps(steps: list[dict]) -> list[tuple]:
    """(module, settings) of every step given as {"name": ..., "settings": {...}}."""
    return _ready(json.dumps(steps))


@lru_cache(maxsize=16)
def _ready(steps: str) -> list[tuple]:
    """Checked once, not once per series: finding a plug-in lists its folder."""
    named = [(step["name"], step["settings"]) for step in json.loads(steps)]
    return [(plugins.load("steps", name), plugins.settings("steps", name, settings)) for name, settings in named]


def run_steps(volume: Volume, steps: list[dict]) -> Volume:
    """The volume after all steps, float32."""
    for module, settings in ready_steps(steps):
        volume = module.apply(volume, settings)
    return volume


def run_mask_steps(mask: Volume, steps: list[dict], rank: int) -> tuple[np.ndarray, np.ndarray]:
    """A lesion mask on the grid of its series' images: bool [n, *spatial] and slice_index [n].

    mask: Volume of zeros and ones on the grid of the series as read. Only steps that move pixels apply.
    """
    for module, settings in ready_steps(steps):
        if hasattr(module, "apply_to_mask"):
            mask = module.apply_to_mask(mask, settings)
    inside = mask.with_channels()[..., 0] > 0.5
    return (inside, mask.slice_index) if rank == 2 else (inside[np.newaxis], np.zeros(1, np.int64))


def quantise(volume: Volume, dtype: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Integers [z, y, x, c] of type `dtype`, and slope and intercept (float64 [c]) that lead back to physical values.

    Values that a step mapped to [0, 1] use the whole range of the type. HU go to uint16 exactly, as HU + 1024 (rounded
    to whole HU, clipped at 0), and other whole numbers from 0 to 65535 as they are; uint8 holds only scaled values.
    """
    values = volume.with_channels()
    count = values.shape[-1]
    if not np.isfinite(values).all():
        raise CannotPreprocess("the series holds values that are not finite after preprocessing")
    if is_scaled(volume):
        if values.min() < -1e-6 or values.max() > 1 + 1e-6:
            raise CannotPreprocess(
                f"values after preprocessing lie in [{values.min():g}, {values.max():g}], not in [0, 1]; was a fill "
                "value of crop_or_pad given in other units?"
            )
        largest = np.iinfo(dtype).max
        slope, intercept = np.array(volume.slope) / largest, np.array(volume.intercept)
        return np.rint(np.clip(values, 0, 1) * np.float32(largest)).astype(dtype), slope, intercept
    if dtype == "uint8":
        raise CannotPreprocess(
            f"values in unit '{volume.unit}' cannot be stored as uint8; add a step that maps them to [0, 1] "
            "(hu_window, scale_range, percentile), or set dtype: uint16"
        )
    offset = HU_OFFSET if volume.unit == "HU" else 0
    stored = np.rint(values) + offset
    if volume.unit == "HU":
        stored = np.clip(stored, 0, 65535)
    elif stored.min() < 0 or stored.max() > 65535:
        raise CannotPreprocess(
            f"values in unit '{volume.unit}' lie in [{values.min():g}, {values.max():g}], outside uint16; add a step "
            "that maps them to [0, 1] (scale_range, percentile)"
        )
    return stored.astype(np.uint16), np.ones(count), np.full(count, -float(offset))


def preprocess_series(
    volume: Volume, steps: list[dict], rank: int, dtype: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, str, tuple[str, ...]]:
    """(images, slice_index, spacing_mm, slope, intercept, unit, channels) of one series.

    images: `dtype` [n, *spatial, channels], n = slices at rank 2, 1 at rank 3. slice_index: int64 [n], the number in
    the whole stack of each slice that is left (0 at rank 3). spacing_mm: float32 [rank]. slope, intercept: float64
    [channels].
    """
    if rank not in (2, 3):
        raise ValueError(f"rank must be 2 or 3; got {rank}")
    volume = run_steps(volume, steps)
    if rank == 2 and (volume.slice_index < 0).any():
        raise CannotPreprocess(
            "a step made slices that the stack does not have, which no label describes; at rank 2 keep the z axis: "
            "spacing_mm: [null, y, x], size_px: [y, x]"
        )
    images, slope, intercept = quantise(volume, dtype)
    spacing = np.array(volume.spacing_mm[3 - rank :], np.float32)
    if rank == 2:
        return images, np.asarray(volume.slice_index), spacing, slope, intercept, volume.unit, volume.channels
    return images[np.newaxis], np.zeros(1, np.int64), spacing, slope, intercept, volume.unit, volume.channels


def preprocess_chunk(
    read: Callable[[pd.DataFrame], Volume], chunk_rows: pd.DataFrame, steps: list[dict], rank: int, dtype: str
) -> dict[str, np.ndarray]:
    """All images of a chunk as named arrays, for `write_npz`.

    read: rows of one series in stack order -> Volume. Returns images `dtype` [n, *spatial, C], series_id [n],
    slice_index [n], spacing_mm [n, rank], slope [n, C], intercept [n, C], unit, channels [C]; n may be 0.
    Raises CannotPreprocess naming the series (by its pseudonym) and the remedy.
    """
    parts, unit, channels = [], "", ()
    for series_id, rows in chunk_rows.groupby("series_id", sort=True):
        try:
            part = preprocess_series(read(rows), steps, rank, dtype)
        except ValueError as error:
            raise CannotPreprocess(f"series {series_id}: {error}") from error
        if parts:
            _assert_alike(series_id, part, parts[0][1], unit, channels)
        parts.append((series_id, part))
        unit, channels = part[5], part[6]
    if not parts:
        empty = {"images": np.zeros((0,) * (rank + 2), dtype), "series_id": np.zeros(0, "U1")}
        empty |= {"slice_index": np.zeros(0, np.int64), "spacing_mm": np.zeros((0, rank), np.float32)}
        return empty | {n: np.zeros((0, 0)) for n in ("slope", "intercept")} | _named("", ())
    counts = [len(part[0]) for _, part in parts]

    def per_image(position: int) -> np.ndarray:
        return np.repeat(np.stack([part[position] for _, part in parts]), counts, axis=0)

    return {
        "images": np.concatenate([part[0] for _, part in parts]),
        "series_id": np.repeat(np.array([series_id for series_id, _ in parts]), counts),
        "slice_index": np.concatenate([part[1] for _, part in parts]).astype(np.int64),
        "spacing_mm": per_image(2),
        "slope": per_image(3),
        "intercept": per_image(4),
    } | _named(unit, channels)


def _named(unit: str, channels: tuple[str, ...]) -> dict[str, np.ndarray]:
    return {"unit": np.array(unit), "channels": np.array(channels, dtype="U")}


def _assert_alike(series_id: str, part: tuple, first: tuple, unit: str, channels: tuple[str, ...]) -> None:
    if part[0].shape[1:] != first[0].shape[1:]:
        raise CannotPreprocess(
            f"series {series_id}: images of shape {part[0].shape[1:]} (spatial, channels), earlier ones "
            f"{first[0].shape[1:]}; add the step resize or crop_or_pad so that all images get one size"
        )
    if part[5] != unit or part[6] != channels:
        raise CannotPreprocess(
            f"series {series_id}: channels {part[6]} in '{part[5]}', earlier ones {channels} in '{unit}'; make the "
            "reader give all images alike (grey or rgb), or exclude one kind"
        )


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """The arrays as an NPZ file that appears whole or not at all; same arrays, same bytes (numpy writes no time)."""
    with whole_file(path) as file:
        np.savez(file, **arrays)


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of `write_npz`."""
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
