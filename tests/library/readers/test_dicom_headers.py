"""What is read from a header, and which verdict a file gets."""

import io
import math
import struct

import pydicom
import pytest
from dicom_bytes import CT, EXPLICIT, IMPLICIT, element, file_of, sequence, write
from pydicom.pixels import get_decoder
from pydicom.uid import JPEG2000, UID

from scanloom.readers import _dicom_headers, _dicom_open
from scanloom.readers._dicom_description import describe
from scanloom.readers._dicom_headers import read_header
from scanloom.readers._dicom_values import ATTRIBUTES
from scanloom.readers._scan import IMAGE_COLUMNS, image_frame


def read(tmp_path, changed: dict | None = None, syntax: str = EXPLICIT, more=None, modality=None) -> tuple[str, dict]:
    """(reason, first row with the defaults of absent columns)."""
    path = write(tmp_path / "file", file_of(CT | (changed or {}), syntax, more))
    reason, rows = read_header(path, modality, True)
    defaults = {name: default for name, default in IMAGE_COLUMNS.items() if name != "path"}
    return reason, defaults | (rows[0] if rows else {})


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_a_plain_header_has_these_columns(tmp_path, syntax):
    reason, row = read(tmp_path, syntax=syntax)
    assert reason == ""
    expected = {
        "frame": -1,
        "sop_uid": "1.2.3.4",
        "series_uid": "1.2.3.1",
        "study_uid": "1.2.3",
        "raw_patient": "p1",
        "modality": "CT",
        "manufacturer": "Quarz",
        "slice_thickness_mm": 2.5,
        "rows": 2,
        "columns": 3,
        "spacing_y_mm": 0.5,
        "spacing_x_mm": 0.75,
        "photometric": "MONOCHROME2",
        "samples": 1,
        "bits_stored": 12,
        "signed": False,
        "rescale_slope": 1.0,
        "rescale_intercept": -1024.0,
        "transfer_syntax": "Explicit VR Little Endian" if syntax == EXPLICIT else "Implicit VR Little Endian",
        "kvp": 120.0,
        "instance_number": 7.0,
        "sop_class": "1.2.840.10008.5.1.4.1.1.2",
        "series_description": "Kopf nativ",
        "series_number": 3,
        "image_type": "ORIGINAL\\PRIMARY\\AXIAL",
        "patient_sex": "F",
        "patient_age_years": 61.0,
        "position_0": -120.5,
        "position_1": -130.0,
        "position_2": 45.25,
        "orientation_0": 1.0,
        "orientation_4": 1.0,
        "header_repaired": False,
    }
    assert {name: row[name] for name in expected} == expected
    unknown = {
        "acquisition_number",
        "temporal_position",
        "echo_time_ms",
        "b_value",
        "gantry_tilt_deg",
        "tube_current_ma",
    }
    assert all(math.isnan(row[name]) for name in unknown)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
@pytest.mark.parametrize(
    ("changed", "column", "expected"),
    [
        ({"AcquisitionNumber": "4"}, "acquisition_number", 4.0),
        ({"TemporalPositionIdentifier": "2"}, "temporal_position", 2.0),
        ({"EchoNumbers": "2"}, "echo_number", 2.0),
        ({"EchoTime": "4.6"}, "echo_time_ms", 4.6),
        ({"RepetitionTime": "2000"}, "repetition_time_ms", 2000.0),
        ({"TriggerTime": "37.5"}, "trigger_time_ms", 37.5),
        ({"DiffusionBValue": 1000.0}, "b_value", 1000.0),
        ({"GantryDetectorTilt": "-18.5"}, "gantry_tilt_deg", -18.5),
        ({"XRayTubeCurrent": "250"}, "tube_current_ma", 250.0),
        ({"ViewPosition": "AP"}, "view_position", "AP"),
        ({"Laterality": "L"}, "laterality", "L"),
        ({"Laterality": "L", "ImageLaterality": "R"}, "laterality", "R"),
        ({"ContrastBolusAgent": "Iohexol"}, "contrast_agent", True),
        ({"ContrastBolusAgent": ""}, "contrast_agent", False),
        ({"BurnedInAnnotation": "YES"}, "burned_in", "YES"),
        ({"BurnedInAnnotation": "perhaps"}, "burned_in", ""),
        ({"PatientSex": "W"}, "patient_sex", ""),
        ({"PatientSex": None}, "patient_sex", ""),
        ({"SeriesNumber": None}, "series_number", 0),
        ({"SeriesNumber": ""}, "series_number", 0),
        ({"PixelRepresentation": 1}, "signed", True),
        ({"PhotometricInterpretation": "PALETTE COLOR", "Modality": "US"}, "samples", 3),
        ({"PixelSpacing": None, "ImagerPixelSpacing": "0.1\\0.2"}, "spacing_x_mm", 0.2),
        ({"PixelSpacing": "0\\0", "ImagerPixelSpacing": "0.1\\0.2"}, "spacing_x_mm", 0.2),
        ({"SpecificCharacterSet": "ISO_IR 100", "InstitutionName": b"Universit\xe4t"}, "institution", "Universität"),
        ({"SpecificCharacterSet": "ISO_IR 192", "InstitutionName": "大学".encode()}, "institution", "大学"),
        ({"InstitutionName": "x" * 80}, "institution", "x" * 64),
        ({"ImageType": "\\".join(["DERIVED"] * 20)}, "image_type", "\\".join(["DERIVED"] * 20)),
    ],
)
def test_what_an_attribute_becomes(tmp_path, changed, column, expected, syntax):
    assert read(tmp_path, changed, syntax)[1][column] == expected


