"""Smooth random fields for the phantom, evaluated at any grid of millimetres.

A field is a random trigonometric polynomial with wavelengths in a band. It is a function of space, not an array: two
series of one patient with different slices see the same head.
"""

from dataclasses import dataclass

import numpy as np

PERIOD_MM = 320.0  # longer than a head in every direction, so that the repetition is never seen


@dataclass(frozen=True)
class Field:
    """A zero-mean, unit-variance function of (z, y, x) in mm; weights: float32 `[n, n, n]`, n = 2 * order + 1."""

    weights: np.ndarray

    def on_grid(self, z: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Values on the grid of three axes in mm: float32 `[len(z), len(y), len(x)]`.

        Plain einsum, not BLAS: the sums have one order whatever the number of threads, so files get the same bytes.
        """
        order = self.weights.shape[0] // 2
        partial = np.einsum("abc,za->zbc", self.weights, _basis(z, order))
        partial = np.einsum("zbc,yb->zyc", partial, _basis(y, order))
        return np.einsum("zyc,xc->zyx", partial, _basis(x, order))


def _basis(axis_mm: np.ndarray, order: int) -> np.ndarray:
    """1, cos and sin up to `order` turns per period: float32 `[len(axis), 2 * order + 1]`."""
    turns = np.arange(1, order + 1) * (2 * np.pi / PERIOD_MM)
    angle = np.asarray(axis_mm, np.float64)[:, None] * turns
    return np.concatenate([np.ones((len(angle), 1)), np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


def random_field(rng: np.random.Generator, shortest_mm: float, longest_mm: float) -> Field:
    """A field whose wavelengths lie between the two lengths, with equal variance at all of them."""
    if not 0 < shortest_mm < longest_mm:
        raise ValueError(f"shortest_mm ({shortest_mm}) must be positive and below longest_mm ({longest_mm})")
    order = int(PERIOD_MM / shortest_mm)
    turns = np.concatenate([[0], np.arange(1, order + 1), np.arange(1, order + 1)])
    length = np.sqrt(turns[:, None, None] ** 2 + turns[:, None] ** 2 + turns**2)
    in_band = (length >= PERIOD_MM / longest_mm) & (length <= PERIOD_MM / shortest_mm)
    weights = rng.standard_normal(length.shape) * in_band
    # cos and sin have variance 1/2, the constant has 1: the variance of a product is the product of them.
    halves = (turns[:, None, None] > 0) * 1 + (turns[:, None] > 0) * 1 + (turns > 0) * 1
    return Field((weights / np.sqrt(np.sum(weights**2 * 0.5**halves))).astype(np.float32))
