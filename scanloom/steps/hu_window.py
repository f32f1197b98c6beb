"""CT windows as channels: Hounsfield units between level - width/2 and level + width/2 become 0 to 1.

    value = (HU - low) / (high - low), clipped to [0, 1];  low, high = level - width / 2, level + width / 2

The interval means the same in every image (never a slice's own maximum). Several windows give several channels, in the
order of the list. Source of the table: the common windows of head and body CT; `whole` is all that 12 bits hold, -1024
to 3071 HU, for a channel of nearly raw values beside windowed ones (exact only with dtype uint16). A window of width 0,
such as the `air` of some lists (level -1000), is refused: it has no grey levels.
"""

from dataclasses import replace

import cv2
import numpy as np
from pydantic import Field, field_validator

from scanloom.plugins import suggestion
from scanloom.readers._volume import Volume
from scanloom.steps._scale import is_scaled
from scanloom.strict_models import Strict

# name -> (level, width) in HU
WINDOWS = {
    "brain": (40, 80),
    "stroke": (40, 40),
    "subdural": (75, 280),
    "soft_tissue": (40, 375),
    "bone": (600, 2800),
    "angio": (300, 600),
    "lung": (-600, 1500),
    "mediastinum": (50, 350),
    "liver": (30, 150),
    "whole": (1023.5, 4095),
}


class Window(Strict):
    """A window by numbers."""

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


class Settings(Strict):
    """Which windows."""

    windows: list[str | Window] = Field(
        min_length=1, description=f"names ({', '.join(WINDOWS)}) or {{level: HU, width: HU}}; one channel each"
    )

    @field_validator("windows")
    @classmethod
    def _known(cls, windows: list[str | Window]) -> list[str | Window]:
        for window in windows:
            if window == "air":
                raise ValueError("window 'air' has width 0 and shows nothing; for lungs and airways use 'lung'")
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


def _check(volume: Volume) -> None:
    if volume.unit != "HU" or volume.values.ndim != 3 or is_scaled(volume):
        what = f"{len(volume.channels)} channel(s) in unit '{volume.unit}'"
        what += ", already scaled" if is_scaled(volume) else ""
        raise ValueError(
            f"hu_window needs CT values in HU, the series has {what}; use scale_range or percentile instead"
        )


def apply(volume: Volume, settings: Settings) -> Volume:
    """The volume with one channel per window, float32 in [0, 1]; slope and intercept lead back to HU."""
    _check(volume)
    bounds = [bounds_hu(window) for window in settings.windows]
    # A single window may lie over the values; others are still to be made of them.
    one, shape = len(bounds) == 1, (len(bounds), *volume.values.shape)
    planes = volume.room()[np.newaxis] if one else np.empty(shape, np.float32)
    # Slice by slice, because a slice stays in the processor's cache from one operation to the next.
    for plane, (low, high) in zip(planes, bounds, strict=True):
        for hu, out in zip(volume.values, plane, strict=True):
            np.clip(hu, np.float32(low), np.float32(high), out=out)
            out -= np.float32(low)
            out /= np.float32(high - low)
    return _windowed(volume, settings, np.moveaxis(planes, 0, -1))


def apply_uint8(volume: Volume, settings: Settings) -> tuple[np.ndarray, Volume]:
    """`apply` and rounding to uint8 `[z, y, x, c]` in one pass per window; the Volume says what, but holds no pixels.

    Half a grey level may be rounded to the other side than in two passes. Raises ValueError for values not finite.
    """
    _check(volume)
    bounds = [bounds_hu(window) for window in settings.windows]
    scales = [(255 / (high - low), -255 * low / (high - low)) for low, high in bounds]
    images = np.empty((*volume.values.shape, len(scales)), np.uint8)
    # What is scaled must fit into 32 bits.
    most = 2.0**30 / max(scale for scale, _ in scales) if all(abs(offset) < 2**30 for _, offset in scales) else 0.0
    for hu, out in zip(volume.values, images, strict=True):
        if np.vdot(hu, hu) < most**2:  # one light pass: nothing is larger than the root of all squares' sum
            planes = [cv2.addWeighted(hu, scale, hu, 0, offset, dtype=cv2.CV_8U) for scale, offset in scales]
        else:
            planes = _clipped_first(hu, bounds)
        cv2.merge(planes, out)
    return images, _windowed(volume, settings, np.broadcast_to(np.float32(0), images.shape))


def _clipped_first(hu: np.ndarray, bounds: list[tuple[float, float]]) -> list[np.ndarray]:
    """uint8 planes of a slice that holds values far beyond any tissue. Raises ValueError where they are not finite."""
    if not np.isfinite(hu).all():
        raise ValueError("the series holds values that are not finite")
    above = [np.clip(hu, np.float32(low), np.float32(high)) - np.float32(low) for low, high in bounds]
    return [cv2.convertScaleAbs(a, alpha=255 / (high - low)) for a, (low, high) in zip(above, bounds, strict=True)]


def _windowed(volume: Volume, settings: Settings, values: np.ndarray) -> Volume:
    low, high = zip(*map(bounds_hu, settings.windows), strict=True)
    return replace(
        volume,
        values=values,
        channels=tuple(_name(window) for window in settings.windows),
        slope=tuple(b - a for a, b in zip(low, high, strict=True)),
        intercept=low,
    )


def slicewise(settings: Settings) -> bool:
    """Every slice is windowed by itself."""
    return True
