"""Every verdict of the DICOM reader by its name, each on a file or series made to deserve it (or a real one)."""

import shutil

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless, SecondaryCaptureImageStorage

from scanloom import plugins
from scanloom.cataloguing.catalogue import build_catalogue
from scanloom.readers import dicom
from scanloom.readers.dicom import Settings


def slice_of(z=0.0, number=1, series="1.2.3", **tags):
    """A CT slice at height z; `tags` replace elements or, as None, remove them."""
    header = Dataset()
    header.SOPClassUID, header.SOPInstanceUID = CTImageStorage, f"{series}.{number}"
    header.SeriesInstanceUID, header.StudyInstanceUID, header.PatientID = series, "1.2", "Quince"
    header.Modality, header.ImageType, header.InstanceNumber = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"], number
    header.ImagePositionPatient, header.ImageOrientationPatient = [0, 0, z], [1, 0, 0, 0, 1, 0]
    header.PixelSpacing, header.Rows, header.Columns = [1, 1], 4, 5
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 12, 11, 0
    header.RescaleSlope, header.RescaleIntercept = 1, -1024
    header.PixelData = np.full((4, 5), 1064, np.uint16).tobytes()
    for name, value in tags.items():
        if value is None:
            delattr(header, name)
        else:
            setattr(header, name, value)
    return header


def write(path, header, syntax=ExplicitVRLittleEndian, storage=CTImageStorage):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = syntax, storage
    meta.MediaStorageSOPInstanceUID = header.get("SOPInstanceUID", "1.2")
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(
        path, FileDataset(str(path), header, preamble=b"\0" * 128, file_meta=meta), enforce_file_format=True
    )


def reason_of_file(root, **settings):
    """The reason of the only file."""
    options = Settings(**settings)
    [reason] = dicom.scan(root, options).files.reason
    return reason


def verdicts(root, **settings):
    """(reason, detail) of each series."""
    options = Settings(**settings)
    series = dicom.group_series(dicom.scan(root, options), options).series
    return list(zip(series.reason, series.detail, strict=True))


# --- files ---------------------------------------------------------------------------------------


def test_a_directory_of_files_is_no_image(tmp_path):
    header = Dataset()
    header.FileSetID, header.DirectoryRecordSequence = "DISC", []
    write(tmp_path / "DICOMDIR", header, storage="1.2.840.10008.1.3.10")
    assert reason_of_file(tmp_path) == "directory of files (DICOMDIR)"


def test_pixels_that_cannot_be_decoded_name_their_transfer_syntax(tmp_path):
    header = slice_of(PixelData=pydicom.encaps.encapsulate([b"no codestream!"]))
    header["PixelData"].is_undefined_length = True
    write(tmp_path / "1", header, syntax=JPEG2000Lossless)
    assert reason_of_file(tmp_path).startswith("undecodable: JPEG 2000")
    assert reason_of_file(tmp_path, check_compressed=False) == ""


@pytest.mark.parametrize(
    "tags",
    [
        {"Modality": "US", "PhotometricInterpretation": "PALETTE COLOR"},
        {"BitsAllocated": 12},
        {"BitsStored": 18, "HighBit": 17},
        {"ModalityLUTSequence": [(100, 4096)]},
    ],
    ids=["a palette without tables", "12 bits allocated", "18 of 16 bits stored", "a short table"],
)
def test_native_pixels_that_do_not_fit_their_description_are_no_images(tmp_path, tags):
    for sequence, [(entries, said)] in [item for item in tags.items() if isinstance(item[1], list)]:
        tags = {sequence: [table(entries, said)]}
    write(tmp_path / "1", slice_of(**tags))
    assert reason_of_file(tmp_path) == (
        "undecodable: Explicit VR Little Endian, pixels or tables that do not fit their description"
    )


