"""Equalise: grey levels respread so that each is about as frequent as any other, every channel by itself.

The value of a pixel becomes the share of pixels that are not brighter, counted above the darkest of 256 levels:
`(c(v) - c(darkest)) / (N - c(darkest))` with c the cumulated histogram (OpenCV's equalizeHist, which rounds to bytes).
A channel of a single level stays as it is.
"""

import math

from pydantic import Field

from scanloom.lazy import keras
from scanloom.strict_models import Strict

LEVELS = 256


class Settings(Strict):
    """How often."""

    p: float = Field(0.5, ge=0, le=1, description="probability")


def draw(uniform, settings: Settings, image_shape: tuple[int, ...]) -> dict:
    """chosen bool [batch]."""
    return {"chosen": uniform(1)[:, 0] < settings.p}


def apply(images, draws: dict, settings: Settings):
    """Images [batch, *spatial, channels] in [0, 1]; the drawn ones have at most 256 values per channel."""
    ops = keras.ops
    spatial, channels = images.shape[1:-1], images.shape[-1]
    pixels = math.prod(spatial)
    flat = ops.reshape(images, (-1, pixels, channels))
    level = ops.cast(ops.clip(ops.floor(flat * (LEVELS - 1) + 0.5), 0, LEVELS - 1), "int32")
    histograms = ops.shape(images)[0] * channels
    # One long row of all histograms: counting and looking up are each one gather or scatter over all pixels.
    place = level + LEVELS * ops.reshape(ops.arange(histograms, dtype="int32"), (-1, 1, channels))
    count = ops.segment_sum(ops.ones_like(ops.reshape(flat, (-1,))), ops.reshape(place, (-1,)), histograms * LEVELS)
    up_to = ops.cumsum(ops.reshape(count, (-1, LEVELS)), axis=1)
    # Counts below 2^24 are exact in float32, in whatever order they were added.
    darkest = ops.min(ops.where(up_to > 0, up_to, float(pixels)), axis=1, keepdims=True)
    share = ops.relu(up_to - darkest) / ops.maximum(pixels - darkest, 1.0)
    equal = ops.take(ops.reshape(share, (-1,)), place, axis=0)
    several = ops.reshape(darkest < pixels, (-1, 1, channels))
    chosen = ops.reshape(draws["chosen"], (-1, 1, 1))
    return ops.reshape(ops.where(chosen & several, equal, flat), (-1, *spatial, channels))
