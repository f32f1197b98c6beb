"""Pixels of DICOM files in physical units: padding found, unused bits cleared, rescaled, colours as RGB.

Order matters. Padding is compared with the stored cells (PS3.3 C.7.5.1.1.2) before anything else, because files in the
wild hold padding values that do not fit BitsStored: clearing the unused bits first would turn them into tissue.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path

import cv2
import numpy as np
from pydicom import Dataset, uid
from pydicom.pixels import apply_color_lut, apply_windowing

from scanloom.readers._dicom_decode import keeps_unused_bits, stored_cells
from scanloom.readers._dicom_description import PixelDescription, describe, numbers, whole_file
from scanloom.readers._dicom_open import quiet_pydicom
from scanloom.readers._dicom_values import pixel_distances

AIR_HU = -1024.0  # nothing in a CT is thinner than vacuum (-1000 and noise); lower values are padding or artefacts
WHOLE = (slice(None), slice(None))
RANGES = {np.dtype(np.int16): (-(2**15), 2**15 - 1), np.dtype(np.uint16): (0, 2**16 - 1)}
DISPLAY = "display"  # unit of values after a VOI transformation: grey levels somebody chose, not a quantity


@dataclass(frozen=True)
class Frames:
    """values: float32 `[frames, y, x]` or `[frames, y, x, 3]`; padding: bool `[frames, y, x]`, None where none is.

    unit: what a value means ("HU", "0-4095", "display", ...). spacing_mm: (y, x), NaN where not known.
    stored: rows and columns before the step that was done while reading; None where none was.
    """

    values: np.ndarray
    padding: np.ndarray | None
    unit: str
    spacing_mm: tuple[float, float]
    stored: tuple[int, int] | None = None


def read_frames(path, frames: list[int], voi_lut: str = "ignore") -> Frames:
    """The frames of one file (`[-1]`: its only one); see `read_files`."""
    return read_files([(path, frames)], voi_lut)


def read_files(
    files: Sequence[tuple[Path, list[int]]],
    voi_lut: str = "ignore",
    *,
    with_padding: bool = True,
    part: tuple[slice, slice] = WHOLE,
    of_slices: Callable[[tuple[int, int]], tuple[tuple[int, int], Callable] | None] | None = None,
) -> Frames:
    """Frames of files that show one thing, in the order given; the spacing is the first one's.

    with_padding: False leaves `padding` out (the values are the same), which is faster.
    part: the rows and columns that anybody will look at. In CT, where a pixel's value depends on no other pixel, the
    rest is left undefined, which saves its time.
    of_slices: (rows, columns) -> (new rows and columns, function that fills a slice of that size from one as read), or
    None; done to grey slices as they are read, while they are in the processor's cache. Not together with padding.
    voi_lut: "apply" gives values as the file wants them displayed (its VOI LUT, or its first window; PS3.3 C.11.2), in
    unit "display"; files that say nothing about that, and colours, are as with "ignore".
    Each file is read once. Raises OSError, ValueError, or what pydicom raises for pixels it cannot decode.
    """
    if voi_lut not in ("apply", "ignore"):
        raise ValueError(f"voi_lut must be 'apply' or 'ignore'; got {voi_lut!r}")
    values = padding = unit = spacing = first = way = None
    number, count = 0, sum(len(frames) for _, frames in files)
    for path, frames in files:
        described = describe(whole_file(path), whole_header=voi_lut == "apply")
        grey = described.samples == 1 and described.photometric != "PALETTE COLOR"
        shape = (described.rows, described.columns) if grey else (described.rows, described.columns, 3)
        if described.modality != "CT":
            part = WHOLE
        if first is None:
            first, spacing = shape, _spacing(described, frames[0])
            way = of_slices(shape) if of_slices and grey else None
            size, fill = (shape, None) if way is None else way
            values, as_read = np.empty((count, *size), np.float32), np.empty(shape, np.float32) if way else None
        elif shape != first:
            raise ValueError(f"images of {shape} pixels among images of {first}")
        if with_padding and padding is None and _may_have_padding(described):
            padding = np.zeros((count, *shape[:2]), bool)
        with quiet_pydicom() if described.parsed is not None else nullcontext():
            for frame, cells in zip(frames, stored_cells(described, frames), strict=True):
                out = values[number] if way is None else as_read
                if grey:
                    mask = None if padding is None else padding[number][part]
                    found = _grey(out[part], mask, cells[part], described, frame, voi_lut == "apply")
                else:
                    found = _colour(out, cells, described)
                if way is not None:
                    fill(as_read, values[number])
                unit = found if unit in (None, found) else "arbitrary"  # stored ranges or rescaling differ
                number += 1
    padding = padding if padding is not None and padding.any() else None
    return Frames(values, padding, unit, spacing, None if way is None else first)


def _may_have_padding(described: PixelDescription) -> bool:
    return described.padding is not None or described.keyword != "PixelData"


def _macro(described: PixelDescription, frame: int, sequence: str) -> Dataset | None:
    """A functional group's macro for a frame, its own or that of all frames (PS3.3 C.7.6.16); None where none is."""
    if described.parsed is None:
        return None
    mine = described.parsed.get("PerFrameFunctionalGroupsSequence")
    shared = described.parsed.get("SharedFunctionalGroupsSequence")
    for groups in (mine[max(frame, 0)] if mine else None, shared[0] if shared else None):
        if groups is not None and groups.get(sequence):
            return groups[sequence][0]
    return None


