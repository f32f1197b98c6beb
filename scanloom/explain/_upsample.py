"""Coarse maps to the grid of the image, linearly, at any rank."""

import numpy as np


def upsample(maps: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Maps float32 `[batch, *coarse]` on the image grid `[batch, *shape]`.

    Linear interpolation with pixel centres at half-integers (pixel i of n covers [i/n, (i+1)/n]), so that a map lies
    over the image without a shift; outside the outermost centres the map is constant.
    """
    if maps.ndim - 1 != len(shape):
        raise ValueError(f"maps {maps.shape} have {maps.ndim - 1} spatial dimensions, the image {len(shape)}")
    for axis, size in enumerate(shape, start=1):
        matrix = interpolation_matrix(maps.shape[axis], size)
        maps = np.moveaxis(np.tensordot(maps, matrix, axes=(axis, 1)), -1, axis)
    return maps.astype(np.float32)


def interpolation_matrix(coarse: int, fine: int) -> np.ndarray:
    """Weights float64 `[fine, coarse]`; every row sums to one."""
    position = np.clip((np.arange(fine) + 0.5) * coarse / fine - 0.5, 0, coarse - 1)
    left = np.minimum(position.astype(int), max(coarse - 2, 0))
    right = np.minimum(left + 1, coarse - 1)
    matrix = np.zeros((fine, coarse))
    rows = np.arange(fine)
    np.add.at(matrix, (rows, left), 1 - (position - left))
    np.add.at(matrix, (rows, right), position - left)
    return matrix
