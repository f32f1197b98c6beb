"""A few slices of many cases, as read and as the network gets them; and of the first of them, what every step did."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
import pandas as pd

from scanloom import plugins
from scanloom.identity import item_ids
from scanloom.images.preprocessing import preprocess_series, ready_steps
from scanloom.readers._volume import Volume
from scanloom.splitting.splits import patient_rank
from scanloom.steps._scale import is_scaled

BEFORE_PX = 96  # longer side of the picture before preprocessing; the report caps its size
HU_RANGE = (-1024.0, 2000.0)  # air to dense bone: the whole range of a head CT, one grey scale for all cases
COLOURS = {"red", "green", "blue"}

STRIPS = 3  # cases followed step by step
STRIP_PX = 144
MOST_SHOWN = 3  # channels of a stage that get a picture each
BINS = 48
SAMPLE = 200_000  # values behind a histogram: a regular sample of the series


@dataclass(frozen=True)
class Stage:
    """One case after one step: pictures uint8 [channels, px, px] (colour: [1, px, px, 3]) and what their grey means.

    channels: names. grey, span: float64 [channels, 2], the physical values shown as black and white, and the smallest
    and largest value as it is held. histogram: float32 [channels, BINS], shares of pixels from black to white, what
    lies beyond in the outer bins. size: slices, rows, columns. spacing_mm: along z, y, x.
    """

    pictures: np.ndarray
    channels: tuple[str, ...]
    grey: np.ndarray
    span: np.ndarray
    histogram: np.ndarray
    size: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]


def choose_cases(images: pd.DataFrame, label: str | None, cases: int, seed: int) -> pd.DataFrame:
    """One image each of up to `cases` patients, classes in turn: rows of `images`, in an order from the seed.

    Without a label, or where no image has it, patients come in that order alone.
    """
    if label is None or images[label].isna().all():
        images, label = images.assign(_class=0), "_class"
    images = images.dropna(subset=[label])
    order = patient_rank(seed, "contact sheet", images["item_id"])
    images = images.assign(_order=order).sort_values("_order").drop_duplicates("patient_id")
    turn = images.groupby(label).cumcount()
    chosen = images.assign(_turn=turn).sort_values(["_turn", label]).head(cases)
    return chosen.drop(columns=[column for column in chosen if column in ("_order", "_turn", "_class")])


def contact_sheet(
    read: Callable[[pd.DataFrame], Volume],
    chunk_rows: pd.DataFrame,
    images: pd.DataFrame,
    steps: list[dict],
    rank: int,
    dtype: str,
    label: str | None,
    classes: list[str],
    cases: int,
    seed: int,
) -> dict[str, np.ndarray]:
    """Arrays of the sheet: before uint8 [n, h, w] (grey; the middle slice at rank 3), after uint8 [n, h, w, channels],
    item_id, label (class name) and channels; and those of `strips_of` for the first cases.

    chunk_rows, images: private image rows and public image table of the whole dataset. A case that preprocessing drops
    is passed over.
    """
    before, after, chosen, strips, channels = [], [], [], [], ()
    for case in choose_cases(images, label, cases, seed).to_dict("records"):
        volume = read(chunk_rows[chunk_rows["series_id"] == case["series_id"]])
        pixels, kept, _, _, intercept, _, channels = preprocess_series(volume, steps, rank, dtype)
        made = item_ids(pd.Series([case["series_id"]] * len(kept)), pd.Series(kept))
        place = np.flatnonzero(made == case["item_id"]) if rank == 2 else np.array([0])
        if not len(place):
            continue
        stored = pixels if rank == 2 else pixels[0]  # [z, y, x, c]
        shown = int(place[0]) if rank == 2 else len(stored) // 2
        position = case["slice_index"] if rank == 2 else volume.slices // 2
        if len(strips) < STRIPS:
            strips.append(follow_steps(volume, steps, position, stored, shown, float(intercept[0])))
        before.append(_as_picture(volume, position))
        after.append((stored[shown] >> 8).astype(np.uint8) if dtype == "uint16" else stored[shown])
        known = label is not None and not pd.isna(case[label])
        chosen.append((case["item_id"], classes[int(case[label])] if known else ""))
    return {
        "before": np.stack(before) if before else np.zeros((0, BEFORE_PX, BEFORE_PX), np.uint8),
        "after": np.stack(after) if after else np.zeros((0, 1, 1, 1), np.uint8),
        "item_id": np.array([item for item, _ in chosen], dtype="U"),
        "label": np.array([name for _, name in chosen], dtype="U"),
        "channels": np.array(channels, dtype="U"),
    } | (strips_of(strips, steps, volume.unit, dtype) if strips else {})


def follow_steps(
    volume: Volume, steps: list[dict], position: int, stored: np.ndarray, shown: int, intercept: float
) -> list[Stage]:
    """One slice as read, after each step, and as stored.

    position: its number in the whole stack. stored: integers [z, y, x, c] of the series after all steps, where the
    slice is number `shown`; intercept: of the stored integers. After a step that makes new slices the middle one is
    followed.
    """
    as_read = _as_read_scale(volume)
    stages = [_stage(volume, position, as_read)]
    for module, settings in ready_steps(steps):
        volume = module.apply(volume, settings)
        stages.append(_stage(volume, position, (0.0, 1.0) if is_scaled(volume) else as_read))
    whole_range = (0.0, float(np.iinfo(stored.dtype).max))
    scale = whole_range if is_scaled(volume) else (as_read[0] - intercept, as_read[1] - intercept)
    integers = replace(
        volume,
        values=stored.astype(np.float32),
        unit="stored",
        slope=(),
        intercept=(),
        padding_mask=None,
        slice_index=np.arange(len(stored)),
    )
    return [*stages, _stage(integers, shown, scale)]


def strips_of(strips: list[list[Stage]], steps: list[dict], unit: str, dtype: str) -> dict[str, np.ndarray]:
    """Arrays of the followed cases; s cases, t stages, up to c channels of a stage shown, of the number that it has.

    stages, stage_settings, stage_units str [t]; strip_channels str [t, c], "" where a stage has fewer; channel_counts
    int [t]; strips uint8 [s, t, c, px, px] (colour: [..., 3]); strip_grey, strip_span float [s, t, c, 2];
    strip_histogram [s, t, c, BINS]; strip_size int [s, t, 3]; strip_spacing_mm float [s, t, 3].
    """
    first = strips[0]
    widest = max(len(stage.pictures) for stage in first)

    def stacked(name: str) -> np.ndarray:
        rows = [[getattr(stage, name)[:widest] for stage in strip] for strip in strips]
        fill = [(0, 0)] * (rows[0][0].ndim - 1)
        return np.stack([[np.pad(a, [(0, widest - len(a)), *fill]) for a in strip] for strip in rows])

    names = [[*stage.channels[: len(stage.pictures)]] for stage in first]
    return {
        "stages": np.array(["as read", *(step["name"] for step in steps), "stored"]),
        "stage_settings": np.array(["", *(_changed_settings(step) for step in steps), dtype]),
        "stage_units": np.array([unit] * (len(first) - 1) + [""]),
        "channel_counts": np.array([len(stage.channels) for stage in first]),
        "strip_channels": np.array([row + [""] * (widest - len(row)) for row in names]),
        "strips": stacked("pictures"),
        "strip_grey": stacked("grey"),
        "strip_span": stacked("span"),
        "strip_histogram": stacked("histogram"),
        "strip_size": np.array([[stage.size for stage in strip] for strip in strips]),
        "strip_spacing_mm": np.array([[stage.spacing_mm for stage in strip] for strip in strips], np.float64),
    }


def _changed_settings(step: dict) -> str:
    """`windows: brain, bone; size: 36 x 36`: the settings that are not defaults, in words."""
    fields = plugins.load("steps", step["name"]).Settings.model_fields
    defaults = {name: json.loads(json.dumps(field.get_default(), default=str)) for name, field in fields.items()}
    return "; ".join(
        f"{name.replace('_', ' ')}: {_words(value)}"
        for name, value in step["settings"].items()
        if defaults.get(name) != value and value is not None
    )


def _words(value) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name} {_words(inner)}" for name, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join("–" if part is None else _words(part) for part in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _as_read_scale(volume: Volume) -> tuple[float, float]:
    """The values shown as black and white until a step maps them to [0, 1], so that steps can be compared."""
    if volume.unit == "HU":
        return HU_RANGE
    if volume.unit == "0-255":
        return 0.0, 255.0
    low, high = np.percentile(_sample(volume.values), [0.5, 99.5])
    return float(low), float(max(high, low + 1e-6))


def _sample(values: np.ndarray) -> np.ndarray:
    return values.ravel()[:: max(1, values.size // SAMPLE)]


def _stage(volume: Volume, position: int, scale: tuple[float, float]) -> Stage:
    """What a volume shows at the slice that was number `position` of the stack as read; scale: black and white."""
    found = np.flatnonzero(volume.slice_index == position)
    values = volume.with_channels()
    plane = values[found[0] if len(found) else volume.slices // 2]
    if set(volume.channels) == COLOURS:
        pictures, shown = [_square(plane, scale, STRIP_PX)], values[..., np.newaxis, :]
    else:
        pictures = [_square(plane[..., c], scale, STRIP_PX) for c in range(min(MOST_SHOWN, plane.shape[-1]))]
        shown = values[..., : len(pictures), np.newaxis]
    back = np.stack([volume.slope, volume.intercept], axis=-1)[: len(pictures)]
    parts = [shown[..., c, :] for c in range(len(pictures))]
    counts = [np.histogram(np.clip(_sample(part), *scale), bins=BINS, range=scale)[0] for part in parts]
    return Stage(
        pictures=np.stack(pictures),
        channels=volume.channels,
        grey=back[:, :1] * np.array([scale]) + back[:, 1:],
        span=np.array([[part.min(), part.max()] for part in parts], np.float64),
        histogram=np.array([count / count.sum() for count in counts], np.float32),
        size=values.shape[:3],
        spacing_mm=volume.spacing_mm,
    )


def _as_picture(volume: Volume, position: int) -> np.ndarray:
    """One slice as a square grey picture: its whole range of values, colours as their mean."""
    plane = volume.with_channels()[position].mean(-1)
    scale = HU_RANGE if volume.unit == "HU" else (float(plane.min()), float(plane.max()))
    return _square(plane, scale, BEFORE_PX)


def _square(plane: np.ndarray, scale: tuple[float, float], px: int) -> np.ndarray:
    """uint8 [px, px] or [px, px, 3]: float32 [y, x] or [y, x, 3] as large as fits, in the middle, black around it."""
    low, high = scale
    grey = np.clip((plane - low) / max(high - low, 1e-6), 0, 1)
    factor = px / max(grey.shape[:2])
    size = (max(1, round(grey.shape[1] * factor)), max(1, round(grey.shape[0] * factor)))
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_NEAREST)
    square = np.zeros((px, px, *grey.shape[2:]), np.float32)
    top, left = (px - small.shape[0]) // 2, (px - small.shape[1]) // 2
    square[top : top + small.shape[0], left : left + small.shape[1]] = small
    return np.rint(square * 255).astype(np.uint8)
