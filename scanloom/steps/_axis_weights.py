"""Resampling along an axis as a matrix: every output pixel is a weighted mean of input pixels.

Growing is linear interpolation, shrinking averages over the area an output pixel covers (no aliasing), the same as
OpenCV's INTER_LINEAR and INTER_AREA where the grid spans the whole image. One matrix per axis works at any rank, on
stacks of slices at once. The matrices are bands, kept as blocks of a few rows and the columns that count for them and
multiplied by BLAS: an eighth of the time of sparse matrices, which also need the axis to come first. Blocks are so
small that BLAS uses one thread for each: threads that wait for each other made these products ten times slower.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

ROWS = 8  # output pixels of a block: 4 and 16 take 5 to 20 % longer
ONE_THREAD = 2**18  # OpenBLAS uses threads from so many multiplications on (GEMM_MULTITHREAD_THRESHOLD)


class Block(NamedTuple):
    """Output pixels `to` are `weights` (float32 [to, of]) times the input pixels `of` of those that are used."""

    to: slice
    of: slice
    weights: np.ndarray


class Weights(NamedTuple):
    """n_out rows as blocks, for an axis of n_in pixels of which only `used` count."""

    n_in: int
    n_out: int
    used: slice
    blocks: tuple[Block, ...]

    def toarray(self) -> np.ndarray:
        """The whole matrix, float32 [n_out, n_in]."""
        full = np.zeros((self.n_out, self.n_in), np.float32)
        for block in self.blocks:
            full[block.to, self.used][:, block.of] = block.weights
        return full


def centres(n_in: int, n_out: int, step: float) -> np.ndarray:
    """float64 [n_out]: where output pixels, `step` input pixels apart, lie on the input's axis; both share a centre."""
    return (n_in - 1) / 2 + (np.arange(n_out) - (n_out - 1) / 2) * step


@lru_cache(maxsize=64)
def smooth(n_in: int, n_out: int, step: float, first: int = 0, last: int | None = None) -> Weights:
    """Linear (step <= 1) or area (step > 1) weights; rows sum to one, the border is repeated.

    first, last: only these of the n_out pixels (as in a slice).
    """
    at = centres(n_in, n_out, step)[first:last]
    rows = [_block(n_in, at[start : start + ROWS], step, start) for start in range(0, len(at), ROWS)]
    low, high = min(block.of.start for block in rows), max(block.of.stop for block in rows)
    blocks = (Block(to, slice(of.start - low, of.stop - low), weights) for to, of, weights in rows)
    return Weights(n_in, len(at), slice(low, high), tuple(blocks))


def _block(n_in: int, at: np.ndarray, step: float, start: int) -> Block:
    """Rows of the output pixels that lie at `at`."""
    reach = max(step, 1.0) / 2 + 1
    pixels = np.arange(min(max(0, int(at[0] - reach)), n_in - 1), max(min(n_in, int(np.ceil(at[-1] + reach)) + 1), 1))
    at = at[:, np.newaxis]
    if step <= 1:
        at = np.clip(at, 0, n_in - 1)
        weights = np.clip(1 - np.abs(at - pixels), 0, None)
    else:
        low, high = np.clip(at - step / 2, -0.5, n_in - 1.0), np.clip(at + step / 2, 0.0, n_in - 0.5)
        weights = np.clip(np.minimum(high, pixels + 0.5) - np.maximum(low, pixels - 0.5), 0, None)
    weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    used = np.flatnonzero(weights.any(axis=0))
    kept = slice(used[0], used[-1] + 1)
    of = slice(int(pixels[0] + kept.start), int(pixels[0] + kept.stop))
    return Block(slice(start, start + len(at)), of, np.ascontiguousarray(weights[:, kept]))


def nearest(n_in: int, n_out: int, step: float) -> np.ndarray:
    """int64 [n_out]: the input pixel nearest to each output pixel's centre."""
    return np.clip(np.floor(centres(n_in, n_out, step) + 0.5), 0, n_in - 1).astype(np.int64)


def along(values: np.ndarray, weights: Weights, axis: int) -> np.ndarray:
    """`values` (float32, at least two axes) with `axis` resampled; contiguous. Fastest where the last axis is long.

    The axis has all its pixels, or only those the weights use.
    """
    axis %= values.ndim
    if values.shape[axis] == weights.n_in:
        values = values[(slice(None),) * axis + (weights.used,)]
    is_last = axis == values.ndim - 1
    out = np.empty((*values.shape[:axis], weights.n_out, *values.shape[axis + 1 :]), np.float32)
    # The resampled axis is one of the last two: the other one is what a product runs over.
    old, new = (values, out) if is_last else (np.moveaxis(values, axis, -2), np.moveaxis(out, axis, -2))
    other = old.shape[-2 if is_last else -1]
    for to, of, rows in weights.blocks:
        width = max(16, ONE_THREAD // rows.size)
        for start in range(0, other, width):
            part = slice(start, start + width)
            if is_last:
                np.matmul(old[..., part, of], rows.T, out=new[..., part, to])
            else:
                np.matmul(rows, old[..., of, part], out=new[..., to, part])
    return out
