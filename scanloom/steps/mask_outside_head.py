"""Everything outside the head (or body) becomes air: couch, head rest, tubes, labels.

    above   = value > threshold
    head    = largest connected part of `above` after opening by opening_mm, grown back to where it was
    head    = head with its holes filled, slice by slice (sinuses, airways, ventricles of MR)
    value   = value in `head`, else air (-1024 HU, 0 of scaled values, the lowest value of others)

The opening (erosion, then dilation) cuts bridges thinner than twice opening_mm, such as a head rest that touches the
skin. What is masked counts as padding from here on, so later steps take their statistics from the head. A heuristic:
arms beside the body go too, and what the couch and the body share stays; look at the contact sheet.
"""

import numpy as np
from pydantic import Field

from scanloom.readers._volume import Volume
from scanloom.steps import _parts
from scanloom.steps._air import without
from scanloom.steps._foreground import Threshold, above
from scanloom.strict_models import Strict

AIR_BELOW_HU = -300.0  # between fat (-100) and foam or lung (-500 and less)


class Settings(Strict):
    """What is air, and how thick a bridge may be."""

    threshold: Threshold | None = Field(
        None, description="otsu | a number: what is above it is no air; null: -300 in HU, otsu in other units"
    )
    opening_mm: float = Field(2.0, ge=0, le=50, description="radius of the opening in each slice; 0: none")


def apply(volume: Volume, settings: Settings) -> Volume:
    """The volume with air outside the largest part; where nothing is above the threshold it stays as it is."""
    if settings.opening_mm and not all(mm > 0 for mm in volume.spacing_mm[1:]):
        raise ValueError("mask_outside_head: the distance of pixels is not known; set opening_mm to 0")
    threshold = settings.threshold
    if threshold is None:
        threshold = AIR_BELOW_HU if volume.unit == "HU" else "otsu"
    head = _head(above(volume, threshold), volume.spacing_mm, settings.opening_mm)
    return without(volume, ~head) if head.any() else volume


def _head(mask: np.ndarray, spacing_mm: tuple[float, float, float], opening_mm: float) -> np.ndarray:
    """bool [z, y, x]: the largest part of `mask`, holes filled."""
    if not opening_mm:
        return _parts.filled(_parts.largest(mask))
    core = _parts.largest(_parts.eroded(mask, spacing_mm, opening_mm))
    return _parts.filled(_parts.dilated(core, spacing_mm, opening_mm) & mask)
