"""Sharpen: what a small blur takes away is added once more, image + amount * (image - blurred), clipped to [0, 1].

The blur weighs a pixel and its two neighbours along each axis 1 : 2 : 1; at the border the last pixel is repeated.
"""

import numpy as np
from pydantic import Field

from scanloom.lazy import keras
from scanloom.strict_models import Strict


class Settings(Strict):
    """How much, how often."""

    amount: float = Field(1.0, gt=0, le=10, description="largest amount; the smallest is 0")
    p: float = Field(0.5, ge=0, le=1, description="probability")


def draw(uniform, settings: Settings, image_shape: tuple[int, ...]) -> dict:
    """amount float32 [batch]; 0 where the image stays as it is."""
    u = uniform(2)
    return {"amount": (u[:, 1] * settings.amount * (u[:, 0] < settings.p)).astype(np.float32)}


def apply(images, draws: dict, settings: Settings):
    """Images [batch, *spatial, channels]."""
    ops = keras.ops
    amount = ops.reshape(draws["amount"], (-1,) + (1,) * (len(images.shape) - 1))
    blurred = images
    for axis in range(1, len(images.shape) - 1):
        blurred = _blurred(blurred, axis)
    return ops.clip(images + amount * (images - blurred), 0.0, 1.0)


def _blurred(images, axis: int):
    ops = keras.ops
    size = images.shape[axis]

    def part(first: int, last: int):
        return images[(slice(None),) * axis + (slice(first, last),)]

    before = ops.concatenate([part(0, 1), part(0, size - 1)], axis=axis)
    behind = ops.concatenate([part(1, size), part(size - 1, size)], axis=axis)
    return 0.5 * images + 0.25 * (before + behind)
