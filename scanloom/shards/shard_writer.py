"""One chunk's shards and their manifest, written without TensorFlow: same input, same bytes.

What all records of a chunk share is serialised once, the image's bytes are neither copied nor serialised, and the
checksums run over the pieces: benchmarks/shard_writing.py.
"""

import gzip
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from itertools import repeat
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd

from scanloom.atomic_files import whole_file
from scanloom.files.joined_writes import write_pieces
from scanloom.identity import item_ids
from scanloom.shards import tfrecord_wire as wire
from scanloom.shards.records import FEATURES, FORMAT, LITTLE_ENDIAN, feature_list
from scanloom.splitting.splits import SPLITS, assert_disjoint

AFTER_IMAGE = [name for name in FEATURES if name != "image"]
GZIP_LEVEL = 1  # measured on the phantom: 2.3 times as fast as level 6, for files 6 % larger


def items_of(images: pd.DataFrame, labels: list[str], rank: int) -> pd.DataFrame:
    """One row per item: the image table at rank 2; at rank 3 one row per series, whose label is its slices' largest.

    images: columns item_id, series_id, slice_index, patient_id, split and the label columns.
    """
    columns = ["item_id", "series_id", "slice_index", "patient_id", "split", *labels]
    if rank == 2:
        return images[columns]
    series = images.groupby("series_id", sort=True, as_index=False)
    items = series.agg({"patient_id": "first", "split": "first", **dict.fromkeys(labels, "max")}).assign(slice_index=0)
    return items.assign(item_id=item_ids(items["series_id"], items["slice_index"]))[columns]


def write_chunk(
    preprocessed: dict,
    images: pd.DataFrame,
    labels: list[str],
    dataset: str,
    chunk: int,
    shards: dict[str, Path],
    manifest: Path,
    compression: str = "none",
) -> dict:
    """Write one chunk's shards and manifest; the manifest as a dictionary. Same input, same bytes.

    preprocessed: as `chunk_images.read_parts` gives it; its images are asked for one by one. images: the chunk's image
    table with its splits. shards: file of each split. compression: "none" or "gzip" (of the whole file, as TensorFlow
    reads it). Images that preprocessing dropped are counted in the manifest; an image that no row of the table
    describes is an error.
    """
    if set(shards) != set(SPLITS):
        raise ValueError(f"one shard each for {SPLITS}; got {sorted(shards)}")
    assert_disjoint(images, f"the image table of {dataset}, chunk {chunk}")
    pixels = preprocessed["images"]
    items = items_of(images, labels, pixels.ndim - 2)
    items = items.assign(row=items["item_id"].map(_row_of_item(preprocessed, items, f"{dataset}, chunk {chunk}")))
    kept = items.sort_values("item_id").dropna(subset="row").astype({"row": "int64"})
    written = {}
    for split in SPLITS:
        records = serialized_records(preprocessed, kept[kept["split"] == split], labels, dataset)
        with whole_file(Path(shards[split])) as file:
            hashed = _Hashed(file)
            if compression == "none":
                count = write_records(file, map(hashed.passing, records))
            else:
                count = _pack_records(hashed, records, compression)
        name = os.path.relpath(shards[split], Path(manifest).parent)
        written[split] = {"file": name, "records": count, "bytes": hashed.size, "sha256": hashed.digest.hexdigest()}
    summary = {
        "format": FORMAT,
        "dataset": dataset,
        "chunk": chunk,
        "compression": compression,
        "image": _image_spec(preprocessed),
        "steps": json.loads(str(preprocessed["steps"])) if "steps" in preprocessed else None,
        "labels": list(labels),
        "features": feature_list(list(pixels.shape[1:]), len(labels)) if len(pixels) else None,
        "dropped_by_steps": int(items["row"].isna().sum()),
        "splits": written,
    }
    with whole_file(Path(manifest)) as file:
        file.write((json.dumps(summary, indent=1) + "\n").encode())
    return summary


