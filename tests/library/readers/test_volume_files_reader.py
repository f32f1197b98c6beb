"""The reader of MetaImage and NRRD against SimpleITK, which writes and reads both."""

import itertools

import numpy as np
import pytest
import SimpleITK

from scanloom.readers import volume_files
from scanloom.readers.volume_files import Settings

DIRECTION = np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))[0]
TYPES = (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.float32, np.float64)


def picture(dtype=np.int16, shape=(4, 6, 5), vector=False):
    cells = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    image = SimpleITK.GetImageFromArray(cells, isVector=vector)
    if image.GetDimension() == 3:
        image.SetSpacing((1.5, 2.5, 3.5))
        image.SetOrigin((7, -8, 9))
        image.SetDirection(DIRECTION.ravel().tolist())
    return image


def scan_all(root, **options):
    options = Settings(**options)
    scan = volume_files.scan(root, options)
    return scan, volume_files.group_series(scan, options), options


def reasons(root):
    return scan_all(root)[0].files.set_index("path").reason.to_dict()


@pytest.mark.parametrize(
    ("extension", "packed"), list(itertools.product(["mha", "mhd", "nrrd", "nhdr"], [False, True]))
)
def test_values_and_places_are_those_of_simpleitk(tmp_path, extension, packed):
    for dtype in TYPES:
        SimpleITK.WriteImage(picture(dtype), str(tmp_path / f"{dtype.__name__}.{extension}"), packed)
    scan, grouped, options = scan_all(tmp_path)
    # A detached header's data file shares its verdict.
    assert scan.files.ok.all()
    assert len(grouped.series) == len(TYPES)
    assert len(scan.beside) == (len(TYPES) if extension in ("mhd", "nhdr") else 0)
    for _, rows in grouped.images.groupby("series_key"):
        volume = volume_files.read_series(tmp_path, rows, options)
        theirs = SimpleITK.ReadImage(str(tmp_path / rows.path.iloc[0]))
        np.testing.assert_array_equal(volume.values, SimpleITK.GetArrayFromImage(theirs).astype(np.float32))
        np.testing.assert_allclose(volume.spacing_mm, theirs.GetSpacing()[::-1])
        for x, y, z in ((0, 0, 0), (1, 2, 3), (4, 5, 0)):
            expected = theirs.TransformIndexToPhysicalPoint((x, y, z))
            np.testing.assert_allclose((volume.affine_lps @ [z, y, x, 1])[:3], expected, atol=1e-6)


@pytest.mark.parametrize("extension", ["mha", "nrrd"])
def test_colour_flat_pictures_and_time(tmp_path, extension):
    SimpleITK.WriteImage(picture(np.uint8, (4, 6, 5, 3), vector=True), str(tmp_path / f"colour.{extension}"))
    SimpleITK.WriteImage(picture(np.uint8, (6, 5)), str(tmp_path / f"flat.{extension}"))
    SimpleITK.WriteImage(picture(np.uint8, (2, 4, 6, 5)), str(tmp_path / f"time.{extension}"))
    _, grouped, options = scan_all(tmp_path)
    read = {}
    for key, rows in grouped.images.groupby("series_key"):
        volume = volume_files.read_series(tmp_path, rows, options)
        theirs = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / rows.path.iloc[0])))
        number = rows.frame.iloc[0]
        np.testing.assert_array_equal(
            volume.values, (theirs[number] if number >= 0 else theirs).reshape(volume.values.shape)
        )
        read[key] = volume.values.shape
    assert read == {
        f"colour.{extension}": (4, 6, 5, 3),
        f"flat.{extension}": (1, 6, 5),
        f"time.{extension}#0": (4, 6, 5),
        f"time.{extension}#1": (4, 6, 5),
    }


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("extension", ["mha", "nrrd"])
def test_cut_and_changed_files_are_noticed(tmp_path, extension, packed):
    file = tmp_path / f"a.{extension}"
    SimpleITK.WriteImage(picture(shape=(9, 8, 7)), str(file), packed)
    whole = file.read_bytes()
    # A cut through the name of the data file looks like another name.
    damaged = {"truncated", "undecodable: impossible header", "data file is missing"}
    for cut in range(60, len(whole), 13):
        file.write_bytes(whole[:cut])
        assert reasons(tmp_path)[file.name] in damaged
    if packed:
        # SimpleITK reads such a MetaImage as if nothing were wrong.
        file.write_bytes(whole[:-90] + bytes([whole[-90] ^ 255]) + whole[-89:])
        assert reasons(tmp_path)[file.name] == "truncated"


