"""The NIfTI reader against nibabel's own images and SimpleITK, and on damaged files."""

import bz2
import gzip

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scanloom import plugins
from scanloom.readers import nifti
from scanloom.readers._scan import ReadError
from scanloom.readers.nifti import Settings

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
OBLIQUE = np.array([[0.8, -0.6, 0.0, 5.0], [1.2, 1.6, 0.0, -7.0], [0.0, 0.0, 3.0, 2.0], [0, 0, 0, 1]])
CELLS = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)


def save(path, cells, affine=OBLIQUE, kind=nibabel.Nifti1Image, **header):
    picture = kind(cells, affine)
    for name, value in header.items():
        picture.header[name] = value
    nibabel.save(picture, path)


def scan_all(root, **options):
    options = Settings(**options)
    scan = nifti.scan(root, options)
    return scan, nifti.group_series(scan, options), options


def read_one(root, **options):
    _, grouped, options = scan_all(root, **options)
    assert len(grouped.series) == 1
    return nifti.read_series(root, grouped.images, options)


def reasons(root, **options):
    return scan_all(root, **options)[0].files.set_index("path").reason.to_dict()


def ras_affine(volume):
    """nibabel's affine from ours: axes x, y, z instead of z, y, x, and RAS instead of LPS."""
    return LPS_TO_RAS @ volume.affine_lps[:, [2, 1, 0, 3]]


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.hdr", "no_extension"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_values_and_affine_are_those_that_nibabel_wrote(tmp_path, name, kind):
    if name == "a.hdr":
        kind = {nibabel.Nifti1Image: nibabel.Nifti1Pair, nibabel.Nifti2Image: nibabel.Nifti2Pair}[kind]
    save(tmp_path / ("a.nii" if name == "no_extension" else name), CELLS, kind=kind)
    if name == "no_extension":
        (tmp_path / "a.nii").rename(tmp_path / name)
    volume = read_one(tmp_path)
    np.testing.assert_array_equal(volume.values, CELLS.T.astype(np.float32))
    np.testing.assert_allclose(ras_affine(volume), OBLIQUE, atol=1e-6)
    np.testing.assert_allclose(volume.spacing_mm, np.linalg.norm(OBLIQUE[:3, 2::-1], axis=0), rtol=1e-6)
    assert set(reasons(tmp_path).values()) == {""}


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", ">i2", ">f4"])
def test_every_type_of_number_is_read(tmp_path, dtype):
    cells = (np.arange(24).reshape(2, 3, 4) * (5 if dtype[-2:] in ("u1", "i1") else 900)).astype(dtype)
    picture = nibabel.Nifti1Image(cells, OBLIQUE, nibabel.Nifti1Header(endianness=">" if dtype[0] == ">" else "<"))
    picture.set_data_dtype(cells.dtype)
    nibabel.save(picture, tmp_path / "a.nii")
    expected = np.asarray(nibabel.load(tmp_path / "a.nii").dataobj).T.astype(np.float32)
    np.testing.assert_array_equal(read_one(tmp_path).values, expected)


def test_scaling_units_of_length_and_units_of_value(tmp_path):
    save(tmp_path / "a.nii", CELLS, np.diag([0.001, 0.002, 0.003, 1]), scl_slope=2, scl_inter=-1000, xyzt_units=1)
    volume = read_one(tmp_path, unit="HU")
    assert (volume.unit, volume.spacing_mm) == ("HU", pytest.approx((3.0, 2.0, 1.0)))
    np.testing.assert_array_equal(volume.values, CELLS.T * 2.0 - 1000)
    save(tmp_path / "a.nii", CELLS.astype(np.uint8))
    assert read_one(tmp_path).unit == "0-255"
    assert read_one(tmp_path, unit="arbitrary").unit == "arbitrary", "for sets of uint8 and float files, as MSD Task04"


def test_what_is_not_a_number_is_outside_the_field_of_view_and_becomes_air(tmp_path):
    cells = CELLS.astype(np.float32)
    cells[0, 0, 0], cells[1, 0, 0] = np.nan, np.inf
    save(tmp_path / "a.nii", cells)
    volume = read_one(tmp_path)
    assert volume.values[0, 0].tolist() == [1.0, 1.0]
    assert volume.padding_mask.sum() == 2
    save(tmp_path / "a.nii", np.full((2, 2, 2), np.nan, np.float32))
    assert reasons(tmp_path) == {"a.nii": "values that are not numbers"}


