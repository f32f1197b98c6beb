"""A few slices of many cases, as read and as the network gets them."""

from collections.abc import Callable

import cv2
import numpy as np
import pandas as pd

from scanloom.identity import item_ids
from scanloom.preprocessing import preprocess_series
from scanloom.readers._volume import Volume
from scanloom.splits import patient_rank

BEFORE_PX = 96  # longer side of the picture before preprocessing; the report caps its size
HU_RANGE = (-1024.0, 2000.0)  # air to dense bone: the whole range of a head CT, one grey scale for all cases


def choose_cases(images: pd.DataFrame, label: str, cases: int, seed: int) -> pd.DataFrame:
    """One image each of up to `cases` patients, classes in turn: rows of `images`, in an order from the seed."""
    images = images.dropna(subset=[label])
    order = patient_rank(seed, "contact sheet", images["item_id"])
    images = images.assign(_order=order).sort_values("_order").drop_duplicates("patient_id")
    turn = images.groupby(label).cumcount()
    return images.assign(_turn=turn).sort_values(["_turn", label]).head(cases).drop(columns=["_order", "_turn"])


def contact_sheet(
    read: Callable[[pd.DataFrame], Volume],
    chunk_rows: pd.DataFrame,
    images: pd.DataFrame,
    steps: list[dict],
    rank: int,
    dtype: str,
    label: str,
    classes: list[str],
    cases: int,
    seed: int,
) -> dict[str, np.ndarray]:
    """Arrays of the sheet: before uint8 [n, h, w] (grey; the middle slice at rank 3), after uint8 [n, h, w, channels],
    item_id, label (class name) and channels.

    chunk_rows, images: private image rows and public image table of the whole dataset. A case that preprocessing drops
    is passed over.
    """
    before, after, chosen, channels = [], [], [], ()
    for case in choose_cases(images, label, cases, seed).itertuples():
        volume = read(chunk_rows[chunk_rows["series_id"] == case.series_id])
        pixels, kept, *_, channels = preprocess_series(volume, steps, rank, dtype)
        made = item_ids(pd.Series([case.series_id] * len(kept)), pd.Series(kept))
        place = np.flatnonzero(made == case.item_id) if rank == 2 else np.array([0])
        if not len(place):
            continue
        image = pixels[place[0]] if rank == 2 else pixels[0, pixels.shape[1] // 2]
        position = case.slice_index if rank == 2 else volume.slices // 2
        before.append(_as_picture(volume, position))
        after.append((image >> 8).astype(np.uint8) if dtype == "uint16" else image)
        chosen.append((case.item_id, classes[int(getattr(case, label))]))
    return {
        "before": np.stack(before) if before else np.zeros((0, BEFORE_PX, BEFORE_PX), np.uint8),
        "after": np.stack(after) if after else np.zeros((0, 1, 1, 1), np.uint8),
        "item_id": np.array([item for item, _ in chosen], dtype="U"),
        "label": np.array([name for _, name in chosen], dtype="U"),
        "channels": np.array(channels, dtype="U"),
    }


def _as_picture(volume: Volume, position: int) -> np.ndarray:
    """One slice as a square grey picture: its whole range of values, colours as their mean."""
    plane = volume.with_channels()[position].mean(-1)
    low, high = HU_RANGE if volume.unit == "HU" else (float(plane.min()), float(plane.max()))
    grey = np.clip((plane - low) / max(high - low, 1e-6), 0, 1)
    scale = BEFORE_PX / max(grey.shape)
    size = (max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale)))
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    square = np.zeros((BEFORE_PX, BEFORE_PX), np.float32)
    top, left = (BEFORE_PX - small.shape[0]) // 2, (BEFORE_PX - small.shape[1]) // 2
    square[top : top + small.shape[0], left : left + small.shape[1]] = small
    return np.rint(square * 255).astype(np.uint8)
