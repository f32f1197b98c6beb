"""Pixels of DICOM files in physical units: padding found, unused bits cleared, rescaled, colours as RGB.

Order matters. Padding is compared with the stored cells (PS3.3 C.7.5.1.1.2) before anything else, because files in the
wild hold padding values that do not fit BitsStored: clearing the unused bits first would turn them into tissue.
"""

from dataclasses import dataclass

import numpy as np
from pydicom.pixels import apply_color_lut, apply_modality_lut, pixel_array

from scanloom.readers._dicom_headers import _macro, _numbers, open_dicom, quiet_pydicom

AIR_HU = -1024.0  # nothing in a CT is thinner than vacuum (-1000 and noise); lower values are padding or artefacts


@dataclass(frozen=True)
class Frames:
    """values: float32 `[frames, y, x]` or `[frames, y, x, 3]`; padding: bool `[frames, y, x]`; unit; (y, x) spacing."""

    values: np.ndarray
    padding: np.ndarray
    unit: str
    spacing_mm: tuple[float, float]


def read_frames(path, frames: list[int]) -> Frames:
    """The frames of one file (`[-1]`: its only one). Raises what pydicom raises for pixels it cannot decode."""
    with quiet_pydicom():
        header = open_dicom(path)
        colour = header.get("SamplesPerPixel", 1) > 1 or header.PhotometricInterpretation == "PALETTE COLOR"
        read = _colour_frame if colour else _grey_frame
        parts = [read(header, frame) for frame in frames]
        shared = (header.get("SharedFunctionalGroupsSequence") or [None])[0]
        measures = _macro(_frame_groups(header, frames[0]), shared, "PixelMeasuresSequence") or header
        spacing = _numbers(measures, "PixelSpacing", 2)
        if np.isnan(spacing[0]):
            spacing = _numbers(measures, "ImagerPixelSpacing", 2)
    values, padding, unit = zip(*parts, strict=True)
    return Frames(np.stack(values), np.stack(padding), unit[0], (spacing[0], spacing[1]))


def _frame_groups(header, frame: int):
    """The functional groups of a frame, None where the file has none."""
    groups = header.get("PerFrameFunctionalGroupsSequence")
    return groups[max(frame, 0)] if groups else None


def _colour_frame(header, frame: int) -> tuple[np.ndarray, np.ndarray, str]:
    """(float32 `[y, x, 3]`, no padding, unit); palettes looked up, YBR as RGB."""
    stored = pixel_array(header, index=max(frame, 0))
    if header.PhotometricInterpretation == "PALETTE COLOR":
        stored = apply_color_lut(stored, header)[..., :3]
        # A 16-bit entry holds its 8 bits in the high byte; the low byte is zero or the same byte again.
        values = (stored >> 8 if stored.dtype.itemsize == 2 else stored).astype(np.float32)
    else:
        values = stored.astype(np.float32) * np.float32(255 / (2**header.BitsStored - 1))
    return values, np.zeros(values.shape[:2], bool), "0-255"


def _grey_frame(header, frame: int) -> tuple[np.ndarray, np.ndarray, str]:
    """(float32 `[y, x]`, padding bool `[y, x]`, unit)."""
    native = not header.file_meta.TransferSyntaxUID.is_encapsulated
    stored = pixel_array(header, index=max(frame, 0), **({"correct_unused_bits": False} if native else {}))
    cells, stored = stored, _clear_unused_bits(stored, header) if native else stored
    padding = _padding(header, cells, stored)
    low, high = _stored_range(header)
    is_ct = header.get("Modality") == "CT"
    if header.PhotometricInterpretation == "MONOCHROME1" and not is_ct:
        # Lower stored values are brighter (PS3.3 C.7.6.3.1.2). HU are physical: there it only says how to show them.
        stored = (low + high) - stored.astype(np.int64)
    values, rescaled = _rescale(header, frame, stored)
    if is_ct:
        values = np.maximum(values, np.float32(AIR_HU))
        values[padding] = AIR_HU
        return values, padding, "HU"
    if padding.any():
        values[padding] = values[~padding].min() if not padding.all() else 0
    if rescaled or low != 0:
        return values, padding, str(header.get("Units") or "arbitrary")
    return values, padding, f"0-{high}"


def _stored_range(header) -> tuple[int, int]:
    """Smallest and largest integer of BitsStored."""
    bits = int(header.get("BitsStored") or header.BitsAllocated)
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if header.get("PixelRepresentation") == 1 else (0, 2**bits - 1)


def _clear_unused_bits(cells: np.ndarray, header) -> np.ndarray:
    """Cells with the bits above BitsStored replaced by the sign or zero (PS3.5 8.1.1)."""
    shift = int(header.BitsAllocated) - int(header.get("BitsStored") or header.BitsAllocated)
    if shift == 0 or cells.dtype.kind not in "iu":
        return cells
    return np.right_shift(np.left_shift(cells, shift), shift)


def _padding(header, cells: np.ndarray, stored: np.ndarray) -> np.ndarray:
    """True where PixelPaddingValue (to PixelPaddingRangeLimit) stands, bool `[y, x]`.

    The value is read as the pixels' own type whatever VR it was written with: 63536 means -2000 in signed 16 bits.
    Signed pixels are compared with and without their unused bits, unsigned ones only as stored: a 12-bit file with
    63536 in its cells has padding there, and 63536 without its high bits would be the tissue value 2096.
    """
    if "PixelPaddingValue" not in header or cells.dtype.kind not in "iu":
        return np.zeros(cells.shape, bool)

    def as_cell(value) -> int:
        size = np.dtype(cells.dtype).itemsize * 8
        unsigned = int(value) % (1 << size)
        return unsigned - (1 << size) if cells.dtype.kind == "i" and unsigned >= 1 << (size - 1) else unsigned

    first = as_cell(header.PixelPaddingValue)
    limit = header.get("PixelPaddingRangeLimit")
    last = first if limit is None else as_cell(limit)
    low, high = min(first, last), max(first, last)
    padding = (cells >= low) & (cells <= high)
    return padding | ((stored >= low) & (stored <= high)) if cells.dtype.kind == "i" else padding


def _rescale(header, frame: int, stored: np.ndarray) -> tuple[np.ndarray, bool]:
    """(physical values float32, whether anything but the identity was applied)."""
    if "ModalityLUTSequence" in header:
        return apply_modality_lut(stored, header).astype(np.float32), True
    shared = (header.get("SharedFunctionalGroupsSequence") or [None])[0]
    holder = _macro(_frame_groups(header, frame), shared, "PixelValueTransformationSequence") or header
    slope, intercept = _numbers(holder, "RescaleSlope", 1)[0], _numbers(holder, "RescaleIntercept", 1)[0]
    slope, intercept = (1.0 if np.isnan(slope) else slope), (0.0 if np.isnan(intercept) else intercept)
    if (slope, intercept) == (1.0, 0.0):
        return stored.astype(np.float32), False
    return (stored * slope + intercept).astype(np.float32), True