def test_several_volumes_are_series_or_channels_or_refused(tmp_path):
    cells = np.stack([CELLS, CELLS + 100], axis=-1)
    save(tmp_path / "a.nii.gz", cells)
    _, grouped, options = scan_all(tmp_path)
    assert grouped.series.series_key.tolist() == ["a.nii.gz#0", "a.nii.gz#1"]
    second = grouped.images[grouped.images.series_key == "a.nii.gz#1"]
    np.testing.assert_array_equal(nifti.read_series(tmp_path, second, options).values, CELLS.T + 100)
    volume = read_one(tmp_path, fourth_axis="channels")
    assert volume.values.shape == (4, 3, 2, 2)
    np.testing.assert_array_equal(volume.values[..., 1], CELLS.T + 100)
    assert reasons(tmp_path, fourth_axis="exclude") == {"a.nii.gz": "several volumes in one file"}


def test_colour_is_read_and_vectors_are_no_image(tmp_path):
    colour = np.zeros((2, 3, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    colour["G"] = CELLS
    save(tmp_path / "a.nii", colour)
    volume = read_one(tmp_path)
    assert volume.channels == ("red", "green", "blue")
    np.testing.assert_array_equal(volume.values[..., 1], CELLS.T)
    save(tmp_path / "a.nii", np.zeros((2, 3, 4, 1, 3), np.float32), intent_code=1007)
    assert reasons(tmp_path) == {"a.nii": "not an image (vector field)"}
    save(tmp_path / "a.nii", CELLS.astype(np.complex64))
    assert reasons(tmp_path) == {"a.nii": "undecodable: values that are not real numbers"}


def test_a_file_that_does_not_say_how_it_lies_has_spacing_and_no_affine(tmp_path):
    save(tmp_path / "a.nii", CELLS[..., 0], None, qform_code=0, sform_code=0)
    volume = read_one(tmp_path)
    assert volume.affine_lps is None
    assert volume.values.shape == (1, 3, 2)
    assert volume.spacing_mm[1:] == (1.0, 1.0)


def test_every_cut_is_noticed(tmp_path):
    save(tmp_path / "a.nii", CELLS)
    whole = (tmp_path / "a.nii").read_bytes()
    packed = gzip.compress(whole, mtime=0)
    (tmp_path / "a.nii").unlink()
    for cut in range(348, len(whole), 3):
        (tmp_path / "a.nii").write_bytes(whole[:cut])
        assert reasons(tmp_path) == {"a.nii": "truncated"}, cut
    (tmp_path / "a.nii").unlink()
    for cut in range(2, len(packed), 3):
        (tmp_path / "a.nii.gz").write_bytes(packed[:cut])
        assert reasons(tmp_path) == {"a.nii.gz": "truncated"}, cut
    (tmp_path / "a.nii.gz").write_bytes(packed + b"\0" * 512)
    assert reasons(tmp_path) == {"a.nii.gz": ""}
    middle = len(whole) // 2
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(whole[:middle]) + gzip.compress(whole[middle:]))
    assert reasons(tmp_path) == {"a.nii.gz": ""}


def test_a_changed_bit_in_a_packed_file_is_noticed(tmp_path):
    save(tmp_path / "a.nii", np.random.default_rng(0).integers(0, 999, (9, 8, 7)).astype(np.int16))
    packed = bytearray(gzip.compress((tmp_path / "a.nii").read_bytes()))
    (tmp_path / "a.nii").unlink()
    packed[len(packed) // 2] ^= 4
    (tmp_path / "a.nii.gz").write_bytes(packed)
    assert reasons(tmp_path) == {"a.nii.gz": "truncated"}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 351), st.integers(0, 255)), min_size=1, max_size=6))
def test_damaged_headers_are_refused_or_read_and_never_crash(tmp_path, damage):
    save(tmp_path / "a.nii", CELLS)
    file = bytearray((tmp_path / "a.nii").read_bytes())
    for place, value in damage:
        file[place] = value
    (tmp_path / "a.nii").write_bytes(file)
    scan, grouped, options = scan_all(tmp_path)
    assert len(scan.files) == 1
    for _, rows in grouped.images.groupby("series_key"):
        volume = nifti.read_series(tmp_path, rows, options)
        assert np.isfinite(volume.values).all()


def test_other_files_and_headers_without_data_have_their_reason(tmp_path):
    (tmp_path / "notes.nii").write_text("nothing")
    (tmp_path / "notes.txt.bz2").write_bytes(bz2.compress(b"nothing"))
    save(tmp_path / "b.img", CELLS, kind=nibabel.Nifti1Pair)
    (tmp_path / "b.img").unlink()
    assert reasons(tmp_path) == {
        "notes.nii": "not a NIfTI file",
        "notes.txt.bz2": "not a NIfTI file",
        "b.hdr": "data file is missing",
    }


