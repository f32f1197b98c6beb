"""Cosine: half a cosine from the full rate towards the lowest; the last update is small but not at it.

Loshchilov & Hutter, ICLR 2017, arXiv 1608.03983, equation 5, without restarts.
"""

import math

from pydantic import Field

from scanloom.strict_models import Strict


class Settings(Strict):
    """Where it ends."""

    lowest: float = Field(0.0, ge=0, lt=1, description="share of the full rate that the course falls towards")


def share(settings: Settings, done: int, steps: int) -> float:
    """From 1 to nearly `lowest`."""
    return settings.lowest + (1 - settings.lowest) * 0.5 * (1 + math.cos(math.pi * done / steps))
