"""One DICOM file's header, read once and without its pixels: either the reason it cannot be used, or its images.

Files are judged by content, never by name. Dates, names and birth days are not read at all.
"""

import logging
import math
import os
import struct
import warnings
from contextlib import contextmanager

import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.errors import InvalidDicomError
from pydicom.pixels import get_decoder, pixel_array
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

NOT_DICOM = "not a DICOM file"
NO_PIXELS = "no pixel data"
TRUNCATED = "truncated"
UNREADABLE = "unreadable"
LOCALIZER = "localizer"
MOSAIC = "mosaic of slices"
COLOUR = "colour picture in a CT series"
NO_RESCALE = "no rescale to HU"

TAGS = [
    "ImageType",
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "PatientID",
    "Modality",
    "BodyPartExamined",
    "Manufacturer",
    "ManufacturerModelName",
    "ConvolutionKernel",
    "InstitutionName",
    "SliceThickness",
    "KVP",
    "XRayTubeCurrent",
    "InstanceNumber",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "RescaleSlope",
    "RescaleIntercept",
    "ModalityLUTSequence",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]

PIXEL_TAGS = {(0x7FE0, 0x0008), (0x7FE0, 0x0009), (0x7FE0, 0x0010)}
UNDEFINED = 0xFFFFFFFF


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
    """The data set with a transfer syntax, whether or not the file has DICOM's preamble (PS3.10 7.1).

    Raises InvalidDicomError for anything that does not look like DICOM. `file`: a path or an open binary file.
    """
    if isinstance(file, str | os.PathLike):
        with open(file, "rb") as opened:
            return open_dicom(opened, **options)
    start = file.read(132)
    file.seek(0)
    if start[128:132] != b"DICM" and start[:2] not in (b"\x02\x00", b"\x08\x00"):
        raise InvalidDicomError("neither a preamble nor a first element of group 2 or 8")
    header = pydicom.dcmread(file, force=start[128:132] != b"DICM", **options)
    if "TransferSyntaxUID" not in header.file_meta:
        # PS3.5 10.1: the default transfer syntax holds where nothing else was said.
        header.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    return header


def read_header(path: str, modality: str | None, check_compressed: bool) -> tuple[str, list[dict]]:
    """(reason, images): reason "" for a usable file; one dict of IMAGE_COLUMNS (without path) per frame.

    modality: DICOM modality to accept, None for any that is an image.
    check_compressed: decode compressed pixels once, so that a file which cannot be decoded is found here.
    """
    try:
        with quiet_pydicom(), open(path, "rb") as file:
            header = open_dicom(file, stop_before_pixels=True, specific_tags=TAGS)
            if not any(tag in header for tag in ("SOPClassUID", "Modality", "Rows")):
                return _no_pixel_reason(path) if _has_preamble(file) else NOT_DICOM, []
            deflated = header.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian
            pixels = None if deflated else _pixel_element(file, header)
            if pixels is None and not deflated:
                return _no_pixel_reason(path), _known(header)
            images = _images(header)
            reason = _unwanted(header, images, modality)
            if not reason and pixels is not None and not _complete(file, header, *pixels):
                reason = TRUNCATED
            if not reason and (deflated or header.file_meta.TransferSyntaxUID.is_compressed):
                reason = _undecodable(path, header.file_meta.TransferSyntaxUID, check_compressed)
            return reason, images
    except InvalidDicomError:
        return NOT_DICOM, []
    except struct.error:
        return TRUNCATED, []  # pydicom's way to say that the file ends inside an element's head
    except Exception:
        # A broken header makes pydicom raise anything from struct.error to RecursionError: the file is counted, named
        # and left out, and the other million files are still read.
        return UNREADABLE, []


def _has_preamble(file) -> bool:
    """True for a file in DICOM's own format (PS3.10 7.1), however little of it is there."""
    file.seek(128)
    return file.read(4) == b"DICM"


def _no_pixel_reason(path: str) -> str:
    """ "truncated" where the file ends inside an element, "no pixel data" where it ends after one."""
    header = open_dicom(path)
    elements = list(header._dict.values())
    if not elements:
        return TRUNCATED
    last = elements[-1]
    if isinstance(last, RawDataElement) and last.length != UNDEFINED:
        return NO_PIXELS if last.value_tell + last.length == os.path.getsize(path) else TRUNCATED
    return NO_PIXELS


def _pixel_element(file, header) -> tuple[int, int] | None:
    """(offset of the pixel bytes, their declared length), from where the header's reader stopped; None: no pixels."""
    little = header.file_meta.TransferSyntaxUID != ExplicitVRBigEndian
    order = "<" if little else ">"
    start = file.tell()
    raw = file.read(12)
    if len(raw) < 8 or struct.unpack(order + "HH", raw[:4]) not in PIXEL_TAGS:
        return None
    implicit = header.original_encoding[0]
    if implicit:
        return start + 8, struct.unpack(order + "L", raw[4:8])[0]
    if len(raw) < 12:
        return start + len(raw), 0
    return start + 12, struct.unpack(order + "L", raw[8:12])[0]


def _complete(file, header, start: int, length: int) -> bool:
    """True where all pixel bytes are there: by size for native pixels, by walking the items for encapsulated ones."""
    size = os.fstat(file.fileno()).st_size
    if length == UNDEFINED:
        return _sequence_ends(file, start, size)
    samples = 2 if header.get("PhotometricInterpretation") == "YBR_FULL_422" else header.get("SamplesPerPixel", 1)
    bits = header.Rows * header.Columns * samples * header.BitsAllocated * int(header.get("NumberOfFrames") or 1)
    return min(length, size - start) >= math.ceil(bits / 8)


