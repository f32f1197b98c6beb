"""One DICOM file's header, read once and without its pixels: either the reason it cannot be used, or its images.

Files are judged by content, never by name. Dates, names and birth days are not read at all. Nearly all files are read
by the fast walk (`_dicom_walk`), the others by pydicom (`_dicom_open`); both give the same, which tests hold them to.
"""

import math
import os
import re
import struct
from functools import lru_cache
from typing import BinaryIO, NamedTuple

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.pixels import get_decoder
from pydicom.pixels.common import PhotometricInterpretation
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
    UID_dictionary,
)

from scanloom.readers._dicom_open import open_repaired, quiet_pydicom, read_as_it_is
from scanloom.readers._dicom_pixels import read_frames
from scanloom.readers._dicom_values import (
    ATTRIBUTES,
    WANTED,
    dataset_values,
    frame_values,
    pixel_distances,
    plain_values,
)
from scanloom.readers._dicom_walk import ITEM, LONG_VR, PIXELS, SEQUENCE_END, UNDEFINED, walk

NOT_DICOM = "not a DICOM file"
DIRECTORY = "directory of files (DICOMDIR)"
NO_PIXELS = "no pixel data"
TRUNCATED = "truncated"
UNREADABLE = "unreadable"
UNDECODABLE = "undecodable"
UNKNOWN_PHOTOMETRIC = f"{UNDECODABLE}: unknown photometric interpretation"
_PHOTOMETRIC = frozenset(["", *(known.value for known in PhotometricInterpretation)])
LOCALIZER = "localizer"
MOSAIC = "mosaic of slices"
COLOUR = "colour picture in a CT series"
NO_RESCALE = "no rescale to HU"
OTHER_UNIT = "rescale to another unit than HU"
_HOUNSFIELD = ("", "HU", "US")  # rescale types of CT: Hounsfield units, and not said (PS3.3 C.11.1.1.2)

OLDEST_YEARS = 90.0  # all ages above 89 are one (45 CFR 164.514(b)(2)(i)(C))
AGE_UNITS = {"Y": 1.0, "M": 12.0, "W": 365.25 / 7, "D": 365.25}  # of a year (PS3.5 6.2, AS)

MOST_DEFLATED = 1032  # bytes that one byte of a deflated file can become
DECODED_AT_ONCE = 16  # frames of a multi-frame file
_MOST_FRAMES = 2**31 - 1  # PS3.5 6.2, IS
_NAN = math.nan
_NAN_2, _NAN_3, _NAN_6 = (_NAN,) * 2, (_NAN,) * 3, (_NAN,) * 6
_ORIENTATION = tuple(f"orientation_{i}" for i in range(6))
_AGE = re.compile(r"(\d{1,3})([YMWD])")
_MODALITY = re.compile("[A-Z]{2,9}")  # defined terms (PS3.3 C.7.3.1.1.1), and private ones like them
_PACKAGE = re.compile(r"pylibjpeg-\w+")  # in what pydicom says of a decoder's dependencies
_OF_AN_IMAGE = frozenset(["sop_class", "modality", "Rows"])  # what looks like DICOM and has none of these is not
_OF_ANY_FILE = ("sop_uid", "sop_class", "series_uid", "study_uid", "raw_patient", "modality", "series_description")
_DIRECTORY_CLASS = MediaStorageDirectoryStorage.encode()
_NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)
# Transfer syntaxes that the fast walk can read: raw UID -> (UID, whether value representations are implicit).
_WALKABLE = {
    uid.encode(): (uid, uid == ImplicitVRLittleEndian)
    for uid, (_, kind, *_) in UID_dictionary.items()
    if kind == "Transfer Syntax" and uid not in (DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian)
}
_SYNTAX_NAMES = {uid: UID(uid).name for uid, _ in _WALKABLE.values()}


class Found(NamedTuple):
    """What a file holds. reason: why it has no whole pixels, or ""; images: one row per frame, or what identifies it.

    syntax: transfer syntax UID. has_modality_lut: stored values are rescaled by a table. plain: native pixels of a
    common kind, of which nothing but missing bytes can make the decoding fail.
    """

    reason: str
    images: list[dict]
    syntax: str
    has_modality_lut: bool = False
    plain: bool = False


