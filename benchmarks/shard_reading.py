"""From shards to batches of 128 images of 256 pixels, against the usual reader of float32 records.

The peer is the reader most projects write: one Example per image with its float32 pixels as bytes, parsed one by one
with parse_single_example and decode_raw, then batched. Ours are `records.open_shards` (NumPy, memory mapped, in random
order) and `tfdata.tfdata` (in file order, batched before parsing); both leave the stored integers as they are,
because the training step turns them into floats itself. Rows "to float32" add that conversion. Everything is read from
the page cache, so the cost is bytes checked, parsed and copied. Times are wall times per image.
"""

import time
from pathlib import Path

import numpy as np
from _measure import compared, interleaved, limited, run
from _synthetic import images_of, write_shards

GOAL = 2.0
DTYPES = ("uint8", "uint16")


def rows(folder: Path, images: int = 1024, size: int = 256, batch: int = 128, rounds: int = 9) -> list[dict]:
    """The table; images: a multiple of the batch and of 32."""
    import tensorflow as tf

    from scanloom.shards.records import open_shards

    pixels = {"uint16": images_of(images, size)}
    pixels["uint8"] = (pixels["uint16"] >> 8).astype(np.uint8)
    floats = pixels["uint16"].astype(np.float32) / 65535
    usual = folder / "float32.tfrecord"
    write_usual(usual, floats)
    batches = {"float32 Examples": lambda: iter(usual_reader(tf, usual, floats.shape[1:], batch))}
    opening = {}
    for dtype in DTYPES:
        (folder / dtype).mkdir(exist_ok=True)
        manifests = write_shards(folder / dtype, pixels[dtype], parts=4)
        opening[dtype] = opening_times(manifests, rounds)
        shards = open_shards(manifests)
        source = source_rows(shards.table)
        order = np.random.default_rng(0).permutation(images)
        batches |= our_batches(shards, manifests, order, batch, dtype)
        check(f"open_shards, {dtype}", batches, pixels[dtype][source][order])
        check(f"open_shards, {dtype} to float32", batches, floats[source][order], 1 / 255)
        check(f"tfdata, {dtype}", batches, pixels[dtype][source])
    check("float32 Examples", batches, floats)
    timings = interleaved({name: counting(made) for name, made in batches.items()}, rounds)
    peer = milliseconds(timings.pop("float32 Examples").wall_s)
    table = [
        compared(name, "ms/image", milliseconds(timing.wall_s), peer, None if "float32" in name else GOAL)
        for name, timing in timings.items()
    ]
    for dtype, seconds in opening.items():
        table.append(limited(f"open_shards itself, all checks, {dtype}", "ms/image", milliseconds(seconds, images)))
    return table


def write_usual(file: Path, floats: np.ndarray) -> None:
    """One tf.train.Example per image: float32 pixels as bytes, and a label."""
    import tensorflow as tf

    feature = tf.train.Feature
    with tf.io.TFRecordWriter(str(file)) as writer:
        for number, image in enumerate(floats):
            features = {
                "image": feature(bytes_list=tf.train.BytesList(value=[image.tobytes()])),
                "label": feature(int64_list=tf.train.Int64List(value=[number % 3])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())


def usual_reader(tf, file: Path, shape: tuple[int, ...], batch: int):
    """A tf.data.Dataset of (float32 images, labels): parsed one by one, then batched."""
    features = {"image": tf.io.FixedLenFeature([], tf.string), "label": tf.io.FixedLenFeature([], tf.int64)}

    def parse(serialized):
        parsed = tf.io.parse_single_example(serialized, features)
        return tf.reshape(tf.io.decode_raw(parsed["image"], tf.float32), shape), parsed["label"]

    return tf.data.TFRecordDataset(str(file)).map(parse).batch(batch).map(lambda image, label: image)


def our_batches(shards, manifests: list[Path], order: np.ndarray, batch: int, dtype: str) -> dict:
    """Name -> function that gives an iterator of batches."""
    from scanloom.images.intensity import to_unit
    from scanloom.shards.tfdata import tfdata

    in_order = tfdata(manifests, ["train"], batch)

    def at_random():
        return (shards.images(order[start : start + batch]) for start in range(0, len(order), batch))

    return {
        f"open_shards, {dtype}": at_random,
        f"open_shards, {dtype} to float32": lambda: map(to_unit, at_random()),
        f"tfdata, {dtype}": lambda: (made["image"] for made in in_order),
    }


def source_rows(table) -> np.ndarray:
    """Which of the images that were written each row of the shards' table is."""
    series = table["series_id"].map(lambda name: int(name, 16)).to_numpy()
    return series * 8 + table["slice_index"].to_numpy()


def check(name: str, batches: dict, expected: np.ndarray, tolerance: float = 0.0) -> None:
    """Raise ValueError unless the batches are the expected images in that order."""
    got = np.concatenate([np.asarray(made) for made in batches[name]()])
    if got.shape != expected.shape or np.abs(got.astype(np.float32) - expected).max() > tolerance:
        raise ValueError(f"{name} does not give the images that were written")


def counting(made):
    """A function that goes through all batches and returns the number of images."""
    return lambda: sum(int(images.shape[0]) for images in made())


def opening_times(manifests: list[Path], rounds: int) -> list[float]:
    """Seconds of `open_shards` with its comparison of sizes, SHA-256 and patients."""
    from scanloom.shards.records import open_shards

    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        open_shards(manifests)
        seconds.append(time.perf_counter() - start)
    return seconds


def milliseconds(seconds: list[float], items: int = 1) -> list[float]:
    """Per item."""
    return [1000 * s / items for s in seconds]


if __name__ == "__main__":
    run(__file__, __doc__, rows)
