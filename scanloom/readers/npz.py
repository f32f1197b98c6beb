"""NPZ files in the manner of MedMNIST: arrays of images by split, with arrays of labels beside them.

Every entry of an image array is a series: `[n, y, x]` and `[n, y, x, 3]` hold pictures, `[n, z, y, x]` volumes (a last
axis of 1, 3 or 4 is read as channels). `frame` counts entries through all splits in the order of `images`.
Labels come as a table with the columns index, split and label, the official split with them.
Values that are no numbers count as padding; an entry that has nothing else is a reason to leave its file out.
Reasons for leaving a file out: "not an NPZ file", "truncated", "undecodable", "no image arrays",
"values that are not numbers", "unreadable", "not an image (declared)".
"""

import math
import os
import shutil
import tempfile
import zipfile
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import Field

from scanloom.readers._scan import (
    Grouped,
    ScanResult,
    file_frame,
    images_alike,
    one_image_per_series,
    private_errors,
    read_files,
)
from scanloom.readers._volume import Volume, fill_what_is_not_finite
from scanloom.strict_models import Strict

NOT_NPZ = "not an NPZ file"
ZIP = b"PK\x03\x04"
PIECE = 1 << 20  # bytes of an array that are looked at together
LARGEST_IN_MEMORY = 1 << 28  # bytes of one array


class NotAnArray(ValueError):
    """An NPY member whose content is not plain numbers, or not as many as its header says."""


class NotNumbers(ValueError):
    """An entry without a single finite number."""


class Settings(Strict):
    """Names of the arrays."""

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
    root: Path,
    settings: Settings,
    *,
    modality: str | None = None,
    declared: frozenset[str] = frozenset(),
    workers: int = 1,
    unpack_to: Path | None = None,
) -> ScanResult:
    """All files below root, every entry of the image arrays in those that are NPZ, and their labels."""
    read = read_files(
        _arrays,
        root,
        settings,
        ignore=settings.ignore,
        declared=declared,
        foreign=NOT_NPZ,
        workers=workers,
        unpack_to=unpack_to,
    )
    images, labels, offset = [], [], 0
    for path, (_, arrays) in read.results.items():
        for split, (shape, dtype, label) in (arrays or {}).items():
            images.append(_rows(path, split, shape, dtype, offset, settings, modality or ""))
            labels.append(_label_table(path, split, label, shape[0], offset, settings))
            offset += shape[0]
    known = [table for table in labels if table is not None]
    files = file_frame({path: reason for path, (reason, _) in read.results.items()})
    return ScanResult(
        files, images_alike(images), pd.concat(known, ignore_index=True) if known else None, places=read.places
    )


def recognises(start: bytes) -> bool:
    """True for the first bytes of a ZIP archive whose first member is an array."""
    return start.startswith(ZIP) and b".npy" in start


def _arrays(path: str, settings: Settings) -> tuple[str, dict | None]:
    """(reason, {split: (shape, dtype of the images, labels or None)}).

    The image arrays are decompressed piece by piece, which checks their checksums, and not kept: some have 16 GB.
    """
    if not os.access(path, os.R_OK):
        return "unreadable", None
    if not zipfile.is_zipfile(path):
        with open(path, "rb") as file:
            return ("truncated" if file.read(len(ZIP)) == ZIP else NOT_NPZ), None
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            if not any(name.endswith(".npy") for name in names):
                return NOT_NPZ, None
            arrays = {}
            for split, name in settings.images.items():
                if f"{name}.npy" in names:
                    shape, dtype = _checked_array(archive, f"{name}.npy")
                    label = settings.labels.get(split)
                    arrays[split] = (shape, dtype, _small_array(archive, f"{label}.npy", names))
    except NotAnArray:
        return "undecodable", None
    except NotNumbers:
        return "values that are not numbers", None
    except Exception:
        # A damaged archive makes zipfile and NumPy raise a dozen kinds of errors; they mean the same.
        return "truncated", None
    return ("" if arrays else "no image arrays"), arrays


def _header_of(member) -> tuple[tuple[int, ...], np.dtype, bool]:
    """(shape, dtype, Fortran order) from the start of an open NPY file."""
    version = np.lib.format.read_magic(member)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise NotAnArray(f"NPY version {version}")
    shape, fortran, dtype = readers[version](member)
    if dtype.kind not in "biuf":
        raise NotAnArray(f"{dtype} values")
    return shape, dtype, fortran


