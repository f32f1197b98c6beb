"""Shards: the one feature list, the manifest, and the reader.

A shard is a TFRecord file with one chunk's images of one split; a manifest with counts and checksums lies beside it.
Images stay integers, with what is needed to get physical values back: physical = slope * stored + intercept.
`open_shards` reads with NumPy alone (random access, no TensorFlow); `tfdata.py` gives a tf.data.Dataset. Where all
records of a shard are laid out alike, which is how the writer makes them, one record is parsed and the same columns
of bytes are cut out of all the others at once; a record laid out differently is parsed by itself.
"""

import gzip
import hashlib
import json
import os
import shutil
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from scanloom.shards import tfrecord_wire as wire
from scanloom.splitting.splits import SPLITS, assert_disjoint

FORMAT = "scanloom shards 2: TFRecord files of tf.train.Example messages"
# Feature -> (type, values per record, meaning). The image stands first: what is before it is then the same in all
# records of a length, so one record tells where all images are.
FEATURES = {
    "image": ("bytes", 1, "integers in C order, little endian"),
    "shape": ("int64", "rank + 1", "spatial shape, channels"),
    "dtype": ("bytes", 1, "uint8 or uint16"),
    "item_id": ("bytes", 1, "<series_id>-<slice_index>"),
    "series_id": ("bytes", 1, "pseudonym"),
    "patient_id": ("bytes", 1, "pseudonym; the unit of splits"),
    "split": ("bytes", 1, "train, validation or test"),
    "dataset": ("bytes", 1, "name of the data set"),
    "slice_index": ("int64", 1, "number of the slice in its stack; 0 for a volume"),
    "label": ("float32", "labels", "class index per label of the manifest, NaN where missing"),
    "spacing_mm": ("float32", "rank", "distance of neighbouring pixels per axis in mm, NaN where not known"),
    "slope": ("float32", "channels", "physical value = slope * stored + intercept"),
    "intercept": ("float32", "channels", "in the manifest's unit"),
}
LITTLE_ENDIAN = {"uint8": "|u1", "uint16": "<u2"}
TEXTS = ("item_id", "series_id", "patient_id", "split", "dataset")


def feature_list(shape: list[int], labels: int) -> dict[str, dict]:
    """FEATURES for images [*spatial, channels] of that shape, with the numbers filled in: for manifests."""
    lengths = {"rank": len(shape) - 1, "rank + 1": len(shape), "channels": shape[-1], "labels": labels}
    return {
        name: {"type": kind, "values": lengths.get(values, values), "meaning": meaning}
        for name, (kind, values, meaning) in FEATURES.items()
    }


class BadShard(ValueError):
    """A shard that is not what its manifest says."""


def read_manifest(path: Path) -> dict:
    """A manifest as written by `write_chunk`. Raises BadShard."""
    try:
        manifest = json.loads(Path(path).read_text())
        _ = manifest["image"], manifest["splits"], manifest["labels"], manifest["compression"]
    except FileNotFoundError:
        raise BadShard(f"manifest {path} not found: make the shards first") from None
    except (ValueError, KeyError, TypeError):
        raise BadShard(f"{path} is not a manifest of shards: delete it and run again") from None
    if manifest["format"] != FORMAT:
        raise BadShard(f"{path}: shards of format '{manifest['format']}', expected '{FORMAT}': delete them, run again")
    return manifest


def checked_bytes(path: Path, said: dict, compression: str = "none") -> np.ndarray:
    """A shard's records, uint8 [n], mapped into memory, after its size and SHA-256 were compared with the manifest's.

    A compressed shard is unpacked into a temporary file, which disappears with the array.
    Raises BadShard naming the file and, where the record checksums can tell, the damaged record.
    """
    try:
        size = os.path.getsize(path)
    except FileNotFoundError:
        raise BadShard(f"shard {path} not found, though its manifest lists {said['records']} records") from None
    if size == 0 and said["bytes"] == 0:
        return np.zeros(0, np.uint8)
    data = np.asarray(np.memmap(path, np.uint8, mode="r")) if size else np.zeros(0, np.uint8)
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != said["sha256"]:
        remedy = "delete it and run again"
        if size != said["bytes"]:
            raise BadShard(f"{path} has {size} bytes, its manifest says {said['bytes']}: {remedy}")
        try:
            wire.check_records(data if compression == "none" else data[:0], str(path))
        except wire.DamagedRecord as error:
            raise BadShard(f"{error}: {remedy}") from None
        raise BadShard(f"{path} is whole but not the file its manifest describes (SHA-256 differs): {remedy}")
    return data if compression == "none" else unpacked(path)