def serialized_records(
    preprocessed: dict, items: pd.DataFrame, labels: list[str], dataset: str
) -> Iterator[tuple[bytes, np.ndarray, bytes]]:
    """(what stands before the image, the image, what stands after it) of one framed record per item.

    items: item_id, series_id, patient_id, split, slice_index, row (of the preprocessed arrays) and the label columns.
    """
    pixels, rows = preprocessed["images"], items["row"].to_numpy()
    image_type = np.dtype(LITTLE_ENDIAN[str(pixels.dtype)])
    shared = {"shape": np.array(pixels.shape[1:]), "dtype": str(pixels.dtype), "dataset": dataset}
    columns = {name: repeat(wire.entry(name, value)) for name, value in shared.items()}
    for name in ("item_id", "series_id", "patient_id", "split", "slice_index"):
        columns[name] = wire.entries(name, items[name].tolist())
    for name in ("spacing_mm", "slope", "intercept"):
        columns[name] = wire.entries(name, preprocessed[name][rows])
    columns["label"] = wire.entries("label", items[labels].to_numpy(np.float32))
    for row, *entries in zip(rows.tolist(), *(columns[name] for name in AFTER_IMAGE), strict=False):
        yield wire.framed("image", pixels[row].astype(image_type, copy=False), b"".join(entries))


def write_records(file: BinaryIO, records: Iterable[tuple[bytes, np.ndarray, bytes]]) -> int:
    """Write the records to an open file of the system; their number."""
    count = 0

    def pieces() -> Iterator[bytes | np.ndarray]:
        nonlocal count
        for count, record in enumerate(records, 1):  # noqa: B007  counted for write_records
            yield from record

    write_pieces(file, pieces())
    return count


def _row_of_item(preprocessed: dict, items: pd.DataFrame, where: str) -> pd.Series:
    """item_id -> row of the preprocessed arrays. Raises ValueError for items made twice or described nowhere."""
    series = pd.Series(preprocessed["series_id"], dtype="str")
    made = item_ids(series, pd.Series(preprocessed["slice_index"], dtype="int64"))
    row_of = pd.Series(np.arange(len(made)), index=made)
    if not row_of.index.is_unique:
        raise ValueError(f"{where}: item {row_of.index[row_of.index.duplicated()][0]} was preprocessed twice")
    unknown = row_of.index.difference(items["item_id"])
    if len(unknown):
        raise ValueError(f"{where}: {len(unknown)} images such as {unknown[0]} are not in the image table")
    return row_of


def _image_spec(preprocessed: dict) -> dict:
    """What the manifest says of the images; slope, intercept, range and unit are null where images differ."""
    pixels = preprocessed["images"]
    slope, intercept = (_common(preprocessed[name]) for name in ("slope", "intercept"))
    known = slope is not None and intercept is not None
    largest = np.iinfo(pixels.dtype).max
    return {
        "shape": list(pixels.shape[1:]) if len(pixels) else None,
        "dtype": str(pixels.dtype),
        "channels": [str(name) for name in preprocessed["channels"]],
        "slope": slope,
        "intercept": intercept,
        "unit": str(preprocessed["unit"]) or None,
        "range": [[b, a * largest + b] for a, b in zip(slope, intercept, strict=True)] if known else None,
    }


def _common(rows: np.ndarray) -> list[float] | None:
    """The row that all rows are equal to; None where they differ."""
    return rows[0].tolist() if len(rows) and (rows == rows[0]).all() else None


class _Hashed:
    """The bytes of an open file, counted and hashed as they are written to it or pass on their way there."""

    def __init__(self, file: BinaryIO):
        self._file, self.size, self.digest = file, 0, hashlib.sha256()

    def write(self, piece) -> None:
        """Write bytes or a contiguous array."""
        self.passing((piece,))
        self._file.write(piece)

    def passing(self, pieces: tuple) -> tuple:
        """The pieces, which somebody else will write."""
        for piece in pieces:
            self.digest.update(piece)
            self.size += memoryview(piece).nbytes
        return pieces


def _pack_records(file: _Hashed, records: Iterable[tuple[bytes, np.ndarray, bytes]], compression: str) -> int:
    """Write the records compressed; their number."""
    if compression != "gzip":
        raise ValueError(f"compression must be none or gzip; got '{compression}'")
    count = 0
    # Neither name nor time: the same bytes on every run.
    with gzip.GzipFile("", "wb", GZIP_LEVEL, file, mtime=0) as packer:
        for count, record in enumerate(records, 1):  # noqa: B007
            for piece in record:
                packer.write(piece)
    return count
