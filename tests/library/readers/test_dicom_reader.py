"""The DICOM reader on files written here and on real ones."""

import hashlib

import numpy as np
import pandas as pd
import pydicom
import pytest
import SimpleITK
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RLELossless

from scanloom.readers import dicom
from scanloom.readers._dicom_headers import read_header
from scanloom.readers._scan import ReadError
from scanloom.readers.dicom import Settings


def ct_slice(z=0.0, number=1, series="1.2.3", cells=None, **tags):
    """A CT slice of 4 x 5 cells at height z; `tags` replace or (None) remove elements."""
    cells = np.full((4, 5), 1064, np.uint16) if cells is None else cells
    header = Dataset()
    header.SOPClassUID, header.SOPInstanceUID = CTImageStorage, f"{series}.{number}"
    header.SeriesInstanceUID, header.StudyInstanceUID, header.PatientID = series, "1.2", "Quince"
    header.Modality, header.ImageType, header.InstanceNumber = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"], number
    header.ImagePositionPatient, header.ImageOrientationPatient = [-1, -2, z], [1, 0, 0, 0, 1, 0]
    header.PixelSpacing, header.SliceThickness = [0.5, 0.75], 2
    header.Rows, header.Columns = cells.shape[-2:]
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated, header.BitsStored = cells.dtype.itemsize * 8, min(cells.dtype.itemsize * 8, 12)
    header.HighBit, header.PixelRepresentation = header.BitsStored - 1, int(cells.dtype.kind == "i")
    header.RescaleSlope, header.RescaleIntercept = 1, -1024
    header.PixelData = cells.tobytes()
    for name, value in tags.items():
        if value is None:
            delattr(header, name)
        else:
            setattr(header, name, value)
    return header


def write(path, header, preamble=True, syntax=ExplicitVRLittleEndian):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    path.parent.mkdir(parents=True, exist_ok=True)
    file = FileDataset(str(path), header, preamble=b"\0" * 128, file_meta=meta)
    if not preamble:
        with open(path, "wb") as out:
            pydicom.filewriter.write_dataset(_writer(out), header)
        return
    pydicom.dcmwrite(path, file, enforce_file_format=True)


def _writer(out):
    writer = pydicom.filebase.DicomFileLike(out)
    writer.is_little_endian, writer.is_implicit_VR = True, True
    return writer


def scan(root, settings=None, **options):
    return dicom.scan(root, settings or Settings(), **options)


def reasons(root, settings=None, **options):
    return scan(root, settings, **options).files.set_index("path").reason.to_dict()


def series_reasons(root, **settings):
    settings = Settings(**settings)
    return dicom.group_series(scan(root, settings), settings).series.reason.tolist()


def read_one(root, **settings):
    settings = Settings(**settings)
    grouped = dicom.group_series(scan(root, settings), settings)
    assert len(grouped.series) == 1
    return dicom.read_series(root, grouped.images, settings)


# --- verdicts of files ---------------------------------------------------------------------------


def test_files_are_judged_by_content_not_by_name(tmp_path):
    write(tmp_path / "no_extension", ct_slice())
    write(tmp_path / "bare", ct_slice(number=2), preamble=False)
    (tmp_path / "page.dcm").write_text("<html>not found</html>")
    (tmp_path / "empty.dcm").write_bytes(b"")
    assert reasons(tmp_path) == {
        "no_extension": "",
        "bare": "",
        "page.dcm": "not a DICOM file",
        "empty.dcm": "not a DICOM file",
    }


def test_every_way_to_cut_a_file_is_noticed(tmp_path):
    write(tmp_path / "whole.dcm", ct_slice())
    whole = (tmp_path / "whole.dcm").read_bytes()
    pixels = whole.index(b"\xe0\x7f\x10\x00")
    found = {}
    # From the end of the first element on; what is shorter is no DICOM file to anybody.
    for cut in range(144, len(whole)):
        (tmp_path / "whole.dcm").write_bytes(whole[:cut])
        found[cut], _ = read_header(str(tmp_path / "whole.dcm"), None, True)
    assert set(found.values()) == {"truncated", "no pixel data"}
    assert {reason for cut, reason in found.items() if cut > pixels} == {"truncated"}
    (tmp_path / "whole.dcm").write_bytes(whole[:pixels])
    # Cut exactly between two elements: nothing tells it from a file written without pixels.
    assert reasons(tmp_path)["whole.dcm"] == "no pixel data"


