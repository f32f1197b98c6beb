"""A size in pixels as steps take it: `[y, x]` leaves the number of slices alone, `[z, y, x]` does not."""

from typing import Annotated

from pydantic import AfterValidator

from scanloom.readers._volume import Volume


def _checked(size_px: list[int]) -> list[int]:
    if len(size_px) not in (2, 3) or min(size_px) < 1:
        raise ValueError(f"expected [y, x] or [z, y, x] with at least 1 pixel each; got {size_px}")
    return size_px


SizePx = Annotated[list[int], AfterValidator(_checked)]


def sizes_of(volume: Volume, size_px: list[int]) -> list[int]:
    """Pixels along z, y, x."""
    return [volume.slices, *size_px] if len(size_px) == 2 else list(size_px)
