"""Perspective: the image seen at a slant, each corner moved inwards by a random part of half a side.

With `distortion` 0.15 a corner moves by at most 7.5 % of the side, along both axes independently (the convention of
torchvision's RandomPerspective). Of a volume, one random plane is distorted, in the same way at every depth.
"""

import numpy as np
from pydantic import Field

from scanloom.strict_models import Strict
from scanloom.views._resample import OUTSIDE, Outside, brought_inside, mapped, planes_of

CORNERS = np.array([[0, 0], [0, 1], [1, 1], [1, 0]])


class Settings(Strict):
    """How slanted, how often."""

    distortion: float = Field(0.15, gt=0, le=0.9, description="largest way of a corner, as a share of half the side")
    outside: Outside = Field("black", description=OUTSIDE)
    p: float = Field(0.5, ge=0, le=1, description="probability")


def draw(uniform, settings: Settings, image_shape: tuple[int, ...]) -> dict:
    """matrix float32 [batch, 2 rank, rank + 1] for `mapped`: from a place of the view to one of the image."""
    spatial = image_shape[:-1]
    rank = len(spatial)
    planes = planes_of(rank)
    if min(spatial) < 2:
        raise ValueError(f"perspective: an axis of one pixel cannot be seen at a slant; images are {list(spatial)}")
    u = uniform(10).astype(np.float64)
    plane = (u[:, 1] * len(planes)).astype(int)
    unmoved = np.concatenate([np.eye(rank, rank + 1), np.eye(rank + 1)[[rank] * rank]])
    matrix = np.broadcast_to(unmoved, (len(u), *unmoved.shape)).copy()
    for number, axes in enumerate(planes):
        rows = np.flatnonzero((plane == number) & (u[:, 0] < settings.p))
        sides = np.array([spatial[axis] for axis in axes], np.float64)
        corners = CORNERS * (sides - 1)
        moved = corners + (1 - 2 * CORNERS) * u[rows, 2:].reshape(-1, 4, 2) * settings.distortion * sides / 2
        projection = _projection(moved, corners)[:, [0, 1, 2, 2]]
        matrix[np.ix_(rows, [*axes, rank + axes[0], rank + axes[1]], [*axes, rank])] = projection
    return {"matrix": matrix.astype(np.float32)}


def coordinates(places, draws: dict, spatial: tuple[int, ...], settings: Settings):
    """Where the places [batch or 1, rank, points] of the view are in the image."""
    return brought_inside(mapped(places, draws["matrix"]), spatial, settings.outside)


def _projection(view: np.ndarray, image: np.ndarray) -> np.ndarray:
    """[batch, 3, 3]: the projections that take four points `view` [batch, 4, 2] to `image` [4, 2]."""
    count = len(view)
    equations, wanted = np.zeros((count, 8, 8)), np.empty((count, 8))
    for corner in range(4):
        for axis in range(2):
            row = 2 * corner + axis
            equations[:, row, 3 * axis : 3 * axis + 2] = view[:, corner]
            equations[:, row, 3 * axis + 2] = 1
            equations[:, row, 6:] = -image[corner, axis] * view[:, corner]
            wanted[:, row] = image[corner, axis]
    solution = np.linalg.solve(equations, wanted[..., None])[..., 0]
    return np.concatenate([solution, np.ones((count, 1))], axis=1).reshape(count, 3, 3)
