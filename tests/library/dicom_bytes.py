"""DICOM files put together byte by byte (PS3.5 7.1, PS3.10 7.1), also wrong ones that no library would write."""

import struct
from pathlib import Path

from pydicom.datadict import dictionary_VR, tag_for_keyword

LONG = "OB OD OF OL OV OW SQ SV UC UN UR UT UV".split()  # noqa: SIM905
EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
CT = {
    "ImageType": "ORIGINAL\\PRIMARY\\AXIAL",
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
    "SOPInstanceUID": "1.2.3.4",
    "Modality": "CT",
    "Manufacturer": "Quarz",
    "SeriesDescription": "Kopf nativ",
    "PatientID": "p1",
    "PatientSex": "F",
    "PatientAge": "061Y",
    "SliceThickness": "2.5",
    "KVP": "120",
    "StudyInstanceUID": "1.2.3",
    "SeriesInstanceUID": "1.2.3.1",
    "SeriesNumber": "3",
    "InstanceNumber": "7",
    "ImagePositionPatient": "-120.5\\-130\\45.25",
    "ImageOrientationPatient": "1\\0\\0\\0\\1\\0",
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "Rows": 2,
    "Columns": 3,
    "PixelSpacing": "0.5\\0.75",
    "BitsAllocated": 16,
    "BitsStored": 12,
    "PixelRepresentation": 0,
    "RescaleIntercept": "-1024",
    "RescaleSlope": "1",
    "PixelData": bytes(12),
}


def encoded(value, vr: str) -> bytes:
    """The value of an element, padded to an even length."""
    if isinstance(value, int):
        return struct.pack("<H", value)
    if isinstance(value, float):
        return struct.pack("<d", value)
    raw = value if isinstance(value, bytes) else value.encode()
    return raw + (b"\0" if vr in ("UI", "OB", "UN") else b" ") * (len(raw) % 2)


def element(tag: int, vr: str, value, implicit: bool = False) -> bytes:
    """One element; vr "" and anything else that is no value representation is written as it is, as short ones are."""
    raw = encoded(value, vr)
    start = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    if implicit:
        return start + struct.pack("<L", len(raw)) + raw
    if vr in LONG:
        return start + vr.encode() + struct.pack("<HL", 0, len(raw)) + raw
    return start + vr.encode().ljust(2, b"\0") + struct.pack("<H", len(raw)) + raw


def sequence(tag: int, items: list[bytes], implicit: bool = False) -> bytes:
    """A sequence of undefined length with items of undefined length."""
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + (b"" if implicit else b"SQ\0\0") + b"\xff" * 4
    item, item_end = b"\xfe\xff\x00\xe0" + b"\xff" * 4, b"\xfe\xff\x0d\xe0" + bytes(4)
    return head + b"".join(item + content + item_end for content in items) + b"\xfe\xff\xdd\xe0" + bytes(4)


def meta(syntax: str = EXPLICIT) -> bytes:
    """Preamble and group 2."""
    parts = [element(0x00020002, "UI", CT["SOPClassUID"]), element(0x00020010, "UI", syntax)]
    length = sum(map(len, parts))
    return bytes(128) + b"DICM" + element(0x00020000, "UL", struct.pack("<L", length)) + b"".join(parts)


def file_of(attributes: dict, syntax: str = EXPLICIT, more: dict[int, bytes] | None = None) -> bytes:
    """A file with the attributes by keyword, and with whole elements by tag; a value of None leaves one out."""
    implicit = syntax == IMPLICIT
    parts = {}
    for keyword, value in attributes.items():
        if value is not None:
            tag, vr = tag_for_keyword(keyword), dictionary_VR(keyword)
            parts[tag] = element(tag, "OW" if vr == "OB or OW" else vr, value, implicit)
    parts |= more or {}
    return meta(syntax) + b"".join(parts[tag] for tag in sorted(parts))


def write(path: Path, data: bytes) -> str:
    """The path as text, after the bytes were written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return str(path)
