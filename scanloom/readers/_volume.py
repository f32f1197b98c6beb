"""What every reader gives and every preprocessing step takes and gives: one series in physical units."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

# Columns of a series' rows that a reader's `read_series` may look at; the other ones are not handed to it.
READ_BY = ("path", "place", "frame", "sop_uid", "series_id", "slice_index", "position_mm")
READ_BY += tuple(f"orientation_{i}" for i in range(6)) + tuple(f"position_{i}" for i in range(3))


@dataclass(frozen=True)
class Volume:
    """One series, slices in stack order.

    values: float32 `[z, y, x]`, or `[z, y, x, c]` with channels. A single picture has z = 1.
    unit: "HU", "0-255", "arbitrary", ...: what a value means.
    spacing_mm: distance of neighbouring pixels along z, y, x; NaN where it is not known (z of a single slice, PNG).
    padding_mask: bool `[z, y, x]`, True outside the field of view (there `values` are air already); None: no padding.
    channels: one name per channel.
    slope, intercept: per channel, physical value = slope * value + intercept. 1 and 0 as long as `values` are physical;
        a step that maps to [0, 1] sets them, so that the way back is never lost.
    slice_index: int `[z]`, each slice's number in the whole stack; a step that drops slices keeps it right.
    stack_mm: float64 `[slices of the whole stack]`, where each lies along the normal, of a stack whose slices are not
        equally far apart and stay so; None: equally far, or not known.
    affine_lps: float64 `[4, 4]`, (z, y, x, 1) in voxels to LPS millimetres (see geometry.affine_lps); None where the
        images do not say how they lie. A step that moves pixels keeps it right.
    expendable: whether nobody else looks at `values` any more, so that a step may write its result over them.
    """

    values: np.ndarray
    unit: str
    spacing_mm: tuple[float, float, float]
    padding_mask: np.ndarray | None = None
    channels: tuple[str, ...] = ("image",)
    slope: tuple[float, ...] = ()
    intercept: tuple[float, ...] = ()
    slice_index: np.ndarray = field(default=None)
    stack_mm: np.ndarray | None = None
    affine_lps: np.ndarray | None = None
    expendable: bool = False

    def __post_init__(self):
        if self.values.ndim not in (3, 4):
            raise ValueError(f"a volume is [z, y, x] or [z, y, x, c]; got shape {self.values.shape}")
        if self.values.dtype != np.float32:
            raise ValueError(f"a volume's values must be float32; got {self.values.dtype}")
        count = 1 if self.values.ndim == 3 else self.values.shape[3]
        if len(self.channels) != count:
            raise ValueError(f"{len(self.channels)} channel names {self.channels} for {count} channels")
        if len(self.spacing_mm) != 3:
            raise ValueError(f"spacing_mm must have 3 numbers (z, y, x); got {self.spacing_mm}")
        if self.padding_mask is not None and self.padding_mask.shape != self.values.shape[:3]:
            raise ValueError(f"padding mask of shape {self.padding_mask.shape} for values {self.values.shape}")
        # A frozen dataclass fills its derived defaults this way.
        object.__setattr__(self, "slope", tuple(self.slope) or (1.0,) * count)
        object.__setattr__(self, "intercept", tuple(self.intercept) or (0.0,) * count)
        if self.slice_index is None:
            object.__setattr__(self, "slice_index", np.arange(self.slices))
        if len(self.slope) != count or len(self.intercept) != count:
            raise ValueError(f"{len(self.slope)} slopes and {len(self.intercept)} intercepts for {count} channels")
        if len(self.slice_index) != self.slices:
            raise ValueError(f"{len(self.slice_index)} slice indices for {self.slices} slices")
        if self.affine_lps is not None and np.shape(self.affine_lps) != (4, 4):
            raise ValueError(f"affine_lps must be [4, 4]; got shape {np.shape(self.affine_lps)}")

    @property
    def slices(self) -> int:
        """Number of slices (length of the first axis)."""
        return self.values.shape[0]

    @property
    def places_mm(self) -> np.ndarray | None:
        """float64 `[z]`, each slice's distance from the first one; None where slices are equally far apart, or new."""
        if self.stack_mm is None or (self.slice_index < 0).any():
            return None
        places = self.stack_mm[self.slice_index]
        return np.abs(places - places[0])

    def with_channels(self) -> np.ndarray:
        """The values as `[z, y, x, c]`, whether or not there was a channel axis."""
        return self.values if self.values.ndim == 4 else self.values[..., np.newaxis]

    def room(self) -> np.ndarray:
        """float32 like `values`, for a step's result: `values` themselves where they are expendable.

        A series of CT fills hundreds of megabytes; with an array for each step it would be in memory twice.
        """
        return self.values if self.expendable and self.values.flags.writeable else np.empty_like(self.values)


class EarlyStep(NamedTuple):
    """A step that a reader may do to slices one by one, each while it is in the processor's cache.

    of_slices: (rows, columns) of a grey slice -> (new rows and columns, function that fills a float32 slice of that
    size, its second argument, from one as read, its first); None where `apply` is to do it. placed: (volume, values)
    -> the volume of these slices on their new grid; of the given volume all but the values counts.
    """

    apply: Callable[[Volume], Volume]
    of_slices: Callable[[tuple[int, int]], tuple[tuple[int, int], Callable[[np.ndarray, np.ndarray], None]] | None]
    placed: Callable[[Volume, np.ndarray], Volume]


def fill_what_is_not_finite(values: np.ndarray) -> np.ndarray | None:
    """Set values `[z, y, x]` or `[z, y, x, c]` that are no numbers to the lowest; where they were, bool `[z, y, x]`.

    None where all are finite. Raises ValueError where none is.
    """
    outside = ~np.isfinite(values)
    if not outside.any():
        return None
    padding = outside if values.ndim == 3 else outside.any(axis=-1)
    if padding.all():
        raise ValueError("no voxel has a number")
    values[outside] = values[~outside].min()
    return padding
