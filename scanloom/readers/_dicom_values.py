"""What a scan reads from a DICOM header: the list of attributes, and their values as text and numbers.

A value is text (parts of several joined by a backslash, "" where empty), a float where ATTRIBUTES says one number, or
a tuple of so many floats, NaN where empty. `plain_values` makes them of the bytes that the fast walk found, `value_of`
of pydicom's data sets, and what both give is the same.
"""

import math
import re
import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache

from pydicom.charset import convert_encodings
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset

from scanloom.readers._dicom_walk import Wanted, is_known_character_set

# Name -> (keyword, how many numbers it holds, 0: text). What a scan reads from a header, and nothing else: no names,
# dates or times. A name is the column of the image's row, or the keyword itself where the value goes there changed.
ATTRIBUTES = {
    "sop_uid": ("SOPInstanceUID", 0),
    "sop_class": ("SOPClassUID", 0),
    "series_uid": ("SeriesInstanceUID", 0),
    "study_uid": ("StudyInstanceUID", 0),
    "raw_patient": ("PatientID", 0),
    "modality": ("Modality", 0),
    "image_type": ("ImageType", 0),
    "series_description": ("SeriesDescription", 0),
    "body_part": ("BodyPartExamined", 0),
    "view_position": ("ViewPosition", 0),
    "manufacturer": ("Manufacturer", 0),
    "scanner_model": ("ManufacturerModelName", 0),
    "kernel": ("ConvolutionKernel", 0),
    "institution": ("InstitutionName", 0),
    "photometric": ("PhotometricInterpretation", 0),
    "slice_thickness_mm": ("SliceThickness", 1),
    "kvp": ("KVP", 1),
    "tube_current_ma": ("XRayTubeCurrent", 1),
    "gantry_tilt_deg": ("GantryDetectorTilt", 1),
    "instance_number": ("InstanceNumber", 1),
    "acquisition_number": ("AcquisitionNumber", 1),
    "temporal_position": ("TemporalPositionIdentifier", 1),
    "echo_number": ("EchoNumbers", 1),
    "echo_time_ms": ("EchoTime", 1),
    "repetition_time_ms": ("RepetitionTime", 1),
    "trigger_time_ms": ("TriggerTime", 1),
    "b_value": ("DiffusionBValue", 1),
    "rescale_slope": ("RescaleSlope", 1),
    "rescale_intercept": ("RescaleIntercept", 1),
    "rescale_type": ("RescaleType", 0),
    "BitsAllocated": ("BitsAllocated", 1),
    "BitsStored": ("BitsStored", 1),
    "BurnedInAnnotation": ("BurnedInAnnotation", 0),
    "Columns": ("Columns", 1),
    "ContrastBolusAgent": ("ContrastBolusAgent", 0),
    "ImageLaterality": ("ImageLaterality", 0),
    "ImageOrientationPatient": ("ImageOrientationPatient", 6),
    "ImagePositionPatient": ("ImagePositionPatient", 3),
    "ImagerPixelSpacing": ("ImagerPixelSpacing", 2),
    "Laterality": ("Laterality", 0),
    "NumberOfFrames": ("NumberOfFrames", 1),
    "PatientAge": ("PatientAge", 0),
    "PatientSex": ("PatientSex", 0),
    "PixelRepresentation": ("PixelRepresentation", 1),
    "PixelSpacing": ("PixelSpacing", 2),
    "Rows": ("Rows", 1),
    "SamplesPerPixel": ("SamplesPerPixel", 1),
    "SeriesNumber": ("SeriesNumber", 1),
}
# Where a frame of a multi-frame file says it: name -> (functional group, its keyword there), PS3.3 C.7.6.16.2.
FRAME_PLACES = {
    "ImagePositionPatient": ("PlanePositionSequence", "ImagePositionPatient"),
    "ImageOrientationPatient": ("PlaneOrientationSequence", "ImageOrientationPatient"),
    "PixelSpacing": ("PixelMeasuresSequence", "PixelSpacing"),
    "slice_thickness_mm": ("PixelMeasuresSequence", "SliceThickness"),
    "rescale_slope": ("PixelValueTransformationSequence", "RescaleSlope"),
    "rescale_intercept": ("PixelValueTransformationSequence", "RescaleIntercept"),
    "rescale_type": ("PixelValueTransformationSequence", "RescaleType"),
    "temporal_position": ("FrameContentSequence", "TemporalPositionIndex"),
    "echo_time_ms": ("MREchoSequence", "EffectiveEchoTime"),
    "trigger_time_ms": ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
    "b_value": ("MRDiffusionSequence", "DiffusionBValue"),
    "gantry_tilt_deg": ("CTAcquisitionDetailsSequence", "GantryDetectorTilt"),
}
# Where a frame says what kind of image it is; a file of several kinds says MIXED in ImageType.
FRAME_TYPES = (
    "MRImageFrameTypeSequence",
    "CTImageFrameTypeSequence",
    "PETFrameTypeSequence",
    "XRay3DFrameTypeSequence",
)
# Keywords without which the same bytes would be other values.
DECISIVE = frozenset(
    [
        "BitsAllocated",
        "BitsStored",
        "NumberOfFrames",
        "PixelRepresentation",
        "RescaleIntercept",
        "RescaleSlope",
        "SamplesPerPixel",
    ]
)