def unpacked(path: Path) -> np.ndarray:
    """The bytes that a gzip file holds, uint8 [n], in a temporary file that disappears with the array.

    Raises DamagedRecord where they cannot be unpacked.
    """
    with gzip.open(path) as packed, tempfile.TemporaryFile() as file:
        try:
            shutil.copyfileobj(packed, file, 1 << 20)
        except (gzip.BadGzipFile, EOFError, zlib.error):
            raise wire.DamagedRecord(f"{path}: its gzip stream is damaged or cut off") from None
        file.flush()
        return np.asarray(np.memmap(file, np.uint8, "r")) if file.tell() else np.zeros(0, np.uint8)


@dataclass(frozen=True)
class Shards:
    """Images of several shards in one numbering.

    table: one row per image: item_id, series_id, patient_id, split, dataset, slice_index, one float column per label
        (NaN: missing), spacing_mm, slope, intercept (lists).
    image_spec: shape (spatial, channels), dtype, channels, slope, intercept (null where images differ), unit.
    """

    table: pd.DataFrame
    image_spec: dict
    _files: tuple[np.ndarray, ...]
    _file_of: np.ndarray
    _starts: np.ndarray

    def __len__(self) -> int:
        return len(self.table)

    def images(self, indices) -> np.ndarray:
        """uint8 or uint16 [len(indices), *spatial, channels]: rows of `table`, in the order asked for."""
        indices = np.asarray(indices, np.int64)
        shape, dtype = tuple(self.image_spec["shape"]), np.dtype(LITTLE_ENDIAN[self.image_spec["dtype"]])
        size = int(np.prod(shape)) * dtype.itemsize
        out = np.empty((len(indices), size), np.uint8)
        file_of, starts = self._file_of[indices], self._starts[indices]
        for file in np.unique(file_of):
            chosen = file_of == file
            # A view of every stretch of `size` bytes; indexing it copies just the chosen ones.
            out[chosen] = np.lib.stride_tricks.sliding_window_view(self._files[file], size)[starts[chosen]]
        return out.view(dtype).reshape(len(indices), *shape).astype(self.image_spec["dtype"], copy=False)


def _alike(rows: np.ndarray, layout: dict[str, wire.Value]) -> np.ndarray:
    """bool [n]: rows (uint8 [n, length]) whose bytes outside of values equal those of row 0."""
    values = np.zeros(rows.shape[1], bool)
    for value in layout.values():
        for start, stop in value.stretches:
            values[start:stop] = True
    fixed = np.flatnonzero(~values)
    alike = (rows[:, fixed] == rows[0, fixed]).all(axis=1)
    # Varints of one total length may still be cut differently: the continuation bits must agree as well.
    for value in layout.values():
        for start, stop in value.stretches if value.kind == wire.INT64 else ():
            alike &= (rows[:, start:stop] >> 7 == rows[0, start:stop] >> 7).all(axis=1)
    return alike


def _column(rows: np.ndarray, value: wire.Value, name: str, where: str) -> np.ndarray:
    """Values of one feature for all rows: str [n], float32 [n, k] or int64 [n, k]."""
    if len(value.stretches) > 1 or (value.kind == wire.BYTES and not value.stretches):
        raise BadShard(f"{where}: feature '{name}' is not written as one stretch of values")
    start, stop = value.stretches[0] if value.stretches else (0, 0)
    cut = np.ascontiguousarray(rows[:, start:stop])
    if value.kind == wire.BYTES:
        return np.char.decode(cut.view(f"S{stop - start}")[:, 0], "utf-8") if stop > start else np.full(len(rows), "")
    if value.kind == wire.FLOAT:
        return cut.view("<f4").astype(np.float32).reshape(len(rows), -1)
    numbers, shift = [np.zeros(len(rows), np.uint64)], 0
    for byte in cut.T:
        numbers[-1] |= (byte & np.uint8(127)).astype(np.uint64) << np.uint64(shift)
        shift += 7
        if byte[0] < 128:
            numbers.append(np.zeros(len(rows), np.uint64))
            shift = 0
    return np.stack(numbers[:-1], axis=1).astype(np.int64) if len(numbers) > 1 else np.zeros((len(rows), 0), np.int64)


