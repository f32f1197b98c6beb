"""Connected parts of a mask bool [z, y, x]: the largest, with its holes filled, without thin bridges."""

from collections.abc import Callable

import cv2
import numpy as np
from scipy import ndimage


def largest(mask: np.ndarray) -> np.ndarray:
    """The connected part (6 neighbours) with most pixels; of equal ones the first. An empty mask stays empty."""
    box = tuple(slice(places.min(), places.max() + 1) for places in map(np.flatnonzero, _shadows(mask)) if places.size)
    if not box:
        return mask
    labels, count = ndimage.label(mask[box])  # four bytes for each of its pixels
    if count < 2:
        return mask
    sizes = sum(np.bincount(plane.ravel(), minlength=count + 1) for plane in labels)
    sizes[0] = 0
    part = np.zeros_like(mask)
    np.equal(labels, sizes.argmax(), out=part[box])
    return part


def _shadows(mask: np.ndarray) -> list[np.ndarray]:
    """Per axis, bool: whether there is anything at that place along it."""
    flat = mask.any(axis=0)
    return [mask.any(axis=(1, 2)), flat.any(axis=1), flat.any(axis=0)]


def filled(mask: np.ndarray) -> np.ndarray:
    """The mask with what it encloses in a slice: sinuses, ventricles, air in a bowel."""
    return _per_slice(ndimage.binary_fill_holes, mask)


def eroded(mask: np.ndarray, spacing_mm: tuple[float, float, float], radius_mm: float) -> np.ndarray:
    """The mask less a border of `radius_mm` in each slice; beyond the picture counts as inside."""
    return _with_ellipse(cv2.erode, mask, spacing_mm, radius_mm)


def dilated(mask: np.ndarray, spacing_mm: tuple[float, float, float], radius_mm: float) -> np.ndarray:
    """The mask grown by `radius_mm` in each slice."""
    return _with_ellipse(cv2.dilate, mask, spacing_mm, radius_mm)


def _with_ellipse(operation: Callable, mask: np.ndarray, spacing_mm: tuple, radius_mm: float) -> np.ndarray:
    radius_y, radius_x = (round(radius_mm / mm) for mm in spacing_mm[1:])
    if radius_y == radius_x == 0:
        return mask
    ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius_x + 1, 2 * radius_y + 1))
    return _per_slice(lambda plane: operation(plane.view(np.uint8), ellipse), mask)


def _per_slice(operation: Callable[[np.ndarray], np.ndarray], mask: np.ndarray) -> np.ndarray:
    """The operation done to each slice: slices may be far apart, and a hole may be open to the next one."""
    made = np.empty_like(mask)
    for plane, out in zip(mask, made, strict=True):
        np.copyto(out, operation(plane), casting="unsafe")
    return made