def read_header(
    path: str, modality: str | None, check_compressed: bool, voi_lut: str = "ignore"
) -> tuple[str, list[dict]]:
    """(reason, images): reason "" for a usable file; one dict of IMAGE_COLUMNS (without path) per frame.

    modality: DICOM modality to accept, None for any that is an image.
    check_compressed: decode pixels that are not plain once, so that a file which cannot be decoded is found here.
    voi_lut: as the pixels will be read; "apply" makes every file need a look, for windows and tables may be wrong, too.
    """
    try:
        found = by_walk(path)
        if found is None:
            with quiet_pydicom():
                found = by_pydicom(path)
        reason = found.reason or _unwanted(found, modality)
        if not reason and not (found.plain and voi_lut == "ignore"):
            with quiet_pydicom():
                reason = _undecodable(path, found, check_compressed, voi_lut)
        return reason, found.images
    except InvalidDicomError:
        return NOT_DICOM, []
    except struct.error:
        return TRUNCATED, []  # pydicom's way to say that the file ends inside an element's head
    except Exception:
        # A broken header makes pydicom raise anything from struct.error to RecursionError: the file is counted, named
        # and left out, and the other million files are still read.
        return UNREADABLE, []


def by_walk(path: str) -> Found | None:
    """What the fast walk understands of the file, None where that is not all."""
    walked = walk(path, WANTED, _WALKABLE)
    if walked is None:
        return None
    if walked.values.get("MediaStorageSOPClassUID", b"").rstrip(b"\0 ") == _DIRECTORY_CLASS:
        return Found(DIRECTORY, [], walked.syntax)
    try:
        values = plain_values(walked.values)
        if walked.pixels is None:
            known = not _OF_AN_IMAGE.isdisjoint(values)
            return Found(NO_PIXELS, [_known(values)], walked.syntax) if known else None
        if values.get("NumberOfFrames", 1.0) not in (1.0, 0.0):
            return None  # a row per frame is pydicom's work
        bytes_needed = _native_bytes(values)
        plain = walked.syntax in _NATIVE and _is_plain(values)
        row = _row(values, walked.syntax)
    except ValueError:
        return None
    row["overlay_planes"], row["private_elements"] = walked.overlays, walked.private
    start, length = walked.pixels
    if length == UNDEFINED:
        with open(path, "rb") as file:
            reason = _encapsulated(file, start, walked.size, walked.syntax, 1)
    else:
        reason = "" if min(length, walked.size - start) >= bytes_needed else TRUNCATED
    return Found(reason, [row], walked.syntax, plain=plain)


def by_pydicom(path: str) -> Found:
    """What pydicom understands of the file. Raises what pydicom raises, ValueError where no image can be described."""
    with open(path, "rb") as opened:
        header, file, repaired = open_repaired(opened, stop_before_pixels=True)
        syntax = header.file_meta.TransferSyntaxUID
        if header.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
            return Found(DIRECTORY, [], syntax)
        if not any(ATTRIBUTES[name][0] in header for name in _OF_AN_IMAGE):
            opened.seek(128)
            if opened.read(4) != b"DICM":
                raise InvalidDicomError("nothing in it that an image has")
            return Found(_no_pixels(path), [], syntax)
        deflated = syntax == DeflatedExplicitVRLittleEndian
        pixels = None if deflated else _pixel_element(file, syntax)
        if pixels is None and not deflated:
            return Found(_no_pixels(path), [_known(dataset_values(header, _OF_ANY_FILE))], syntax)
        values = dataset_values(header, ATTRIBUTES)
        more = {
            "overlay_planes": sum(_has_overlay(header, group) for group in range(0x6000, 0x6100, 2)),
            "private_elements": sum(tag >> 16 & 1 for tag in header.keys()),  # noqa: SIM118 (elements would be read)
            "header_repaired": repaired,
        }
        frames = _whole(values.get("NumberOfFrames") or 1, most=_MOST_FRAMES)
        if deflated:
            reason = TRUNCATED if _native_bytes(values) > MOST_DEFLATED * os.path.getsize(path) else ""
        else:
            reason = _incomplete(file, *pixels, _native_bytes(values), syntax, frames)
        # A wrong number of frames must not fill the memory with rows of pictures that are not there.
        images = [row | more for row in _frames(header, values, syntax, frames, 1 if reason else frames)]
        return Found(reason, images, syntax, "ModalityLUTSequence" in header)


# --- rows ------------------------------------------------------------------------------------------------------------


def _known(values: dict) -> dict:
    """The columns of a file without pixels: what identifies it."""
    return {name: values[name] for name in _OF_ANY_FILE if name in values}


