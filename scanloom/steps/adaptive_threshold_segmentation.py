"""What is darker than its surroundings and not small stays, the rest becomes black: target segmentation.

    q    = contrast(p, factor)                             as the step `contrast`, grey levels 0 to 255
    dark = q <= mean of q in block x block pixels - offset  (mean rounded, border pixels repeated)
    kept = 8-connected parts of `dark` whose bounding box is longer than smallest_part of the picture in both directions
    p'   = p in `kept`, else 0                             output: image
    p'   = 255 in `kept`, else 0                           output: mask

Slice by slice and channel by channel, colours by their luma. A filter of earlier work on recognising body parts, whose
authors found it of no use on radiographs; it is here to be compared with.
"""

from dataclasses import replace
from typing import Literal

import cv2
import numpy as np
from pydantic import Field, field_validator

from scanloom.readers._volume import Volume
from scanloom.steps import contrast
from scanloom.steps._grey_levels import to_levels, with_levels
from scanloom.steps._scale import SCALED
from scanloom.strict_models import Strict

NAME = "adaptive_threshold_segmentation"


class Settings(Strict):
    """Contrast, surroundings, size, and what is shown."""

    factor: float = Field(4.0, gt=0, le=10, description="contrast before thresholding")
    block_px: int = Field(51, ge=3, le=1001, description="side of the surroundings in pixels; odd")
    offset: float = Field(2.0, ge=0, le=255, description="grey levels darker than the surroundings' mean")
    smallest_part: float = Field(1 / 15, ge=0, lt=1, description="share of the picture's sides")
    output: Literal["image", "mask"] = Field(
        "image", description="grey levels inside the parts, or only where they are"
    )

    @field_validator("block_px")
    @classmethod
    def _odd(cls, block_px: int) -> int:
        if block_px % 2 == 0:
            raise ValueError(f"block_px must be odd, so that it has a middle; not {block_px}")
        return block_px


def apply(volume: Volume, settings: Settings) -> Volume:
    """The volume with zeros outside the parts; the mask is in unit 0-1."""
    as_given = to_levels(volume, NAME)
    levels = to_levels(contrast.apply(volume, contrast.Settings(factor=settings.factor)), NAME)
    if volume.channels == contrast.COLOURS:
        levels = np.rint(levels @ np.array(contrast.LUMA)).astype(np.uint8)[..., np.newaxis]
    kept = np.stack([np.stack([_parts(plane, settings) for plane in np.moveaxis(s, -1, 0)], -1) for s in levels])
    if settings.output == "image":
        return with_levels(volume, as_given * kept, NAME)
    count = len(volume.channels)
    values = np.broadcast_to(kept, (*kept.shape[:3], count)).reshape(volume.values.shape)
    return replace(
        volume, values=values.astype(np.float32), unit=SCALED, slope=(1.0,) * count, intercept=(0.0,) * count
    )


def _parts(plane: np.ndarray, settings: Settings) -> np.ndarray:
    """bool [y, x] of grey levels uint8 [y, x]."""
    dark = cv2.adaptiveThreshold(
        plane, 1, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY_INV, settings.block_px, settings.offset
    )
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(dark, connectivity=8)
    long_enough = (boxes[:, cv2.CC_STAT_WIDTH] > settings.smallest_part * plane.shape[1]) & (
        boxes[:, cv2.CC_STAT_HEIGHT] > settings.smallest_part * plane.shape[0]
    )
    long_enough[0] = False  # what is not dark
    return long_enough[labels]
