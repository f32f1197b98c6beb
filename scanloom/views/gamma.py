"""Gamma: every value of the image raised to one random power, which leaves black and white where they are."""

import math

import numpy as np
from pydantic import Field, model_validator

from scanloom.lazy import keras
from scanloom.strict_models import Strict


class Settings(Strict):
    """Which powers, how often."""

    low: float = Field(0.7, gt=0, le=10, description="smallest power: below 1 dark values become brighter")
    high: float = Field(1.5, gt=0, le=10, description="largest power; drawn evenly on the logarithm's scale")
    p: float = Field(0.5, ge=0, le=1, description="probability")

    @model_validator(mode="after")
    def _ordered(self):
        if self.low > self.high:
            raise ValueError(f"low ({self.low}) must not exceed high ({self.high})")
        return self


def draw(uniform, settings: Settings, image_shape: tuple[int, ...]) -> dict:
    """power float32 [batch]; 1 where the image stays as it is."""
    u = uniform(2)
    power = settings.low * np.exp(u[:, 1] * math.log(settings.high / settings.low))
    return {"power": np.where(u[:, 0] < settings.p, power, 1.0).astype(np.float32)}


def apply(images, draws: dict, settings: Settings):
    """Images [batch, *spatial, channels] in [0, 1]."""
    ops = keras.ops
    power = ops.reshape(draws["power"], (-1,) + (1,) * (len(images.shape) - 1))
    return ops.power(ops.maximum(images, 0.0), power)
