"""Zoom: the image magnified or shrunk about its centre; what lies beyond the image is black.

Written as one matrix per axis. Shrinking averages over as many pixels as fall onto one (the triangle of Pillow's
bilinear resize), so nothing can alias.
"""

import numpy as np
from pydantic import Field, model_validator

from scanloom.lazy import keras
from scanloom.strict_models import Strict


class Settings(Strict):
    """How much, how often."""

    scale_low: float = Field(0.8, ge=0.5, le=2, description="smallest magnification")
    scale_high: float = Field(1.2, ge=0.5, le=2, description="largest magnification")
    per_axis: bool = Field(False, description="a magnification of its own for every axis")
    p: float = Field(0.5, ge=0, le=1, description="probability")

    @model_validator(mode="after")
    def _ordered(self):
        if self.scale_low > self.scale_high:
            raise ValueError(f"scale_low ({self.scale_low}) must not exceed scale_high ({self.scale_high})")
        return self


def draw(uniform, settings: Settings, image_shape: tuple[int, ...]) -> dict:
    """scale float32 [batch, rank]; 1 where the image stays as it is."""
    rank = len(image_shape) - 1
    u = uniform(1 + rank)
    own = u[:, 1:] if settings.per_axis else np.repeat(u[:, 1:2], rank, axis=1)
    scale = settings.scale_low + own * (settings.scale_high - settings.scale_low)
    return {"scale": np.where(u[:, :1] < settings.p, scale, 1.0).astype(np.float32)}


def matrices(draws: dict, spatial: tuple[int, ...], settings: Settings) -> list:
    """One resampling matrix [batch, n, n] per axis; rows sum to 1 where they see nothing but the image."""
    return [_resampling(draws["scale"][:, axis], size) for axis, size in enumerate(spatial)]


def _resampling(scale, size: int):
    """Rows: output positions; row i is the triangle around the place it shows, cut where the image ends."""
    ops = keras.ops
    scale = ops.reshape(scale, (-1, 1, 1))
    centre = (size - 1) / 2
    # Weights are normalised before they are cut, over a frame as wide as the widest triangle reaches.
    frame = 2 + size // 2
    places = ops.reshape(ops.arange(-frame, size + frame, dtype="float32"), (1, 1, -1))
    shown = centre + (ops.reshape(ops.arange(size, dtype="float32"), (1, size, 1)) - centre) / scale
    weights = ops.relu(1.0 - ops.abs(places - shown) * ops.minimum(scale, 1.0))
    return (weights / ops.sum(weights, axis=2, keepdims=True))[:, :, frame:-frame]