@pytest.mark.parametrize(
    ("text", "years"),
    [("007Y", 7), ("018M", 1.5), ("026W", 0.498), ("010D", 0.0274), ("089Y", 89), ("090Y", 90), ("101Y", 90)],
)
def test_ages_are_in_years_and_those_above_89_are_one(tmp_path, text, years):
    # 52.18 weeks and 365.25 days in a year; the limit is that of the safe harbour of HIPAA.
    assert read(tmp_path, {"PatientAge": text})[1]["patient_age_years"] == pytest.approx(years, rel=2e-3)


@pytest.mark.parametrize("distances", ["0\\0", "-0.5\\0.5", "0.5\\0"])
def test_a_distance_that_no_pixels_have_is_unknown(tmp_path, distances):
    row = read(tmp_path, {"PixelSpacing": distances})[1]
    assert math.isnan(row["spacing_y_mm"])
    assert math.isnan(row["spacing_x_mm"])


@pytest.mark.parametrize("text", ["", "Y", "45", "middle", "-01Y"])
def test_ages_that_do_not_say_their_unit_are_unknown(tmp_path, text):
    assert math.isnan(read(tmp_path, {"PatientAge": text})[1]["patient_age_years"])


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_private_elements_and_overlay_planes_are_counted_not_read(tmp_path, syntax):
    implicit = syntax == IMPLICIT
    more = {
        0x00090010: element(0x00090010, "LO", "Vendor", implicit),
        0x00091001: element(0x00091001, "UN", b"Quince", implicit),
        0x00291002: sequence(0x00291002, [element(0x00100010, "PN", "Quince", implicit)], implicit),
        0x60003000: element(0x60003000, "OW", bytes(2), implicit),
        0x60023000: element(0x60023000, "OW", bytes(2), implicit),
        0x60043000: element(0x60043000, "OW", b"", implicit),
        0x60060010: element(0x60060010, "US", 2, implicit),  # its data stand in the pixels' unused bits
        0x60080010: element(0x60080010, "US", 2, implicit),
        0x60083000: element(0x60083000, "OW", b"", implicit),
        0x7FE11010: element(0x7FE11010, "UN", bytes(2), implicit),  # behind the pixels
    }
    reason, row = read(tmp_path, syntax=syntax, more=more)
    assert (reason, row["private_elements"], row["overlay_planes"]) == ("", 3, 3)
    assert "Quince" not in str(row)
    # The same by pydicom, which reads this file because of its two frames.
    reason, row = read(tmp_path, {"NumberOfFrames": "2", "PixelData": bytes(24)}, syntax, more)
    assert (reason, row["private_elements"], row["overlay_planes"]) == ("", 3, 3)


def test_names_dates_and_times_are_not_read():
    for keyword, _ in ATTRIBUTES.values():
        vr = pydicom.datadict.dictionary_VR(keyword)
        assert vr not in ("PN", "DA", "TM", "DT", "LT", "ST", "UT")
    assert set(ATTRIBUTES) - {keyword for keyword, _ in ATTRIBUTES.values()} <= set(IMAGE_COLUMNS)


def item(**tags) -> pydicom.Dataset:
    one = pydicom.Dataset()
    for name, value in tags.items():
        setattr(one, name, [value] if isinstance(value, pydicom.Dataset) else value)
    return one


