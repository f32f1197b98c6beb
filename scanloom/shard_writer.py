"""One chunk's shards and their manifest, written without TensorFlow: same input, same bytes."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd

from scanloom import tfrecord_wire as wire
from scanloom.atomic_files import whole_file
from scanloom.identity import item_ids
from scanloom.records import LITTLE_ENDIAN
from scanloom.splits import SPLITS, assert_disjoint


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


def _serialized(preprocessed: dict, row: int, item: dict, labels: list[str], dataset: str) -> list[bytes]:
    image = np.ascontiguousarray(preprocessed["images"][row])
    return wire.example_parts(
        {
            "image": image.astype(LITTLE_ENDIAN[str(image.dtype)], copy=False).tobytes(),
            "shape": np.array(image.shape),
            "dtype": str(image.dtype),
            **{name: item[name] for name in ("item_id", "series_id", "patient_id", "split")},
            "dataset": dataset,
            "slice_index": np.array([item["slice_index"]], np.int64),
            "label": np.array([item[label] for label in labels], np.float32),
            **{name: preprocessed[name][row].astype(np.float32) for name in ("spacing_mm", "slope", "intercept")},
        }
    )


def _common(rows: np.ndarray) -> list[float] | None:
    """The row that all rows are equal to; None where they differ."""
    return rows[0].tolist() if len(rows) and (rows == rows[0]).all() else None


def write_chunk(
    preprocessed: dict,
    images: pd.DataFrame,
    labels: list[str],
    dataset: str,
    chunk: int,
    shards: dict[str, Path],
    manifest: Path,
) -> dict:
    """Write one chunk's shards and manifest; the manifest as a dictionary. Same input, same bytes.

    preprocessed: arrays of `preprocessing.preprocess_chunk`. images: the chunk's image table with its splits.
    shards: file of each split. Images that preprocessing dropped are counted in the manifest; an image that no row of
    the table describes is an error.
    """
    if set(shards) != set(SPLITS):
        raise ValueError(f"one shard each for {SPLITS}; got {sorted(shards)}")
    assert_disjoint(images, f"the image table of {dataset}, chunk {chunk}")
    pixels = preprocessed["images"]
    rank = pixels.ndim - 2
    items = items_of(images, labels, rank)
    made = item_ids(
        pd.Series(preprocessed["series_id"], dtype="str"), pd.Series(preprocessed["slice_index"], dtype="int64")
    )
    row_of = pd.Series(np.arange(len(made)), index=made)
    if not row_of.index.is_unique:
        raise ValueError(
            f"{dataset}, chunk {chunk}: item {row_of.index[row_of.index.duplicated()][0]} was preprocessed twice"
        )
    unknown = row_of.index.difference(items["item_id"])
    if len(unknown):
        raise ValueError(
            f"{dataset}, chunk {chunk}: {len(unknown)} images such as {unknown[0]} are not in the image table"
        )
    items = items.assign(row=items["item_id"].map(row_of)).sort_values("item_id")
    kept = items.dropna(subset="row").astype({"row": "int64"})
    written = {}
    for split in SPLITS:
        chosen = kept[kept["split"] == split].to_dict("records")
        digest, size = hashlib.sha256(), 0
        with whole_file(Path(shards[split])) as file:
            for item in chosen:
                parts = wire.record_parts(_serialized(preprocessed, item["row"], item, labels, dataset))
                for part in parts:
                    digest.update(part)
                file.writelines(parts)
                size += sum(map(len, parts))
        name = os.path.relpath(shards[split], Path(manifest).parent)
        written[split] = {"file": name, "records": len(chosen), "bytes": size, "sha256": digest.hexdigest()}
    summary = {
        "dataset": dataset,
        "chunk": chunk,
        "image": {
            "shape": list(pixels.shape[1:]) if len(pixels) else None,
            "dtype": str(pixels.dtype),
            "channels": [str(name) for name in preprocessed["channels"]],
            "slope": _common(preprocessed["slope"]),
            "intercept": _common(preprocessed["intercept"]),
            "unit": str(preprocessed["unit"]),
        },
        "labels": list(labels),
        "dropped_by_steps": int(items["row"].isna().sum()),
        "splits": written,
    }
    with whole_file(Path(manifest)) as file:
        file.write((json.dumps(summary, indent=1) + "\n").encode())
    return summary
