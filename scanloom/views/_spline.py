"""Smooth random fields over an image: cubic B-splines through a coarse grid of random numbers."""

import functools

import numpy as np

from scanloom.lazy import keras


def smooth_field(coefficients, spatial: tuple[int, ...]):
    """[batch, fields, *spatial] from coefficients [batch, fields, *coarse], `coarse` >= 4 numbers along every axis.

    The first number along an axis lies one interval before the image, the last one interval behind it.
    """
    # Each product moves the axis it fills in to the end; after all of them the axes are in order again.
    for size in spatial:
        coefficients = keras.ops.tensordot(coefficients, basis(size, coefficients.shape[2]), axes=[[2], [1]])
    return coefficients


@functools.cache
def basis(size: int, numbers: int) -> np.ndarray:
    """float32 [size, numbers]: the weight of each number at each pixel; rows sum to 1."""
    intervals = numbers - 3
    place = np.linspace(0, intervals, size) if size > 1 else np.full(1, intervals / 2)
    distance = np.abs(place[:, None] - np.arange(-1, intervals + 2))
    inner, outer = 2 / 3 - distance**2 + distance**3 / 2, np.maximum(2 - distance, 0) ** 3 / 6
    return np.where(distance < 1, inner, outer).astype(np.float32)
