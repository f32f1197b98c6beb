"""TFRecord files that other programs wrote: `tf.train.Example` messages with a JPEG or PNG picture and its label.

The features are those of TensorFlow's own converters: `image/encoded`, `image/class/label`, `image/class/text`,
`image/filename`; others by the settings. Files compressed with gzip are read, too. Every record is a series; its
checksum is compared and its picture decoded once. Labels come as a table with the columns index, path, split and those
of the settings.
Reasons for leaving a file out: "not a TFRecord file", "truncated" (also where a record's length is damaged, because
what follows cannot be found), "no encoded images", "archive bomb", "unreadable", "not an image (declared)"; a single
record: "damaged record", "no encoded image", "undecodable".
"""

import gzip
import io
import os
import tempfile
import warnings
import zlib
from collections import Counter
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import pandas as pd
from PIL import Image
from pydantic import Field

from scanloom.readers._pictures import BITS, CHANNELS, check_png, picture_unit, picture_values
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
from scanloom.shards import tfrecord_wire as wire
from scanloom.strict_models import Strict

FORMATS = ("PNG", "JPEG")
FOREIGN = "not a TFRecord file"
GZIP = b"\x1f\x8b"
FREE_BYTES, RATIO = 1 << 30, 200  # a gzip file may become so large, or so many times as large as it is


class Settings(Strict):
    """Names of the features, and which files belong to which split."""

    image: str = Field("image/encoded", description="feature that holds the picture's file, JPEG or PNG")
    labels: dict[str, str] = Field(
        {"label": "image/class/label", "text": "image/class/text", "filename": "image/filename"},
        description="column of the label table -> feature; several values are joined by |, a missing one is empty",
    )
    splits: dict[str, str] = Field(
        {"train": "*train*", "validation": "*val*", "test": "*test*"},
        description="split name -> pattern of its files' names; the first that fits counts",
    )
    channels: Literal["grey", "rgb"] = Field("grey", description="grey: one channel (ITU-R 601 luma); rgb: three")
    ignore: list[str] = Field([], description="patterns of files that are no images (masks/*); counted as declared")


def scan(
    root: Path,
    settings: Settings,
    *,
    modality: str | None = None,
    declared: frozenset[str] = frozenset(),
    workers: int = 1,
    unpack_to: Path | None = None,
) -> ScanResult:
    """All files below root, every record of those that are TFRecords, and their labels."""
    read = read_files(
        _records,
        root,
        settings,
        ignore=settings.ignore,
        declared=declared,
        foreign=FOREIGN,
        workers=workers,
        unpack_to=unpack_to,
    )
    images, tables = [], []
    for path, (_, found) in read.results.items():
        if found is None:
            continue
        about, labels = found
        numbers = np.arange(len(about["rows"]))
        fixed = {
            "path": path,
            "frame": numbers,
            "sop_uid": [f"{path}/{number}" for number in numbers],
            "series_uid": path,
            "modality": modality or "",
            "samples": len(CHANNELS[settings.channels]),
        }
        images.append((len(numbers), about | fixed))
        splits = [split for split, pattern in settings.splits.items() if fnmatch(os.path.basename(path), pattern)]
        index = {"index": numbers.astype(str), "path": path, "split": splits[0] if splits else ""}
        tables.append(pd.DataFrame(index | labels, dtype="str"))
    files = file_frame({path: reason for path, (reason, _) in read.results.items()})
    labels = pd.concat(tables, ignore_index=True).astype("str") if tables else None
    return ScanResult(files, images_alike(images), labels, places=read.places)


def _records(path: str, settings: Settings) -> tuple[str, tuple[dict, dict] | None]:
    """(reason, (columns of the images, columns of the label table)); of a record left out, `photometric` says why."""
    if not os.access(path, os.R_OK):
        return "unreadable", None
    try:
        with _opened(path) as file:
            places = _places(file)
            rows = [_record(file, start, length, settings) for start, length in places]
    except (_Foreign, wire.DamagedRecord) as error:
        return str(error) if isinstance(error, _Foreign) else "truncated", None
    except OSError:
        return "unreadable", None
    if all(kind == "no encoded image" for (kind, *_), _ in rows):
        return "no encoded images", None
    kinds, heights, widths, formats = zip(*(about for about, _ in rows), strict=True)
    about = {
        "photometric": list(kinds),
        "rows": list(heights),
        "columns": list(widths),
        "bits_stored": [BITS.get(kind, 8) for kind in kinds],
        "transfer_syntax": list(formats),
    }
    return "", (about, {column: [labels[column] for _, labels in rows] for column in settings.labels})


class _Foreign(ValueError):
    """A file of another format, or one not to be unpacked; its text is the reason."""