_BLANK = " \0\t\n\r\f\v"
_LONGEST = 64  # letters of a text (PS3.5 6.2, LO)
_LONGEST_IMAGE_TYPE = 255  # all its parts together
_REMEMBERED = 4096  # values that were read before: most are the same in a whole series

_DECIMALS = re.compile(rb" *[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)? *")
_INTEGER = re.compile(rb" *[+-]?\d+ *")


def plain_values(raw: dict[str, bytes]) -> dict:
    """Name -> value of what the walk found. Raises ValueError for what only pydicom can say how to read."""
    character_set = raw.pop("SpecificCharacterSet", b"")
    if character_set and not is_known_character_set(character_set):
        raise ValueError("an unknown character set")
    for name in _OF_THE_FILE:
        raw.pop(name, None)
    try:
        return {name: _READ[name](value) for name, value in raw.items()}
    except UnicodeDecodeError:
        return {
            name: _coded_text(value, character_set) if name in _CODED else _READ[name](value)
            for name, value in raw.items()
        }


def dataset_values(header: Dataset, names: Iterable[str]) -> dict:
    """Name -> value of those attributes that are there and not empty. Raises ValueError as `value_of`."""
    found = {name: value_of(header, *ATTRIBUTES[name]) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def frame_values(frame: Dataset | None, shared: Dataset | None) -> dict:
    """Name -> value of what the functional groups of a frame, or else those of all frames, say."""
    found = {
        name: value_of(functional_group(frame, shared, sequence), keyword, ATTRIBUTES[name][1])
        for name, (sequence, keyword) in FRAME_PLACES.items()
    }
    found["image_type"] = _frame_type(frame, shared)
    return {name: value for name, value in found.items() if value is not None}


def _frame_type(frame: Dataset | None, shared: Dataset | None) -> str | None:
    """FrameType of a frame, and whether it is magnitude, phase, ... (PS3.3 C.8.13.3.1); None where it does not say."""
    groups = (functional_group(frame, shared, sequence) for sequence in FRAME_TYPES)
    group = next((group for group in groups if group is not None), None)
    said = [value_of(group, keyword, 0) for keyword in ("FrameType", "ComplexImageComponent")]
    return "\\".join(part for part in said if part) or None


def functional_group(frame: Dataset | None, shared: Dataset | None, sequence: str) -> Dataset | None:
    """The first item of a functional group of this frame, or of all frames; None where neither has it."""
    for groups in (frame, shared):
        if groups is not None and groups.get(sequence):
            return groups[sequence][0]
    return None


def value_of(source: Dataset | None, keyword: str, count: int) -> str | float | tuple[float, ...] | None:
    """The value of one element, None where it is absent or empty; count: numbers it holds, 0 for text.

    Raises ValueError for one of DECISIVE that is there and not as many numbers.
    """
    value = None if source is None else source.get(keyword)
    if value is None or (isinstance(value, str) and not value):
        return None
    if count == 0:
        parts = value if hasattr(value, "__iter__") and not isinstance(value, str) else [value]
        return _tidy(keyword, "\\".join(str(part) for part in parts))
    found = numbers_of(source, keyword, count)
    if keyword in DECISIVE and math.isnan(found[0]):
        raise ValueError(f"{keyword} is not {count} number{'s' * (count > 1)}")
    return found[0] if count == 1 else tuple(found)


def numbers_of(source: Dataset | None, keyword: str, count: int) -> list[float]:
    """`count` numbers; all NaN where absent, of another count or not numbers."""
    try:
        value = None if source is None else source.get(keyword)
        values = [float(v) for v in (value if hasattr(value, "__iter__") else [value])]
    except (TypeError, ValueError):
        values = []
    return values if len(values) == count else [math.nan] * count


def _tidy(keyword: str, text: str) -> str:
    """The text without padding, cut to a length that any table can take."""
    longest = _LONGEST_IMAGE_TYPE if keyword == "ImageType" else _LONGEST
    return "\\".join(part.strip(_BLANK) for part in text.split("\\"))[:longest]


def _ascii(keyword: str):
    """A reader of text that is the same in every character set."""

    @lru_cache(_REMEMBERED)
    def read(raw: bytes) -> str:
        if b"\x1b" in raw:
            raise UnicodeDecodeError("ascii", raw, 0, 1, "changes the character set (PS3.5 6.1.2.5)")
        return _tidy(keyword, raw.decode("ascii"))

    return read


def _printable(keyword: str):
    """A reader of text to which the character set does not apply (PS3.5 6.2: CS, UI, AS)."""

    @lru_cache(_REMEMBERED)
    def read(raw: bytes) -> str:
        text = raw.rstrip(b" \0").decode("latin-1")
        if not (text.isascii() and text.isprintable()):
            raise ValueError("letters that are not allowed here")
        return _tidy(keyword, text)

    return read


@lru_cache(_REMEMBERED)
def _coded_text(raw: bytes, character_set: bytes) -> str:
    """Text in the file's own character set (0008,0005), which is a single one, without code extensions."""
    (encoding,) = convert_encodings(character_set.decode("latin-1").rstrip(" \0").split("\\"))
    if b"\x1b" in raw:
        raise ValueError("changes the character set")
    return _tidy("", raw.decode(encoding))


def _decimals(count: int):
    """A reader of decimal text (DS)."""

    @lru_cache(_REMEMBERED)
    def read(raw: bytes) -> float | tuple[float, ...]:
        parts = raw.rstrip(b" \0").split(b"\\")
        if parts == [b""]:
            return math.nan if count == 1 else (math.nan,) * count
        if len(parts) != count or not all(map(_DECIMALS.fullmatch, parts)):
            raise ValueError("not so many plain decimals")
        return float(parts[0]) if count == 1 else tuple(map(float, parts))

    return read


def _integer():
    """A reader of one integer as text (IS)."""

    @lru_cache(_REMEMBERED)
    def read(raw: bytes) -> float:
        raw = raw.rstrip(b" \0")
        if raw and not _INTEGER.fullmatch(raw):
            raise ValueError("not one plain integer")
        return float(raw) if raw else math.nan

    return read


def _binary(form: str):
    """A reader of one binary number (US, FD)."""
    unpack, size = struct.Struct(form).unpack, struct.calcsize(form)

    @lru_cache(_REMEMBERED)
    def read(raw: bytes) -> float:
        if len(raw) != size:
            raise ValueError("not one number")
        return float(unpack(raw)[0])

    return read


def _reader(keyword: str, count: int):
    """The function that reads the bytes of an attribute."""
    vr = dictionary_VR(keyword)
    if vr == "DS":
        return _decimals(count)
    if vr == "IS":
        return _integer()
    if vr in ("US", "FD"):
        return _binary("<H" if vr == "US" else "<d")
    return _ascii(keyword) if vr in ("LO", "SH") else _printable(keyword)


_READ = {name: _reader(keyword, count) for name, (keyword, count) in ATTRIBUTES.items()}
_CODED = frozenset(name for name, (keyword, _) in ATTRIBUTES.items() if dictionary_VR(keyword) in ("LO", "SH"))


def _wanted(name: str, keyword: str, reads: bool = True) -> tuple[int, Wanted]:
    return tag_for_keyword(keyword), Wanted(name, dictionary_VR(keyword).encode(), reads)


_OF_THE_FILE = ("TransferSyntaxUID", "MediaStorageSOPClassUID")
# For the walk. Files with one of the last three are for pydicom: frames of their own, or a table of values.
WANTED = dict(
    [_wanted(keyword, keyword) for keyword in (*_OF_THE_FILE, "SpecificCharacterSet")]
    + [_wanted(name, keyword) for name, (keyword, _) in ATTRIBUTES.items()]
    + [_wanted("", "ModalityLUTSequence", reads=False)]
    + [_wanted("", f"{which}FunctionalGroupsSequence", reads=False) for which in ("Shared", "PerFrame")]
)


def pixel_distances(spacing: Sequence[float], of_detector: Sequence[float]) -> tuple[float, float]:
    """(y, x) in mm of Pixel Spacing, else of Imager Pixel Spacing; NaN where neither is a possible distance."""
    for y, x in (spacing, of_detector):
        if 0 < y < math.inf and 0 < x < math.inf:
            return y, x
    return math.nan, math.nan
