"""A DICOM file as pydicom's data set, its header repaired where tools that removed names damaged it.

What is repaired, because files in the wild have it:
- value representations that were lost (blank, UN, or letters that are none) come from the dictionary (PS3.6), also
  where the lengths behind the blanks have 16 bits, so that all that follows would be lost;
- headers that have value representations although their transfer syntax has none, or the other way round (pydicom);
- numbers with a decimal comma, a unit or odd padding. A number that cannot be read even so is removed, unless the
  pixels mean something else without it: then it stays, and whoever reads it gets pydicom's error.
"""

import logging
import os
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from itertools import islice
from typing import BinaryIO

import pydicom
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.tag import BaseTag, Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from scanloom.readers._dicom_values import ATTRIBUTES, DECISIVE
from scanloom.readers._dicom_walk import ITEM, LONG_VR, PIXELS, SEQUENCE_END, SHORT_VR, UNDEFINED

META_BYTES = 4096  # group 2, which names the transfer syntax, is shorter
FREE_BYTES, RATIO = 1 << 28, 50  # a deflated data set may become so large, or so many times as large as it is
PIECE = 1 << 20  # bytes inflated at a time

_SCANNED = dict(ATTRIBUTES.values())
# Keyword -> how many numbers, 0: text. The last ones are for the pixels' reader.
_MENDED = _SCANNED | {"HighBit": 1, "WindowCenter": 1, "WindowWidth": 1}
_TEXT_VR = frozenset(b"AE AS CS DA DS DT IS LO LT PN SH ST TM UC UI UR UT".split())
_NUMBER_VR = frozenset(b"FD FL SL SS SV UL US UV".split())
_UNITS = r"(?:mm|cm|ms|s|kvp?|ma|deg(?:rees?)?|°|%)"  # no other letters: "149O" is a damaged number
_NUMBER = re.compile(rf"\s*([+-]?(?:\d+[.,]?\d*|[.,]\d+)(?:e[+-]?\d+)?)\s*{_UNITS}?\s*", re.IGNORECASE)
_MOST_DELIMITERS = 1000  # that are tried as the end of one sequence


_LONG, _SHORT = struct.Struct("<L").unpack_from, struct.Struct("<H").unpack_from


@contextmanager
def quiet_pydicom():
    """pydicom's warnings and log lines switched off: they quote raw header values, and logs must hold none."""
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def open_dicom(file, **options) -> pydicom.FileDataset:
    """The data set with a transfer syntax, whether or not the file has DICOM's preamble (PS3.10 7.1), repaired.

    Raises InvalidDicomError for anything that does not look like DICOM. `file`: a path or an open binary file.
    """
    if isinstance(file, str | os.PathLike):
        with open(file, "rb") as opened:
            return open_repaired(opened, **options)[0]
    return open_repaired(file, **options)[0]


def open_repaired(file: BinaryIO, **options) -> tuple[pydicom.FileDataset, BinaryIO, bool]:
    """(data set, the file it came from, whether anything was repaired); as `open_dicom`.

    The file is the given one where pydicom's reader stopped, or a copy in memory with its value representations back.
    """
    header = read_as_it_is(file, **options)
    other = _otherwise_encoded(header)
    pixels_vr = _vr_of_pixels(header, file)
    lost = pixels_vr not in LONG_VR and header.file_meta.TransferSyntaxUID != ImplicitVRLittleEndian
    if lost and (other or pixels_vr is not None):
        place = file.tell()
        file.seek(0)
        whole = with_value_representations(file.read())
        if whole is None:
            file.seek(place)
        else:
            file = BytesIO(whole)
            header = read_as_it_is(file, **options)
        other = True
    return header, file, _mend(header) or other


def read_as_it_is(file: BinaryIO, **options) -> pydicom.FileDataset:
    """As `open_dicom`, but not repaired."""
    start = file.read(132)
    if start[128:132] != b"DICM" and start[:2] not in (b"\x02\x00", b"\x08\x00"):
        raise InvalidDicomError("neither a preamble nor a first element of group 2 or 8")
    start += file.read(META_BYTES)
    if DeflatedExplicitVRLittleEndian.encode() in start[132 : _end_of_meta(start)]:
        _refuse_bomb(file)
    file.seek(0)
    header = pydicom.dcmread(file, force=start[128:132] != b"DICM", **options)
    if "TransferSyntaxUID" not in header.file_meta:
        # PS3.5 10.1: the default transfer syntax holds where nothing else was said.
        header.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    return header


