"""Series to images of integers: the study's steps in order, then rounding to the stored type.

At rank 2 every slice becomes one image, at rank 3 every series one. Stored integers lead back to physical values:
physical = slope * stored + intercept, per channel.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from scanloom import plugins
from scanloom.atomic_files import whole_file
from scanloom.images.chunk_images import Part, joined_unit
from scanloom.readers._volume import READ_BY, EarlyStep, Volume
from scanloom.steps._masks import moved
from scanloom.steps._scale import is_scaled

HU_OFFSET = 1024  # uint16 stores HU + 1024: -1024 HU, air, is 0
SHADES = 64  # as few are too few for a series of fractions: 8 bits would keep 256 of it


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


def run_steps(volume: Volume, steps: list[dict], cut: dict | None = None) -> Volume:
    """The volume after all steps, float32; without what a later step, `cut`, will cut off within slices."""
    ready = ready_steps(steps)
    for number, (module, settings) in enumerate(ready):
        after, wanted = ready[number + 1] if number + 1 < len(ready) else (None, None)
        if hasattr(module, "apply_part") and hasattr(after, "kept"):
            volume = module.apply_part(volume, settings, partial(after.kept, volume, settings=wanted))
        elif hasattr(module, "apply_part") and after is None and cut is not None:
            volume = module.apply_part(volume, settings, partial(_kept_in_plane, volume, cut))
        else:
            volume = module.apply(volume, settings)
    return volume


def _kept_in_plane(volume: Volume, cut: dict, shape: Sequence[int]) -> tuple[slice, slice, slice]:
    """All slices, and of each what the step `cut` leaves of it."""
    [(module, settings)] = ready_steps([cut])
    return module.kept(volume, (None, *shape[1:]), settings)


def run_mask_steps(
    mask: Volume, steps: list[dict], rank: int, volume: Volume | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """A lesion mask on the grid of its series' images: bool [n, *spatial] and slice_index [n].

    mask: Volume of zeros and ones on the grid of the series as read. Only steps that move pixels apply. volume: the
    series, needed where a step follows the image (crop_to_foreground).
    """
    mask = moved(mask, ready_steps(steps), volume)
    inside = mask.with_channels()[..., 0] > 0.5
    return (inside, mask.slice_index) if rank == 2 else (inside[np.newaxis], np.zeros(1, np.int64))


def quantise(volume: Volume, dtype: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Integers [z, y, x, c] of type `dtype`, and slope and intercept (float64 [c]) that lead back to physical values.

    Values that a step mapped to [0, 1] use the whole range of the type. HU go to uint16 as HU + 1024, rounded to whole
    HU and clipped to 0 ... 65535; other values from 0 to 65535 are rounded to whole numbers. uint8 holds only scaled
    values.
    """
    values = volume.with_channels()
    count = values.shape[-1]
    lowest, highest = (values.min(), values.max()) if values.size else (0.0, 0.0)
    if not (np.isfinite(lowest) and np.isfinite(highest)):  # a NaN among the values is both
        raise CannotPreprocess("the series holds values that are not finite after preprocessing")
    if is_scaled(volume):
        if lowest < -1e-6 or highest > 1 + 1e-6:
            raise CannotPreprocess(
                f"values after preprocessing lie in [{lowest:g}, {highest:g}], not in [0, 1]; was a fill "
                "value of crop_or_pad given in other units?"
            )
        slope, intercept = np.array(volume.slope) / np.iinfo(dtype).max, np.array(volume.intercept)
        return _stretched(values, dtype), slope, intercept
    if dtype == "uint8":
        raise CannotPreprocess(
            f"values in unit '{volume.unit}' cannot be stored as uint8; add a step that maps them to [0, 1] "
            "(hu_window, scale_range, percentile), or set dtype: uint16"
        )
    offset = HU_OFFSET if volume.unit == "HU" else 0
    if volume.unit != "HU" and (lowest < -0.5 or highest >= 65535.5):
        raise CannotPreprocess(
            f"values in unit '{volume.unit}' lie in [{lowest:g}, {highest:g}], outside uint16; add a step "
            "that maps them to [0, 1] (scale_range, percentile)"
        )
    images = np.empty(values.shape, np.uint16)
    for part, out in zip(values, images, strict=True):  # slice by slice: another array of floats would be a volume more
        stored = np.rint(part)
        stored += offset
        np.copyto(out, stored.clip(0, 65535), casting="unsafe")
    return images, np.ones(count), np.full(count, -float(offset))


