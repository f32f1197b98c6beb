"""CT windows as channels: Hounsfield units between level - width/2 and level + width/2 become 0 to 1.

The interval means the same in every image (never a slice's own maximum). Several windows give several channels, in the
order of the list. Source of the table: the common windows of head CT; bounds are level -+ width / 2.
"""

from dataclasses import replace

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from scanloom.plugins import suggestion
from scanloom.readers._volume import Volume

# name -> (level, width) in HU
WINDOWS = {
    "brain": (40, 80),
    "stroke": (40, 40),
    "subdural": (75, 280),
    "soft_tissue": (40, 375),
    "bone": (600, 2800),
    "angio": (300, 600),
}


class Window(BaseModel):
    """A window by numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    level: float = Field(description="centre in HU")
    width: float = Field(description="width in HU; above 0")

    @field_validator("width")
    @classmethod
    def _not_degenerate(cls, width: float) -> float:
        if not width > 0:
            raise ValueError(f"window width must be > 0, not {width:g}")
        return width

    @property
    def name(self) -> str:
        """`level40_width80`."""
        return f"level{self.level:g}_width{self.width:g}"


class Settings(BaseModel):
    """Which windows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    windows: list[str | Window] = Field(
        min_length=1, description=f"names ({', '.join(WINDOWS)}) or {{level: HU, width: HU}}; one channel each"
    )

    @field_validator("windows")
    @classmethod
    def _known(cls, windows: list[str | Window]) -> list[str | Window]:
        for window in windows:
            if isinstance(window, str) and window not in WINDOWS:
                raise ValueError(
                    f"no window '{window}'. Known: {', '.join(WINDOWS)}; or give {{level: ..., width: ...}}."
                    f"{suggestion(window, list(WINDOWS))}"
                )
        if len({_name(window) for window in windows}) < len(windows):
            raise ValueError("a window is listed twice")
        return windows


def _name(window: str | Window) -> str:
    return window if isinstance(window, str) else window.name


def bounds_hu(window: str | Window) -> tuple[float, float]:
    """Lowest and highest HU of a window."""
    level, width = WINDOWS[window] if isinstance(window, str) else (window.level, window.width)
    return level - width / 2, level + width / 2


def apply(volume: Volume, settings: Settings) -> Volume:
    """The volume with one channel per window, float32 in [0, 1]; slope and intercept lead back to HU."""
    if volume.unit != "HU" or volume.values.ndim != 3 or volume.slope != (1.0,) or volume.intercept != (0.0,):
        what = f"{len(volume.channels)} channel(s) in unit '{volume.unit}'"
        what += "" if volume.slope == (1.0,) else ", already scaled"
        raise ValueError(
            f"hu_window needs CT values in HU, the series has {what}; use scale_range or percentile instead"
        )
    low, high = np.array([bounds_hu(window) for window in settings.windows], np.float32).T
    values = (volume.values[..., np.newaxis] - low) / (high - low)
    return replace(
        volume,
        values=np.clip(values, 0, 1, out=values),
        channels=tuple(_name(window) for window in settings.windows),
        slope=tuple((high - low).tolist()),
        intercept=tuple(low.tolist()),
    )