def _sequence_ends(file, start: int, size: int) -> bool:
    """True where the items of encapsulated pixels (PS3.5 A.4) run up to the sequence delimiter."""
    while start + 8 <= size:
        file.seek(start)
        group, element, length = struct.unpack("<HHL", file.read(8))
        if (group, element) == (0xFFFE, 0xE0DD):
            return True
        if (group, element) != (0xFFFE, 0xE000):
            return False
        start += 8 + length
    return False


def _undecodable(path: str, syntax: UID, decode: bool) -> str:
    """ "" where the pixels can be decoded, else the reason with the transfer syntax' name."""
    reason = f"undecodable: {syntax.name}"
    try:
        if syntax.is_compressed and not get_decoder(syntax).is_available:
            return reason
        if decode:
            pixel_array(open_dicom(path))
    except Exception:
        # Decoders raise whatever their libraries raise; any of it means the same here.
        return reason
    return ""


def _unwanted(header, images: list[dict], modality: str | None) -> str:
    """Why this picture is not one of the wanted kind, or ""."""
    found = _text(header, "Modality")
    if (modality and found != modality) or found == "SEG":
        return f"wrong modality: {found or 'none'}"
    kind = [str(part).upper() for part in header.get("ImageType") or []]
    if "LOCALIZER" in kind:
        return LOCALIZER
    if "MOSAIC" in kind:
        return MOSAIC
    if found == "CT" and images[0]["samples"] > 1:
        return COLOUR
    if found == "CT" and math.isnan(images[0]["rescale_intercept"]) and "ModalityLUTSequence" not in header:
        return NO_RESCALE
    return ""


def _text(header, keyword: str) -> str:
    """The value as text of at most 64 characters (DICOM's LO), "" where absent."""
    value = header.get(keyword)
    if value is None:
        return ""
    parts = [value] if isinstance(value, str) or not hasattr(value, "__iter__") else value
    return "\\".join(str(part) for part in parts).strip()[:64]


def _numbers(source, keyword: str, count: int) -> list[float]:
    """`count` numbers; all NaN where absent, of another count or not numbers."""
    try:
        value = None if source is None else source.get(keyword)
        values = [float(v) for v in (value if hasattr(value, "__iter__") else [value])]
    except (TypeError, ValueError):
        values = []
    return values if len(values) == count else [math.nan] * count


def _known(header) -> list[dict]:
    """What identifies a file without pixels."""
    return [
        {
            "sop_uid": _text(header, "SOPInstanceUID"),
            "series_uid": _text(header, "SeriesInstanceUID"),
            "study_uid": _text(header, "StudyInstanceUID"),
            "raw_patient": _text(header, "PatientID"),
            "modality": _text(header, "Modality"),
        }
    ]


def _macro(frame, shared, sequence: str):
    """The first item of a functional group of this frame, or of all frames; None where neither has it."""
    for groups in (frame, shared):
        if groups is not None and groups.get(sequence):
            return groups[sequence][0]
    return None


def _images(header) -> list[dict]:
    """One dict per frame; a file with one frame and no functional groups has `frame` -1."""
    palette = header.get("PhotometricInterpretation") == "PALETTE COLOR"
    common = _known(header)[0] | {
        "body_part": _text(header, "BodyPartExamined"),
        "manufacturer": _text(header, "Manufacturer"),
        "scanner_model": _text(header, "ManufacturerModelName"),
        "kernel": _text(header, "ConvolutionKernel"),
        "institution": _text(header, "InstitutionName"),
        "rows": int(header.Rows),
        "columns": int(header.Columns),
        "photometric": _text(header, "PhotometricInterpretation"),
        "samples": 3 if palette else int(header.get("SamplesPerPixel", 1)),
        "bits_stored": int(header.get("BitsStored") or header.BitsAllocated),
        "signed": header.get("PixelRepresentation") == 1,
        "transfer_syntax": header.file_meta.TransferSyntaxUID.name,
        "kvp": _numbers(header, "KVP", 1)[0],
        "tube_current_ma": _numbers(header, "XRayTubeCurrent", 1)[0],
        "instance_number": _numbers(header, "InstanceNumber", 1)[0],
    }
    frames = int(header.get("NumberOfFrames") or 1)
    groups = header.get("PerFrameFunctionalGroupsSequence")
    if frames == 1 and not groups:
        return [common | {"frame": -1} | _place(header, header, header, header)]
    shared = (header.get("SharedFunctionalGroupsSequence") or [None])[0]
    images = []
    for number in range(frames):
        mine = groups[number] if groups and number < len(groups) else None
        position = _macro(mine, shared, "PlanePositionSequence")
        orientation = _macro(mine, shared, "PlaneOrientationSequence")
        measures = _macro(mine, shared, "PixelMeasuresSequence") or header
        rescale = _macro(mine, shared, "PixelValueTransformationSequence") or header
        images.append(common | {"frame": number} | _place(position, orientation, measures, rescale))
    return images


def _place(position, orientation, measures, rescale) -> dict:
    """Geometry and rescale of one frame from the data sets that hold them."""
    spacing = _numbers(measures, "PixelSpacing", 2)
    if math.isnan(spacing[0]):
        spacing = _numbers(measures, "ImagerPixelSpacing", 2)
    place = {
        "slice_thickness_mm": _numbers(measures, "SliceThickness", 1)[0],
        "spacing_y_mm": spacing[0],
        "spacing_x_mm": spacing[1],
        "rescale_slope": _numbers(rescale, "RescaleSlope", 1)[0],
        "rescale_intercept": _numbers(rescale, "RescaleIntercept", 1)[0],
    }
    place |= {f"position_{i}": v for i, v in enumerate(_numbers(position, "ImagePositionPatient", 3))}
    return place | {f"orientation_{i}": v for i, v in enumerate(_numbers(orientation, "ImageOrientationPatient", 6))}