def test_a_cut_compressed_file_is_truncated(tmp_path):
    header = ct_slice(cells=np.arange(64 * 64, dtype=np.uint16).reshape(64, 64))
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.compress(RLELossless, generate_instance_uid=False)
    write(tmp_path / "rle.dcm", header, syntax=RLELossless)
    assert reasons(tmp_path)["rle.dcm"] == ""
    whole = (tmp_path / "rle.dcm").read_bytes()
    (tmp_path / "rle.dcm").write_bytes(whole[:-400])
    assert reasons(tmp_path)["rle.dcm"] == "truncated"


def test_kinds_of_pictures_that_are_not_slices_have_their_reason(tmp_path):
    write(tmp_path / "a.dcm", ct_slice(number=1))
    write(tmp_path / "mr.dcm", ct_slice(number=2, Modality="MR"))
    write(tmp_path / "scout.dcm", ct_slice(number=3, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]))
    write(tmp_path / "raw.dcm", ct_slice(number=4, RescaleIntercept=None))
    colour = np.zeros((4, 5, 3), np.uint8)
    picture = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0, "Rows": 4}
    write(tmp_path / "dose.dcm", ct_slice(number=5, cells=colour, Columns=5, BitsStored=8, HighBit=7, **picture))
    write(tmp_path / "sr.dcm", ct_slice(number=6, PixelData=None, Modality="SR"))
    write(tmp_path / "copy.dcm", ct_slice(number=1))
    assert reasons(tmp_path, modality="CT") == {
        "a.dcm": "",
        "mr.dcm": "wrong modality: MR",
        "scout.dcm": "localizer",
        "raw.dcm": "no rescale to HU",
        "dose.dcm": "colour picture in a CT series",
        "sr.dcm": "no pixel data",
        "copy.dcm": "duplicate instance",
    }


def test_of_two_copies_the_one_beside_its_series_stays(tmp_path):
    for number in range(3):
        write(tmp_path / "series" / f"{number}.dcm", ct_slice(z=number, number=number))
    write(tmp_path / "a_copy.dcm", ct_slice(z=1, number=1))
    assert reasons(tmp_path)["a_copy.dcm"] == "duplicate instance"


def test_images_that_share_an_instance_uid_are_no_copies_of_each_other(tmp_path):
    """Tools that remove names sometimes write one UID into all files."""
    for number in range(3):
        write(tmp_path / f"{number}.dcm", ct_slice(z=number, number=number, SOPInstanceUID="1.2.3"))
    write(tmp_path / "copy.dcm", ct_slice(z=0, number=0, SOPInstanceUID="1.2.3"))
    other = "instance UID of another image"
    assert reasons(tmp_path) == {"0.dcm": "", "1.dcm": other, "2.dcm": other, "copy.dcm": "duplicate instance"}


def test_a_truncated_copy_does_not_displace_the_whole_one(tmp_path):
    write(tmp_path / "a.dcm", ct_slice())
    (tmp_path / "b.dcm").write_bytes((tmp_path / "a.dcm").read_bytes())
    (tmp_path / "a.dcm").write_bytes((tmp_path / "b.dcm").read_bytes()[:-5])
    assert reasons(tmp_path) == {"a.dcm": "truncated", "b.dcm": ""}


def test_damaged_headers_never_stop_the_scan(tmp_path):
    write(tmp_path / "whole.dcm", ct_slice())
    whole = np.frombuffer((tmp_path / "whole.dcm").read_bytes(), np.uint8)
    generator = np.random.default_rng(3)
    for number in range(60):
        damaged = whole.copy()
        at = generator.integers(132, len(whole), 12)
        damaged[at] = generator.integers(0, 256, 12)
        (tmp_path / f"damaged{number}.dcm").write_bytes(damaged.tobytes())
    assert len(reasons(tmp_path)) == 61


def test_declared_and_ignored_files_are_counted_as_such(tmp_path):
    write(tmp_path / "a.dcm", ct_slice())
    (tmp_path / "labels.csv").write_text("x")
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "1.nii").write_text("x")
    found = reasons(tmp_path, Settings(ignore=["masks/*"]), declared=frozenset({"labels.csv"}))
    assert found["labels.csv"] == found["masks/1.nii"] == "not an image (declared)"