def _parse(data: np.ndarray, where: str, expected: dict, columns: list[str]) -> pd.DataFrame:
    """One row per record of a shard's bytes: `table` columns and `start`, where the image's bytes begin."""
    starts, lengths = wire.index_records(data, where)
    todo = np.arange(len(starts))
    parts = []
    while len(todo):
        same_length = todo[lengths[todo] == lengths[todo[0]]]
        length = int(lengths[todo[0]])
        # A view: of the image's bytes only those outside it are read.
        view = np.lib.stride_tricks.sliding_window_view(data, length)
        layout = wire.locate(view[starts[todo[0]]].tobytes())
        missing = {"image", "shape", "dtype", "slice_index", "label", "spacing_mm", *TEXTS} - set(layout)
        if missing or len(layout["image"].stretches) != 1:
            raise BadShard(f"{where}: record {todo[0]} has no feature {', '.join(sorted(missing or {'image'}))}")
        image_start, image_stop = layout.pop("image").stretches[0]
        outside = np.r_[0:image_start, image_stop:length]
        rows = data[starts[same_length, None] + outside]
        size = image_stop - image_start
        layout = {name: _shifted(value, image_start, size) for name, value in layout.items()}
        alike = _alike(rows, layout)
        same_length, rows = same_length[alike], rows[alike]
        found = {name: _column(rows, value, name, where) for name, value in layout.items()}
        _check_image(found, size, expected, where)
        part = pd.DataFrame({name: found[name] for name in TEXTS}, index=same_length).astype("str")
        part["slice_index"] = found["slice_index"][:, 0]
        if found["label"].shape[1] != len(columns):
            raise BadShard(f"{where}: {found['label'].shape[1]} labels per record, the manifest names {len(columns)}")
        part[columns] = found["label"]
        for name in ("spacing_mm", "slope", "intercept"):
            part[name] = list(found[name])
        part["start"] = starts[same_length] + image_start
        parts.append(part)
        todo = np.setdiff1d(todo, same_length, assume_unique=True)
    return pd.concat(parts).sort_index() if parts else pd.DataFrame()


def _shifted(value: wire.Value, image_start: int, size: int) -> wire.Value:
    """The value's place once the image's bytes are cut out."""
    moved = tuple((a - size, b - size) if a > image_start else (a, b) for a, b in value.stretches)
    return wire.Value(value.kind, moved)


def _check_image(found: dict, size: int, expected: dict, where: str) -> None:
    if (found["shape"] != np.array(expected["shape"])).any() or (found["dtype"] != expected["dtype"]).any():
        raise BadShard(
            f"{where}: images of shape {found['shape'][0].tolist()} {found['dtype'][0]}, the manifest says "
            f"{expected['shape']} {expected['dtype']}"
        )
    if size != int(np.prod(expected["shape"])) * np.dtype(expected["dtype"]).itemsize:
        raise BadShard(f"{where}: {size} bytes per image do not fit shape {expected['shape']} {expected['dtype']}")


def open_shards(manifest_paths, splits=SPLITS) -> Shards:
    """Images of the given splits of all manifests; splits may differ by dataset: {dataset: [split, ...]}.

    Sizes, SHA-256 and record counts are compared with the manifests, images must have one shape and type, items are
    unique, and no patient is in two splits. Raises BadShard or splits.PatientInTwoSplits.
    """
    manifest_paths = list(manifest_paths)
    splits = [splits] if isinstance(splits, str) else splits
    asked = {split for part in (splits.values() if isinstance(splits, dict) else [splits]) for split in part}
    if not asked or asked - set(SPLITS):
        raise ValueError(f"splits are {', '.join(SPLITS)}; got {splits}")
    spec, tables, files = None, [], []
    for path in map(Path, manifest_paths):
        manifest = read_manifest(path)
        if sum(part["records"] for part in manifest["splits"].values()) == 0:
            continue
        spec = manifest["image"] if spec is None else joined_spec(spec, manifest["image"], path)
        for split in splits[manifest["dataset"]] if isinstance(splits, dict) else splits:
            said = manifest["splits"][split]
            file = path.parent / said["file"]
            data = checked_bytes(file, said, manifest["compression"])
            table = _parse(data, str(file), manifest["image"], manifest["labels"])
            if len(table) != said["records"]:
                raise BadShard(f"{file} holds {len(table)} records, its manifest says {said['records']}")
            if len(table) and (table["split"] != split).any():
                raise BadShard(f"{file} holds records of split '{table['split'].iloc[0]}', expected '{split}'")
            if len(table):
                tables.append(table.assign(_file=len(files)))
                files.append(data)
    if not tables:
        raise BadShard(f"no images of split {' or '.join(sorted(asked))} in the {len(manifest_paths)} manifests given")
    table = pd.concat(tables, ignore_index=True)
    where = f"the shards of {', '.join(sorted(table['dataset'].unique()))}"
    assert_disjoint(table, where)
    if table["item_id"].duplicated().any():
        raise BadShard(f"{where}: item {table['item_id'][table['item_id'].duplicated()].iloc[0]} occurs twice")
    file_of, starts = table.pop("_file").to_numpy(), table.pop("start").to_numpy()
    return Shards(table, spec, tuple(files), file_of, starts)


def joined_spec(first: dict, other: dict, path: Path) -> dict:
    """What both image descriptions say; slope, intercept and unit become null where they differ."""
    for key in ("shape", "dtype", "channels"):
        if first[key] != other[key]:
            raise BadShard(
                f"{path}: image {key} {other[key]}, other shards have {first[key]}; give all datasets of a corpus "
                "steps that end in the same size, channels and dtype"
            )
    return {**first, **{k: first[k] if first[k] == other[k] else None for k in ("slope", "intercept", "unit")}}