def most_inflated(size: int) -> int:
    """Bytes that the data set of a deflated file of `size` bytes may have."""
    return max(FREE_BYTES, RATIO * size)


def _refuse_bomb(file: BinaryIO) -> None:
    """Raises ValueError where the data set inflates to more than an image could, without holding it in memory."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    data = file.read()
    allowed, inflated, inflator = most_inflated(size), 0, zlib.decompressobj(-zlib.MAX_WBITS)
    piece = data[_end_of_meta(data) :]
    while piece and not inflator.eof:
        inflated += len(inflator.decompress(piece, PIECE))
        piece = inflator.unconsumed_tail
        if inflated > allowed:
            raise ValueError(f"a deflated data set of {size} bytes inflates to more than {allowed}")


def _otherwise_encoded(header) -> bool:
    """True where elements lack the value representation that the transfer syntax demands, or have one it has not."""
    implicit = header.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    raw = (element for element in header._dict.values() if isinstance(element, RawDataElement) and element.tag >> 16)
    return any((element.VR is None) != implicit for element in raw)


def _vr_of_pixels(header: pydicom.FileDataset, file: BinaryIO) -> bytes | None:
    """What stands where the pixels' value representation should; None where reading did not come as far as that."""
    if header.file_meta.TransferSyntaxUID in (DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian):
        return b"OW"  # nothing is repaired here
    place = file.tell()
    head = file.read(6)
    file.seek(place)
    if head[:4] in PIXELS:
        return head[4:6]
    # As it was read: asked for an element without a value, pydicom makes one of it with the dictionary's VR.
    read = [element for tag, element in header._dict.items() if tag >> 16 == 0x7FE0]
    return (read[-1].VR or "").encode() if read else None


def with_value_representations(data: bytes) -> bytes | None:
    """The little-endian file with a value representation in each element's head; None where that makes no sense.

    Heads are read in whichever way puts a next element with a higher tag behind the value. Sequences are kept as they
    are; of an unknown element only the length is known, it becomes UN (PS3.5 6.2.2).
    """
    if data[128:132] != b"DICM":
        return None
    at = _end_of_meta(data)
    parts = [data[:at]]
    last = 0
    while at + 8 <= len(data):
        if data[at : at + 4] in PIXELS:
            parts.append(_pixels_head(data, at))
            return b"".join(parts)
        tag = _tag(data, at)
        head = next((head for head in _heads(data, at, tag) if _is_plausible(data, head[2], tag)), None)
        if head is None or tag <= last:
            return None
        vr, start, end = head
        long = vr in LONG_VR
        length = UNDEFINED if vr == b"SQ" and data[end - 8 : end - 4] == SEQUENCE_END else end - start
        parts += [data[at : at + 4], vr, struct.pack("<HL", 0, length) if long else struct.pack("<H", length)]
        parts.append(data[start:end])
        at, last = end, tag
    return b"".join(parts) if at == len(data) else None


def _end_of_meta(data: bytes) -> int:
    """Offset behind group 2, which always has value representations."""
    at = 132
    while data[at : at + 2] == b"\x02\x00" and at + 12 <= len(data):
        at += 12 + _LONG(data, at + 8)[0] if data[at + 4 : at + 6] in LONG_VR else 8 + _SHORT(data, at + 6)[0]
    return at


def _tag(data: bytes, at: int) -> int:
    group, element = struct.unpack_from("<HH", data, at)
    return group << 16 | element


def _vr_of(tag: int) -> bytes:
    """The dictionary's value representation, the first where there are several; UN for what it does not know."""
    try:
        return dictionary_VR(tag)[:2].encode()
    except KeyError:
        return b"UN"