def test_files_are_never_written_to(tmp_path):
    write(tmp_path / "a.dcm", ct_slice())
    (tmp_path / "a.dcm").chmod(0o444)
    before = hashlib.sha256((tmp_path / "a.dcm").read_bytes()).hexdigest(), (tmp_path / "a.dcm").stat().st_mtime_ns
    read_one(tmp_path)
    assert before == (
        hashlib.sha256((tmp_path / "a.dcm").read_bytes()).hexdigest(),
        (tmp_path / "a.dcm").stat().st_mtime_ns,
    )


def test_several_processes_read_the_same_as_one(tmp_path):
    for number in range(70):
        write(tmp_path / f"{number:02d}.dcm", ct_slice(z=number, number=number))
    one, two = scan(tmp_path), scan(tmp_path, workers=2)
    pd.testing.assert_frame_equal(one.images, two.images)
    pd.testing.assert_frame_equal(one.files, two.files)


def test_raw_values_reach_neither_logs_nor_warnings_nor_errors(tmp_path, caplog, recwarn):
    with pydicom.config.disable_value_validation():
        write(tmp_path / "quince.dcm", ct_slice(series="1.2.quince", StudyInstanceUID="1.quince"))
    grouped = dicom.group_series(scan(tmp_path), Settings())
    assert "quince" in grouped.images.series_uid[0]
    (tmp_path / "quince.dcm").write_bytes(b"")
    with pytest.raises(ReadError) as error:
        dicom.read_series(tmp_path, grouped.images.assign(series_id="0123"), Settings())
    assert "series 0123" in str(error.value)
    assert error.value.__suppress_context__
    said = caplog.text + "".join(str(warning.message) for warning in recwarn) + str(error.value)
    assert "quince" not in said


# --- verdicts of series --------------------------------------------------------------------------


def write_stack(root, heights, **tags):
    for number, z in enumerate(heights):
        write(root / f"{number}.dcm", ct_slice(z=z, number=number, **tags))


def test_order_is_by_position_whatever_names_and_numbers_say(tmp_path):
    for name, number, z in (("a", 1, 30.0), ("b", 2, 10.0), ("c", 3, 20.0), ("d", 4, -5.0)):
        write(tmp_path / name, ct_slice(z=z, number=number, SliceLocation=-z))
    grouped = dicom.group_series(scan(tmp_path), Settings())
    assert grouped.images.path.tolist() == ["d", "b", "c", "a"]
    assert grouped.images.position_mm.tolist() == [-5, 10, 20, 30]


def test_missing_slices_are_excluded_unless_kept(tmp_path):
    write_stack(tmp_path, [0, 2, 4, 8, 10])
    assert series_reasons(tmp_path) == ["missing slices"]
    assert series_reasons(tmp_path, missing_slices="keep") == [""]


def test_unequal_spacing_and_tilt_are_kept_unless_excluded(tmp_path):
    write_stack(tmp_path, [0, 2, 4, 7, 10], ImageOrientationPatient=[1, 0, 0, 0, 0.9781476, 0.2079117])
    assert series_reasons(tmp_path) == [""]
    assert series_reasons(tmp_path, unequal_spacing="exclude") == ["unequal spacing"]
    assert series_reasons(tmp_path, gantry_tilt="exclude") == ["gantry tilt"]


def test_slices_at_one_place_and_short_series_are_excluded(tmp_path):
    write_stack(tmp_path, [0, 2, 2, 4])
    assert series_reasons(tmp_path) == ["repeated positions"]
    assert series_reasons(tmp_path, min_slices=5) == ["too few slices"]


def test_slices_without_positions_are_excluded_or_ordered_by_number(tmp_path):
    for name, number in (("a", 2), ("b", 1)):
        write(tmp_path / name, ct_slice(number=number, ImagePositionPatient=None))
    assert series_reasons(tmp_path) == ["no positions"]
    settings = Settings(no_positions="keep")
    assert dicom.group_series(scan(tmp_path, settings), settings).images.path.tolist() == ["b", "a"]


def test_one_series_of_two_patients_or_two_sizes_is_excluded(tmp_path):
    write(tmp_path / "p" / "1", ct_slice(z=0, number=1, series="1.5"))
    write(tmp_path / "p" / "2", ct_slice(z=2, number=2, series="1.5", PatientID="Other"))
    write(tmp_path / "s" / "1", ct_slice(z=0, number=1, series="1.6"))
    write(tmp_path / "s" / "2", ct_slice(z=2, number=2, series="1.6", cells=np.ones((6, 5), np.uint16)))
    assert series_reasons(tmp_path) == ["mixed patients", "mixed image size"]


# --- pixels --------------------------------------------------------------------------------------