def _stretched(values: np.ndarray, dtype: str) -> np.ndarray:
    """Integers of type `dtype`, C-contiguous: values [z, y, x, c] from 0 to 1 over its whole range, rounded to even."""
    images = np.empty(values.shape, dtype)
    if dtype == "uint16":
        for part, out in zip(values, images, strict=True):
            np.copyto(out, np.rint(part * np.float32(65535)).clip(0, 65535), casting="unsafe")
        return images
    for part, out in zip(values, images, strict=True):
        # One saturating pass per channel; steps that make channels lay them out as planes.
        planes = [cv2.convertScaleAbs(part[..., channel], alpha=255) for channel in range(part.shape[-1])]
        np.copyto(out, cv2.merge(planes).reshape(out.shape))
    return images


def _run_to_integers(
    volume: Volume, steps: list[dict], dtype: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, Volume]:
    """`run_steps` and `quantise`: (images, slope, intercept, what the volume is after all steps but for its values)."""
    last, settings = ready_steps(steps)[-1] if steps else (None, None)
    if dtype == "uint8" and hasattr(last, "apply_uint8"):
        images, volume = last.apply_uint8(run_steps(volume, steps[:-1]), settings)
        return images, np.array(volume.slope) / 255, np.array(volume.intercept), volume
    volume = run_steps(volume, steps)
    return *quantise(volume, dtype), volume


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
    images, slope, intercept, volume = _run_to_integers(volume, steps, dtype)
    if rank == 2 and (volume.slice_index < 0).any():
        raise CannotPreprocess(
            "a step made slices that the stack does not have, which no label describes; at rank 2 keep the z axis: "
            "spacing_mm: [null, y, x], size_px: [y, x]"
        )
    spacing = np.array(volume.spacing_mm[3 - rank :], np.float32)
    if rank == 2:
        return images, np.asarray(volume.slice_index), spacing, slope, intercept, volume.unit, volume.channels
    return images[np.newaxis], np.zeros(1, np.int64), spacing, slope, intercept, volume.unit, volume.channels


def chunk_parts(
    read: Callable[[pd.DataFrame], Volume],
    chunk_rows: pd.DataFrame,
    steps: list[dict],
    rank: int,
    dtype: str,
    read_blocks: Callable[[pd.DataFrame], Iterator[Volume]] | None = None,
) -> Iterator[Part]:
    """The chunk's images, series by series in the order of their ids, each series in one part or several.

    read: rows of one series in stack order -> Volume. read_blocks: the same a few slices at a time, where the reader
    can; used for the steps that take slices one by one, because it is faster and needs less memory: (rows,
    with padding or not, which part is needed or None, a step to be done while reading or None) -> Volumes.
    Raises CannotPreprocess naming the series (by its pseudonym) and the remedy.
    """
    in_blocks = read_blocks is not None and rank == 2 and take_slices_one_by_one(steps)
    early, late, _ = ([], steps, None) if in_blocks or read_blocks is None else in_plane_first(steps)
    first_step = early_step(steps[0]) if in_blocks and steps else None
    late = late if first_step is None else late[1:]
    first = None
    for series_id, rows in _in_few_blocks(chunk_rows).groupby("series_id", sort=True):
        if in_blocks:
            volumes = read_blocks(rows, False, None, first_step)
        elif early:
            volumes = map(partial(_reading, read_blocks, steps=steps), [rows])
        else:
            volumes = map(read, [rows])
        for part in _preprocessed(series_id, volumes, late, rank, dtype, as_read=not (early or first_step)):
            first = first or part._replace(images=part.images[:0].copy())
            _assert_alike(part, first)
            yield part
            del part  # before the next one is read