def _row(values: dict, syntax: str) -> dict:
    """The columns of an image, made of its values in place. Raises ValueError without size or bits."""
    row, take = values, values.pop
    bits_allocated, series_number = _whole(take("BitsAllocated", 0)), take("SeriesNumber", _NAN)
    sex, burned_in = take("PatientSex", ""), take("BurnedInAnnotation", "")
    image_laterality, laterality = take("ImageLaterality", ""), take("Laterality", "")
    spacing, detector_spacing = take("PixelSpacing", _NAN_2), take("ImagerPixelSpacing", _NAN_2)
    row["frame"] = -1
    row["rows"], row["columns"] = _whole(take("Rows", 0)), _whole(take("Columns", 0))
    samples = _whole(take("SamplesPerPixel", 1))
    row["samples"] = 3 if row.get("photometric") == "PALETTE COLOR" else samples
    row["bits_stored"] = _whole(take("BitsStored", 0) or bits_allocated)
    row["signed"] = take("PixelRepresentation", 0) == 1
    row["transfer_syntax"] = _SYNTAX_NAMES.get(syntax) or UID(syntax).name
    row["series_number"] = int(series_number) if abs(series_number) <= _MOST_FRAMES else 0
    row["laterality"] = image_laterality or laterality
    row["patient_sex"] = sex if sex in ("M", "F", "O") else ""
    row["patient_age_years"] = _age_years(take("PatientAge", ""))
    row["contrast_agent"] = bool(take("ContrastBolusAgent", ""))
    row["burned_in"] = burned_in if burned_in in ("YES", "NO") else ""
    row["spacing_y_mm"], row["spacing_x_mm"] = pixel_distances(spacing, detector_spacing)
    row["position_0"], row["position_1"], row["position_2"] = take("ImagePositionPatient", _NAN_3)
    row.update(zip(_ORIENTATION, take("ImageOrientationPatient", _NAN_6), strict=True))
    take("NumberOfFrames", 1)
    return row


def _whole(number: float, most: int = 65535) -> int:
    """The number as an integer. Raises ValueError where it is not from 1 to the largest that DICOM can write."""
    if not 1 <= number <= most:
        raise ValueError(f"size, bits or frames of the image are {number}, expected 1 to {most}")
    return int(number)


@lru_cache
def _age_years(text: str) -> float:
    """Years of "045Y", "018M", "003W" or "010D"; NaN for anything else."""
    match = _AGE.fullmatch(text)
    return min(int(match[1]) / AGE_UNITS[match[2]], OLDEST_YEARS) if match else _NAN


def _frames(header: Dataset, values: dict, syntax: str, frames: int, wanted: int) -> list[dict]:
    """One row for each of the first `wanted` frames; a file's only frame, without functional groups, has number -1."""
    groups = header.get("PerFrameFunctionalGroupsSequence")
    if frames == 1 and not groups:
        return [_row(values, syntax)]
    shared = (header.get("SharedFunctionalGroupsSequence") or [None])[0]
    # A position of the whole file is none of its frames.
    common = {name: value for name, value in values.items() if not name.startswith(("ImagePos", "ImageOri"))}
    rows = []
    for number in range(wanted):
        mine = groups[number] if groups and number < len(groups) else None
        rows.append(_row(common | frame_values(mine, shared), syntax) | {"frame": number})
    return rows


def _has_overlay(header: Dataset, group: int) -> bool:
    """Whether the overlay plane has data (PS3.3 C.9.2), of its own or, the retired form, in unused bits of the pixels.

    The latter describes a plane (Overlay Rows) and has no Overlay Data.
    """
    rows, data = group << 16 | 0x0010, group << 16 | 0x3000
    return bool(header.get_item(data).value) if data in header else rows in header


# --- verdicts --------------------------------------------------------------------------------------------------------


def _unwanted(found: Found, modality: str | None) -> str:
    """Why this picture is not one of the wanted kind, or ""."""
    image = found.images[0]
    found_modality, kind = image.get("modality", ""), _kind(image.get("image_type", ""))
    if (modality and found_modality != modality) or found_modality == "SEG":
        known = _MODALITY.fullmatch(found_modality) or not found_modality
        return f"wrong modality: {(found_modality or 'none') if known else 'not a code'}"  # people type anything
    if kind:
        return kind
    if image.get("photometric", "") not in _PHOTOMETRIC:
        return UNKNOWN_PHOTOMETRIC
    if found_modality == "CT" and image["samples"] > 1:
        return COLOUR
    if found_modality == "CT" and math.isnan(image.get("rescale_intercept", _NAN)) and not found.has_modality_lut:
        return NO_RESCALE
    if found_modality == "CT" and image.get("rescale_type", "").upper() not in _HOUNSFIELD:
        return OTHER_UNIT
    return ""


