"""Writing images of 256 pixels as TFRecord Examples, against tf.io.TFRecordWriter with tf.train.Example.

Both write the same features to files of the same size, which TensorFlow reads back as the same Examples. Ours begins
with the arrays and the table that a job has; the peer is given each record's features ready to be put into an Example.
"records" is serialising and framing into an open file; "chunk" is what a job really does: `write_chunk` also gives a
SHA-256 of each shard, a manifest, and files that are whole or absent, so its peer hashes its file as well. The import
row is what a job pays before its first image: the writer's module against TensorFlow, each in a new Python. Bytes are
compared with records of float32 pixels and an int16 mask, as one of the systems before this one wrote them.
"""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
from _measure import ROOT, compared, interleaved, run
from _synthetic import chunk_of, images_of

GOAL, BYTES_GOAL = 2.5, 3


def rows(folder: Path, images: int = 512, size: int = 256, rounds: int = 9, imports: int = 3) -> list[dict]:
    """The table; imports: rounds of the import row, 0 leaves it out."""
    import tensorflow as tf

    from scanloom.shards.shard_writer import serialized_records, write_chunk, write_records
    from scanloom.splitting.splits import SPLITS

    preprocessed, table = chunk_of(images_of(images, size))
    chunk_shards = {split: folder / f"{split}.tfrecord" for split in SPLITS}
    features = [features_of(preprocessed, row, item) for row, item in enumerate(table.to_dict("records"))]
    lean, usual = folder / "lean.tfrecord", folder / "usual.tfrecord"

    def ours_records() -> int:
        with open(lean, "wb") as out:
            return write_records(
                out, serialized_records(preprocessed, table.assign(row=range(images)), ["level"], "synthetic")
            )

    def peer_records() -> int:
        return write_usual(tf, usual, features)

    def ours_chunk() -> int:
        write_chunk(preprocessed, table, ["level"], "synthetic", 0, chunk_shards, folder / "manifest.json")
        return images

    def peer_chunk() -> int:
        write_usual(tf, usual, features)
        with open(usual, "rb") as file:
            hashlib.file_digest(file, "sha256")
        return images

    for way in (ours_records, peer_records, ours_chunk):
        way()
    check_equal(tf, lean, usual)
    check_equal(tf, chunk_shards["train"], usual)
    timings = interleaved({f.__name__: f for f in (ours_records, peer_records, ours_chunk, peer_chunk)}, rounds)
    cpu_ms = {name: [1000 * s for s in timing.cpu_s] for name, timing in timings.items()}
    wall_ms = {name: [1000 * s for s in timing.wall_s] for name, timing in timings.items()}
    found = [
        compared("records, CPU", "ms/image", cpu_ms["ours_records"], cpu_ms["peer_records"], GOAL),
        compared("records, wall", "ms/image", wall_ms["ours_records"], wall_ms["peer_records"], GOAL),
        compared("chunk with SHA-256, CPU", "ms/image", cpu_ms["ours_chunk"], cpu_ms["peer_chunk"]),
        compared("chunk with SHA-256, wall", "ms/image", wall_ms["ours_chunk"], wall_ms["peer_chunk"]),
        *size_rows(tf, folder, lean, preprocessed, table),
    ]
    if imports:
        ways = {name: importing(name) for name in ("scanloom.shards.shard_writer", "tensorflow")}
        cpu = {name: timing.cpu_s for name, timing in interleaved(ways, imports).items()}
        found.append(compared("import, CPU", "s", cpu["scanloom.shards.shard_writer"], cpu["tensorflow"]))
    return found


def size_rows(tf, folder: Path, uint16: Path, preprocessed: dict, table) -> list[dict]:
    """Bytes per image of shards of both integer types and packed ones, against float32 with a mask."""
    from scanloom.shards.shard_writer import write_chunk
    from scanloom.splitting.splits import SPLITS

    def written(name: str, pixels: np.ndarray, compression: str) -> int:
        shards = {split: folder / f"{name}-{split}.tfrecord" for split in SPLITS}
        chunk = preprocessed | {"images": pixels}
        write_chunk(chunk, table, ["level"], "synthetic", 0, shards, folder / f"{name}.json", compression)
        return shards["train"].stat().st_size

    old = folder / "float32_and_mask.tfrecord"
    write_usual(tf, old, [float_features(image, row) for row, image in enumerate(preprocessed["images"])])
    bytes_8 = (preprocessed["images"] >> 8).astype(np.uint8)
    sizes = {
        "bytes, uint8 (the default)": (written("uint8", bytes_8, "none"), BYTES_GOAL),
        "bytes, uint16": (uint16.stat().st_size, None),
        "bytes, uint16 with gzip": (written("packed", preprocessed["images"], "gzip"), None),
    }
    images = len(table)
    return [
        compared(name, "bytes/image", [size / images], [old.stat().st_size / images], goal)
        for name, (size, goal) in sizes.items()
    ]


def features_of(preprocessed: dict, row: int, item: dict) -> dict:
    """What a record of ours holds."""
    image = preprocessed["images"][row]
    return {
        "image": image.tobytes(),
        "shape": np.array(image.shape),
        "dtype": str(image.dtype),
        **{name: item[name] for name in ("item_id", "series_id", "patient_id", "split")},
        "dataset": "synthetic",
        "slice_index": np.array([item["slice_index"]], np.int64),
        "label": np.array([item["level"]], np.float32),
        **{name: preprocessed[name][row] for name in ("spacing_mm", "slope", "intercept")},
    }


def float_features(image: np.ndarray, row: int) -> dict:
    """What a record held before: float32 pixels and a mask of int16."""
    return {
        "filename": f"slice {row:08d}",
        "id": f"patient {row // 8:08d}",
        "z-slice": np.array([row % 8], np.float32),
        "height": np.array([image.shape[0]]),
        "width": np.array([image.shape[1]]),
        "max_val": np.array([int(image.max())]),
        "image": (image / np.float32(65535)).astype(np.float32).tobytes(),
        "mask": (image > 0).astype(np.int16).tobytes(),
    }


def write_usual(tf, file: Path, features: list[dict]) -> int:
    """The records by TensorFlow."""

    def feature(value):
        if isinstance(value, bytes | str):
            value = value.encode() if isinstance(value, str) else value
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        if value.dtype.kind == "f":
            return tf.train.Feature(float_list=tf.train.FloatList(value=value))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=value))

    with tf.io.TFRecordWriter(str(file)) as writer:
        for record in features:
            message = tf.train.Features(feature={name: feature(value) for name, value in record.items()})
            writer.write(tf.train.Example(features=message).SerializeToString())
    return len(features)


def check_equal(tf, ours: Path, peer: Path) -> None:
    """Raise ValueError unless both files have one size and TensorFlow reads the same Examples from them."""
    if ours.stat().st_size != peer.stat().st_size:
        raise ValueError(f"files of {ours.stat().st_size} and {peer.stat().st_size} bytes")
    for a, b in zip(tf.data.TFRecordDataset(str(ours)), tf.data.TFRecordDataset(str(peer)), strict=True):
        if tf.train.Example.FromString(a.numpy()) != tf.train.Example.FromString(b.numpy()):
            raise ValueError("the two writers' Examples differ")


def importing(module: str):
    """A function that imports the module in a new Python."""

    def fresh() -> int:
        subprocess.run([sys.executable, "-c", f"import {module}"], cwd=ROOT, check=True)
        return 1

    return fresh


if __name__ == "__main__":
    run(__file__, __doc__, rows)
