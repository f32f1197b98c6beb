"""What a DICOM file says about its pixels, and where they lie: header and pixels from one read of the file.

`describe` finds the twenty elements that decoding needs with the scan's walk, which passes the elements that files of a
series have in common at once, and remembers what their bytes mean: a fiftieth of the time of building pydicom's data
set. Files that need more (lookup tables, functional groups, palettes, colour, big endian, no preamble) or look unusual
in any way are read by pydicom instead; both ways give the same.
"""

import math
import os
import zlib
from collections.abc import Callable
from functools import lru_cache
from io import BytesIO
from struct import Struct
from struct import error as StructError
from typing import NamedTuple

from pydicom import Dataset, uid

from scanloom.readers._dicom_open import most_inflated, open_dicom, quiet_pydicom
from scanloom.readers._dicom_values import pixel_distances
from scanloom.readers._dicom_walk import UNDEFINED, Runs, Wanted, walk_bytes

_WANTED = {
    tag: Wanted(keyword, vr)
    for tag, keyword, vr in [
        (0x00020010, "TransferSyntaxUID", b"UI"),
        (0x00080060, "Modality", b"CS"),
        (0x00181164, "ImagerPixelSpacing", b"DS"),
        (0x00280002, "SamplesPerPixel", b"US"),
        (0x00280004, "PhotometricInterpretation", b"CS"),
        (0x00280008, "NumberOfFrames", b"IS"),
        (0x00280010, "Rows", b"US"),
        (0x00280011, "Columns", b"US"),
        (0x00280030, "PixelSpacing", b"DS"),
        (0x00280100, "BitsAllocated", b"US"),
        (0x00280101, "BitsStored", b"US"),
        (0x00280102, "HighBit", b"US"),
        (0x00280103, "PixelRepresentation", b"US"),
        (0x00280120, "PixelPaddingValue", b"US SS"),
        (0x00280121, "PixelPaddingRangeLimit", b"US SS"),
        (0x00281052, "RescaleIntercept", b"DS"),
        (0x00281053, "RescaleSlope", b"DS"),
        (0x00541001, "Units", b"CS"),
    ]
}
_VRS = {wanted.name: wanted.vr for wanted in _WANTED.values()}
# Modality LUT, functional groups, extended offset table, float pixels: pydicom's work.
_WANTED |= {
    tag: Wanted("refused", b"", reads=False)
    for tag in (0x00283000, 0x52009229, 0x52009230, 0x7FE00001, 0x7FE00002, 0x7FE00008, 0x7FE00009)
}
_PIXEL_DATA = b"\xe0\x7f\x10\x00"
# Raw UID -> (UID, whether value representations are implicit). Deflated files are inflated first.
_SYNTAXES = {
    syntax.encode(): (str(syntax), syntax == uid.ImplicitVRLittleEndian)
    for syntax in uid.AllTransferSyntaxes
    if syntax != uid.ExplicitVRBigEndian
}
_DEFLATED = uid.DeflatedExplicitVRLittleEndian.encode()
_BEHIND_GROUP_LENGTH = 144  # bytes; the group's length says how many more are in group 2

_runs = Runs({}, {}, {})  # of _WANTED
_length = Struct("<I").unpack_from
_unsigned = Struct("<H").unpack
_signed = Struct("<h").unpack


class _Doubt(Exception):
    """The file is for pydicom."""


class PixelDescription(NamedTuple):
    """The image pixel module (PS3.3 C.7.6.3) and its like, of the whole file.

    pixels: the value of the pixel element; encapsulated: whether it consists of items. keyword: its name.
    padding: first and last padding value as written, None where there is none.
    slope, intercept: NaN where the file has none. spacing_mm: (y, x), NaN where not known.
    parsed: pydicom's data set where that was needed; `dataset()` gives it in any case.
    """

    file: bytes
    syntax: str
    keyword: str
    pixels: memoryview
    encapsulated: bool
    modality: str
    units: str
    photometric: str
    samples: int
    frames: int
    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    padding: tuple[float, float] | None
    slope: float
    intercept: float
    spacing_mm: tuple[float, float]
    parsed: Dataset | None

    def __repr__(self) -> str:
        """Neither pixels nor anything else of the file may get into a log."""
        return f"PixelDescription({self.rows} x {self.columns}, {self.syntax})"

    def dataset(self) -> Dataset:
        """pydicom's data set of the file."""
        with quiet_pydicom():
            return open_dicom(BytesIO(self.file)) if self.parsed is None else self.parsed


