"""Pixels of DICOM files: descriptions and cells against pydicom, values against pydicom, SimpleITK and the formulas.

Every DICOM file within reach takes part: those that come with pydicom and, where present, the shared real ones.
"""

import io
from functools import lru_cache
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
import SimpleITK
from hypothesis import example, given
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_modality_lut, apply_voi_lut, pixel_array
from pydicom.pixels.encoders import RLELosslessEncoder
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from scanloom.readers import _dicom_decode as decode
from scanloom.readers import _dicom_description as description
from scanloom.readers import _dicom_pixels as pixels
from scanloom.readers._dicom_open import open_dicom, quiet_pydicom

BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"
# Files whose compressed picture is cut or wrong, or that hold none; pydicom refuses them, too.
LOSSY_JPEG = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")


@lru_cache(maxsize=1)
def bundled() -> list[Path]:
    return sorted(path for path in BUNDLED.rglob("*") if path.is_file())


def real_files(shared_data: Path) -> list[Path]:
    """One in three of the slices of long series, everything else."""
    found = sorted(path for path in shared_data.rglob("*") if path.is_file() and path.suffix not in (".csv", ".npz"))
    series = [path for path in found if "sts_pet_ct_mr" in str(path) or "hippocampus" in str(path)]
    pictures = [path for path in found if path.suffix in (".png", ".jpg", ".gz", ".nii")]
    rest = [path for path in found if path not in set(series) | set(pictures)]
    return rest + series[::9]


def described_both_ways(file: Path):
    """(by walking, by pydicom), None where that way does not describe it."""
    data = file.read_bytes()
    found = []
    with quiet_pydicom():
        for way in (description._walked, description._parsed):
            try:
                found.append(way(data))
            except Exception:
                found.append(None)
    return found


def assert_same_descriptions(files: list[Path]) -> int:
    walked = 0
    for file in files:
        ours, theirs = described_both_ways(file)
        if ours is None:
            continue
        walked += 1
        assert theirs is not None, f"{file.name} is no picture to pydicom"
        for name in set(description.PixelDescription._fields) - {"file", "parsed", "pixels"}:
            assert repr(getattr(ours, name)) == repr(getattr(theirs, name)), (file.name, name)
        assert ours.pixels[: len(theirs.pixels)] == theirs.pixels, file.name
    return walked


def test_the_walk_describes_bundled_files_as_pydicom_does():
    assert assert_same_descriptions(bundled()) >= 20


def test_the_walk_describes_real_files_as_pydicom_does(shared_data):
    assert assert_same_descriptions(real_files(shared_data)) >= 100


def test_files_of_one_layout_keep_their_own_values():
    """What the walk remembers of a file is where elements stand; what they say is read from each."""
    for slope, padding, rows in [(1, -5, 3), (2, -5, 3), (1, 7, 3), (1, -5, 2), (2, 7, 3)]:
        cells = np.full((rows, 4), 7, np.int16)
        file = encoded(cells, ExplicitVRLittleEndian, RescaleSlope=slope, PixelPaddingValue=padding)
        walked = description._walked(file)
        assert (walked.rows, walked.slope, walked.padding) == (rows, slope, (padding, padding))
        assert bytes(walked.pixels[: cells.nbytes]) == cells.tobytes()
        assert walked.file is file


def test_a_description_shows_nothing_of_the_file():
    file = encoded(np.full((3, 4), 7, np.int16), ExplicitVRLittleEndian, PatientName="Quince^Peter")
    for described in (description.describe(file), description.describe(file, whole_header=True)):
        assert "3 x 4" in repr(described)
        assert "Quince" not in repr(described)


def test_text_that_begins_with_nul_is_left_to_pydicom():
    """It takes NULs from the end alone; a flipped byte of a real file gave "ONOCHROME2" and "\\0ONOCHROME2"."""
    file = encoded(np.full((3, 4), 7, np.uint16), ExplicitVRLittleEndian).replace(b"MONOCHROME2", b"\0ONOCHROME2")
    with pytest.raises(description._Doubt, match="begins with NUL"):
        description._walked(file)
    with quiet_pydicom():
        assert description._parsed(file).photometric == "\0ONOCHROME2"


