"""Affine transform: rotation, scale, shear and shift about the image's centre, all drawn uniformly, read in one go.

At rank 3 there is an angle per plane and a shear per pair of axes; the scale is one for all axes. Shrinking is not
smoothed (scales near 1 do not need it); `random_resized_crop` and `zoom` are cheaper where no angle is wanted.
"""

import numpy as np
from pydantic import Field, model_validator

from scanloom.strict_models import Strict
from scanloom.views._resample import OUTSIDE, Outside, about_centre, brought_inside, mapped, planes_of, turned


class Settings(Strict):
    """How far each of them goes, how often."""

    degrees: float = Field(10.0, ge=0, le=180, description="largest angle either way, in every plane")
    scale_low: float = Field(0.9, ge=0.5, le=2, description="smallest magnification")
    scale_high: float = Field(1.1, ge=0.5, le=2, description="largest magnification")
    shear_degrees: float = Field(0.0, ge=0, le=45, description="largest shear either way")
    shift: float = Field(0.05, ge=0, le=1, description="largest shift either way, as a share of the image's side")
    outside: Outside = Field("black", description=OUTSIDE)
    p: float = Field(0.5, ge=0, le=1, description="probability")

    @model_validator(mode="after")
    def _ordered(self):
        if self.scale_low > self.scale_high:
            raise ValueError(f"scale_low ({self.scale_low}) must not exceed scale_high ({self.scale_high})")
        return self


def draw(uniform, settings: Settings, image_shape: tuple[int, ...]) -> dict:
    """matrix float32 [batch, rank, rank + 1] for `mapped`: from a place of the view to one of the image."""
    spatial = image_shape[:-1]
    rank = len(spatial)
    planes = len(planes_of(rank))
    u = uniform(2 + 2 * planes + rank).astype(np.float64)
    chosen = u[:, :1] < settings.p
    angle, shear, shift = np.split(2 * u[:, 2:] - 1, [planes, 2 * planes], axis=1)
    scale = settings.scale_low + u[:, 1] * (settings.scale_high - settings.scale_low)
    linear = turned(np.deg2rad(angle * settings.degrees), rank)
    for plane, (i, j) in enumerate(planes_of(rank)):
        sheared = np.broadcast_to(np.eye(rank), linear.shape).copy()
        sheared[:, j, i] = np.tan(np.deg2rad(shear[:, plane] * settings.shear_degrees))
        linear = linear @ sheared
    linear = np.where(chosen[..., None], linear / scale[:, None, None], np.eye(rank))
    return {"matrix": about_centre(linear, chosen * shift * settings.shift * np.array(spatial), spatial)}


def coordinates(places, draws: dict, spatial: tuple[int, ...], settings: Settings):
    """Where the places [batch or 1, rank, points] of the view are in the image."""
    return brought_inside(mapped(places, draws["matrix"]), spatial, settings.outside)