def test_frames_of_an_enhanced_file_have_their_own_time_echo_and_b_value(tmp_path):
    path = write(tmp_path / "file", file_of(CT | {"Modality": "MR", "NumberOfFrames": "2", "PixelData": bytes(24)}))
    header = pydicom.dcmread(path)
    del header.ImagePositionPatient
    header.SharedFunctionalGroupsSequence = [item(MREchoSequence=item(EffectiveEchoTime=90.0))]
    header.PerFrameFunctionalGroupsSequence = [
        item(
            FrameContentSequence=item(TemporalPositionIndex=number),
            MRDiffusionSequence=item(DiffusionBValue=1000.0 * number),
            PlanePositionSequence=item(ImagePositionPatient=[0, 0, number]),
        )
        for number in (1, 2)
    ]
    header.save_as(path)
    reason, rows = read_header(path, None, True)
    assert reason == ""
    assert [row["temporal_position"] for row in rows] == [1, 2]
    assert [row["b_value"] for row in rows] == [1000, 2000]
    assert [row["echo_time_ms"] for row in rows] == [90, 90]
    assert [row["position_2"] for row in rows] == [1, 2]
    assert [row["frame"] for row in rows] == [0, 1]


def test_frames_of_several_kinds_say_which_they_are(tmp_path):
    """PS3.3 C.8.13.3.1: a file of magnitude and phase images says MIXED, its frames what they are."""
    path = write(tmp_path / "file", file_of(CT | {"Modality": "MR", "NumberOfFrames": "2", "PixelData": bytes(24)}))
    header = pydicom.dcmread(path)
    header.ImageType = ["ORIGINAL", "PRIMARY", "M", "MIXED"]
    kinds = [("M_FFE", "MAGNITUDE"), ("P_FFE", "PHASE")]
    header.PerFrameFunctionalGroupsSequence = [
        item(
            MRImageFrameTypeSequence=item(FrameType=["ORIGINAL", "PRIMARY", kind], ComplexImageComponent=component),
            PlanePositionSequence=item(ImagePositionPatient=[0, 0, 1]),
        )
        for kind, component in kinds
    ]
    header.save_as(path)
    _, rows = read_header(path, None, True)
    assert [row["image_type"] for row in rows] == [f"ORIGINAL\\PRIMARY\\{a}\\{b}" for a, b in kinds]


# --- verdicts ------------------------------------------------------------------------------------


def test_the_first_reason_that_applies_is_given(tmp_path):
    # The order of the docstring of readers/dicom.py: a truncated MR image is truncated, whatever is looked for.
    assert read(tmp_path, {"Modality": "MR", "PixelData": bytes(10)}, modality="CT")[0] == "truncated"
    assert read(tmp_path, {"Modality": "MR"}, modality="CT")[0] == "wrong modality: MR"
    assert read(tmp_path, {"ImageType": "LOCALIZER"})[0] == "localizer"
    assert read(tmp_path, {"ImageType": "derived\\localizer", "RescaleIntercept": None})[0] == "localizer"
    assert read(tmp_path, {"RescaleIntercept": None})[0] == "no rescale to HU"
    assert read(tmp_path, {"RescaleIntercept": ""})[0] == "no rescale to HU"
    assert read(tmp_path, {"RescaleType": "MGML"})[0] == "rescale to another unit than HU"
    assert [read(tmp_path, {"RescaleType": kind})[0] for kind in ("HU", "US", "hu ", "")] == [""] * 4
    assert read(tmp_path, {"Modality": "PT", "RescaleType": "MGML"})[0] == ""
    assert read(tmp_path, {"PixelData": None})[0] == "no pixel data"
    assert read(tmp_path, {"Rows": None})[0] == "unreadable"
    assert read(tmp_path, {"Rows": 0})[0] == "unreadable"


def test_a_deflated_file_that_would_fill_the_memory_is_not_inflated(tmp_path, monkeypatch):
    """A private element of zeros; the limits are lowered, so that the test needs no gigabytes."""
    header = pydicom.dcmread(io.BytesIO(file_of(CT)))
    header.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    header.private_block(0x0009, "quince", create=True).add_new(1, "OB", bytes(1 << 20))
    header.save_as(tmp_path / "bomb", enforce_file_format=True)
    assert read_header(str(tmp_path / "bomb"), "CT", True)[0] == ""
    monkeypatch.setattr(_dicom_open, "FREE_BYTES", 1 << 19)
    assert read_header(str(tmp_path / "bomb"), "CT", True)[0] == "unreadable"
    with pytest.raises(ValueError, match=r"inflates to more than 524288"):
        describe((tmp_path / "bomb").read_bytes())


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_pixels_may_be_followed_by_padding_and_must_be_all_there(tmp_path, syntax):
    whole = file_of(CT, syntax)
    trailing = element(0xFFFCFFFC, "OB", bytes(8), implicit=syntax == IMPLICIT)
    for data, reason in ((whole, ""), (whole + trailing, ""), (whole[:-1], "truncated"), (whole[:-12], "truncated")):
        assert read_header(write(tmp_path / "file", data), None, True)[0] == reason