@given(st.data())
def test_a_damaged_header_is_never_understood_in_two_ways(data):
    """Flipped bytes before the pixels: what the walk still describes, pydicom describes alike."""
    whole = bytearray(encoded(np.full((3, 4), 7, np.uint16), ExplicitVRLittleEndian))
    end = whole.index(b"\xe0\x7f\x10\x00")
    for at in data.draw(st.lists(st.integers(132, end + 12), min_size=1, max_size=3)):
        whole[at] = data.draw(st.integers(0, 255))
    found = []
    with quiet_pydicom():
        for way in (description._walked, description._parsed):
            try:
                found.append(way(bytes(whole)))
            except Exception:
                found.append(None)
    ours, theirs = found
    if ours is None or theirs is None:
        return
    needed = ("rows", "columns", "bits_allocated", "bits_stored", "signed", "slope", "intercept", "photometric")
    assert [repr(getattr(ours, name)) for name in needed] == [repr(getattr(theirs, name)) for name in needed]


# --- cells ---------------------------------------------------------------------------------------


def frames_of(described) -> list[int]:
    return list(range(min(described.frames, 3))) if described.frames > 1 else [-1]


def our_cells(described, frame: int) -> np.ndarray:
    """Cells with unused bits cleared, as pydicom's pixel_array gives them."""
    cells = next(iter(decode.stored_cells(described, [frame])))
    return pixels._without_unused_bits(cells, described)


def assert_same_cells(files: list[Path]) -> dict[str, int]:
    """Compare all frames with pydicom's; how many files of each transfer syntax were compared."""
    compared: dict[str, int] = {}
    for file in files:
        with quiet_pydicom():
            try:
                theirs = open_dicom(file)
                described = description.describe(file.read_bytes())
            except Exception:
                continue
            for frame in frames_of(described):
                try:
                    expected = pixel_array(theirs, index=max(frame, 0))
                except Exception:
                    if described.syntax == JPEGExtended12Bit:
                        continue  # 12 bits: compared with SimpleITK below
                    with pytest.raises(Exception):  # noqa: B017, PT011 (whatever pydicom raises)
                        our_cells(described, frame)
                    continue
                ours = our_cells(described, frame)
                assert (ours.dtype.kind, ours.dtype.itemsize) == (expected.dtype.kind, expected.dtype.itemsize), file
                if described.syntax in LOSSY_JPEG:
                    # Two conforming decoders may differ by one (ISO 10918-2).
                    assert np.abs(ours.astype(int) - expected.astype(int)).max() <= 1, file.name
                else:
                    np.testing.assert_array_equal(ours, expected, err_msg=file.name)
                compared[described.syntax] = compared.get(described.syntax, 0) + 1
    return compared


def test_cells_of_bundled_files_equal_pydicoms():
    assert len(assert_same_cells(bundled())) >= 11


def test_cells_of_real_files_equal_pydicoms(shared_data):
    assert len(assert_same_cells(real_files(shared_data))) >= 7


