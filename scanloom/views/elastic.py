"""Elastic deformation: the image bent by a smooth random field, a cubic B-spline of displacements on a coarse grid.

Free-form deformation (Rueckert et al., IEEE TMI 18:712, 1999). Below 0.4 times the distance of control points such a
field is one-to-one (Choi & Lee, Graphical Models 62:188, 2000), so anatomy is bent but never folded.
"""

import math

import numpy as np
from pydantic import Field

from scanloom.lazy import keras
from scanloom.strict_models import Strict
from scanloom.views._resample import OUTSIDE, Outside, brought_inside
from scanloom.views._spline import smooth_field

ONLY_AT_PIXELS = True  # the field is made at the pixels, so this view is the last of those that share a reading


class Settings(Strict):
    """How coarse, how strong, how often."""

    control_points: int = Field(5, ge=2, le=16, description="control points along each axis of the image")
    displacement: float = Field(
        0.3, gt=0, le=0.4, description="largest displacement of a control point, in distances of control points"
    )
    outside: Outside = Field("edge", description=OUTSIDE)
    p: float = Field(0.5, ge=0, le=1, description="probability")


def draw(uniform, settings: Settings, image_shape: tuple[int, ...]) -> dict:
    """displacement_px float32 [batch, rank, *(control_points + 2)]; 0 where the image stays as it is."""
    spatial = image_shape[:-1]
    rank, points = len(spatial), settings.control_points + 2
    u = uniform(1 + rank * points**rank)
    spacing = np.array([(size - 1) / (settings.control_points - 1) for size in spatial], np.float32)
    field = (2 * u[:, 1:] - 1).reshape(-1, rank, points**rank) * settings.displacement * spacing[:, None]
    field *= (u[:, 0] < settings.p)[:, None, None]
    return {"displacement_px": field.reshape(-1, rank, *[points] * rank).astype(np.float32)}


def coordinates(places, draws: dict, spatial: tuple[int, ...], settings: Settings):
    """Where the pixels of the view, places [1, rank, points], are in the image."""
    ops = keras.ops
    field = smooth_field(draws["displacement_px"], spatial)
    moved = places + ops.reshape(field, (-1, len(spatial), math.prod(spatial)))
    return brought_inside(moved, spatial, settings.outside)
