"""Resampling along an axis as a matrix: every output pixel is a weighted mean of input pixels.

Growing is linear interpolation, shrinking averages over the area an output pixel covers (no aliasing), the same as
OpenCV's INTER_LINEAR and INTER_AREA where the grid spans the whole image. One small matrix product per axis works at
any rank, on stacks of slices and channels at once. The matrices are sparse: fewer products, and no BLAS threads, which
on a busy machine made this 25 times slower than one thread.
"""

from functools import lru_cache

import numpy as np
from scipy.sparse import csr_array


def centres(n_in: int, n_out: int, step: float) -> np.ndarray:
    """float64 [n_out]: where output pixels, `step` input pixels apart, lie on the input's axis; both share a centre."""
    return (n_in - 1) / 2 + (np.arange(n_out) - (n_out - 1) / 2) * step


@lru_cache(maxsize=64)
def smooth(n_in: int, n_out: int, step: float) -> csr_array:
    """float32 [n_out, n_in]: linear (step <= 1) or area (step > 1) weights; rows sum to one, the border is repeated."""
    at = centres(n_in, n_out, step)[:, np.newaxis]
    pixels = np.arange(n_in)
    if step <= 1:
        at = np.clip(at, 0, n_in - 1)
        weights = np.clip(1 - np.abs(at - pixels), 0, None)
    else:
        low, high = np.clip(at - step / 2, -0.5, n_in - 1.0), np.clip(at + step / 2, 0.0, n_in - 0.5)
        weights = np.clip(np.minimum(high, pixels + 0.5) - np.maximum(low, pixels - 0.5), 0, None)
    return csr_array((weights / weights.sum(axis=1, keepdims=True)).astype(np.float32))


def nearest(n_in: int, n_out: int, step: float) -> np.ndarray:
    """int64 [n_out]: the input pixel nearest to each output pixel's centre."""
    return np.clip(np.floor(centres(n_in, n_out, step) + 0.5), 0, n_in - 1).astype(np.int64)


def along(values: np.ndarray, weights: csr_array, axis: int) -> np.ndarray:
    """`values` with `axis` resampled by `weights` [n_out, n_in]."""
    first = np.moveaxis(values, axis, 0)
    out = weights @ first.reshape(len(first), -1)
    return np.moveaxis(out.reshape(-1, *first.shape[1:]), 0, axis)
