"""Images and shards made for measuring: smooth shapes with noise, each with a patient, a split and a label."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd


def images_of(number: int, size: int, channels: int = 1, dtype: str = "uint16") -> np.ndarray:
    """uint8 or uint16 [number, size, size, channels]: a bright disc of random size and place, and noise."""
    rng = np.random.default_rng(1)
    place = np.arange(size, dtype=np.float32) / size
    centre, radius = rng.uniform(0.3, 0.7, (2, number, 1)), rng.uniform(0.2, 0.4, (number, 1, 1))
    row, column = ((place - c) ** 2 for c in centre)
    disc = (row[:, :, None] + column[:, None, :] < radius**2).astype(np.float32)
    noise = rng.random((number, size, size, channels), dtype=np.float32)
    return ((0.6 * disc[..., None] + 0.4 * noise) * np.iinfo(dtype).max).astype(dtype)


def shards_in_memory(count: int, shape: tuple[int, ...]) -> SimpleNamespace:
    """What pretraining needs of opened shards: `count` uint8 images of noise [*spatial, channels], a few of them stored
    and given again and again, two classes, 8 images per patient."""
    few = np.random.default_rng(0).integers(0, 256, (min(count, 64), *shape), np.uint8)
    numbers = np.arange(count)
    table = pd.DataFrame({"item_id": [f"image-{n:06d}" for n in numbers], "level": numbers % 2.0})
    table["patient_id"], table["split"] = [f"p{n // 8:06d}" for n in numbers], "train"
    spec = {"shape": list(shape), "dtype": "uint8"}
    return SimpleNamespace(image_spec=spec, table=table, images=lambda rows: few[np.asarray(rows) % len(few)])


def chunk_of(images: np.ndarray) -> tuple[dict, pd.DataFrame]:
    """Preprocessed arrays and image table, as `shard_writer.write_chunk` takes them: all training, 8 per patient."""
    from scanloom.identity import item_ids

    number, channels = len(images), images.shape[-1]
    series = np.array([f"{i // 8:016x}" for i in range(number)])
    preprocessed = {
        "images": images,
        "series_id": series,
        "slice_index": np.arange(number) % 8,
        "spacing_mm": np.full((number, images.ndim - 2), 0.5, np.float32),
        "slope": np.ones((number, channels), np.float32),
        "intercept": np.zeros((number, channels), np.float32),
        "unit": "HU",
        "channels": [f"channel{i}" for i in range(channels)],
    }
    table = pd.DataFrame({"series_id": series, "slice_index": preprocessed["slice_index"]})
    table["item_id"] = item_ids(table["series_id"], table["slice_index"])
    table["patient_id"], table["split"] = [f"p{s[1:]}" for s in series], "train"
    table["level"] = np.arange(number) % 3.0
    return preprocessed, table


def write_shards(folder: Path, images: np.ndarray, parts: int = 1) -> list[Path]:
    """Manifests of the images in so many chunks."""
    from scanloom.shards.shard_writer import write_chunk
    from scanloom.splitting.splits import SPLITS

    preprocessed, table = chunk_of(images)
    manifests = []
    for part in range(parts):
        rows = np.flatnonzero(np.arange(len(images)) // 8 % parts == part)
        own = {
            name: values[rows] if isinstance(values, np.ndarray) else values for name, values in preprocessed.items()
        }
        shards = {split: folder / f"{split}-{part:03d}.tfrecord" for split in SPLITS}
        manifests.append(folder / f"{part:03d}.json")
        write_chunk(own, table.iloc[rows], ["level"], "synthetic", part, shards, manifests[-1])
    return manifests