def _spacing(described: PixelDescription, frame: int) -> tuple[float, float]:
    measures = _macro(described, frame, "PixelMeasuresSequence")
    if measures is None:
        return described.spacing_mm
    return pixel_distances(numbers(measures.get("PixelSpacing"), 2), (nan, nan))


def _colour(out: np.ndarray, cells: np.ndarray, described: PixelDescription) -> str:
    """Fill float32 `[y, x, 3]` with RGB from 0 to 255, palettes looked up; the unit."""
    if described.photometric == "PALETTE COLOR":
        cells = apply_color_lut(_without_unused_bits(cells, described), described.parsed)[..., :3]
        # A 16-bit entry holds its 8 bits in the high byte, the low byte is zero or the same byte again; some writers
        # leave the high byte empty.
        np.copyto(out, cells >> 8 if cells.dtype.itemsize == 2 and _largest_colour(described) > 255 else cells)
    else:
        np.multiply(cells, np.float32(255 / (2**described.bits_stored - 1)), out=out, casting="same_kind")
    return "0-255"


def _largest_colour(described: PixelDescription) -> int:
    """The largest entry of the palette's tables of 16 bits; the largest there can be where they are segmented."""
    tables = [described.parsed.get(f"{name}PaletteColorLookupTableData") for name in ("Red", "Green", "Blue")]
    order = ">" if described.syntax == uid.ExplicitVRBigEndian else "<"
    return max(0xFFFF if not table else int(np.frombuffer(table, f"{order}u2").max()) for table in tables)


def _grey(
    out: np.ndarray, mask: np.ndarray | None, cells: np.ndarray, described: PixelDescription, frame: int, voi: bool
) -> str:
    """Fill `out`, float32 `[y, x]`, with physical values and `mask`, bool `[y, x]`, with where padding is; the unit.

    mask: None where nobody wants it.
    """
    stored = _without_unused_bits(cells, described)
    is_ct = described.modality == "CT"
    slope, intercept = _rescale(described, frame)
    below_air = is_ct and not voi and stored is cells and _is_below_air(described, cells.dtype, slope, intercept)
    if mask is None and _may_have_padding(described) and not below_air:
        mask = np.zeros(cells.shape, bool)
    padded = mask is not None and _find_padding(mask, cells, stored, described)
    if voi and _displayed(out, stored, described, frame):
        if padded:
            _fill_with_lowest(out, mask)
        return DISPLAY
    low, high = _stored_range(described)
    turned = described.photometric == "MONOCHROME1" and not is_ct and stored.dtype.kind in "iu"
    table = _modality_table(described)
    if turned and table is None:
        # Lower stored values are brighter (PS3.3 C.7.6.3.1.2). HU are physical: there it only says how to show them.
        stored = (low + high) - stored.astype(np.int64)
    if is_ct:
        _rescale_into(out, stored, slope, intercept, described, AIR_HU)
        if padded and not below_air:
            np.copyto(out, np.float32(AIR_HU), where=mask)
        return "HU"
    rescaled = _rescale_into(out, stored, slope, intercept, described)
    if turned and table is not None:
        # The table is written for values as they are stored.
        np.subtract(2 ** int(table.LUTDescriptor[2]) - 1, out, out=out)
    if padded:
        _fill_with_lowest(out, mask)
    if rescaled or low != 0 or stored.dtype.kind == "f":
        return described.units or "arbitrary"
    return f"0-{high}"


