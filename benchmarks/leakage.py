"""Copies planted in real images, found by the leakage audit: recall and precision per kind; and time for many images.

Copies are cropped by 5 %, mirrored, noisy, re-windowed or compressed (benchmarks/_planted.py) before the images are
resized as in a study. They count as other patients, so nothing but the pixels tells that they are copies. The peer is
the usual 64-bit perceptual hash (signs of the lowest 8 x 8 cosine coefficients against their median; at most 8 bits
differ), given each image and its mirror images. Goals: recall and precision of at least 0.95. Sets that are not there
are left out. The last rows are the time and memory for images made of noise on a few shapes.
"""

import resource
import time
from pathlib import Path

import _planted
import numpy as np
from _measure import ROOT, cpu_seconds, limited, run

GOAL = 0.95
SETS = {"PneumoniaMNIST": "chest", "HAM10000": "moles", "Head CT": "heads", "phantom CT": "phantom"}


def rows(
    folder: Path, each: int = 150, patients: int = 120, images: int = 100_000, shared: Path | None = None
) -> list[dict]:
    """The table; each: copies per kind of change; shared: folder of the public sets."""
    from scanloom.copies.fingerprints import fingerprints
    from scanloom.copies.near_copies import near_pairs

    shared = shared or ROOT.parent / "shared" / "data"
    table = []
    for name, made in SETS.items():
        if made == "phantom":
            originals = _planted.phantom(folder / "phantom", patients)
        elif shared.is_dir():
            originals = getattr(_planted, made)(shared)
        else:
            continue
        # No more copies than images: each image is in about one pair, as in a set that has copies.
        pixels, truth = _planted.plant(originals, min(each, len(originals.images) // len(_planted.CHANGES)))
        others = np.where(truth["original"] >= 0, -1 - truth.index, truth["person"])
        recall, precision, mistakes = _planted.score(near_pairs(fingerprints(pixels), others)[0], truth)
        peer_recall, peer_precision, _ = _planted.score(hash_pairs(pixels, others), truth)
        for change, share in recall.items():
            table.append(reached(f"recall, {change}, {name}", share, peer_recall[change], GOAL))
        everything = float(np.mean(list(recall.values())))
        table.append(
            reached(f"recall, all kinds, {name}", everything, float(np.mean(list(peer_recall.values()))), GOAL)
        )
        table.append(reached(f"precision ({mistakes} pairs of strangers), {name}", precision, peer_precision, GOAL))
    return table + scale_rows(images)


def reached(measure: str, ours: float, peer: float, goal: float | None) -> dict:
    """A row of a share that should be large."""
    row = limited(measure, "share", [float(ours)])
    met = None if goal is None else bool(ours >= goal)
    return row | {"peer": float(peer), "goal": None if goal is None else f">= {goal:g}", "met": met}


def hash_pairs(pixels: np.ndarray, person: np.ndarray, most_bits: int = 8) -> np.ndarray:
    """Pairs of different persons whose perceptual hashes differ in at most `most_bits` bits, mirrored or not."""
    from scanloom.copies.fingerprints import fingerprints
    from scanloom.copies.likeness import mirrored, mirrorings

    coefficients = fingerprints(pixels)[:, :8, :8].astype(np.float32)

    def signs(values: np.ndarray) -> np.ndarray:
        flat = values.reshape(len(values), -1)
        return np.where(flat > np.median(flat, axis=1, keepdims=True), 1, -1).astype(np.float32)

    all_signs, found = signs(coefficients), []
    for axes in mirrorings(2):
        changed = signs(mirrored(coefficients, axes))
        for start in range(0, len(changed), 1024):
            row, column = np.nonzero(changed[start : start + 1024] @ all_signs.T >= 64 - 2 * most_bits)
            row += start
            keep = (row < column) & (person[row] != person[column])
            found.append(np.stack([row[keep], column[keep]], axis=1))
    return np.unique(np.concatenate(found), axis=0)


def scale_rows(images: int) -> list[dict]:
    """Time and memory of the search among `images` images of 32 px: 100 shapes, each with its own noise."""
    from scanloom.copies.fingerprints import fingerprints
    from scanloom.copies.near_copies import near_pairs

    rng = np.random.default_rng(0)
    shapes = rng.random((100, 4, 4, 1), dtype=np.float32).repeat(8, axis=1).repeat(8, axis=2)
    coefficients = np.concatenate(
        [
            fingerprints((255 * (0.5 * shapes + 0.5 * rng.random((100, 32, 32, 1), dtype=np.float32))).astype(np.uint8))
            for _ in range(-(-images // 100))
        ]
    )[:images]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu = time.perf_counter(), cpu_seconds()
    pairs, _ = near_pairs(coefficients, np.arange(images), workers=2)
    wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return [
        limited(f"search among {images} images ({len(pairs)} pairs), two threads", "s", [wall]),
        limited(f"search among {images} images", "s CPU", [cpu]),
        limited(f"memory beyond the fingerprints, {images} images", "MB", [grown]),
    ]


if __name__ == "__main__":
    whole = {"type": int, "metavar": "N"}
    run(
        __file__,
        __doc__,
        rows,
        {
            "each": whole | {"default": 150, "help": "copies per kind of change and set"},
            "images": whole | {"default": 100_000, "help": "images of the search whose time is taken"},
            "shared": {"type": Path, "metavar": "DIR", "help": "folder of the public sets"},
        },
    )
