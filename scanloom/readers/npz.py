"""NPZ files in the manner of MedMNIST: arrays of images by split, with arrays of labels beside them.

Every entry of an image array is a series: `[n, y, x]` and `[n, y, x, 3]` hold pictures, `[n, z, y, x]` volumes (a last
axis of 1, 3 or 4 is read as channels). `frame` counts entries through all splits in the order of `images`.
Labels come as a table with the columns index, split and label, the official split with them.
Reasons for leaving a file out: "not an NPZ file", "truncated", "no image arrays", "unreadable",
"not an image (declared)".
"""

import os
import zipfile
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from scanloom.readers._scan import (
    DECLARED,
    Grouped,
    ScanResult,
    file_frame,
    find_files,
    image_frame,
    one_image_per_series,
    private_errors,
    split_declared,
)
from scanloom.readers._volume import Volume


class Settings(BaseModel):
    """Names of the arrays."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    images: dict[str, str] = Field(
        {"train": "train_images", "validation": "val_images", "test": "test_images"},
        min_length=1,
        description="split name -> array of its images; the order fixes the index",
    )
    labels: dict[str, str] = Field(
        {"train": "train_labels", "validation": "val_labels", "test": "test_labels"},
        description="split name -> array of its labels, one row per image",
    )
    label_columns: list[str] = Field(["label"], min_length=1, description="names of the label array's columns")
    ignore: list[str] = Field([], description="patterns of files that are no images; counted as declared")
    spacing_mm: tuple[float, float, float] | None = Field(None, description="voxel distance (z, y, x) where known")


def scan(
    root: Path, settings: Settings, *, modality: str | None = None, declared: frozenset[str] = frozenset(), workers=1
) -> ScanResult:
    """All files below root, every entry of the image arrays in those that are NPZ, and their labels."""
    candidates, apart = split_declared(find_files(root), settings.ignore, declared)
    reasons = dict.fromkeys(apart, DECLARED)
    rows, labels, offset = [], [], 0
    for path in candidates:
        reasons[path], arrays = _arrays(Path(root) / path, settings)
        for split, (shape, dtype, label) in arrays.items():
            rows += _rows(path, split, shape, dtype, offset, settings, modality or "")
            labels.append(_label_table(path, split, label, shape[0], offset, settings))
            offset += shape[0]
    table = (
        pd.concat([table for table in labels if table is not None], ignore_index=True)
        if any(table is not None for table in labels)
        else None
    )
    return ScanResult(file_frame(reasons), image_frame(rows), table)


def _arrays(path: Path, settings: Settings) -> tuple[str, dict]:
    """(reason, {split: (shape, dtype of the images, labels or None)})."""
    if not os.access(path, os.R_OK):
        return "unreadable", {}
    if not zipfile.is_zipfile(path):
        with open(path, "rb") as file:
            return ("truncated" if file.read(4) == b"PK\x03\x04" else "not an NPZ file"), {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            found = {split: name for split, name in settings.images.items() if name in archive}
            arrays = {}
            for split, name in found.items():
                images = archive[name]
                label = settings.labels.get(split)
                arrays[split] = (images.shape, images.dtype, archive.get(label))
    except (ValueError, zipfile.BadZipFile, EOFError, OSError):
        return "truncated", {}
    return ("" if arrays else "no image arrays"), arrays


def _axes(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """(z, y, x, channels) of one entry of an array of that shape; channels 0: no such axis."""
    entry = shape[1:]
    channels = entry[-1] if len(entry) >= 3 and entry[-1] in (1, 3, 4) else 0
    space = entry[:-1] if channels else entry
    if len(space) not in (2, 3):
        raise ValueError(f"image array of shape {shape}: expected [n, y, x], [n, y, x, c], [n, z, y, x] or with c")
    return (*((1,) if len(space) == 2 else ()), *space, channels)


def _rows(path, split, shape, dtype, offset, settings: Settings, modality: str) -> list[dict]:
    """One row per slice of every entry."""
    z, y, x, channels = _axes(shape)
    spacing = settings.spacing_mm or (np.nan,) * 3
    common = {
        "path": path,
        "series_uid": f"{path}/{settings.images[split]}",
        "modality": modality,
        "rows": y,
        "columns": x,
        "samples": max(channels, 1),
        "bits_stored": dtype.itemsize * 8,
        "signed": dtype.kind == "i",
        "transfer_syntax": "NPZ",
        "spacing_y_mm": spacing[1],
        "spacing_x_mm": spacing[2],
    }
    name = settings.images[split]
    return [
        common | {"frame": offset + number, "sop_uid": f"{path}/{name}/{number}"}
        for number in range(shape[0])
        for _ in range(z)
    ]


def _label_table(path, split, label, count, offset, settings: Settings) -> pd.DataFrame | None:
    """index, path, split and the label columns as text, as a label table read from a file would be."""
    if label is None:
        return None
    label = label.reshape(len(label), -1)
    if label.shape != (count, len(settings.label_columns)):
        raise ValueError(
            f"{settings.labels[split]} has {label.shape[0]} rows and {label.shape[1]} columns; expected {count} rows"
            f" (as {settings.images[split]}) and the columns {settings.label_columns} (setting label_columns)"
        )
    index = [str(offset + number) for number in range(count)]
    table = pd.DataFrame({"index": index, "path": path, "split": split}, dtype="str")
    for column, values in zip(settings.label_columns, label.T, strict=True):
        table[column] = pd.Series([str(value) for value in values.tolist()], dtype="str")
    return table


def group_series(scan: ScanResult, settings: Settings) -> Grouped:
    """Each entry is a series; a volume's rows are its slices."""
    grouped = one_image_per_series(scan, scan.images.sop_uid)
    if settings.spacing_mm is not None:
        grouped = Grouped(grouped.series.assign(spacing_z_mm=settings.spacing_mm[0]), grouped.images)
    return grouped


@lru_cache(maxsize=4)
def _loaded(path: str, name: str, changed_ns: int) -> np.ndarray:
    """One array of the archive, kept: reading one entry means decompressing all."""
    with np.load(path, allow_pickle=False) as archive:
        return archive[name]


@private_errors
def read_series(root: Path, rows: pd.DataFrame, settings: Settings) -> Volume:
    """The entry as a volume; unit "0-255" for uint8, "0-65535" for uint16, else "arbitrary"."""
    path = Path(root) / rows.path.iloc[0]
    name, number = rows.sop_uid.iloc[0].rsplit("/", 2)[1:]
    array = _loaded(str(path), name, path.stat().st_mtime_ns)
    z, y, x, channels = _axes(array.shape)
    values = array[int(number)].astype(np.float32).reshape((z, y, x, channels) if channels > 1 else (z, y, x))
    unit = {"uint8": "0-255", "uint16": "0-65535"}.get(str(array.dtype), "arbitrary")
    names = {3: ("red", "green", "blue"), 4: ("red", "green", "blue", "alpha")}.get(channels, ("image",))
    return Volume(
        values=values,
        unit=unit,
        spacing_mm=settings.spacing_mm or (np.nan,) * 3,
        channels=names,
        slice_index=rows.slice_index.to_numpy(dtype=np.int64),
    )
