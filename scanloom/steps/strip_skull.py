"""The inside of the skull in head CT: everything else becomes air. A heuristic, to be checked on the contact sheet.

    ring    = value > bone_hu, closed by gap_mm in each slice, with all that it encloses there
    smooth  = value averaged by a Gaussian of smoothing_mm in each slice
    soft    = low_hu <= smooth <= bone_hu, inside `ring`: brain, blood, CSF
    core    = largest connected part of `soft` eroded by bridge_mm in each slice
    inside  = core grown back by bridge_mm within `soft`, holes filled slice by slice (calcification, air after surgery)
    value   = value in `inside`, else air (-1024 HU)

Where it fails: slices whose skull has a gap wider than twice gap_mm (craniectomy, large fractures) lose their brain; at
the skull base a part of the orbits may stay, and a part of the temporal lobes may go. Blood that touches the skull
stays; what is denser than bone_hu there goes. Smoothing and 0 to 100 HU are from Muschelli et al., NeuroImage 114
(2015) 379-385, whose validated method (FSL's BET on CT) is the one to use where volumes are measured.
"""

import numpy as np
from pydantic import Field, model_validator
from scipy import ndimage

from scanloom.readers._volume import Volume
from scanloom.steps import _parts
from scanloom.steps._air import without
from scanloom.steps._scale import is_scaled
from scanloom.strict_models import Strict


class Settings(Strict):
    """What soft tissue is, and what separates its parts."""

    low_hu: float = Field(0.0, ge=-200, le=100, description="lower end of soft tissue in HU")
    bone_hu: float = Field(100.0, ge=50, le=1000, description="what is denser separates, in HU; fresh blood reaches 90")
    gap_mm: float = Field(5.0, ge=0, le=20, description="radius of the closing: gaps of bone up to twice this are shut")
    smoothing_mm: float = Field(1.0, ge=0, le=5, description="standard deviation of the smoothing before thresholding")
    bridge_mm: float = Field(3.0, ge=0, le=20, description="radius of the erosion that cuts bridges")

    @model_validator(mode="after")
    def _not_empty(self):
        if not self.low_hu < self.bone_hu:
            raise ValueError(f"low_hu ({self.low_hu:g}) must be below bone_hu ({self.bone_hu:g})")
        return self


def apply(volume: Volume, settings: Settings) -> Volume:
    """The volume with air outside the skull's inside; where there is no soft tissue it stays as it is."""
    if volume.unit != "HU" or is_scaled(volume) or volume.values.ndim != 3:
        raise ValueError(
            f"strip_skull needs CT values in HU, before windowing; the series has {len(volume.channels)} channel(s) in "
            f"unit '{volume.unit}'{', already scaled' if is_scaled(volume) else ''}; MR needs another tool"
        )
    inside = _inside_skull(volume, settings)
    return without(volume, ~inside) if inside.any() else volume


def _inside_skull(volume: Volume, settings: Settings) -> np.ndarray:
    """bool [z, y, x]."""
    spacing_mm = volume.spacing_mm
    if not all(mm > 0 for mm in spacing_mm[1:]):
        raise ValueError("strip_skull: the distance of pixels is not known")
    soft = np.empty(volume.values.shape, bool)
    sigma = [settings.smoothing_mm / mm for mm in spacing_mm[1:]]
    for number, plane in enumerate(volume.values):  # masks and smooth copies of one slice at a time
        bone = plane[np.newaxis] > settings.bone_hu
        ring = _parts.eroded(_parts.dilated(bone, spacing_mm, settings.gap_mm), spacing_mm, settings.gap_mm)
        smooth = ndimage.gaussian_filter(plane, sigma, mode="nearest") if settings.smoothing_mm else plane
        soft[number] = (smooth >= settings.low_hu) & (smooth <= settings.bone_hu) & _parts.filled(ring)[0]
    core = _parts.largest(_parts.eroded(soft, spacing_mm, settings.bridge_mm))
    soft &= _parts.dilated(core, spacing_mm, settings.bridge_mm)
    return _parts.filled(soft)