def _is_below_air(described: PixelDescription, dtype: np.dtype, slope: float, intercept: float) -> bool:
    """Whether integer padding lies where everything becomes air anyway, as it mostly does in CT."""
    if described.padding is None or dtype.kind == "f" or slope <= 0 or described.parsed is not None:
        return False
    return max(_as_cell(value, dtype) for value in described.padding) * slope + intercept <= AIR_HU


def _fill_with_lowest(values: np.ndarray, padding: np.ndarray) -> None:
    """The lowest value of the picture where there is none."""
    values[padding] = values[~padding].min() if not padding.all() else 0


def _stored_range(described: PixelDescription) -> tuple[int, int]:
    """Smallest and largest integer of BitsStored."""
    bits = described.bits_stored
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if described.signed else (0, 2**bits - 1)


def _without_unused_bits(cells: np.ndarray, described: PixelDescription) -> np.ndarray:
    """Cells with only the bits that are stored, right-aligned, the others replaced by the sign or zero (PS3.5 8.1.1).

    HighBit is BitsStored - 1 today. In native cells of files of before 2014 the values may stand further up; because
    HighBit is also written without a thought, it is believed only where the bits below the values are empty.
    """
    bits, allocated = described.bits_stored, described.bits_allocated
    if bits >= allocated or cells.dtype.kind not in "iu" or described.samples > 1 or not keeps_unused_bits(described):
        return cells
    above, below = allocated - bits, described.high_bit + 1 - bits
    if 0 < below <= above and not np.bitwise_or.reduce(cells, axis=None) & (2**below - 1):
        above -= below
    elif not described.signed:
        return cells & cells.dtype.type(2**bits - 1)
    return np.right_shift(np.left_shift(cells, above), allocated - bits)


def _find_padding(mask: np.ndarray, cells: np.ndarray, stored: np.ndarray, described: PixelDescription) -> bool:
    """Fill bool `[y, x]` with where PixelPaddingValue (to PixelPaddingRangeLimit) stands; whether it does anywhere.

    The value is read as the pixels' own type whatever VR it was written with: 63536 means -2000 in signed 16 bits.
    Signed pixels are compared with and without their unused bits, unsigned ones only as stored: a 12-bit file with
    63536 in its cells has padding there, and 63536 without its high bits would be the tissue value 2096.
    A float that is not a number is no value either.
    """
    if described.padding is not None:
        first, last = (_as_cell(value, cells.dtype) for value in described.padding)
        low, high = min(first, last), max(first, last)
        _between(cells, low, high, mask)
        if cells.dtype.kind == "i" and stored is not cells:
            mask |= _between(stored, low, high, np.empty_like(mask))
    if cells.dtype.kind == "f":
        mask |= ~np.isfinite(cells)
    return bool(mask.any())


def _as_cell(value, dtype: np.dtype) -> float:
    """The padding value as a cell with those bits would be read."""
    if dtype.kind == "f":
        return float(value)
    unsigned = int(value) % (1 << 8 * dtype.itemsize)
    return (
        unsigned - (1 << 8 * dtype.itemsize) if dtype.kind == "i" and unsigned >> 8 * dtype.itemsize - 1 else unsigned
    )


def _between(values: np.ndarray, low: float, high: float, out: np.ndarray) -> np.ndarray:
    if low == high:
        return np.equal(values, low, out=out)
    np.greater_equal(values, low, out=out)
    out &= values <= high
    return out


def _rescale(described: PixelDescription, frame: int) -> tuple[float, float]:
    """Slope and intercept of this frame, 1 and 0 where the file has none."""
    transformation = _macro(described, frame, "PixelValueTransformationSequence")
    slope, intercept = described.slope, described.intercept
    if transformation is not None:
        slope, intercept = (numbers(transformation.get(name), 1)[0] for name in ("RescaleSlope", "RescaleIntercept"))
    return 1.0 if isnan(slope) else slope, 0.0 if isnan(intercept) else intercept


