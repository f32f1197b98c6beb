"""Quarter turns: the image turned by 90, 180 or 270 degrees, at rank 3 in one random plane of the three.

Pixels are moved, not interpolated. In a plane of unequal sides only the turn by 180 degrees is possible.
"""

import numpy as np
from pydantic import Field

from scanloom.lazy import keras
from scanloom.strict_models import Strict
from scanloom.views._resample import planes_of


class Settings(Strict):
    """How often."""

    p: float = Field(0.5, ge=0, le=1, description="probability")


def draw(uniform, settings: Settings, image_shape: tuple[int, ...]) -> dict:
    """turns int [batch, planes]: quarter turns from 0 to 3, in the direction of np.rot90."""
    planes = planes_of(len(image_shape) - 1)
    u = uniform(3)
    plane = (u[:, 1:2] * len(planes)).astype(np.int32)
    turns = 1 + (u[:, 2:] * 3).astype(np.int32)
    equal = np.array([image_shape[i] == image_shape[j] for i, j in planes])
    chosen = (u[:, :1] < settings.p) & (plane == np.arange(len(planes)))
    return {"turns": np.where(equal, turns, 2) * chosen}


def apply(images, draws: dict, settings: Settings):
    """Images [batch, *spatial, channels], turned."""
    ops = keras.ops
    shape = images.shape
    for plane, (i, j) in enumerate(planes_of(len(shape) - 2)):
        turns = ops.reshape(draws["turns"][:, plane], (-1,) + (1,) * (len(shape) - 1))
        if shape[1 + i] == shape[1 + j]:
            images = ops.where(turns % 2 == 1, ops.swapaxes(images, 1 + i, 1 + j), images)
        images = ops.where((turns == 1) | (turns == 2), ops.flip(images, axis=1 + i), images)
        images = ops.where((turns == 2) | (turns == 3), ops.flip(images, axis=1 + j), images)
    return images