def test_values_are_hu_with_each_slices_own_rescale(tmp_path):
    write(tmp_path / "1", ct_slice(z=0, number=1))
    write(tmp_path / "2", ct_slice(z=3, number=2, RescaleSlope=2, RescaleIntercept=-1000))
    volume = read_one(tmp_path)
    assert volume.unit == "HU"
    assert volume.spacing_mm == (3.0, 0.5, 0.75)
    assert volume.values.dtype == np.float32
    assert volume.values[:, 0, 0].tolist() == [40.0, 1128.0]
    assert volume.padding_mask is None


@pytest.mark.parametrize(
    ("cells", "padding", "tags"),
    [
        (np.array([[-2000, 1064]], np.int16), -2000, {"BitsStored": 16, "HighBit": 15}),
        # Written with VR US although the pixels are signed: seen in TCIA's lung collections.
        (np.array([[-2000, 1064]], np.int16), 63536, {"BitsStored": 16, "HighBit": 15}),
        # Outside BitsStored: clearing the unused bits first would make it 2096, which is bone.
        (np.array([[63536, 1064]], np.uint16), 63536, {"BitsStored": 12}),
        # Signed 12 bits whose sign was not extended into the unused bits.
        (np.array([[0x830, 1064]], np.int16), -2000, {"BitsStored": 12}),
        (np.array([[7, 1064]], np.uint16), 5, {"PixelPaddingRangeLimit": 9}),
    ],
)
def test_padding_becomes_air_however_it_was_written(tmp_path, cells, padding, tags):
    header = ct_slice(cells=cells, **{k: v for k, v in tags.items() if not k.startswith("PixelPadding")})
    signed = "SS" if padding < 0 else "US"
    header.add_new("PixelPaddingValue", signed, padding)
    if "PixelPaddingRangeLimit" in tags:
        header.add_new("PixelPaddingRangeLimit", signed, tags["PixelPaddingRangeLimit"])
    write(tmp_path / "1", header)
    volume = read_one(tmp_path)
    assert volume.values[0, 0].tolist() == [-1024.0, 40.0]
    assert volume.padding_mask[0, 0].tolist() == [True, False]


def test_tissue_equal_to_padding_without_its_high_bits_stays_tissue(tmp_path):
    header = ct_slice(cells=np.array([[2096, 1064]], np.uint16))
    header.add_new("PixelPaddingValue", "US", 63536)
    write(tmp_path / "1", header)
    volume = read_one(tmp_path)
    assert volume.values[0, 0].tolist() == [1072.0, 40.0]
    assert volume.padding_mask is None


def test_unused_bits_do_not_reach_the_values(tmp_path):
    write(tmp_path / "1", ct_slice(cells=np.array([[0xF000 | 1064, 0x428]], np.uint16)))
    assert read_one(tmp_path).values[0, 0].tolist() == [40.0, 40.0]


def test_monochrome1_is_inverted_in_a_radiograph_and_not_in_hu(tmp_path):
    cells = np.array([[0, 4095, 1000]], np.uint16)
    plain = {"PhotometricInterpretation": "MONOCHROME1", "RescaleSlope": None, "RescaleIntercept": None}
    write(tmp_path / "dx" / "1", ct_slice(cells=cells, Modality="DX", **plain))
    volume = read_one(tmp_path / "dx")
    assert volume.unit == "0-4095"
    assert volume.values[0, 0].tolist() == [4095.0, 0.0, 3095.0]
    write(tmp_path / "ct" / "1", ct_slice(cells=cells, PhotometricInterpretation="MONOCHROME1"))
    assert read_one(tmp_path / "ct").values[0, 0].tolist() == [-1024.0, 3071.0, -24.0]


def test_frames_of_an_enhanced_file_are_slices_in_their_places(tmp_path):
    cells = np.stack([np.full((4, 5), 1024 + value, np.uint16) for value in (30, 10, 20)])
    header = ct_slice(cells=cells, NumberOfFrames=3, ImagePositionPatient=None, PixelSpacing=None, RescaleSlope=None)
    del header.RescaleIntercept, header.ImageOrientationPatient

    def item(**tags):
        one = Dataset()
        for name, value in tags.items():
            setattr(one, name, value)
        return one

    rescale = item(RescaleSlope=1, RescaleIntercept=-1024)
    shared = item(
        PixelMeasuresSequence=Sequence([item(PixelSpacing=[0.5, 0.75], SliceThickness=4)]),
        PlaneOrientationSequence=Sequence([item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])]),
        PixelValueTransformationSequence=Sequence([rescale]),
    )
    header.SharedFunctionalGroupsSequence = Sequence([shared])
    header.PerFrameFunctionalGroupsSequence = Sequence(
        [item(PlanePositionSequence=Sequence([item(ImagePositionPatient=[0, 0, z])])) for z in (12, 4, 8)]
    )
    write(tmp_path / "enhanced", header)
    volume = read_one(tmp_path)
    assert volume.values[:, 0, 0].tolist() == [10.0, 20.0, 30.0]
    assert volume.spacing_mm == (4.0, 0.5, 0.75)