def test_a_file_that_changed_since_is_an_error_without_its_name(tmp_path):
    save(tmp_path / "quince.nii", CELLS)
    _, grouped, options = scan_all(tmp_path)
    (tmp_path / "quince.nii").write_bytes(b"")
    with pytest.raises(ReadError) as error:
        nifti.read_series(tmp_path, grouped.images, options)
    assert "quince" not in str(error.value)


def test_real_files_agree_with_nibabel_and_simpleitk(shared_data):
    root = shared_data / "nifti_cases"
    scan, grouped, options = scan_all(root)
    assert scan.files[~scan.files.ok].set_index("path").reason.to_dict() == {
        "README.md": "not a NIfTI file",
        "mt/warp_template2mt.nii.gz": "not an image (vector field)",
    }
    # 13 files of one volume, and 7 + 30 + 3 volumes, as their README says.
    assert len(grouped.series) == 12 + 7 + 30 + 3
    for _, rows in grouped.images.groupby("series_key"):
        volume = nifti.read_series(root, rows, options)
        file = root / rows.path.iloc[0]
        theirs, number = nibabel.load(file), rows.frame.iloc[0]
        values = np.asarray(theirs.dataobj)
        values = values[..., number] if values.ndim == 4 else values
        np.testing.assert_allclose(volume.values, values.T.astype(np.float32), rtol=1e-6)
        np.testing.assert_allclose(ras_affine(volume), theirs.affine, atol=1e-4)
        if values.ndim == 3 and number == -1:
            itk = SimpleITK.ReadImage(str(file))
            corner = [size - 1 for size in itk.GetSize()]
            np.testing.assert_allclose(
                itk.TransformIndexToPhysicalPoint(corner), (volume.affine_lps @ [*corner[::-1], 1])[:3], atol=0.02
            )


STACKED = {"stacked": ["_t1ce", "_t1"], "ignore": ["*_seg.nii*"]}


def test_files_of_registered_sequences_become_channels_of_one_series(tmp_path):
    (tmp_path / "HGG").mkdir()
    for case in ("a.1", "b"):
        for shift, part in enumerate(("t1", "t1ce", "seg")):
            save(tmp_path / f"HGG/{case}_{part}.nii.gz", CELLS + shift * 100)
    scan, grouped, options = scan_all(tmp_path, **STACKED)
    assert scan.files.set_index("path").reason.value_counts().to_dict() == {"": 4, "not an image (declared)": 2}
    assert set(scan.beside.items()) == {(f"HGG/{case}_t1.nii.gz", f"HGG/{case}_t1ce.nii.gz") for case in ("a.1", "b")}
    assert len(grouped.series) == 2
    rows = grouped.images[grouped.images.path == "HGG/a.1_t1ce.nii.gz"]
    volume = nifti.read_series(tmp_path, rows, options)
    assert (volume.channels, set(rows.samples)) == (("t1ce", "t1"), {2})
    np.testing.assert_array_equal(volume.values[..., 0], CELLS.T + 100)
    np.testing.assert_array_equal(volume.values[..., 1], CELLS.T)
    np.testing.assert_allclose(ras_affine(volume), OBLIQUE, atol=1e-6)


def test_what_cannot_be_stacked_has_its_reason(tmp_path):
    save(tmp_path / "alone_t1.nii", CELLS)
    save(tmp_path / "other_t2.nii", CELLS)
    save(tmp_path / "moved_t1.nii", CELLS)
    save(tmp_path / "moved_t1ce.nii", CELLS, affine=OBLIQUE @ np.diag([2.0, 1, 1, 1]))
    colours = np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    for part in ("t1", "t1ce"):
        nibabel.save(nibabel.Nifti1Image(colours, OBLIQUE), tmp_path / f"rgb_{part}.nii")
    assert reasons(tmp_path, **STACKED) == {
        "rgb_t1.nii": "a stacked channel has channels of its own",
        "rgb_t1ce.nii": "a stacked channel has channels of its own",
        "alone_t1.nii": "channel is missing: _t1ce",
        "moved_t1.nii": "channels of different geometry",
        "moved_t1ce.nii": "channels of different geometry",
        "other_t2.nii": "not a channel of a stacked series",
    }


@pytest.mark.parametrize("ends", [["_t1"], ["_t1", "_t1"], ["_t1", ""]])
def test_ends_of_names_that_tell_no_channels_apart_are_an_error(ends):
    with pytest.raises(plugins.BadSettings, match="two or more different ends"):
        plugins.settings("readers", "nifti", {"stacked": ends})