def _heads(data: bytes, at: int, tag: int) -> Iterator[tuple[bytes, int, int]]:
    """(VR, where the value begins, where it ends) for each way to read the head of an element."""
    written = data[at + 4 : at + 6]
    long, short = _LONG(data, at + 4)[0], _SHORT(data, at + 6)[0]
    if written in SHORT_VR:
        yield written, at + 8, at + 8 + short
        return
    longer = _LONG(data, at + 8)[0] if at + 12 <= len(data) else UNDEFINED
    vr = written if written in LONG_VR and written != b"UN" else _vr_of(tag)
    for head, length in [(12, longer), (8, short)] if written in LONG_VR else [(8, long), (8, short), (12, longer)]:
        start = at + head
        if length != UNDEFINED:
            yield vr, start, start + length
        elif vr == b"SQ" or data[start : start + 4] == ITEM:
            for end in islice(_delimiters(data, start), _MOST_DELIMITERS):
                yield b"SQ", start, end


def _delimiters(data: bytes, start: int) -> Iterator[int]:
    """Offsets behind all that could be the end of a sequence."""
    while (at := data.find(SEQUENCE_END + b"\0\0\0\0", start)) >= 0:
        start = at + 8
        yield start


def _is_plausible(data: bytes, at: int, before: int) -> bool:
    """Whether the file ends here, or an element stands here that may follow tag `before`."""
    if at + 8 > len(data):
        return at == len(data)
    tag = _tag(data, at)
    return tag > before and (data[at : at + 4] in PIXELS or bool(tag >> 16 & 1) or _vr_of(tag) != b"UN")


def _pixels_head(data: bytes, at: int) -> bytes:
    """The rest of the file, from the pixels on, with a value representation (OB for items, else OW)."""
    if data[at + 4 : at + 6] in LONG_VR:
        return data[at:]
    if data[at + 8 : at + 12] == ITEM:
        length, start = UNDEFINED, at + 8
    elif data[at + 12 : at + 16] == ITEM:
        length, start = UNDEFINED, at + 12
    else:
        # Pixels are what a file consists of: of the two ways to read the length, the longer one that fits.
        ways = [(_LONG(data, place)[0], place + 4) for place in (at + 4, at + 8) if place + 4 <= len(data)]
        fitting = [(length, start) for length, start in ways if start + length <= len(data)]
        length, start = max(fitting, default=ways[0])
    vr = b"OB" if length == UNDEFINED else b"OW"
    return data[at : at + 4] + vr + struct.pack("<HL", 0, length) + data[start:]


def _mend(header: pydicom.FileDataset) -> bool:
    """Repair the values of elements that do not read as they stand; True where it was one of ATTRIBUTES."""
    mended = False
    for keyword, count in _MENDED.items():
        tag = Tag(keyword)
        raw = header.get_item(tag) if tag in header else None
        if not isinstance(raw, RawDataElement):
            continue
        if raw.VR is not None and raw.VR.encode() not in (_NUMBER_VR | _TEXT_VR if count else _TEXT_VR):
            raw = header[tag] = raw._replace(VR=dictionary_VR(tag))
            mended |= keyword in _SCANNED
        if count and not _is_readable(header, tag):
            text = _as_numbers(raw.value or b"")
            if text is not None:
                vr = dictionary_VR(tag) if dictionary_VR(tag) in ("DS", "IS") else "IS"
                header[tag] = raw._replace(value=text, length=len(text), VR=vr)
            if keyword not in DECISIVE and not _is_readable(header, tag):
                del header[tag]
            mended |= keyword in _SCANNED
    return mended


def _is_readable(header: pydicom.FileDataset, tag: BaseTag) -> bool:
    """Whether pydicom makes numbers of the element, or it is empty."""
    try:
        value = header[tag].value
        if isinstance(value, str):
            return value == ""
        for part in [] if value is None else value if hasattr(value, "__iter__") else [value]:
            float(part)
    except (TypeError, ValueError, NotImplementedError, BytesLengthException):
        return False
    return True


def _as_numbers(raw: bytes) -> bytes | None:
    """Decimal text (PS3.5 6.2, DS) with points, without units and odd padding; None where it holds no numbers."""
    parts = raw.decode("latin-1").replace("\0", " ").rstrip(" \\").split("\\")
    found = [_NUMBER.fullmatch(part) for part in parts]
    if not all(found):
        return None
    return "\\".join(match[1].replace(",", ".") for match in found).encode()
