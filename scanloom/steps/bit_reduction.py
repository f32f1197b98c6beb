"""Fewer grey levels: only the highest bits of 8 are kept, to see how much detail a task needs.

    p' = p - p mod 2^(8 - bits)            p: grey level 0 to 255

1 bit leaves black (0) and mid-grey (128), 8 bits change nothing but rounding. Colours are reduced channel by channel.
"""

import numpy as np
from pydantic import Field

from scanloom.readers._volume import Volume
from scanloom.steps._grey_levels import to_levels, with_levels
from scanloom.strict_models import Strict

IDEMPOTENT = True


class Settings(Strict):
    """How much is kept."""

    bits: int = Field(4, ge=1, le=8, description="bits kept of 8; 2^bits grey levels are left")


def apply(volume: Volume, settings: Settings) -> Volume:
    """The volume with 2^bits different values per channel at most; slope and intercept stay."""
    kept = np.uint8(256 - 2 ** (8 - settings.bits))  # p - p mod 2^n clears the lowest n bits
    return with_levels(volume, to_levels(volume, "bit_reduction") & kept, "bit_reduction")


def slicewise(settings: Settings) -> bool:
    """Every slice is reduced by itself."""
    return True