def table(entries, said):
    """A modality LUT of so many entries that says it has `said`."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [said, 0, 16])
    item.add_new("LUTData", "OW", bytes(2 * entries))
    item.ModalityLUTType = "US"
    return item


@pytest.mark.parametrize("tags", [{"WindowWidth": 0}, {"WindowWidth": 80, "VOILUTFunction": "BANANA"}])
def test_windows_that_cannot_be_applied_are_found_where_they_would_be(tmp_path, tags):
    write(tmp_path / "1", slice_of(WindowCenter=40, **tags))
    assert reason_of_file(tmp_path) == ""
    assert reason_of_file(tmp_path, voi_lut="apply").startswith("undecodable")


def test_a_modality_that_is_no_code_does_not_get_into_a_reason(tmp_path):
    write(tmp_path / "1", slice_of(Modality="DOE^JOHN"))
    write(tmp_path / "2", slice_of(Modality="MR", number=2))
    reasons = dicom.scan(tmp_path, Settings(), modality="CT").files.reason
    assert sorted(reasons) == ["wrong modality: MR", "wrong modality: not a code"]


@pytest.mark.parametrize(("said", "reason"), [("YES", "burned-in text suspected"), ("NO", ""), (None, "")])
def test_burned_in_text_is_excluded_where_the_header_says_so(tmp_path, said, reason):
    write(tmp_path / "1", slice_of(**({"BurnedInAnnotation": said} if said else {})))
    assert reason_of_file(tmp_path) == reason
    assert reason_of_file(tmp_path, burned_in_text="keep") == ""


def test_secondary_captures_are_kept_unless_excluded(tmp_path):
    write(tmp_path / "1", slice_of(SOPClassUID=SecondaryCaptureImageStorage), storage=SecondaryCaptureImageStorage)
    assert reason_of_file(tmp_path) == ""
    assert reason_of_file(tmp_path, secondary_capture="exclude") == "secondary capture"


def test_overlay_planes_and_private_elements_are_kept_unless_excluded(tmp_path):
    header = slice_of()
    header.add_new(0x60000010, "US", 4)
    header.add_new(0x60000011, "US", 5)
    header.add_new(0x60003000, "OW", b"\1\0\0\0")
    write(tmp_path / "a" / "1", header)
    assert reason_of_file(tmp_path / "a") == ""
    assert reason_of_file(tmp_path / "a", overlay_planes="exclude") == "text in overlay planes suspected"
    header = slice_of()
    header.private_block(0x0009, "ACME", create=True).add_new(1, "LO", "Quince, Adam")
    write(tmp_path / "b" / "1", header)
    assert reason_of_file(tmp_path / "b") == ""
    assert reason_of_file(tmp_path / "b", private_elements="exclude") == "private elements"


def test_where_identifiers_may_stand_is_recorded_and_nothing_of_what_stands_there(tmp_path):
    header = slice_of(BurnedInAnnotation="YES", SOPClassUID=SecondaryCaptureImageStorage)
    header.private_block(0x0009, "ACME", create=True).add_new(1, "LO", "Quince, Adam")
    header.add_new(0x60003000, "OW", b"\1\0\0\0")
    header.SeriesDescription, header.BodyPartExamined, header.ConvolutionKernel = "Quince, Adam", "QUINCE^ADAM", "B30f"
    write(tmp_path / "1", header, storage=SecondaryCaptureImageStorage)
    settings = plugins.settings("readers", "dicom", {"burned_in_text": "keep"})
    built = build_catalogue("dicom", settings, tmp_path, dataset="d", salt="pepper", chunks=1)
    [row] = built.catalogue.to_dict("records")
    assert row["phi_risk"] == "burned-in text; secondary capture; overlay planes; private elements"
    assert (row["body_part"], row["kernel"]) == ("withheld", "B30f")
    assert "quince" not in built.catalogue.to_json().lower()
    assert built.series.series_description.tolist() == ["Quince, Adam"]
    assert "ACME" not in built.series.to_json()


def test_slices_in_an_archive_are_read_from_their_unpacked_copies(tmp_path):
    write_stack(tmp_path / "loose", [0, 2, 4])
    (tmp_path / "packed").mkdir()
    shutil.make_archive(str(tmp_path / "packed/scan"), "zip", tmp_path / "loose")
    settings = plugins.settings("readers", "dicom", {})
    options = {"dataset": "d", "salt": "pepper", "chunks": 1, "unpack_to": tmp_path / "private"}
    built = build_catalogue("dicom", settings, tmp_path / "packed", **options)
    assert built.books == {"found": 4, "used": 3, "excluded": 1, "reasons": {"archive (opened)": 1}}
    rows = built.chunk_rows[0]
    whole = dicom.read_series(tmp_path / "packed", rows, settings)
    blocks = list(dicom.read_blocks(tmp_path / "packed", rows, settings))
    assert (whole.values == 40).all()
    np.testing.assert_array_equal(np.concatenate([block.values for block in blocks]), whole.values)


# --- series --------------------------------------------------------------------------------------


def write_stack(root, heights, **tags):
    for number, z in enumerate(heights):
        write(root / f"{number}", slice_of(z=z, number=number, **tags))


def test_missing_slices_say_which(tmp_path):
    write_stack(tmp_path, [0, 2, 4, 8, 10, 16])
    [(reason, detail)] = verdicts(tmp_path)
    assert reason == "missing slices"
    # Counted from 1 in the whole stack of nine: 0 2 4 [6] 8 10 [12] [14] 16.
    assert "4, 7-8 of 9" in detail
    settings = plugins.settings("readers", "dicom", {"missing_slices": "keep"})
    built = build_catalogue("dicom", settings, tmp_path, dataset="d", salt="pepper", chunks=1)
    assert built.catalogue.n_missing.tolist() == [3]
    assert built.catalogue.detail.tolist() == built.series.detail.tolist() == [detail]
    assert set(built.files.detail) == {detail}


def test_phases_are_split_or_named(tmp_path):
    for phase in (1, 2):
        for z in (0, 2, 4):
            header = slice_of(z=z, number=10 * phase + z, AcquisitionNumber=phase)
            write(tmp_path / f"{phase}{z}", header)
    assert [reason for reason, _ in verdicts(tmp_path)] == ["", ""]
    assert [reason for reason, _ in verdicts(tmp_path, repeated_positions="exclude")] == ["multi-phase"]


@pytest.mark.parametrize(
    ("heights", "settings", "reason"),
    [
        ([0, 2, 4, 7, 10], {"unequal_spacing": "exclude"}, "unequal spacing"),
        ([0, 2], {"min_slices": 3}, "too few slices"),
        ([0, 2, 2, 4], {}, "repeated positions"),
    ],
)
def test_faults_of_stacks(tmp_path, heights, settings, reason):
    write_stack(tmp_path, heights)
    assert [found for found, _ in verdicts(tmp_path, **settings)] == [reason]


def test_a_tilted_gantry_and_mixed_orientations(tmp_path):
    write_stack(tmp_path / "tilted", [0, 2, 4], ImageOrientationPatient=[1, 0, 0, 0, 0.9781476, 0.2079117])
    [(reason, detail)] = verdicts(tmp_path / "tilted", gantry_tilt="exclude")
    assert reason == "gantry tilt"
    assert "12" in detail  # degrees: asin(0.2079117)
    write_stack(tmp_path / "mixed", [0, 2, 4])
    write(tmp_path / "mixed/9", slice_of(z=6, number=9, ImageOrientationPatient=[0, 1, 0, 0, 0, -1]))
    assert [reason for reason, _ in verdicts(tmp_path / "mixed")] == ["mixed orientation"]


def test_real_broken_files_are_counted_with_their_reasons(shared_data, tmp_path):
    settings = plugins.settings("readers", "dicom", {})
    root = shared_data / "dicom_cases"
    built = build_catalogue("dicom", settings, root, dataset="d", salt="pepper", chunks=1, unpack_to=tmp_path)
    reasons = built.files.set_index("path").reason
    assert reasons["not_a_slice/DICOMDIR"] == "directory of files (DICOMDIR)"
    assert reasons["not_a_slice/scout_I10"] == "localizer"
    assert reasons["nema_and_issues/20-wrong-transfer-syntax.dcm"].startswith("undecodable: JPEG-LS")
    assert reasons["broken/html_page_saved_as.dcm"] == "not a DICOM file"
    assert built.books["found"] == 77
