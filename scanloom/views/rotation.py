"""Rotation by a random angle about the image's centre, at rank 3 in one or in each of the three planes.

Angles are in pixel space: volumes should be resampled to equal spacing first. All turns of an image are one reading of
it. A share of the turns can be quarter turns instead, which reads pixels exactly where sides are equal.
"""

from typing import Literal

import numpy as np
from pydantic import Field

from scanloom.strict_models import Strict
from scanloom.views._resample import OUTSIDE, Outside, about_centre, brought_inside, mapped, planes_of, turned


class Settings(Strict):
    """How far, in which planes, how often."""

    degrees: float = Field(20.0, gt=0, le=180, description="largest angle either way")
    planes: Literal["each", "one", "in_slice"] = Field(
        "each",
        description="rank 3: each plane with probability p of its own; one random plane with probability p; or the "
        "plane of the slices alone. Rank 2 has one plane",
    )
    quarter_turns: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of the turns that are by 90, 180 or 270 degrees instead, in each plane on its own",
    )
    outside: Outside = Field("black", description=OUTSIDE)
    p: float = Field(0.5, ge=0, le=1, description="probability")


def draw(uniform, settings: Settings, image_shape: tuple[int, ...]) -> dict:
    """matrix float32 [batch, rank, rank + 1] for `mapped`; the unit matrix where the image stays as it is."""
    spatial = image_shape[:-1]
    rank = len(spatial)
    planes = len(planes_of(rank))
    u = uniform(1 + 3 * planes).astype(np.float64)
    chance, where, kind = (u[:, 1 + k * planes : 1 + (k + 1) * planes] for k in range(3))
    if settings.planes == "each":
        chosen = chance < settings.p
    else:
        plane = (u[:, :1] * (planes if settings.planes == "one" else 1)).astype(int)
        chosen = (np.arange(planes) == plane) & (chance[:, :1] < settings.p)
    quarters = np.pi / 2 * (1 + np.floor(3 * where))
    free = np.deg2rad((2 * where - 1) * settings.degrees)
    angles = np.where(kind < settings.quarter_turns, quarters, free) * chosen
    return {"matrix": about_centre(turned(angles, rank), np.zeros((len(u), rank)), spatial)}


def coordinates(places, draws: dict, spatial: tuple[int, ...], settings: Settings):
    """Where the places [batch or 1, rank, points] of the turned image are in the image."""
    return brought_inside(mapped(places, draws["matrix"]), spatial, settings.outside)