def preprocess_chunk(
    read: Callable[[pd.DataFrame], Volume],
    chunk_rows: pd.DataFrame,
    steps: list[dict],
    rank: int,
    dtype: str,
    read_blocks: Callable[[pd.DataFrame], Iterator[Volume]] | None = None,
) -> dict[str, np.ndarray]:
    """`chunk_parts` all at once, in memory: for a few series.

    images `dtype` [n, *spatial, C], series_id [n], slice_index [n], spacing_mm [n, rank], slope [n, C], intercept
    [n, C], unit ("" where series differ), channels [C]; n may be 0.
    """
    parts = list(chunk_parts(read, chunk_rows, steps, rank, dtype, read_blocks))
    if not parts:
        empty = {"images": np.zeros((0,) * (rank + 2), dtype), "series_id": np.zeros(0, "U1")}
        empty |= {"slice_index": np.zeros(0, np.int64), "spacing_mm": np.zeros((0, rank), np.float32)}
        return empty | {n: np.zeros((0, 0)) for n in ("slope", "intercept")} | _named("", ())
    counts = [len(part.images) for part in parts]

    def per_image(name: str) -> np.ndarray:
        return np.repeat(np.stack([getattr(part, name) for part in parts]), counts, axis=0)

    return {
        "images": np.concatenate([part.images for part in parts]),
        "series_id": np.repeat(np.array([part.series_id for part in parts]), counts),
        "slice_index": np.concatenate([part.slice_index for part in parts]).astype(np.int64),
        **{name: per_image(name) for name in ("spacing_mm", "slope", "intercept")},
    } | _named(joined_unit(part.unit for part in parts), parts[-1].channels)


def _preprocessed(
    series_id: str, volumes: Iterable[Volume], steps: list[dict], rank: int, dtype: str, as_read: bool
) -> Iterator[Part]:
    """`preprocess_series` of a series' volume, or of one block after the other.

    as_read: whether the volumes are what the reader gave, nothing done to them yet. Raises CannotPreprocess, also where
    rounding to whole numbers would leave SHADES or fewer of a series that came with fractions.
    """
    fractions, shades, stored_whole = False, set(), as_read and dtype == "uint16"
    try:
        for volume in volumes:
            fractions = fractions or (stored_whole and volume.unit != "HU" and _has_fractions(volume.values))
            part = Part(series_id, *preprocess_series(replace(volume, expendable=True), steps, rank, dtype))
            del volume
            if fractions and not _is_mapped(part) and len(shades) <= SHADES:
                shades.update(np.unique(part.images).tolist())
            yield part
        if 0 < len(shades) <= SHADES:
            raise CannotPreprocess(
                f"its values, in unit '{part.unit}', have fractions, and as whole numbers they are {len(shades)} shades"
                f" from {min(shades)} to {max(shades)}; add a step that maps them to [0, 1] (scale_range, percentile, "
                "zscore)"
            )
    except ValueError as error:
        raise CannotPreprocess(f"series {series_id}: {error}") from error


def _has_fractions(values: np.ndarray) -> bool:
    return any((np.rint(plane) != plane).any() for plane in values)


def in_plane_first(steps: list[dict]) -> tuple[list[dict], list[dict], dict | None]:
    """The steps as (those done slice by slice while a series is read, the rest, what the rest will cut off at once).

    A step with `in_plane_part(settings)` is the same as its two parts, one within slices and one along z. Only parts
    along z may come between the slice by slice steps and a step that cuts, whose cut is then made while reading, too.
    """
    early, late = [], []
    for number, (step, (module, settings)) in enumerate(zip(steps, ready_steps(steps), strict=True)):
        if not late and getattr(module, "slicewise", _never)(settings):
            early.append(step)
        elif hasattr(module, "in_plane_part"):
            plane, rest = module.in_plane_part(settings)
            for part, to in ((plane, early), (rest, late)):
                to += [] if part is None else [{"name": step["name"], "settings": part}]
        else:
            return early, [*late, *steps[number:]], step if hasattr(module, "kept") else None
    return early, late, None