def _opened(path: str | Path) -> BinaryIO:
    """The file; a gzip file unpacked into a temporary one."""
    with open(path, "rb") as file:
        if file.read(2) != GZIP:
            return open(path, "rb")
    unpacked, allowed = tempfile.TemporaryFile(), max(FREE_BYTES, RATIO * os.path.getsize(path))  # noqa: SIM115
    try:
        with gzip.open(path) as packed:
            start = packed.read(wire.HEADER)
            if not _is_header(start):
                raise _Foreign(FOREIGN)
            unpacked.write(start)
            while piece := packed.read(1 << 20):
                unpacked.write(piece)
                if unpacked.tell() > allowed:
                    raise _Foreign("archive bomb")
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        started = unpacked.tell() > 0
        unpacked.close()
        raise (wire.DamagedRecord("gzip stream") if started else _Foreign(FOREIGN)) from error
    except BaseException:
        unpacked.close()
        raise
    return unpacked


def _is_header(start: bytes) -> bool:
    """Whether the bytes are a length with its checksum, which by chance they are once in 2^32 times."""
    check = int.from_bytes(start[8:12], "little")
    return len(start) == wire.HEADER and wire.checksum(start[:8]) == check


def _places(file: BinaryIO) -> list[tuple[int, int]]:
    file.seek(0)
    if not _is_header(file.read(wire.HEADER)):
        raise _Foreign(FOREIGN)
    return wire.find_records(file, "")


def _record(file: BinaryIO, start: int, length: int, settings: Settings) -> tuple[tuple[str, int, int, str], dict]:
    """((Pillow's mode or why it is left out, rows, columns, format), label columns as text)."""
    labels = dict.fromkeys(settings.labels, "")
    try:
        features = wire.decode_example(wire.read_record(file, start, length))
    except (wire.DamagedRecord, ValueError, OverflowError):
        return ("damaged record", 0, 0, ""), labels
    labels = {column: _text(features.get(name, [])) for column, name in settings.labels.items()}
    encoded = features.get(settings.image)
    if not isinstance(encoded, list) or len(encoded) != 1 or not encoded[0]:
        return ("no encoded image", 0, 0, ""), labels
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(encoded[0]), formats=FORMATS) as picture:
            kind, name = picture.mode, picture.format
            values = picture_values(picture, settings.channels)
        if name == "PNG":
            check_png(io.BytesIO(encoded[0]))
    except Exception:
        # Damaged pictures make decoders raise whatever they like; the record is counted, named and left out.
        return ("undecodable", 0, 0, ""), labels
    return (kind, *values.shape[:2], name), labels


def _text(values) -> str:
    """Values of a feature as a label table has them."""
    if isinstance(values, list):
        return "|".join(value.decode("utf-8", "replace") for value in values)
    return "|".join(f"{value:.9g}" if values.dtype.kind == "f" else str(value) for value in values)


def group_series(scan: ScanResult, settings: Settings) -> Grouped:
    """Each record is a series; where records of its file are left out, `detail` says how many and why."""
    grouped = one_image_per_series(scan, scan.images.sop_uid)
    first = grouped.images.set_index("series_key").loc[grouped.series.series_key]
    reason = first.photometric.where(first["rows"] == 0, "").astype("str")
    detail = {}
    for path, reasons in reason.groupby(first.path.to_numpy()):
        out = Counter(reasons[reasons != ""])
        names = ", ".join(f"{count} {name}" for name, count in sorted(out.items()))
        detail[path] = f"{out.total()} of {len(reasons)} records left out: {names}" if out else ""
    series = grouped.series.assign(reason=reason.to_numpy(), detail=first.path.map(detail).to_numpy())
    return Grouped(series.astype({"reason": "str", "detail": "str"}), grouped.images)


@lru_cache(maxsize=4)
def _known(path: str, changed_ns: int) -> tuple[BinaryIO, list[tuple[int, int]]]:
    """The open file and where its records are, kept: a record's place follows from those before it."""
    file = _opened(path)
    return file, _places(file)


@private_errors
def read_series(root: Path, rows: pd.DataFrame, settings: Settings) -> Volume:
    """The picture as a volume of one slice; unit "0-255", "0-65535" for 16-bit grey."""
    path = Path(root) / rows.path.iloc[0]
    file, places = _known(str(path), path.stat().st_mtime_ns)
    features = wire.decode_example(wire.read_record(file, *places[int(rows.frame.iloc[0])]))
    with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(features[settings.image][0])) as picture:
        unit, values = picture_unit(picture), picture_values(picture, settings.channels)
    return Volume(
        values=values[np.newaxis],
        unit=unit,
        spacing_mm=(np.nan,) * 3,
        channels=CHANNELS[settings.channels],
        slice_index=rows.slice_index.to_numpy(dtype=np.int64),
    )