@pytest.mark.parametrize("found", [b"MONOCHROME1", b"PALETTE COLOR ", b"YBR_FULL_422", b"MONOCHROM\x052"])
def test_a_photometric_interpretation_that_pydicom_does_not_know_is_undecodable(tmp_path, found):
    """A flipped bit in a real file: the catalogue used it, and pydicom refused it when it was read."""
    reason, _ = read(tmp_path, {"PhotometricInterpretation": found.decode()}, modality=None)
    assert (reason == "undecodable: unknown photometric interpretation") == (b"\x05" in found)


def test_native_pixels_in_items_are_undecodable_not_accepted(tmp_path):
    item_ = b"\xfe\xff\x00\xe0" + struct.pack("<L", 12) + bytes(12) + b"\xfe\xff\xdd\xe0" + bytes(4)
    pixels = b"\xe0\x7f\x10\x00OB\0\0" + b"\xff" * 4 + item_
    reason, _ = read(tmp_path, {"PixelData": None}, more={0x7FE00010: pixels})
    assert reason == "undecodable: Explicit VR Little Endian"


@pytest.mark.parametrize(
    ("changed", "more", "reason"),
    [
        ({"NumberOfFrames": "2000000000"}, {}, "truncated"),
        ({"NumberOfFrames": "9" * 40}, {}, "unreadable"),
        ({"NumberOfFrames": "-3"}, {}, "unreadable"),
        ({"SeriesNumber": "9" * 40}, {}, ""),
        ({"InstanceNumber": "9" * 400}, {}, ""),
        ({}, {0x00280010: element(0x00280010, "IS", "9" * 40)}, "unreadable"),
        ({}, {0x00280002: element(0x00280002, "IS", "9" * 40)}, "unreadable"),
        ({}, {0x00280101: element(0x00280101, "IS", "9" * 40)}, "unreadable"),
    ],
)
def test_absurd_numbers_fill_neither_the_memory_nor_a_column(tmp_path, changed, more, reason):
    path = write(tmp_path / "file", file_of(CT | changed, more=more))
    found, rows = read_header(path, None, True)
    assert (found, len(rows) <= 1) == (reason, True)
    assert len(image_frame(rows)) == len(rows)


def test_a_compressed_file_with_fewer_items_than_frames_is_undecodable(tmp_path):
    items = (b"\xfe\xff\x00\xe0" + struct.pack("<L", 2) + bytes(2)) * 3
    pixels = b"\xe0\x7f\x10\x00OB\0\0" + b"\xff" * 4 + items + b"\xfe\xff\xdd\xe0" + bytes(4)
    path = write(tmp_path / "file", file_of(CT | {"NumberOfFrames": "3"}, JPEG2000, {0x7FE00010: pixels}))
    reason, rows = read_header(path, None, False)
    assert (reason, len(rows)) == ("undecodable: JPEG 2000 Image Compression", 1)


@pytest.mark.parametrize("missing", [True, False])
def test_a_package_is_named_only_where_it_is_missing(tmp_path, monkeypatch, missing):
    garbage = b"\xfe\xff\x00\xe0" + bytes(4) + b"\xfe\xff\x00\xe0" + struct.pack("<L", 4) + bytes(4)
    pixels = b"\xe0\x7f\x10\x00OB\0\0" + b"\xff" * 4 + garbage + b"\xfe\xff\xdd\xe0" + bytes(4)
    if missing:
        decoder = get_decoder(JPEG2000)
        needs = {"pylibjpeg": ("pylibjpeg>=2.0", "pylibjpeg-openjpeg>=2.0")}
        monkeypatch.setattr(decoder, "_available", {})
        monkeypatch.setattr(decoder, "_unavailable", needs)
    reason, _ = read(tmp_path, {"PixelData": None}, JPEG2000, {0x7FE00010: pixels})
    assert reason == "undecodable: JPEG 2000 Image Compression" + " (install pylibjpeg-openjpeg)" * missing


def test_a_transfer_syntax_nobody_decodes_is_named(tmp_path):
    pixels = b"\xe0\x7f\x10\x00OB\0\0" + b"\xff" * 4 + b"\xfe\xff\xdd\xe0" + bytes(4)
    video = UID("1.2.840.10008.1.2.4.100")
    assert read(tmp_path, {"PixelData": None}, video, {0x7FE00010: pixels})[0] == f"undecodable: {video.name}"


def test_all_frames_of_a_compressed_file_are_decoded_once(tmp_path, monkeypatch, shared_data):
    seen = []
    monkeypatch.setattr(_dicom_headers, "read_frames", lambda path, frames, voi_lut: seen.extend(frames))
    monkeypatch.setattr(_dicom_headers, "DECODED_AT_ONCE", 4)
    path = shared_data / "dicom_cases" / "nema_and_issues" / "US-PAL-8-10x-echo.dcm"
    reason, rows = read_header(str(path), None, True)
    assert (reason, len(rows), seen) == ("", 10, list(range(10)))
