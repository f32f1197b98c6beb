"""What a DICOM file says about its pixels, and where they lie: header and pixels from one read of the file.

`describe` walks over the file's elements in plain Python and unpacks the twenty that decoding needs, which is twenty
times faster than building pydicom's data set. Files that need more (lookup tables, functional groups, palettes,
colour, big endian, no preamble) or look unusual in any way are read by pydicom instead; both ways give the same.
"""

import math
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from struct import Struct
from struct import error as StructError

from pydicom import Dataset, uid

from scanloom.readers._dicom_open import open_dicom
from scanloom.readers._dicom_walk import LONG_VR, SHORT_VR, UNDEFINED, _Doubt, _sequence_end


def _key(group: int, element: int) -> int:
    """A tag as its four little-endian bytes read as one number."""
    return element << 16 | group


# Tag -> keyword and the value representation it must have to be read here.
_WANTED = {
    _key(0x0002, 0x0010): ("TransferSyntaxUID", b"UI"),
    _key(0x0008, 0x0060): ("Modality", b"CS"),
    _key(0x0018, 0x1164): ("ImagerPixelSpacing", b"DS"),
    _key(0x0028, 0x0002): ("SamplesPerPixel", b"US"),
    _key(0x0028, 0x0004): ("PhotometricInterpretation", b"CS"),
    _key(0x0028, 0x0008): ("NumberOfFrames", b"IS"),
    _key(0x0028, 0x0010): ("Rows", b"US"),
    _key(0x0028, 0x0011): ("Columns", b"US"),
    _key(0x0028, 0x0030): ("PixelSpacing", b"DS"),
    _key(0x0028, 0x0100): ("BitsAllocated", b"US"),
    _key(0x0028, 0x0101): ("BitsStored", b"US"),
    _key(0x0028, 0x0102): ("HighBit", b"US"),
    _key(0x0028, 0x0103): ("PixelRepresentation", b"US"),
    _key(0x0028, 0x0120): ("PixelPaddingValue", b"US or SS"),
    _key(0x0028, 0x0121): ("PixelPaddingRangeLimit", b"US or SS"),
    _key(0x0028, 0x1052): ("RescaleIntercept", b"DS"),
    _key(0x0028, 0x1053): ("RescaleSlope", b"DS"),
    _key(0x0054, 0x1001): ("Units", b"CS"),
}
_PIXEL_DATA = _key(0x7FE0, 0x0010)
# Modality LUT, functional groups, extended offset table, float pixels: pydicom's work.
_REFUSED = {_key(0x0028, 0x3000), _key(0x5200, 0x9229), _key(0x5200, 0x9230)}
_REFUSED |= {_key(0x7FE0, element) for element in (1, 2, 8, 9)}
_TOLD = {*_WANTED, *_REFUSED, _PIXEL_DATA}
_SIGN = _key(0x0028, 0x0103)
_DEEPEST = 8  # sequences in sequences

_explicit_head = Struct("<I2sH").unpack_from
_implicit_head = Struct("<II").unpack_from
_length = Struct("<I").unpack_from
_unsigned = Struct("<H").unpack
_signed = Struct("<h").unpack


@dataclass(frozen=True)
class PixelDescription:
    """The image pixel module (PS3.3 C.7.6.3) and its like, of the whole file.

    pixels: the value of the pixel element; encapsulated: whether it consists of items. keyword: its name.
    padding: first and last padding value as written, None where there is none.
    slope, intercept: NaN where the file has none. spacing_mm: (y, x), NaN where not known.
    parsed: pydicom's data set where that was needed; `dataset()` gives it in any case.
    """

    file: bytes = field(repr=False)
    syntax: str
    keyword: str
    pixels: memoryview = field(repr=False)
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
    parsed: Dataset | None = field(repr=False)

    def dataset(self) -> Dataset:
        """pydicom's data set of the file."""
        return open_dicom(BytesIO(self.file)) if self.parsed is None else self.parsed


def whole_file(path) -> bytes:
    """The file's bytes, in one read where it does not grow meanwhile."""
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(size)
        return data if len(data) == size else data + file.readall()


def describe(file: bytes, whole_header: bool = False) -> PixelDescription:
    """The description of a file's pixels. Raises what pydicom raises, and ValueError where there are no pixels.

    whole_header: have pydicom read it in any case, because the caller needs more than these elements.
    """
    if not whole_header:
        try:
            return _walked(file)
        except (_Doubt, StructError, ValueError, IndexError, RecursionError, zlib.error):
            pass
    return _parsed(file)


def _walked(file: bytes) -> PixelDescription:
    """Raises _Doubt, or what unpacking bytes that are not there raises."""
    if file[128:132] != b"DICM":
        raise _Doubt("no preamble")
    values, data, at = {}, file, 132
    while True:
        tag, vr, length = _explicit_head(data, at)
        if tag & 0xFFFF != 2:
            break
        at += 8
        if vr in LONG_VR:
            length = _length(data, at)[0]
            at += 4
        if tag in _WANTED:
            values["TransferSyntaxUID"] = _text(data[at : at + length])
        at += length
    syntax = values.get("TransferSyntaxUID", "")
    if syntax in (uid.ExplicitVRBigEndian, ""):
        raise _Doubt("big endian, or not said")
    if syntax == uid.DeflatedExplicitVRLittleEndian:
        data, at = zlib.decompress(data[at:], -zlib.MAX_WBITS), 0
    at, length = _walk(data, at, syntax == uid.ImplicitVRLittleEndian, values)
    if values.get("SamplesPerPixel", 1) != 1 or values.get("PhotometricInterpretation") == "PALETTE COLOR":
        raise _Doubt("colour")
    encapsulated = length == UNDEFINED
    pixels = memoryview(data)[at:] if encapsulated else memoryview(data)[at : at + length]
    return _described(file, values.get, "PixelData", pixels, encapsulated, None)


def _walk(data: bytes, at: int, implicit: bool, values: dict) -> tuple[int, int]:
    """(offset of the pixels, their length); fills `values` with the wanted elements by keyword."""
    raw = []
    while True:
        if implicit:
            tag, length = _implicit_head(data, at)
            vr, at = b"", at + 8
        else:
            tag, vr, length = _explicit_head(data, at)
            at += 8
            if vr not in SHORT_VR:
                if vr not in LONG_VR:
                    raise _Doubt("not a value representation")
                length = _length(data, at)[0]
                at += 4
        if tag in _TOLD:
            if tag == _PIXEL_DATA:
                break
            if tag in _REFUSED:
                raise _Doubt("an element that pydicom reads")
            raw.append((tag, vr, data[at : at + length]))
        if length == UNDEFINED:
            if vr == b"UN":
                raise _Doubt("a sequence whose elements are written in another way")
            at = _sequence_end(data, at, implicit, _DEEPEST)
        else:
            at += length
    padding_vr = b"SS" if any(tag == _SIGN and value == b"\1\0" for tag, _, value in raw) else b"US"
    for tag, vr, value in raw:
        keyword, expected = _WANTED[tag]
        if vr and vr not in expected:
            raise _Doubt("another value representation than expected")
        values[keyword] = _value(value, vr or (padding_vr if len(expected) > 2 else expected))
    return at, length


def _text(value: bytes) -> str:
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
    spacing = numbers(get("PixelSpacing"), 2)
    if math.isnan(spacing[0]):
        spacing = numbers(get("ImagerPixelSpacing"), 2)
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
        spacing_mm=(spacing[0], spacing[1]),
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