def encoded(cells: np.ndarray, syntax: str, bits_stored: int | None = None, **tags) -> bytes:
    """A CT slice of `cells` (`[y, x]` or `[frames, y, x]`), compressed by imagecodecs or pydicom."""
    header = Dataset()
    header.SOPClassUID, header.SOPInstanceUID = CTImageStorage, "1.2.3.4"
    header.SeriesInstanceUID, header.PatientID = "1.2.3", "Quince"
    header.Modality, header.PixelSpacing = "CT", [0.5, 0.75]
    header.Rows, header.Columns = cells.shape[-2:]
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    bits = 8 * cells.dtype.itemsize
    header.BitsAllocated, header.BitsStored = bits, bits_stored or bits
    header.HighBit, header.PixelRepresentation = header.BitsStored - 1, int(cells.dtype.kind == "i")
    header.RescaleSlope, header.RescaleIntercept = 1, -1024
    planes = cells.reshape(-1, *cells.shape[-2:])
    if len(planes) > 1:
        header.NumberOfFrames = len(planes)
    codec = ENCODERS.get(syntax)
    if codec is None:
        header.PixelData = cells.tobytes()
    else:
        header.PixelData = encapsulate([codec(np.ascontiguousarray(plane), header.BitsStored) for plane in planes])
        header["PixelData"].VR, header["PixelData"].is_undefined_length = "OB", True
    for name, value in tags.items():
        setattr(header, name, value)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = syntax, header.SOPClassUID
    meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
    out = io.BytesIO()
    pydicom.dcmwrite(out, FileDataset(out, header, preamble=b"\0" * 128, file_meta=meta), enforce_file_format=True)
    return out.getvalue()


def as_rle(plane: np.ndarray, bits: int) -> bytes:
    return RLELosslessEncoder.encode(
        plane.tobytes(),
        rows=plane.shape[0],
        columns=plane.shape[1],
        samples_per_pixel=1,
        bits_allocated=8 * plane.dtype.itemsize,
        bits_stored=bits,
        pixel_representation=int(plane.dtype.kind == "i"),
        photometric_interpretation="MONOCHROME2",
        number_of_frames=1,
    )


def without_sign(plane: np.ndarray, bits: int) -> np.ndarray:
    """The lowest bits as unsigned cells, as codecs that know no sign get them."""
    return plane.view(f"u{plane.dtype.itemsize}") & np.array(2**bits - 1, f"u{plane.dtype.itemsize}")


ENCODERS = {
    RLELossless: as_rle,
    JPEGLosslessSV1: lambda plane, bits: imagecodecs.ljpeg_encode(without_sign(plane, bits), bitspersample=bits),
    JPEGLSLossless: lambda plane, bits: imagecodecs.jpegls_encode(without_sign(plane, bits)),
    JPEG2000Lossless: lambda plane, bits: imagecodecs.jpeg2k_encode(
        plane, level=0, codecformat="j2k", reversible=True, bitspersample=bits
    ),
    HTJ2KLossless: lambda plane, bits: imagecodecs.htj2k_encode(plane, reversible=True),
}
SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, *ENCODERS]


def picture(dtype: str, bits: int, frames: int = 1) -> np.ndarray:
    """Smooth shapes and noise over the whole range of `bits`."""
    rng = np.random.default_rng(bits)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if dtype.startswith("i") else (0, 2**bits - 1)
    y, x = np.mgrid[:33, :40]
    smooth = (low + high) / 2 + (high - low) / 2 * np.sin(y / 7) * np.cos(x / 5)
    noisy = smooth + rng.normal(0, (high - low) / 50, (frames, 33, 40))
    noisy[:, 0, :2] = low, high
    return np.clip(np.rint(noisy), low, high).astype(dtype)[slice(None) if frames > 1 else 0]


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: UID(uid).name)
@pytest.mark.parametrize(("dtype", "bits"), [("u1", 8), ("u2", 16), ("i2", 16), ("u2", 12), ("i2", 12)])
@pytest.mark.parametrize("frames", [1, 3])
def test_what_was_written_is_read_by_the_fast_decoder(monkeypatch, syntax, dtype, bits, frames):
    if syntax == HTJ2KLossless and bits == 12:
        pytest.skip("imagecodecs writes HTJ2K with 8 or 16 bits only")
    cells = picture(dtype, bits, frames)
    if syntax == JPEGLosslessSV1 and bits == 16 and dtype == "i2":
        cells = np.clip(cells, -30000, 30000)  # liblj92, which writes it, cannot make differences of 2^15
    file = encoded(cells, syntax, bits)
    monkeypatch.setattr(decode, "pixel_array", None)  # pydicom may not help
    described = description.describe(file)
    assert described.parsed is None
    for frame in frames_of(described):
        np.testing.assert_array_equal(our_cells(described, frame), cells.reshape(frames, 33, 40)[max(frame, 0)])