def _checked_array(archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and dtype of a member, all of whose bytes were read."""
    with archive.open(name) as member:
        shape, dtype, fortran = _header_of(member)
        _axes(shape)
        per_entry = min(max(1, math.prod(shape[1:])), 1 << 62)
        size, finite, last = 0, 0, -1  # finite: entries with a number; the last of them
        while piece := member.read(PIECE):
            if dtype.kind == "f":
                numbers = np.frombuffer(piece[: len(piece) // dtype.itemsize * dtype.itemsize], dtype)
                found = np.unique((np.flatnonzero(np.isfinite(numbers)) + size // dtype.itemsize) // per_entry)
                if len(found):
                    finite += len(found) - int(found[0] == last)
                    last = int(found[-1])
            size += len(piece)
    if size != math.prod(shape) * dtype.itemsize:
        raise NotAnArray(f"{size} bytes for shape {shape} of {dtype}")
    # In Fortran's order neighbours are not of one entry, but an array of nothing but NaN is found all the same.
    if dtype.kind == "f" and size and (finite == 0 if fortran else finite < shape[0]):
        raise NotNumbers(f"entries of {name}")
    return shape, dtype


def _small_array(archive: zipfile.ZipFile, name: str, names: set[str]) -> np.ndarray | None:
    if name not in names:
        return None
    with archive.open(name) as member:
        try:
            return np.lib.format.read_array(member, allow_pickle=False)
        except ValueError as error:
            if "Object arrays" in str(error):
                raise NotAnArray(f"{name} holds Python objects") from error
            raise


def _axes(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """(z, y, x, channels) of one entry of an array of that shape; channels 0: no such axis."""
    entry = shape[1:]
    channels = entry[-1] if len(entry) >= 3 and entry[-1] in (1, 3, 4) else 0
    space = entry[:-1] if channels else entry
    if len(space) not in (2, 3):
        raise NotAnArray(f"image array of shape {shape}: expected [n, y, x], [n, y, x, c], [n, z, y, x] or with c")
    return (*((1,) if len(space) == 2 else ()), *space, channels)


def _rows(path, split, shape, dtype, offset, settings: Settings, modality: str) -> tuple[int, dict]:
    """(number of slices, their columns): one row per slice of every entry."""
    z, y, x, channels = _axes(shape)
    spacing = settings.spacing_mm or (np.nan,) * 3
    name = settings.images[split]
    numbers = np.repeat(np.arange(shape[0]), z)
    return len(numbers), {
        "path": path,
        "frame": offset + numbers,
        "sop_uid": np.array([f"{path}/{name}/{number}" for number in range(shape[0])], dtype=object)[numbers],
        "series_uid": f"{path}/{name}",
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
    """One array of the archive, kept: reading one entry means decompressing all. Large ones are kept on the disk."""
    with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as member:
        shape, dtype, fortran = _header_of(member)
        if fortran or math.prod(shape) * dtype.itemsize <= LARGEST_IN_MEMORY:
            with archive.open(f"{name}.npy") as again:
                return np.lib.format.read_array(again, allow_pickle=False)
        with tempfile.TemporaryFile() as file:  # lives as long as the array does
            shutil.copyfileobj(member, file, 1 << 20)
            file.flush()
            return np.memmap(file, dtype, "r", shape=shape)


@private_errors
def read_series(root: Path, rows: pd.DataFrame, settings: Settings) -> Volume:
    """The entry as a volume; unit "0-255" for uint8, "0-65535" for uint16, else "arbitrary"."""
    path = Path(root) / rows.path.iloc[0]
    name, number = rows.sop_uid.iloc[0].rsplit("/", 2)[1:]
    array = _loaded(str(path), name, path.stat().st_mtime_ns)
    z, y, x, channels = _axes(array.shape)
    values = array[int(number)].astype(np.float32).reshape((z, y, x, channels) if channels > 1 else (z, y, x))
    padding = fill_what_is_not_finite(values)
    unit = {"uint8": "0-255", "uint16": "0-65535"}.get(str(array.dtype), "arbitrary")
    names = {3: ("red", "green", "blue"), 4: ("red", "green", "blue", "alpha")}.get(channels, ("image",))
    return Volume(
        values=values,
        unit=unit,
        spacing_mm=settings.spacing_mm or (np.nan,) * 3,
        padding_mask=padding,
        channels=names,
        slice_index=rows.slice_index.to_numpy(dtype=np.int64),
    )