def test_a_header_finds_its_data_beside_or_below_it_and_nowhere_else(tmp_path):
    SimpleITK.WriteImage(picture(), str(tmp_path / "a.mhd"))
    text = (tmp_path / "a.mhd").read_text()
    (tmp_path / "sub").mkdir()
    for name, place in (("up", "../a.raw"), ("root", str(tmp_path / "a.raw")), ("gone", "b.raw")):
        (tmp_path / "sub" / f"{name}.mhd").write_text(text.replace("a.raw", place))
    (tmp_path / "list.mhd").write_text(text.replace("a.raw", "LIST\na.raw"))
    found = reasons(tmp_path)
    assert {found[f"sub/{name}.mhd"] for name in ("up", "root", "gone")} == {"data file is missing"}
    assert found["list.mhd"] == "undecodable: data in several files"
    assert found["a.raw"] == found["a.mhd"] == ""


def test_spaces_of_nrrd_become_lps(tmp_path):
    SimpleITK.WriteImage(picture(np.uint8), str(tmp_path / "a.nrrd"))
    head, blank, data = (tmp_path / "a.nrrd").read_bytes().partition(b"\n\n")
    assert b"left-posterior-superior" in head
    for space, signs in (("right-anterior-superior", (-1, -1, 1)), ("LAS", (1, -1, 1))):
        changed = head.replace(b"left-posterior-superior", space.encode())
        (tmp_path / "b.nrrd").write_bytes(changed + blank + data)
        _, grouped, options = scan_all(tmp_path)
        a, b = (
            volume_files.read_series(tmp_path, rows, options).affine_lps
            for _, rows in grouped.images.groupby("series_key")
        )
        np.testing.assert_allclose(b[:3], a[:3] * np.array(signs)[:, None])


def test_text_numbers_and_other_files_have_their_reason(tmp_path):
    header = "NRRD0004\ntype: float\ndimension: 2\nsizes: 2 2\nencoding: {}\n\n1 2 3 4\n"
    (tmp_path / "text.nrrd").write_text(header.format("ascii"))
    (tmp_path / "vectors.nrrd").write_text(
        "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 6 2 2\nkinds: vector domain domain\nencoding: raw\n\n" + "x" * 24
    )
    (tmp_path / "huge.nrrd").write_text(header.format("raw").replace("2 2", "60000 60000"))
    (tmp_path / "notes.txt").write_text("NDims of a volume")
    assert reasons(tmp_path) == {
        "text.nrrd": "undecodable: numbers as text",
        "vectors.nrrd": "not an image (vector field)",
        "huge.nrrd": "truncated",
        "notes.txt": "not a MetaImage or NRRD file",
    }


WHOLE = ("t1.mhd", "t1.raw", "t2.mhd", "t2.raw")


def test_the_data_file_of_every_stacked_channel_shares_its_verdict(tmp_path):
    for case, ends in (("a", ("t1", "t2")), ("b", ("t1",))):
        for end in ends:
            SimpleITK.WriteImage(picture(), str(tmp_path / f"{case}_{end}.mhd"))
    scan = volume_files.scan(tmp_path, volume_files.Settings(stacked=["_t1", "_t2"]))
    found = scan.files.set_index("path").reason.to_dict()
    assert {path for path, reason in found.items() if not reason} == {f"a_{file}" for file in WHOLE}
    assert found["b_t1.mhd"] == found["b_t1.raw"] == "channel is missing: _t2"
    assert {scan.beside[path] for path in ("a_t1.raw", "a_t2.raw", "a_t2.mhd")} == {"a_t1.mhd"}
