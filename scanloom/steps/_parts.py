"""Connected parts of a mask bool [z, y, x]: the largest, with its holes filled, without thin bridges."""

from collections.abc import Callable

import cv2
import numpy as np
from scipy import ndimage

# Neighbours within a slice only: slices may be far apart, and a hole may be open to the next one.
IN_PLANE = np.array([[[0, 0, 0]] * 3, [[0, 1, 0], [1, 1, 1], [0, 1, 0]], [[0, 0, 0]] * 3], bool)


def largest(mask: np.ndarray) -> np.ndarray:
    """The connected part (6 neighbours) with most pixels; of equal ones the first. An empty mask stays empty."""
    labels, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    return labels == sizes.argmax()


def filled(mask: np.ndarray) -> np.ndarray:
    """The mask with what it encloses in a slice: sinuses, ventricles, air in a bowel."""
    return ndimage.binary_fill_holes(mask, IN_PLANE)


def eroded(mask: np.ndarray, spacing_mm: tuple[float, float, float], radius_mm: float) -> np.ndarray:
    """The mask less a border of `radius_mm` in each slice; beyond the picture counts as inside."""
    return _per_slice(cv2.erode, mask, spacing_mm, radius_mm)


def dilated(mask: np.ndarray, spacing_mm: tuple[float, float, float], radius_mm: float) -> np.ndarray:
    """The mask grown by `radius_mm` in each slice."""
    return _per_slice(cv2.dilate, mask, spacing_mm, radius_mm)


def _per_slice(operation: Callable, mask: np.ndarray, spacing_mm: tuple, radius_mm: float) -> np.ndarray:
    radius_y, radius_x = (round(radius_mm / mm) for mm in spacing_mm[1:])
    if radius_y == radius_x == 0:
        return mask
    ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius_x + 1, 2 * radius_y + 1))
    return np.stack([operation(plane, ellipse) for plane in mask.astype(np.uint8)]).astype(bool)
