"""Random resized crop: a random box of the image, stretched to the full size.

The box has a share of the image's area (volume at rank 3) drawn uniformly and the ratio of its sides log-uniformly,
after Szegedy et al. (arXiv 1409.4842); a box that would not lie in the image is drawn again, up to ten times, as
torchvision's RandomResizedCrop does; then it has the last share drawn and the image's own ratio. At rank 3 each side
has a stretch of its own, log-uniform, less their mean. Resampling is linear interpolation written as one matrix per
axis; a box is never larger than the image, so pixels are only ever stretched and nothing can alias.
"""

import math

import numpy as np
from pydantic import Field, model_validator

from scanloom.lazy import keras
from scanloom.strict_models import Strict

TRIES = 10


class Settings(Strict):
    """Size and shape of the box."""

    share_low: float = Field(0.3, gt=0, le=1, description="smallest share of the image's area (volume)")
    share_high: float = Field(1.0, gt=0, le=1, description="largest share")
    stretch: float = Field(1.155, ge=1, description="largest factor on a side; 1.155 means side ratios of 3:4 to 4:3")
    p: float = Field(1.0, ge=0, le=1, description="probability; otherwise the whole image")

    @model_validator(mode="after")
    def _ordered(self):
        if self.share_low > self.share_high:
            raise ValueError(f"share_low ({self.share_low}) must not exceed share_high ({self.share_high})")
        return self


def draw(uniform, settings: Settings, image_shape: tuple[int, ...]) -> dict:
    """start and size float32 [batch, rank]: the box in shares of the image's sides."""
    rank = len(image_shape) - 1
    # All at once: a second call would begin with the same numbers.
    u = uniform(1 + TRIES, 1 + rank)
    size = np.where(u[:, 0, :1] < settings.p, _sizes(u[:, 1:], settings), 1.0).astype(np.float32)
    return {"start": (u[:, 0, 1:] * (1 - size)).astype(np.float32), "size": size}


def _sizes(u: np.ndarray, settings: Settings) -> np.ndarray:
    """Sides [batch, rank] of the first box drawn that lies in the image; all alike if none does.

    u: uniform numbers [batch, TRIES, 1 + rank].
    """
    rank = u.shape[-1] - 1
    share = settings.share_low + u[..., :1] * (settings.share_high - settings.share_low)
    own = (2 * u[..., 1:] - 1) * math.log(settings.stretch)
    stretch = own[..., :1] * np.array([1.0, -1.0]) if rank == 2 else own - own.mean(axis=-1, keepdims=True)
    size = share ** (1 / rank) * np.exp(stretch)
    fits = (size <= 1).all(axis=-1)
    first = size[np.arange(len(size)), fits.argmax(axis=1)]
    return np.where(fits.any(axis=1)[:, None], first, share[:, -1] ** (1 / rank))


def matrices(draws: dict, spatial: tuple[int, ...], settings: Settings) -> list:
    """One resampling matrix [batch, n, n] per axis; rows sum to 1."""
    return [_resampling(draws["start"][:, k], draws["size"][:, k], n) for k, n in enumerate(spatial)]


def _resampling(start, size, n: int):
    """Rows: output positions; row i is the triangle, two pixels wide, around the box's i-th sample."""
    ops = keras.ops
    start, size = ops.reshape(start, (-1, 1, 1)), ops.reshape(size, (-1, 1, 1))
    centre = start * n + (ops.reshape(ops.arange(n, dtype="float32"), (1, n, 1)) + 0.5) * size - 0.5
    distance = ops.abs(ops.reshape(ops.arange(n, dtype="float32"), (1, 1, n)) - centre)
    weights = ops.relu(1.0 - distance)
    return weights / ops.sum(weights, axis=2, keepdims=True)
