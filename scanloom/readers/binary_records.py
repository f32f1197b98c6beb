"""Files of equal records without a header: labels of one byte each, then a picture of one byte per channel and pixel.

The binary version of CIFAR-10 (https://www.cs.toronto.edu/~kriz/cifar.html) is written so: 1 label, then 1,024 red,
1,024 green and 1,024 blue values, rows from the top. Labels come as a table with the columns index, path, split and one
per label.
Reasons for leaving a file out: "not a record file" (its name fits no pattern), "truncated" (not a whole number of
records), "unreadable", "not an image (declared)".
"""

import os
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

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
from scanloom.readers._volume import Volume
from scanloom.strict_models import Strict

FOREIGN = "not a record file"
CHANNELS = {1: ("image",), 3: ("red", "green", "blue")}


class Settings(Strict):
    """Which files there are, and how a record is laid out."""

    files: dict[str, str] = Field(min_length=1, description="split name -> pattern of its files' names")
    label_columns: list[str] = Field(["label"], description="names of a record's first bytes; []: no labels")
    shape: tuple[int, int] = Field(description="rows and columns of a picture")
    channels: Literal[1, 3] = Field(1, description="1: grey; 3: red, green and blue, one plane after the other")
    ignore: list[str] = Field([], description="patterns of files that are no images; counted as declared")

    @property
    def record(self) -> np.dtype:
        """One record: `label` uint8 [labels], `image` uint8 [channels, y, x]."""
        image = ("image", np.uint8, (self.channels, *self.shape))
        return np.dtype([("label", np.uint8, (len(self.label_columns),)), image])


def scan(
    root: Path,
    settings: Settings,
    *,
    modality: str | None = None,
    declared: frozenset[str] = frozenset(),
    workers: int = 1,
    unpack_to: Path | None = None,
) -> ScanResult:
    """All files below root, every record of those that fit a pattern, and their labels."""
    read = read_files(
        _labels,
        root,
        settings,
        ignore=settings.ignore,
        declared=declared,
        foreign=FOREIGN,
        workers=workers,
        unpack_to=unpack_to,
    )
    images, tables = [], []
    for path, (reason, found) in read.results.items():
        if reason or found is None:
            continue
        split, labels = found
        numbers = np.arange(len(labels))
        values = {
            "path": path,
            "frame": numbers,
            "sop_uid": [f"{path}/{number}" for number in numbers],
            "series_uid": path,
            "modality": modality or "",
            "rows": settings.shape[0],
            "columns": settings.shape[1],
            "samples": settings.channels,
            "bits_stored": 8,
            "transfer_syntax": "records",
        }
        images.append((len(labels), values))
        table = pd.DataFrame({"index": numbers.astype(str), "path": path, "split": split}, dtype="str")
        columns = zip(settings.label_columns, labels.T, strict=True)
        tables.append(table.assign(**{name: values.astype(str) for name, values in columns}))
    files = file_frame({path: reason for path, (reason, _) in read.results.items()})
    labels = pd.concat(tables, ignore_index=True).astype("str") if tables else None
    return ScanResult(files, images_alike(images), labels, places=read.places)


def _labels(path: str, settings: Settings) -> tuple[str, tuple[str, np.ndarray] | None]:
    """(reason, (split, labels uint8 [records, labels]))."""
    splits = [split for split, pattern in settings.files.items() if fnmatch(os.path.basename(path), pattern)]
    if not splits:
        return FOREIGN, None
    if not os.access(path, os.R_OK):
        return "unreadable", None
    records, rest = divmod(os.path.getsize(path), settings.record.itemsize)
    if rest or not records:
        return "truncated", None
    return "", (splits[0], np.array(np.memmap(path, settings.record, "r")["label"]))


def group_series(scan: ScanResult, settings: Settings) -> Grouped:
    """Each record is a series."""
    return one_image_per_series(scan, scan.images.sop_uid)


@private_errors
def read_series(root: Path, rows: pd.DataFrame, settings: Settings) -> Volume:
    """The picture as a volume of one slice; unit "0-255"."""
    record = np.memmap(Path(root) / rows.path.iloc[0], settings.record, "r")[int(rows.frame.iloc[0])]
    values = record["image"].astype(np.float32)
    return Volume(
        values=values if settings.channels == 1 else np.moveaxis(values, 0, -1)[None],
        unit="0-255",
        spacing_mm=(np.nan,) * 3,
        channels=CHANNELS[settings.channels],
        slice_index=rows.slice_index.to_numpy(dtype=np.int64),
    )