@pytest.mark.parametrize("syntax", ENCODERS, ids=lambda uid: UID(uid).name)
@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_a_cut_stream_in_a_whole_file_is_an_error(monkeypatch, syntax, share):
    """Decoders fill up what is missing with grey; nothing cut may pass as a picture."""
    whole = ENCODERS[syntax]
    monkeypatch.setitem(ENCODERS, syntax, lambda *a: (data := whole(*a))[: int(len(data) * share)])
    described = description.describe(encoded(picture("u2", 16), syntax))
    with pytest.raises((ValueError, RuntimeError)), quiet_pydicom():
        our_cells(described, -1)


def test_errors_that_a_codec_only_prints_are_errors(monkeypatch):
    """imagecodecs lets OpenJPH's exceptions in damaged code blocks pass and returns the picture as far as it is."""
    printed = []
    monkeypatch.setattr("sys.unraisablehook", printed.append)
    asked = []
    monkeypatch.setattr(decode, "pixel_array", lambda *_, **__: asked.append(1) or np.zeros((33, 40), np.uint16))
    whole = ENCODERS[HTJ2KLossless](picture("u2", 16), 16)
    rng = np.random.default_rng(0)
    gave_up = 0
    for _ in range(40):
        damaged = np.frombuffer(whole, np.uint8).copy()
        at = rng.integers(150, len(damaged) - 2, 20)
        damaged[at] = rng.integers(0, 256, 20)
        try:
            imagecodecs.htj2k_decode(damaged.tobytes())
        except Exception:
            printed.append("raised")
        bad = bool(printed)
        printed.clear()
        gave_up += bad
        monkeypatch.setitem(ENCODERS, HTJ2KLossless, lambda *_, data=damaged: data.tobytes())
        our_cells(description.describe(encoded(picture("u2", 16), HTJ2KLossless)), -1)
        assert not printed
        assert bool(asked) >= bad  # pydicom decides about these
        asked.clear()
    assert gave_up


@pytest.mark.parametrize("name", ["dicom_cases/nema_and_issues/MR1_JPLY"])
def test_lossy_jpeg_of_12_bits_equals_simpleitk(shared_data, name):
    file = shared_data / name
    ours = our_cells(description.describe(file.read_bytes()), -1)
    theirs = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(file)))[0]
    assert np.abs(ours.astype(int) - theirs).max() <= 1
    assert ours.max() > 3000


@pytest.mark.parametrize("dtype", ["u2", "i2"])
def test_a_high_bit_counts_where_the_bits_below_the_values_are_empty(tmp_path, dtype):
    """PS3.5-2011 8.1.1: the value's highest bit is HighBit. Where it was only written wrongly, pydicom ignores it."""
    values = picture(dtype, 12)
    for name, cells in (("upper", values << 4), ("lower", values & 0xFFF)):
        (tmp_path / name).write_bytes(encoded(cells.astype(dtype), ExplicitVRLittleEndian, 12, HighBit=15))
        ours = pixels.read_frames(tmp_path / name, [-1]).values[0]
        np.testing.assert_array_equal(ours, np.maximum(values.astype(np.float32) - 1024, -1024))
    np.testing.assert_array_equal(pydicom.dcmread(tmp_path / "lower").pixel_array, values)


# --- values --------------------------------------------------------------------------------------


def expected_values(header, frame: int) -> np.ndarray:
    """pydicom's modality values as float32, and what CT and MONOCHROME1 mean here."""
    stored = pixel_array(header, index=max(frame, 0))
    ct = header.get("Modality") == "CT"
    if header.PhotometricInterpretation == "MONOCHROME1" and not ct:
        low = -(2 ** (header.BitsStored - 1)) if header.PixelRepresentation else 0
        stored = 2**header.BitsStored - 1 + 2 * low - stored.astype(np.int64)
    values = apply_modality_lut(stored, header).astype(np.float32)
    return np.maximum(values, -1024) if ct else values


