"""MR without its bias field: the slow change of brightness that coils leave, estimated by N4 and divided out.

    value = value / exp(field)

field: smooth (cubic B-splines, refined level by level), such that the histogram of log values in the foreground becomes
sharpest. Tustison et al., N4ITK: Improved N3 Bias Correction, IEEE Trans. Med. Imaging 29 (2010) 1310-1320; SimpleITK's
implementation, one thread, so that the result is the same on any number of cores. It is estimated on every `shrink`-th
pixel and evaluated on all; outside the foreground, where nothing was measured, it stays within its range inside.
Channels (sequences) are corrected one by one; a single picture is corrected in two dimensions. The overall brightness
may drift a little: normalise afterwards (`percentile`, `zscore`). Takes seconds per series.
"""

from dataclasses import replace

import numpy as np
from pydantic import Field

from scanloom.readers._volume import Volume
from scanloom.steps._foreground import Foreground, foreground
from scanloom.steps._inside import Inside
from scanloom.steps._scale import is_scaled
from scanloom.strict_models import Strict

FEWEST = 4  # pixels along an axis that shrinking leaves


class Settings(Strict):
    """How fine, how long, and where."""

    shrink: int = Field(4, ge=1, le=16, description="the field is estimated on every n-th pixel of each axis")
    iterations: list[int] = Field(
        [50, 50, 50, 50], min_length=1, max_length=8, description="most iterations at each level, coarse to fine"
    )
    convergence: float = Field(0.001, gt=0, lt=1, description="change below which a level ends")
    foreground: Foreground = Field("otsu", description="otsu | all | a number: what is above it counts as tissue")


def apply(volume: Volume, settings: Settings) -> Volume:
    """The volume divided by its field; unit, slope and intercept stay."""
    if volume.unit == "HU":
        raise ValueError(
            "n4_bias_field is for MR: CT has no bias field, and HU below 0 have no logarithm; leave it out"
        )
    if is_scaled(volume):
        raise ValueError("n4_bias_field: its result leaves [0, 1]; put it before the step that maps values there")
    mask = foreground(volume, settings.foreground)
    values = volume.with_channels()
    corrected = [_corrected(values[..., c], mask, volume.spacing_mm, settings) for c in range(values.shape[-1])]
    return replace(volume, values=np.stack(corrected, axis=-1).reshape(volume.values.shape))


def _corrected(values: np.ndarray, mask: np.ndarray, spacing_mm: tuple, settings: Settings) -> np.ndarray:
    """float32 [z, y, x]; as it was where the foreground has no two different positive values."""
    import SimpleITK as sitk  # half a second to import

    mask = mask & (values > 0)
    if not mask.any():
        return values
    low, high = Inside(values, mask).extremes()
    if low == high:
        return values
    flat = values.shape[0] == 1
    image, where = (
        sitk.GetImageFromArray(np.ascontiguousarray(a[0] if flat else a)) for a in (values, mask.view("u1"))
    )
    known = [mm if mm > 0 else 1.0 for mm in reversed(spacing_mm)][: image.GetDimension()]
    image.SetSpacing(known)
    where.SetSpacing(known)
    shrink = [max(1, min(settings.shrink, size // FEWEST)) for size in image.GetSize()]
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetNumberOfThreads(1)
    n4.SetMaximumNumberOfIterations(settings.iterations)
    n4.SetConvergenceThreshold(settings.convergence)
    small, inside = sitk.Shrink(image, shrink), sitk.Shrink(where, shrink)
    if not sitk.GetArrayViewFromImage(inside).any():  # a foreground of few pixels fell between the grid's
        small, inside = image, where
    n4.Execute(small, inside)
    field = sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(image)).reshape(values.shape)
    del image, where, small, inside
    np.clip(field, *Inside(field, mask).extremes(), out=field)
    np.exp(field, out=field)
    return np.divide(values, field, out=field)
