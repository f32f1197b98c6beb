"""Which images are near copies of each other: so alike that they must show the same, not only the same kind of thing.

How alike two strangers look differs between chest radiographs, moles and heads, and noise makes copies less alike. So a
near copy is alike beyond doubt (NEAR), or alike (MAYBE) and clearly more so than strangers are to either of the two
(STANDS_OUT; the ratio to the next best match is Lowe's, IJCV 60, 2004, section 7.1). benchmarks/leakage.py plants
copies in real images and counts what is found.
"""

import numpy as np

from scanloom.copies.likeness import likeness, partners

NEAR = 0.985
MAYBE = 0.93
STANDS_OUT = 0.4  # (1 - likeness) of a copy is at most this share of (1 - likeness) of a stranger
STRANGER = 0.8  # likeness of strangers where there are too few to tell
PLACE = 2  # which of an image's partners, best first from 0, counts as a stranger: the first two may be copies as well


def near_pairs(coefficients: np.ndarray, patient: np.ndarray, workers: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """int64 [pairs, 2] of images that are near copies of each other, smaller number first, and their likeness.

    coefficients: float16 [n, *K]; patient: int [n]. workers: threads.
    """
    n = len(coefficients)
    if n < 2:
        return np.zeros((0, 2), np.int64), np.zeros(0)
    pairs = partners(coefficients, patient)
    value = likeness(coefficients, pairs, workers)
    order = np.lexsort((-value, pairs[:, 1], pairs[:, 0]))  # of several mirrorings of a pair the best
    pairs, value = pairs[order, :2], value[order]
    best = np.ones(len(pairs), bool)
    best[1:] = (pairs[1:] != pairs[:-1]).any(axis=1)
    pairs, value = pairs[best], value[best]
    stranger = _strangers(pairs, value, n)[pairs].max(axis=1)
    near = (value >= NEAR) | ((value >= MAYBE) & (1 - value <= STANDS_OUT * (1 - stranger)))
    return pairs[near], value[near].astype(np.float64)


def _strangers(pairs: np.ndarray, value: np.ndarray, n: int) -> np.ndarray:
    """float32 [n]: how alike to each image one is that is hardly its copy."""
    unsure = value < NEAR
    image, value = pairs[unsure].T.ravel(), np.tile(value[unsure], 2)
    order = np.lexsort((-value, image))
    image, value = image[order], value[order]
    chosen = np.arange(len(image)) - np.searchsorted(image, image) == PLACE
    stranger = np.full(n, STRANGER, np.float32)
    stranger[image[chosen]] = np.maximum(STRANGER, value[chosen])
    return stranger