def assert_same_values(files: list[Path]) -> int:
    compared = 0
    for file in files:
        with quiet_pydicom():
            try:
                header = open_dicom(file)
                described = description.describe(file.read_bytes())
                expected = expected_values(header, 0)
            except Exception:
                continue
        enhanced = "SharedFunctionalGroupsSequence" in header
        if described.samples > 1 or described.photometric == "PALETTE COLOR" or enhanced:
            continue
        frames = pixels.read_frames(file, frames_of(described)[:1])
        ours = frames.values[0]
        inside = slice(None) if frames.padding is None else ~frames.padding[0]
        tolerance = 1 if described.syntax in LOSSY_JPEG else 0
        np.testing.assert_allclose(ours[inside], expected[inside], rtol=0, atol=tolerance, err_msg=file.name)
        if frames.padding is not None and described.modality == "CT":
            assert (ours[frames.padding[0]] == -1024).all()
        compared += 1
    return compared


def test_values_of_bundled_files_equal_pydicoms():
    assert assert_same_values(bundled()) >= 25


def test_values_of_real_files_equal_pydicoms(shared_data):
    assert assert_same_values(real_files(shared_data)) >= 100


@example("i2", 1.0, -33792.0, -1024.0)  # the lowest value is above all that can be stored
@given(
    st.sampled_from(["u1", "u2", "i2", "i4"]),
    st.one_of(st.floats(-5, 5), st.integers(-3, 300).map(float)),
    st.one_of(st.floats(-4000, 4000), st.integers(-(10**7), 10**7).map(float)),
    st.one_of(st.none(), st.just(-1024.0)),
)
def test_rescaling_gives_the_float32_nearest_to_the_formula(dtype, slope, intercept, lowest):
    limits = np.iinfo(dtype)
    stored = np.linspace(limits.min, limits.max, 60).astype(dtype).reshape(6, 10)
    out = np.empty(stored.shape, np.float32)
    described = description.describe(encoded(np.zeros((2, 2), np.uint16), ExplicitVRLittleEndian))
    pixels._rescale_into(out, stored, slope, intercept, described, lowest)
    expected = (stored.astype(np.float64) * slope + intercept).astype(np.float32)
    np.testing.assert_array_equal(out, expected if lowest is None else np.maximum(expected, np.float32(lowest)))


def table_of(entries, first: int, bits: int) -> Sequence:
    item = Dataset()
    item.LUTDescriptor = [len(entries), first, bits]
    item["LUTDescriptor"].VR = "SS"
    item.LUTData = list(entries)
    item["LUTData"].VR = "US"
    return Sequence([item])


def read(tmp_path, voi_lut="ignore", **arguments):
    path = tmp_path / "slice.dcm"
    path.write_bytes(encoded(syntax=ExplicitVRLittleEndian, **arguments))
    return pixels.read_frames(path, [-1], voi_lut), pydicom.dcmread(path)


@pytest.mark.parametrize("first", [-40, 0, 90])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_modality_table_gives_what_pydicom_gives(tmp_path, first, bits):
    cells = picture("i2", 9)
    entries = np.random.default_rng(0).integers(0, 2**bits, 120).tolist()
    tags = {"Modality": "DX", "ModalityLUTSequence": table_of(entries, first, bits)}
    ours, header = read(tmp_path, cells=cells, bits_stored=9, **tags)
    del header.RescaleSlope, header.RescaleIntercept
    np.testing.assert_array_equal(ours.values[0], apply_modality_lut(header.pixel_array, header))
    assert ours.unit == "arbitrary"


