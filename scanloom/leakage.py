"""Images that occur twice, within and across splits: exact copies, and near copies (noise, re-windowing, compression).

Exact: equal SHA-256 of the preprocessed integers. Near: what two images show beyond the mean image of all correlates by
at least `NEAR`; candidates come from thumbnails, compared all with all in blocks. (Not from a difference hash: on
a flat background a little noise turns half of its bits.) Not reported: images without content, such as a slice of
air, which are equal without being copies; and near pairs within one series, since neighbouring slices look alike.
"""

import hashlib

import numpy as np
import pandas as pd

from scanloom.splits import SPLITS
from scanloom.steps._axis_weights import along, smooth

NEAR = 0.99  # correlation; on PneumoniaMNIST no two images that differ reach 0.98, its exact copies have 1
THUMBNAIL_PX = 16
CANDIDATE = 0.95  # of thumbnails; below NEAR because averaging moves the correlation of a noisy copy a little
CONTENT = 0.02  # an image whose spread is below this share of the spread of all pixels has no content
MEAN_OF = 30  # from this many images on their mean is subtracted: anatomy that all share makes no copy
BLOCK = 2048
COLUMNS = ["item_a", "item_b", "split_a", "split_b", "same_patient", "kind", "correlation"]


def audit(images: np.ndarray, table: pd.DataFrame) -> pd.DataFrame:
    """One row per surplus copy (kind "exact": first image of its group and the copy) or near pair (kind "near").

    images: integers [n, *spatial, channels]; table: n rows with item_id, series_id, patient_id, split. Columns: item_a,
    item_b, split_a, split_b, same_patient, kind, correlation. Item a comes first in the order train, validation, test,
    so every copy outside train of an image in train is a pair across splits. attrs["without_content"]: images left out.
    """
    if len(images) != len(table):
        raise ValueError(f"{len(images)} images for {len(table)} rows of the table")
    order = np.lexsort((table["item_id"], table["split"].map(SPLITS.index)))
    table = table.iloc[order].reset_index(drop=True)
    images = images[order]
    full = np.flatnonzero(_has_content(images))
    digests = _digests(images[full])
    _, first, group = np.unique(digests, return_index=True, return_inverse=True)
    copies = np.flatnonzero(first[group] != np.arange(len(full)))
    exact = np.stack([full[first[group[copies]]], full[copies]], axis=1)
    distinct = full[np.sort(first)]
    near, correlation = _near_pairs(images, distinct, pd.factorize(table["series_id"])[0])
    pairs = np.concatenate([exact, near])
    a, b = table.iloc[pairs[:, 0]], table.iloc[pairs[:, 1]]
    found = pd.DataFrame(
        {
            "item_a": a["item_id"].to_numpy(),
            "item_b": b["item_id"].to_numpy(),
            "split_a": a["split"].to_numpy(),
            "split_b": b["split"].to_numpy(),
            "same_patient": a["patient_id"].to_numpy() == b["patient_id"].to_numpy(),
            "kind": np.repeat(["exact", "near"], [len(exact), len(near)]),
            "correlation": np.concatenate([np.ones(len(exact)), correlation]),
        },
        columns=COLUMNS,
    )
    found.attrs["without_content"] = len(images) - len(full)
    return found


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """Pairs per kind, pair of splits and same_patient: kind, split_a, split_b, same_patient, pairs."""
    keys = ["kind", "split_a", "split_b", "same_patient"]
    return found.groupby(keys).size().rename("pairs").reset_index()


def _digests(images: np.ndarray) -> np.ndarray:
    """SHA-256 of each image's bytes; hashing costs a nanosecond per byte, the loop nothing."""
    return np.array([hashlib.sha256(np.ascontiguousarray(image)).hexdigest() for image in images], dtype="U64")


def _has_content(images: np.ndarray) -> np.ndarray:
    flat = images.reshape(len(images), -1)
    blocks = _blocks(flat)
    means = np.concatenate([block.mean(axis=1, dtype=np.float64) for block in blocks])
    squares = np.concatenate([np.square(block, dtype=np.float64).mean(axis=1) for block in blocks])
    spread = np.sqrt(np.maximum(squares - means**2, 0))
    overall = np.sqrt(max(squares.mean() - means.mean() ** 2, 0))
    return spread > CONTENT * overall


def _blocks(rows: np.ndarray):
    return [rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)]


def _thumbnails(images: np.ndarray) -> np.ndarray:
    """float32 [n, values]: area means on at most THUMBNAIL_PX pixels per axis."""
    small = []
    for block in _blocks(images):
        values = block.astype(np.float32)
        for axis, size in enumerate(block.shape[1:-1], start=1):
            if size > THUMBNAIL_PX:
                values = along(values, smooth(size, THUMBNAIL_PX, size / THUMBNAIL_PX), axis)
        small.append(values.reshape(len(block), -1))
    return np.concatenate(small)


def _standardised(rows: np.ndarray, mean: np.ndarray | float) -> np.ndarray:
    """Rows less the mean row, each with mean 0 and length 1, so that a product of two is their correlation."""
    rows = rows.astype(np.float32) - mean
    rows -= rows.mean(axis=1, keepdims=True)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float32).tiny)


def _near_pairs(images: np.ndarray, chosen: np.ndarray, series: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int64 [pairs, 2] of image numbers among `chosen`, smaller first, and their correlation."""
    if len(chosen) < 2:
        return np.zeros((0, 2), np.int64), np.zeros(0)
    small = _thumbnails(images[chosen])
    subtract = len(chosen) >= MEAN_OF
    small = _standardised(small, small.mean(axis=0) if subtract else 0.0)
    candidates = []
    for start in range(0, len(small), BLOCK):
        block = small[start : start + BLOCK] @ small[start:].T
        rows, columns = np.nonzero(block >= CANDIDATE)
        keep = (columns > rows) & (series[chosen[start + rows]] != series[chosen[start + columns]])
        candidates.append(np.stack([start + rows[keep], start + columns[keep]], axis=1))
    pairs = chosen[np.concatenate(candidates)]
    flat = images.reshape(len(images), -1)
    mean = flat[chosen].mean(axis=0, dtype=np.float64).astype(np.float32) if subtract else 0.0
    correlation = np.concatenate(
        [
            np.einsum("nv,nv->n", _standardised(flat[block[:, 0]], mean), _standardised(flat[block[:, 1]], mean))
            for block in _blocks(pairs)
        ]
        or [np.zeros(0)]
    )
    return pairs[correlation >= NEAR], correlation[correlation >= NEAR].astype(np.float64)
