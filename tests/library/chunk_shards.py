"""A preprocessed chunk of random images, and its shards, for tests of what reads them."""

import numpy as np
import pandas as pd

from scanloom.identity import item_ids
from scanloom.shards import shard_writer
from scanloom.splitting.splits import SPLITS

LABELS = ["bleed", "level"]


def chunk(n_series=6, slices=4, shape=(5, 4, 2), dtype="uint8", seed=0, prefix="s"):
    """Preprocessed arrays and image table of a chunk: each series a patient, splits in turn."""
    rng = np.random.default_rng(seed)
    n = n_series * slices
    series = np.repeat([f"{prefix}{i:015d}" for i in range(n_series)], slices)
    index = np.tile(np.arange(slices), n_series)
    rank, channels = len(shape) - 1, shape[-1]
    preprocessed = {
        "images": rng.integers(0, np.iinfo(dtype).max, (n, *shape), endpoint=True, dtype=dtype),
        "series_id": series,
        "slice_index": index,
        "spacing_mm": np.full((n, rank), 0.5, np.float32),
        "slope": np.tile(np.linspace(1, 2, channels), (n, 1)),
        "intercept": np.zeros((n, channels)),
        "unit": np.array("HU"),
        "channels": np.array([f"c{i}" for i in range(channels)]),
    }
    table = pd.DataFrame({"series_id": series, "slice_index": index})
    table.insert(0, "item_id", item_ids(table["series_id"], table["slice_index"]))
    table["patient_id"] = [f"p{s}" for s in series]
    table["split"] = [SPLITS[i % 3] for i in np.repeat(np.arange(n_series), slices)]
    table["bleed"] = rng.integers(0, 2, n).astype(float)
    table["level"] = np.where(rng.random(n) < 0.3, np.nan, 2.0)
    return preprocessed, table


def write(folder, preprocessed, table, number=0, labels=LABELS, compression="none"):
    shards = {split: folder / f"{split}-{number:03d}.tfrecord" for split in SPLITS}
    manifest = folder / f"{number:03d}.json"
    shard_writer.write_chunk(preprocessed, table, labels, "phantom", number, shards, manifest, compression)
    return manifest
