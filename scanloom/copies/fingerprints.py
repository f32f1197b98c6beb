"""What an image looks like in a few hundred numbers, whatever its size, type and grey scale: a perceptual fingerprint.

The channels' mean, standardised, as the lowest coefficients of its discrete cosine transform. (Zauner, Implementation
and Benchmarking of Perceptual Image Hash Functions, 2010, takes their signs; here the values are kept, because an
alignment needs them.) Higher ones are faded out: cut off sharply, a bright edge would ring through the image. A cosine
series can be evaluated anywhere, so cropping a fingerprint is a product of small matrices (likeness.py).
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

COEFFICIENTS = {2: 24, 3: 12}  # per axis, by rank
FADE = 2.0  # natural logarithm by which the last coefficient of an axis is damped
CONTENT = 0.02  # an image whose spread is below this share of the spread of all pixels has no content
BLOCK = 256  # images taken at once
ITEM_COLUMNS = ("item_id", "series_id", "patient_id", "split", "dataset")


def cosines(at: np.ndarray, count: int) -> np.ndarray:
    """float32 [*at.shape, count]: orthonormal cosines 0 .. count - 1 at places `at` of an axis from 0 to 1."""
    frequency = np.arange(count, dtype=np.float32)
    return np.cos(np.pi * at[..., np.newaxis].astype(np.float32) * frequency) * _norm(count)


def slopes(at: np.ndarray, count: int) -> np.ndarray:
    """float32 [*at.shape, count]: derivatives of `cosines`."""
    angle = np.pi * np.arange(count, dtype=np.float32)
    return -np.sin(at[..., np.newaxis].astype(np.float32) * angle) * angle * _norm(count)


def _norm(count: int) -> np.ndarray:
    return np.where(np.arange(count) == 0, 1, np.sqrt(2)).astype(np.float32)


def pixel_centres(size: int) -> np.ndarray:
    """float64 [size]: where the pixels of an axis from 0 to 1 lie."""
    return (np.arange(size) + 0.5) / size


def fingerprints(images: np.ndarray) -> np.ndarray:
    """float16 [n, *coefficients]: one per image of integers [n, *spatial, channels]; rank 2 or 3, any size."""
    rank = images.ndim - 2
    if rank not in COEFFICIENTS:
        raise ValueError(f"images {images.shape} have rank {rank}; fingerprints are made at rank 2 and 3")
    count = COEFFICIENTS[rank]
    fade = np.exp(-FADE * (np.arange(count) / count) ** 2).astype(np.float32)
    transforms = []
    for size in images.shape[1:-1]:
        transform = cosines(pixel_centres(size), count) / size
        transform[:, size:] = 0  # a small image has no higher frequencies
        transforms.append(transform * fade)
    found = np.empty((len(images), *[count] * rank), np.float16)
    for start in range(0, len(images), BLOCK):
        values = images[start : start + BLOCK].mean(axis=-1, dtype=np.float32)
        flat = values.reshape(len(values), -1)
        flat -= flat.mean(axis=1, keepdims=True)
        flat /= np.maximum(flat.std(axis=1, keepdims=True), 1e-6)
        for transform in transforms:  # the first spatial axis goes in, its coefficients come out last
            values = np.tensordot(values, transform, axes=(1, 0))
        found[start : start + BLOCK] = values
    return found


def describe(images: Callable[[np.ndarray], np.ndarray], n: int) -> dict[str, np.ndarray]:
    """Of n images: coefficients float16 [n, *K], digest (SHA-256 of the pixels, U64 [n]) and has_content bool [n].

    images: gives those of the numbers it is asked for, integers [number, *spatial, channels]; they are taken in blocks.
    """
    parts, digest, means, squares = [], [], [], []
    for start in range(0, n, BLOCK):
        block = images(np.arange(start, min(n, start + BLOCK)))
        parts.append(fingerprints(block))
        # Hashing costs a nanosecond per byte, the loop nothing.
        digest += [hashlib.sha256(np.ascontiguousarray(image)).hexdigest() for image in block]
        flat = block.reshape(len(block), -1).astype(np.float32)
        means.append(flat.mean(axis=1, dtype=np.float64))
        squares.append(np.einsum("nv,nv->n", flat, flat, dtype=np.float64) / flat.shape[1])
    means, squares = np.concatenate(means or [np.zeros(0)]), np.concatenate(squares or [np.zeros(0)])
    spread = np.sqrt(np.maximum(squares - means**2, 0))
    overall = np.sqrt(max(squares.mean() - means.mean() ** 2, 0)) if n else 0.0
    coefficients = np.concatenate(parts) if parts else np.zeros((0, 1, 1), np.float16)
    return {"coefficients": coefficients, "digest": np.array(digest, "U64"), "has_content": spread > CONTENT * overall}


def write_fingerprints(path: Path, described: dict[str, np.ndarray], table: pd.DataFrame) -> None:
    """What `describe` gives and whose it is, as one .npz file. table: item_id, patient_id, split, dataset, and more."""
    with open(path, "wb") as file:
        np.savez(file, **described, **{name: table[name].to_numpy("U") for name in ITEM_COLUMNS})


def read_fingerprints(paths) -> tuple[pd.DataFrame, np.ndarray]:
    """Table (ITEM_COLUMNS, digest, has_content) and coefficients float16 [n, *K] of all files, one after the other."""
    tables, coefficients = [], []
    for path in paths:
        with np.load(path, allow_pickle=False) as arrays:
            columns = {name: arrays[name] for name in (*ITEM_COLUMNS, "digest", "has_content")}
            coefficients.append(arrays["coefficients"])
        tables.append(pd.DataFrame(columns).astype(dict.fromkeys((*ITEM_COLUMNS, "digest"), "str")))
    return pd.concat(tables, ignore_index=True), np.concatenate(coefficients)