def _reading(read_blocks: Callable, rows: pd.DataFrame, steps: list[dict]) -> Volume:
    """The series as one volume after the early steps of `in_plane_first`, done on blocks of slices as they are read.

    Read is only what these steps look at, and the padding mask only for steps that could ask for it.
    """
    early, _, cut = in_plane_first(steps)
    ready = ready_steps(steps)
    geometric = [hasattr(module, "in_plane_part") or hasattr(module, "kept") for module, _ in ready]
    with_padding = not all(g or getattr(m, "slicewise", _never)(s) for g, (m, s) in zip(geometric, ready, strict=True))
    module, settings = ready[0]

    def needed(series: Volume) -> list[slice]:
        [(cutting, wanted)] = ready_steps([cut])

        def kept(shape: Sequence[int]) -> tuple[slice, slice, slice]:
            return cutting.kept(series, shape, wanted)[0], *_kept_in_plane(series, cut, shape)[1:]

        return module.needed(series, settings, kept)

    only_part = len(early) == 1 and cut is not None and hasattr(module, "needed")
    blocks = read_blocks(rows, with_padding, needed if only_part else None)
    done = [run_steps(replace(block, expendable=True), early, cut) for block in blocks]
    padding = [part.padding_mask for part in done]
    if any(mask is not None for mask in padding):
        padding = [
            np.zeros(part.values.shape[:3], bool) if mask is None else mask
            for part, mask in zip(done, padding, strict=True)
        ]
    return replace(
        done[0],
        values=np.concatenate([part.values for part in done]),
        padding_mask=None if padding[0] is None else np.concatenate(padding),
        slice_index=np.concatenate([part.slice_index for part in done]),
    )


def _in_few_blocks(rows: pd.DataFrame) -> pd.DataFrame:
    """What readers look at of the same table, its texts and names as objects.

    pandas takes long to cut a series out of Arrow columns, and three times as long to find a column by an Arrow name.
    """
    rows = rows.set_axis(rows.columns.astype(object), axis=1)
    rows = rows[[name for name in READ_BY if name in rows]]
    texts = [name for name, dtype in rows.dtypes.items() if isinstance(dtype, pd.StringDtype)]
    return rows.astype(dict.fromkeys(texts, object)).copy()


def early_step(step: dict) -> EarlyStep | None:
    """The step as a reader does it to slices one by one, each while it is in the cache; None where it cannot."""
    [(module, settings)] = ready_steps([step])
    if not hasattr(module, "of_slices"):
        return None
    return EarlyStep(*(partial(way, settings=settings) for way in (module.apply, module.of_slices, module.placed)))


def take_slices_one_by_one(steps: list[dict]) -> bool:
    """Whether every step does the same to a slice whatever the slices around it are."""
    return all(getattr(module, "slicewise", _never)(settings) for module, settings in ready_steps(steps))


def _never(settings) -> bool:
    return False


def _named(unit: str, channels: tuple[str, ...]) -> dict[str, np.ndarray]:
    return {"unit": np.array(unit), "channels": np.array(channels, dtype="U")}


def _assert_alike(part: Part, first: Part) -> None:
    """All images of a chunk have one shape and channels, and one unit unless a step has mapped them to [0, 1]."""
    if part.images.shape[1:] != first.images.shape[1:]:
        raise CannotPreprocess(
            f"series {part.series_id}: images of shape {part.images.shape[1:]} (spatial, channels), earlier ones "
            f"{first.images.shape[1:]}; add the step resize or crop_or_pad so that all images get one size"
        )
    if part.channels != first.channels:
        raise CannotPreprocess(
            f"series {part.series_id}: channels {part.channels}, earlier ones {first.channels}; make the reader give "
            "all images alike (grey or rgb), or exclude one kind"
        )
    if part.unit != first.unit and not (_is_mapped(part) and _is_mapped(first)):
        raise CannotPreprocess(
            f"series {part.series_id}: values in '{part.unit}', earlier ones in '{first.unit}', and stored as they are "
            "one number would mean two things; add a step that maps each series to [0, 1] (percentile, min_max over "
            "volume), give the reader's unit where it has that setting (NIfTI), or exclude one kind"
        )


def _is_mapped(part: Part) -> bool:
    """Whether a step has mapped the values to [0, 1]: what they meant, slope and intercept say image by image."""
    return part.images.dtype == np.uint8 or not (part.slope == 1).all()


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """The arrays as an NPZ file that appears whole or not at all; same arrays, same bytes (numpy writes no time)."""
    with whole_file(path) as file:
        np.savez(file, **arrays)


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of `write_npz`."""
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