@lru_cache
def _kind(image_type: str) -> str:
    """Why an image of this type (0008,0008) is no slice, or ""."""
    parts = image_type.upper().split("\\")
    return LOCALIZER if "LOCALIZER" in parts else MOSAIC if "MOSAIC" in parts else ""


def _no_pixels(path: str) -> str:
    """ "truncated" where the file ends inside an element, "no pixel data" where it ends after one."""
    with open(path, "rb") as file:
        header = read_as_it_is(file)
    elements = list(header._dict.values())
    if not elements:
        return TRUNCATED
    last = elements[-1]
    if isinstance(last, RawDataElement) and last.length != UNDEFINED:
        return NO_PIXELS if last.value_tell + last.length == os.path.getsize(path) else TRUNCATED
    return NO_PIXELS


def _pixel_element(file: BinaryIO, syntax: str) -> tuple[int, int] | None:
    """(offset of the pixel bytes, their declared length), from where the header's reader stopped; None: no pixels."""
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    start = file.tell()
    head = file.read(12)
    if len(head) < 8 or (head[:4] if order == "<" else head[1::-1] + head[3:1:-1]) not in PIXELS:
        return None
    if head[4:6] not in LONG_VR:
        return start + 8, struct.unpack(order + "L", head[4:8])[0]
    if len(head) < 12:
        return start + len(head), 0
    return start + 12, struct.unpack(order + "L", head[8:12])[0]


def _incomplete(file: BinaryIO, start: int, length: int, bytes_needed: int, syntax: str, frames: int) -> str:
    """ "" where all pixel bytes are there, else why they are of no use."""
    size = file.seek(0, os.SEEK_END)
    if length == UNDEFINED:
        return _encapsulated(file, start, size, syntax, frames)
    return "" if min(length, size - start) >= bytes_needed else TRUNCATED


def _native_bytes(values: dict) -> int:
    """Bytes of uncompressed pixels (PS3.5 8.1.1); 0 where the header does not say."""
    get = values.get
    samples = 2 if get("photometric") == "YBR_FULL_422" else get("SamplesPerPixel", 1)
    bits = get("Rows", 0) * get("Columns", 0) * samples * get("BitsAllocated", 0) * (get("NumberOfFrames") or 1)
    return math.ceil(bits / 8)


def _encapsulated(file: BinaryIO, start: int, size: int, syntax: str, frames: int) -> str:
    """ "" where the items of encapsulated pixels run up to the sequence delimiter, and each frame has one (PS3.5 A.4).

    The first item is the table of offsets.
    """
    items = 0
    while start + 8 <= size:
        file.seek(start)
        head = file.read(8)
        if head[:4] == SEQUENCE_END:
            return f"{UNDECODABLE}: {UID(syntax).name}" if items <= frames or syntax in _NATIVE else ""
        if head[:4] != ITEM:
            break
        items += 1
        start += 8 + struct.unpack("<L", head[4:])[0]
    return TRUNCATED


def _is_plain(values: dict) -> bool:
    """Grey or RGB pixels in whole bytes: they need neither a table nor a conversion."""
    allocated = values.get("BitsAllocated", 0)
    kind = (values.get("photometric", ""), values.get("SamplesPerPixel", 1))
    whole = allocated in (8, 16, 32) and values.get("BitsStored", allocated) <= allocated
    return whole and kind in (("MONOCHROME1", 1), ("MONOCHROME2", 1), ("RGB", 3))


def _undecodable(path: str, found: Found, decode: bool, voi_lut: str) -> str:
    """ "" where the pixels can be decoded, else the reason with the transfer syntax' name and what could help."""
    syntax = UID(found.syntax)
    try:
        frames = [image["frame"] for image in found.images]
        for first in range(0, len(frames) if decode else 0, DECODED_AT_ONCE):
            read_frames(path, frames[first : first + DECODED_AT_ONCE], voi_lut)
        if decode or found.syntax in _NATIVE or get_decoder(syntax).is_available:
            return ""
    except Exception:
        # Decoders raise whatever their libraries raise; any of it means the same here.
        pass
    if found.syntax in _NATIVE:
        return f"{UNDECODABLE}: {syntax.name}, pixels or tables that do not fit their description"
    package = _missing_package(syntax)
    return f"{UNDECODABLE}: {syntax.name}" + (f" (install {package})" if package else "")


def _missing_package(syntax: UID) -> str:
    """The package that decodes these pixels, where it is not installed."""
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        return ""
    wanted = _PACKAGE.search(" ".join(decoder.missing_dependencies))
    return wanted[0] if wanted and not decoder.is_available else ""
