"""Exponential: every update multiplies the rate by the same number; smoothly, or held and dropped in equal stairs.

    share = last^(done / (steps - 1))

With last above 1 the rate rises: a learning-rate range test (Smith, arXiv 1506.01186) from the rate to last times it.
"""

from pydantic import Field

from scanloom.strict_models import Strict


class Settings(Strict):
    """Where it ends, and in how many stairs."""

    last: float = Field(0.01, gt=0, description="share of the full rate at the last update")
    stairs: int | None = Field(None, ge=2, description="levels of equal length, each constant; null: smooth")


def share(settings: Settings, done: int, steps: int) -> float:
    """From 1 to `last`."""
    if settings.stairs is None:
        return settings.last ** (done / max(steps - 1, 1))
    level = done * settings.stairs // steps
    return settings.last ** (level / (settings.stairs - 1))
