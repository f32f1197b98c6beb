"""Random erasing: a box of random size and shape is filled with noise, grey or black (Zhong et al., arXiv 1708.04896).

`cutout` is the same with a box of fixed size that is always black.
"""

import math
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from scanloom.lazy import keras
from scanloom.strict_models import Strict
from scanloom.views._number_table import TABLE, read


class Settings(Strict):
    """How large, filled with what, how often."""

    share_low: float = Field(0.02, gt=0, lt=1, description="smallest share of the image's area (volume)")
    share_high: float = Field(0.33, gt=0, lt=1, description="largest share")
    stretch: float = Field(1.8, ge=1, description="largest factor on a side; 1.8 means side ratios of 0.3 to 3.3")
    fill: Literal["noise", "mean", "black"] = Field(
        "noise", description="noise: a random value for every pixel and channel; mean: the image's mean per channel"
    )
    p: float = Field(0.5, ge=0, le=1, description="probability")

    @model_validator(mode="after")
    def _ordered(self):
        if self.share_low > self.share_high:
            raise ValueError(f"share_low ({self.share_low}) must not exceed share_high ({self.share_high})")
        return self


def draw(uniform, settings: Settings, image_shape: tuple[int, ...]) -> dict:
    """start, end float32 [batch, rank] of the box in pixels (equal: nothing is erased), offset int32 [batch]."""
    spatial = np.array(image_shape[:-1])
    rank = len(spatial)
    u = uniform(3 + 2 * rank)
    share = settings.share_low + u[:, 1:2] * (settings.share_high - settings.share_low)
    own = (2 * u[:, 3 : 3 + rank] - 1) * math.log(settings.stretch)
    stretch = own[:, :1] * np.array([1.0, -1.0]) if rank == 2 else own - own.mean(axis=1, keepdims=True)
    side = np.clip(np.round(share ** (1 / rank) * np.exp(stretch) * spatial), 1, spatial)
    start = np.floor(u[:, 3 + rank :] * (spatial - side + 1))
    end = start + side * (u[:, :1] < settings.p)
    offset = (u[:, 2] * TABLE).astype(np.int32)
    return {"start": start.astype(np.float32), "end": end.astype(np.float32), "offset": offset}


def apply(images, draws: dict, settings: Settings):
    """Images [batch, *spatial, channels] with the boxes filled."""
    ops = keras.ops
    rank = len(images.shape) - 2
    inside = None
    for axis in range(rank):
        place = ops.expand_dims(ops.arange(images.shape[1 + axis], dtype="float32"), 0)
        within = (place >= draws["start"][:, axis : axis + 1]) & (place < draws["end"][:, axis : axis + 1])
        within = ops.reshape(within, (-1, *(images.shape[1 + k] if k == axis else 1 for k in range(rank)), 1))
        inside = within if inside is None else inside & within
    if settings.fill == "noise":
        filling = read(draws["offset"], images.shape[1:], "uniform")
    elif settings.fill == "mean":
        filling = ops.mean(images, axis=tuple(range(1, 1 + rank)), keepdims=True)
    else:
        filling = 0.0
    return ops.where(inside, filling, images)