def _rescale_into(
    out: np.ndarray,
    stored: np.ndarray,
    slope: float,
    intercept: float,
    described: PixelDescription,
    lowest: float | None = None,
) -> bool:
    """Fill float32 `[y, x]` with the nearest numbers to the physical values; whether that is not what is stored.

    lowest: values below become this.
    """
    table = _modality_table(described)
    least, most = RANGES.get(stored.dtype, (None, None))
    whole = slope.is_integer() and intercept.is_integer() and most is not None
    if table is not None:
        np.copyto(out, _looked_up(stored, table, described)[0])
    elif whole and 0 < slope < 200 and abs(intercept) < 2**21:
        # Whole numbers that float32 holds exactly: light passes give what float64 would, on two bytes while possible.
        limit = np.nan if lowest is None else (lowest - intercept) / slope
        if limit.is_integer() and limit <= most:
            stored = cv2.max(stored, limit) if limit > least else stored
            lowest = None
        np.copyto(out, stored)
        if slope != 1:
            out *= np.float32(slope)
        if intercept != 0:
            out += np.float32(intercept)
    else:
        np.copyto(out, stored * slope + intercept, casting="same_kind")
    if lowest is not None:
        cv2.max(out, lowest, out)
    return table is not None or (slope, intercept) != (1.0, 0.0)


def _modality_table(described: PixelDescription) -> Dataset | None:
    """The lookup table from stored to physical values, where the file has one (PS3.3 C.11.1.1)."""
    tables = described.parsed is not None and described.parsed.get("ModalityLUTSequence")
    return tables[0] if tables else None


def _looked_up(values: np.ndarray, table: Dataset, described: PixelDescription) -> tuple[np.ndarray, int]:
    """(entries of a lookup table for whole-numbered values, bits per entry); PS3.3 C.11.1.1 and C.11.2.1.1.

    Values before the first entry get the first, values after the last entry the last one.
    """
    count, first, bits = (int(number) for number in table.LUTDescriptor)
    count = count or 2**16
    data = table.LUTData
    if isinstance(data, bytes):
        order = ">" if described.syntax == uid.ExplicitVRBigEndian else "<"
        data = np.frombuffer(data, np.uint8 if len(data) < 2 * count else f"{order}u2")
    entries = np.asarray(data)[:count]
    if len(entries) < count:
        raise ValueError(f"a lookup table of {len(entries)} entries that says it has {count}")
    at = np.clip(np.asarray(values).astype(np.int64) - first, 0, count - 1)
    return entries[at], bits


def _displayed(out: np.ndarray, stored: np.ndarray, described: PixelDescription, frame: int) -> bool:
    """Fill float32 `[y, x]` with what the file's VOI transformation makes of physical values; False: it has none.

    A lookup table goes before a window, the first of several is taken. MONOCHROME1 is turned round afterwards: the
    transformation is written for values as they are stored (PS3.4 N.2).
    """
    about = _display_header(described, frame)
    tables = about.get("VOILUTSequence")
    if not tables and None in (about.get("WindowCenter"), about.get("WindowWidth")):
        return False
    slope, intercept = _rescale(described, frame)
    modality = about.get("ModalityLUTSequence")
    physical = _looked_up(stored, modality[0], described)[0] if modality else stored * slope + intercept
    if tables:
        shown, bits = _looked_up(physical, tables[0], described)
        low, high = 0, 2**bits - 1
    else:
        shown = apply_windowing(physical, about)
        low, high = _stored_range(described)
        if modality:
            low, high = 0, 2 ** int(modality[0].LUTDescriptor[2]) - 1
        elif "RescaleSlope" in about and "RescaleIntercept" in about:
            low, high = low * slope + intercept, high * slope + intercept
    shown = shown.astype(np.float64)
    np.copyto(out, low + high - shown if described.photometric == "MONOCHROME1" else shown, casting="same_kind")
    return True


def _display_header(described: PixelDescription, frame: int) -> Dataset:
    """What says how to display a frame, the functional groups of enhanced files among it."""
    about = Dataset()
    for keyword in ("ModalityLUTSequence", "VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction"):
        if keyword in described.parsed:
            about[keyword] = described.parsed[keyword]
    for keyword in ("RescaleSlope", "RescaleIntercept"):
        if keyword in described.parsed:
            about[keyword] = described.parsed[keyword]
    about.PhotometricInterpretation = described.photometric
    about.BitsStored, about.PixelRepresentation = described.bits_stored, int(described.signed)
    for sequence in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
        about.update(_macro(described, frame, sequence) or {})
    return about