def whole_file(path) -> bytes:
    """The file's bytes, in one read where it does not grow meanwhile."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        data = os.read(descriptor, size)
        if len(data) < size:  # a file of gigabytes, or one that is being written
            rest = [data]
            while data := os.read(descriptor, size):
                rest.append(data)
            data = b"".join(rest)
        return data
    finally:
        os.close(descriptor)


def describe(file: bytes, whole_header: bool = False) -> PixelDescription:
    """The description of a file's pixels. Raises what pydicom raises, and ValueError where there are no pixels.

    whole_header: have pydicom read it in any case, because the caller needs more than these elements.
    """
    if not whole_header:
        try:
            return _walked(file)
        except (_Doubt, StructError, ValueError, zlib.error):
            pass
    with quiet_pydicom():
        return _parsed(file)


def _walked(file: bytes) -> PixelDescription:
    """Raises _Doubt, or what unpacking values that are none raises."""
    data = _inflated(file)
    walked = walk_bytes(data, _WANTED, _SYNTAXES, _runs)
    if walked is None or walked.pixels is None:
        raise _Doubt("unusual, or without pixels")
    at, length = walked.pixels
    if not data.startswith(_PIXEL_DATA, at - (8 if walked.syntax == uid.ImplicitVRLittleEndian else 12)):
        raise _Doubt("float pixels")
    encapsulated = length == UNDEFINED
    pixels = memoryview(data)[at:] if encapsulated else memoryview(data)[at : at + length]
    return _meaning(tuple(walked.values.items()), walked.syntax, encapsulated)._replace(file=file, pixels=pixels)


def _inflated(file: bytes) -> bytes:
    """The file with its data set as explicit VR little endian where it is deflated (PS3.5 A.5). Raises _Doubt."""
    end = _BEHIND_GROUP_LENGTH + _length(file, _BEHIND_GROUP_LENGTH - 4)[0]
    if _DEFLATED not in file[132:end]:
        return file
    inflator = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflator.decompress(file[end:], most_inflated(len(file)))
    if not inflator.eof:
        raise _Doubt("cut off, or too large")
    return file[:end] + inflated


@lru_cache(maxsize=1024)
def _meaning(raw: tuple[tuple[str, bytes], ...], syntax: str, encapsulated: bool) -> PixelDescription:
    """What the elements say, without file and pixels: files of a series mostly say the same."""
    padding_vr = b"SS" if ("PixelRepresentation", b"\1\0") in raw else b"US"
    values = {"TransferSyntaxUID": syntax}
    for name, value in raw:
        keyword, _, vr = name.partition(" ")
        if keyword not in values:
            expected = _VRS[keyword]
            values[keyword] = _value(value, vr.encode() or (padding_vr if b" " in expected else expected))
    if values.get("SamplesPerPixel", 1) != 1 or values.get("PhotometricInterpretation") == "PALETTE COLOR":
        raise _Doubt("colour")
    return _described(b"", values.get, "PixelData", memoryview(b""), encapsulated, None)


def _text(value: bytes) -> str:
    if value.startswith(b"\0"):  # pydicom takes NULs from the end alone
        raise _Doubt("text that begins with NUL")
    return value.decode("ascii").strip(" \0")


def _value(value: bytes, vr: bytes):
    """A number, a list of numbers, or text; ValueError or StructError for anything else."""
    if vr == b"US":
        return _unsigned(value)[0]
    if vr == b"SS":
        return _signed(value)[0]
    text = _text(value)
    if vr == b"IS":
        return int(text) if text else None
    if vr == b"DS":
        return [float(part) for part in text.split("\\")] if text else None
    return text


def _parsed(file: bytes) -> PixelDescription:
    """The description through pydicom's data set."""
    header = open_dicom(BytesIO(file))
    for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"):
        if keyword in header:
            element = header[keyword]
            return _described(file, header.get, keyword, memoryview(element.value), element.is_undefined_length, header)
    raise ValueError("no pixel data")


def _described(
    file: bytes, get: Callable, keyword: str, pixels: memoryview, encapsulated: bool, parsed: Dataset | None
) -> PixelDescription:
    """get: keyword -> value or None."""
    for needed in ("Rows", "Columns", "BitsAllocated", "PhotometricInterpretation"):
        if get(needed) in (None, ""):
            raise ValueError(f"the header has no {needed}")
    syntax = get("TransferSyntaxUID") if parsed is None else parsed.file_meta.TransferSyntaxUID
    bits_stored = int(get("BitsStored") or get("BitsAllocated"))
    high_bit = get("HighBit")
    return PixelDescription(
        file=file,
        syntax=str(syntax),
        keyword=keyword,
        pixels=pixels,
        encapsulated=encapsulated,
        modality=str(get("Modality") or ""),
        units=str(get("Units") or ""),
        photometric=str(get("PhotometricInterpretation")),
        samples=int(get("SamplesPerPixel") or 1),
        frames=int(get("NumberOfFrames") or 1),
        rows=int(get("Rows")),
        columns=int(get("Columns")),
        bits_allocated=int(get("BitsAllocated")),
        bits_stored=bits_stored,
        high_bit=bits_stored - 1 if high_bit is None else int(high_bit),
        signed=get("PixelRepresentation") == 1,
        padding=_padding(
            get, {"PixelData": "", "FloatPixelData": "Float", "DoubleFloatPixelData": "DoubleFloat"}[keyword]
        ),
        slope=numbers(get("RescaleSlope"), 1)[0],
        intercept=numbers(get("RescaleIntercept"), 1)[0],
        spacing_mm=pixel_distances(numbers(get("PixelSpacing"), 2), numbers(get("ImagerPixelSpacing"), 2)),
        parsed=parsed,
    )


def _padding(get: Callable, kind: str) -> tuple[float, float] | None:
    """First and last padding value of this kind of pixels (PS3.3 C.7.5.1.1.2)."""
    first = get(f"{kind}PixelPaddingValue")
    last = get(f"{kind}PixelPaddingRangeLimit")
    return None if first is None else (first, first if last is None else last)


def numbers(value, count: int) -> list[float]:
    """`count` numbers; all NaN where absent, of another count or not numbers."""
    try:
        parts = value if hasattr(value, "__iter__") and not isinstance(value, str) else [value]
        found = [float(part) for part in parts]
    except (TypeError, ValueError):
        found = []
    return found if len(found) == count else [math.nan] * count