def test_a_modality_table_is_looked_up_before_monochrome1_is_turned_round(tmp_path):
    """PS3.3 C.7.6.3.1.2 is about what is displayed, which the table comes before; the table is pydicom's."""
    entries = (np.arange(256) ** 3 // 255**2 * 257).tolist()
    tags = {"Modality": "DX", "ModalityLUTSequence": table_of(entries, 0, 16)}
    turned, header = read(
        tmp_path, cells=picture("u2", 8), bits_stored=8, PhotometricInterpretation="MONOCHROME1", **tags
    )
    del header.RescaleSlope, header.RescaleIntercept
    np.testing.assert_array_equal(turned.values[0], 65535.0 - apply_modality_lut(header.pixel_array, header))


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("dtype", ["u2", "i2"])
def test_a_window_of_the_file_is_applied_as_pydicom_does(tmp_path, function, dtype):
    tags = {"WindowCenter": [40, 300], "WindowWidth": [400, 1500], "VOILUTFunction": function}
    ours, header = read(tmp_path, "apply", cells=picture(dtype, 12), bits_stored=12, **tags)
    expected = apply_voi_lut(apply_modality_lut(header.pixel_array, header), header)
    np.testing.assert_array_equal(ours.values[0], expected.astype(np.float32))
    assert ours.unit == "display"
    ignored, _ = read(tmp_path, cells=picture(dtype, 12), bits_stored=12, **tags)
    assert ignored.unit == "HU"


def test_a_voi_table_goes_before_a_window_and_monochrome1_is_turned_round_after_it(tmp_path):
    tags = {"VOILUTSequence": table_of(np.arange(1023, -1, -1).tolist(), 0, 10), "WindowCenter": 1, "WindowWidth": 9}
    tags |= {"RescaleIntercept": 0, "Modality": "DX"}
    ours, header = read(tmp_path, "apply", cells=picture("u2", 10), bits_stored=10, **tags)
    expected = apply_voi_lut(header.pixel_array, header)
    np.testing.assert_array_equal(ours.values[0], expected)
    turned, _ = read(
        tmp_path, "apply", cells=picture("u2", 10), bits_stored=10, PhotometricInterpretation="MONOCHROME1", **tags
    )
    np.testing.assert_array_equal(turned.values[0], 1023.0 - expected)


def test_a_file_without_display_values_is_read_as_ever_and_a_third_choice_is_an_error(tmp_path):
    ours, _ = read(tmp_path, "apply", cells=picture("u2", 12), bits_stored=12)
    assert ours.unit == "HU"
    with pytest.raises(ValueError, match="voi_lut must be 'apply' or 'ignore'; got 'maybe'"):
        read(tmp_path, "maybe", cells=picture("u2", 12))


@pytest.mark.parametrize(("keyword", "bits"), [("FloatPixelData", 32), ("DoubleFloatPixelData", 64)])
def test_float_pixels_are_values_and_what_is_no_number_is_padding(tmp_path, keyword, bits):
    values = np.random.default_rng(0).normal(0, 1e3, (4, 5)).astype(f"f{bits // 8}")
    values[0, :2] = np.nan, -9999
    file = pydicom.dcmread(io.BytesIO(encoded(np.zeros((4, 5), np.uint16), ExplicitVRLittleEndian)))
    for name in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation", "RescaleSlope", "RescaleIntercept"):
        delattr(file, name)
    file.Modality, file.BitsAllocated = "MR", bits
    setattr(file, keyword, values.tobytes())
    setattr(file, keyword.replace("Data", "PaddingValue"), -9999.0)
    file.save_as(tmp_path / "map.dcm")
    ours = pixels.read_frames(tmp_path / "map.dcm", [-1])
    assert np.argwhere(ours.padding[0]).tolist() == [[0, 0], [0, 1]]
    inside = ~ours.padding[0]
    np.testing.assert_array_equal(ours.values[0][inside], values.astype(np.float32)[inside])
    assert (ours.values[0][~inside] == values.astype(np.float32)[inside].min()).all()
    assert ours.unit == "arbitrary"


def test_big_endian_and_little_endian_give_the_same(tmp_path):
    path = BUNDLED / "MR_small_bigendian.dcm"
    big, little = pixels.read_frames(path, [-1]), pixels.read_frames(BUNDLED / "MR_small.dcm", [-1])
    assert description.describe(path.read_bytes()).syntax == ExplicitVRBigEndian
    np.testing.assert_array_equal(big.values, little.values)


def test_colours_are_rgb_from_0_to_255_whatever_they_were_stored_as():
    ybr = pixels.read_frames(BUNDLED / "SC_ybr_full_422_uncompressed.dcm", [-1])
    expected = pixel_array(BUNDLED / "SC_ybr_full_422_uncompressed.dcm")
    np.testing.assert_array_equal(ybr.values[0], expected)
    assert (ybr.unit, ybr.values.dtype) == ("0-255", np.float32)
    deep = pixels.read_frames(BUNDLED / "SC_rgb_rle_16bit.dcm", [-1])
    np.testing.assert_allclose(deep.values[0], pixel_array(BUNDLED / "SC_rgb_rle_16bit.dcm") / 257, rtol=1e-6)


@pytest.mark.parametrize("factor", [257, 256, 1])
def test_palettes_of_16_bits_hold_their_8_bits_in_either_byte(tmp_path, factor):
    """Entries of v * 257 or v * 256 are what PS3.3 C.7.6.3.1.6 means by 16 bits; some writers leave v itself there."""
    colours = np.arange(256) * np.array([[1], [3], [7]]) % 256
    tables = {}
    for name, entries in zip(("Red", "Green", "Blue"), colours, strict=True):
        tables[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        tables[f"{name}PaletteColorLookupTableData"] = (entries * factor).astype("<u2").tobytes()
    cells = np.arange(256, dtype=np.uint8).reshape(16, 16)
    about = {"PhotometricInterpretation": "PALETTE COLOR", "Modality": "US", **tables}
    (tmp_path / "1").write_bytes(encoded(cells, ExplicitVRLittleEndian, 8, **about))
    np.testing.assert_array_equal(pixels.read_frames(tmp_path / "1", [-1]).values[0], colours.T[cells])


def test_values_that_mean_two_things_have_no_unit(tmp_path):
    cells = np.array([[5, 200]], np.uint8)
    for number, slope in enumerate(("1", "2")):
        about = {"Modality": "MR", "RescaleSlope": slope, "RescaleIntercept": "0"}
        (tmp_path / f"{number}").write_bytes(encoded(cells, ExplicitVRLittleEndian, 8, **about))
    files = [(tmp_path / "0", [-1]), (tmp_path / "1", [-1])]
    assert pixels.read_files(files[:1]).unit == "0-255"
    assert pixels.read_files(files).unit == "arbitrary"


def test_several_files_become_one_array_whose_padding_is_left_out_on_request(tmp_path):
    cells = [np.array([[5, 1064]], np.uint16), np.array([[1064, 1065]], np.uint16)]
    for number, one in enumerate(cells):
        (tmp_path / f"{number}").write_bytes(encoded(one, ExplicitVRLittleEndian, 16, PixelPaddingValue=5))
    files = [(tmp_path / "0", [-1]), (tmp_path / "1", [-1])]
    ours = pixels.read_files(files)
    assert ours.values.tolist() == [[[-1024.0, 40.0]], [[40.0, 41.0]]]
    assert ours.padding.tolist() == [[[True, False]], [[False, False]]]
    assert ours.spacing_mm == (0.5, 0.75)
    quick = pixels.read_files(files, with_padding=False)
    assert quick.padding is None
    np.testing.assert_array_equal(quick.values, ours.values)
    (tmp_path / "2").write_bytes(encoded(np.zeros((3, 2), np.uint16), ExplicitVRLittleEndian))
    with pytest.raises(ValueError, match=r"images of \(3, 2\) pixels among images of \(1, 2\)"):
        pixels.read_files([*files, (tmp_path / "2", [-1])])