# --- real files ----------------------------------------------------------------------------------


def test_real_cases_get_the_reason_their_manifest_describes(shared_data):
    found = reasons(shared_data / "dicom_cases")
    expected = {
        "broken/html_page_saved_as.dcm": "not a DICOM file",
        "nema_and_issues/20-wrong-transfer-syntax.dcm": "undecodable: JPEG-LS Lossless Image Compression",
        "nema_and_issues/MR1_JPLY": "",
        "nema_and_issues/BRTUMSP3": "no pixel data",
        "dicom2nifti/siemens/fmri/001/IM-0001-0001.dcm": "mosaic of slices",
        "not_a_slice/DICOMDIR": "directory of files (DICOMDIR)",
        "not_a_slice/liver.dcm": "wrong modality: SEG",
        "not_a_slice/report_rgb_I60": "colour picture in a CT series",
        "not_a_slice/scout_I10": "localizer",
        "not_a_slice/sr.dcm": "no pixel data",
        "nema_and_issues/54-implicit-file-meta-info.dcm": "",
        "nema_and_issues/OT-PAL-8-face.dcm": "",
    }
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("folder", "reason"),
    [
        ("failing/notavolume", "multi-phase"),
        ("failing/sliceincrement", "missing slices"),
        ("failing/sliceorientation", "mixed orientation"),
        ("failing/gantrytilting", "gantry tilt"),
        ("siemens_multiframe", ""),
        ("philips_enhanced", ""),
        ("generic/compressed_rle", ""),
        ("generic/compressed_jpegls", ""),
    ],
)
def test_real_series_get_their_verdict(shared_data, folder, reason):
    folder = shared_data / "dicom_cases" / "dicom2nifti" / folder
    assert series_reasons(folder, gantry_tilt="exclude", repeated_positions="exclude") == [reason]


def test_real_tilted_head_has_its_published_tilt_and_changing_spacing(shared_data):
    root = shared_data / "ct_head_tilt_dicom"
    grouped = dicom.group_series(scan(root), Settings())
    assert grouped.series.tilt_deg[0] == pytest.approx(18.5, abs=0.01)
    assert series_reasons(root, unequal_spacing="exclude") == ["unequal spacing"]


@pytest.mark.parametrize("series", ["dicom2nifti/hitachi/anatomical/001", "dicom2nifti/generic/compressed/001"])
def test_order_spacing_and_values_agree_with_simpleitk(shared_data, series):
    root = shared_data / "dicom_cases" / series
    reader = SimpleITK.ImageSeriesReader()
    names = reader.GetGDCMSeriesFileNames(str(root))
    reader.SetFileNames(names)
    theirs = reader.Execute()
    grouped = dicom.group_series(scan(root), Settings())
    assert [str(root / path) for path in grouped.images.path] == list(names)
    ours = dicom.read_series(root, grouped.images, Settings())
    np.testing.assert_allclose(ours.spacing_mm, theirs.GetSpacing()[::-1], rtol=1e-5)
    np.testing.assert_allclose(ours.values, SimpleITK.GetArrayFromImage(theirs).astype(np.float32))


def test_real_padding_written_two_ways_becomes_air(shared_data):
    root = shared_data / "ct_contrast_dicom_part"
    grouped = dicom.group_series(scan(root), Settings())
    assert len(grouped.series) == 19
    volumes = [dicom.read_series(root, rows, Settings()) for _, rows in grouped.images.groupby("series_key")]
    assert min(volume.values.min() for volume in volumes) == -1024
    masked = [volume.padding_mask.mean() for volume in volumes if volume.padding_mask is not None]
    # Outside an inscribed circle: 1 - pi / 4 of the picture.
    assert masked
    np.testing.assert_allclose(masked, 1 - np.pi / 4, atol=0.01)
