"""Gaussian noise with a standard deviation in proportion to the image's mean, read from one table of normal numbers.

Each image of each epoch reads the table from its own place, with its own sign: per pixel one gather and one
multiply-add (scanloom/views/_number_table.py says why).
"""

import numpy as np
from pydantic import Field, model_validator

from scanloom.lazy import keras
from scanloom.strict_models import Strict
from scanloom.views._number_table import TABLE, read


class Settings(Strict):
    """How strong, how often."""

    relative_std_low: float = Field(0.06, ge=0, le=1, description="smallest standard deviation, times the image's mean")
    relative_std_high: float = Field(0.10, ge=0, le=1, description="largest, times the image's mean")
    p: float = Field(0.5, ge=0, le=1, description="probability")

    @model_validator(mode="after")
    def _ordered(self):
        if self.relative_std_low > self.relative_std_high:
            raise ValueError(
                f"relative_std_low ({self.relative_std_low}) must not exceed relative_std_high "
                f"({self.relative_std_high})"
            )
        return self


def draw(uniform, settings: Settings, image_shape: tuple[int, ...]) -> dict:
    """amplitude float32 [batch] (signed, 0 for no noise), offset int32 [batch] into the table."""
    u = uniform(4)
    strength = settings.relative_std_low + u[:, 1] * (settings.relative_std_high - settings.relative_std_low)
    amplitude = strength * (u[:, 0] < settings.p) * np.where(u[:, 2] < 0.5, -1, 1)
    return {"amplitude": amplitude.astype(np.float32), "offset": (u[:, 3] * TABLE).astype(np.int32)}


def apply(images, draws: dict, settings: Settings):
    """Images [batch, *spatial, channels], clipped to [0, 1]."""
    ops = keras.ops
    ones = (-1,) + (1,) * (len(images.shape) - 1)
    noise = read(draws["offset"], images.shape[1:], "normal")
    mean = ops.mean(images, axis=tuple(range(1, len(images.shape))), keepdims=True)
    return ops.clip(images + noise * (mean * ops.reshape(draws["amplitude"], ones)), 0.0, 1.0)
