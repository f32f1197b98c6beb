"""The reader of PNG, JPEG and TIFF files."""

import cv2
import numpy as np
import pytest
from PIL import Image

from scanloom.readers import image_files
from scanloom.readers.image_files import Settings

RGB = np.array([[[10, 20, 30], [200, 100, 50]]], np.uint8)


def read(root, name, **settings):
    settings = Settings(**settings)
    grouped = image_files.group_series(image_files.scan(root, settings), settings)
    return image_files.read_series(root, grouped.images[grouped.images.path == name], settings)


def test_grey_content_in_rgb_keeps_its_values_exactly(tmp_path):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(np.repeat(grey[..., None], 3, axis=2)).save(tmp_path / "a.png")
    volume = read(tmp_path, "a.png")
    assert volume.unit == "0-255"
    assert np.isnan(volume.spacing_mm).all()
    np.testing.assert_array_equal(volume.values, grey[None].astype(np.float32))


def test_colour_is_kept_and_transparency_dropped_not_blended(tmp_path):
    Image.fromarray(np.concatenate([RGB, np.zeros((1, 2, 1), np.uint8)], axis=2)).save(tmp_path / "a.png")
    volume = read(tmp_path, "a.png", channels="rgb")
    np.testing.assert_array_equal(volume.values, RGB[None].astype(np.float32))
    assert volume.channels == ("red", "green", "blue")


def test_grey_of_colour_is_itu_601_luma(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.png")
    expected = RGB @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(read(tmp_path, "a.png").values[0], expected, atol=0.51)


def test_palette_is_looked_up(tmp_path):
    picture = Image.fromarray(np.array([[0, 1]], np.uint8), mode="P")
    picture.putpalette([7, 8, 9, 70, 80, 90])
    picture.save(tmp_path / "a.png")
    assert read(tmp_path, "a.png", channels="rgb").values.tolist() == [[[[7, 8, 9], [70, 80, 90]]]]


@pytest.mark.parametrize("channels", ["grey", "rgb"])
def test_sixteen_bits_are_kept(tmp_path, channels):
    Image.fromarray(np.array([[0, 300, 65535]], np.uint16)).save(tmp_path / "a.png")
    volume = read(tmp_path, "a.png", channels=channels)
    assert volume.unit == "0-65535"
    assert volume.with_channels()[0, 0, :, 0].tolist() == [0, 300, 65535]


def test_exif_orientation_is_honoured(tmp_path):
    picture = Image.fromarray(np.zeros((8, 16, 3), np.uint8))
    exif = picture.getexif()
    exif[0x0112] = 6  # rotate by 90 degrees to see it upright
    picture.save(tmp_path / "a.jpg", exif=exif)
    assert read(tmp_path, "a.jpg").values.shape == (1, 16, 8)
    assert image_files.scan(tmp_path, Settings()).images[["rows", "columns"]].iloc[0].tolist() == [16, 8]


GREY16 = np.random.default_rng(5).integers(0, 65536, (30, 40)).astype(np.uint16)


@pytest.mark.parametrize("packing", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_tiff_of_sixteen_bits_is_read_exactly(tmp_path, packing):
    Image.fromarray(GREY16).save(tmp_path / "a.tif", compression=packing)
    volume = read(tmp_path, "a.tif")
    assert volume.unit == "0-65535"
    np.testing.assert_array_equal(volume.values[0], GREY16.astype(np.float32))


def test_tiff_of_other_numbers_keeps_its_values(tmp_path):
    for dtype in (np.int32, np.float32):
        Image.fromarray((GREY16 - 9000.0).astype(dtype)).save(tmp_path / "a.tif")
        volume = read(tmp_path, "a.tif")
        assert volume.unit == "arbitrary"
        np.testing.assert_array_equal(volume.values[0], GREY16 - 9000.0)
    Image.fromarray(np.full((3, 3), np.nan, np.float32)).save(tmp_path / "a.tif")
    found = image_files.scan(tmp_path, Settings()).files
    assert found.reason.tolist() == ["values that are not numbers"]


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_colours_of_sixteen_bits_are_not_cut_to_eight(tmp_path, kind):
    """Pillow would, without a word. cv2 writes them."""
    cv2.imwrite(str(tmp_path / f"a.{kind}"), np.repeat(GREY16[..., None], 3, axis=2))
    cv2.imwrite(str(tmp_path / f"b.{kind}"), GREY16)
    cv2.imwrite(str(tmp_path / f"c.{kind}"), np.repeat(GREY16[..., None], 3, axis=2).astype(np.uint8))
    assert image_files.scan(tmp_path, Settings()).files.reason.tolist() == ["undecodable: colours of 16 bits", "", ""]


def test_a_whole_tiff_of_a_kind_that_cannot_be_read_is_not_called_truncated(tmp_path):
    cv2.imwrite(str(tmp_path / "a.tif"), np.repeat(GREY16[..., None], 3, axis=2).astype(np.float32))
    whole = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "b.tif").write_bytes(whole[: len(whole) // 2])
    assert image_files.scan(tmp_path, Settings()).files.reason.tolist() == ["undecodable", "truncated"]


def test_white_is_bright_whatever_zero_means(tmp_path):
    # Photometric interpretation 0 (TIFF 6.0, section 8): zero is white. Pillow writes 16 bits as they are ...
    Image.fromarray(GREY16).save(tmp_path / "a.tif", tiffinfo={262: 0})
    np.testing.assert_array_equal(read(tmp_path, "a.tif").values[0], 65535 - GREY16.astype(np.float32))
    # ... and inverts 8 bits on their way to the file.
    cells = GREY16.astype(np.uint8)
    Image.fromarray(cells).save(tmp_path / "b.tif", tiffinfo={262: 0})
    assert (255 - cells).tobytes() in (tmp_path / "b.tif").read_bytes()
    np.testing.assert_array_equal(read(tmp_path, "b.tif").values[0], cells.astype(np.float32))


def test_pages_of_a_tiff_are_the_slices_of_one_series(tmp_path):
    pages = [Image.fromarray(np.full((4, 5), level, np.uint8)) for level in (7, 3, 9)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    volume = read(tmp_path, "a.tif")
    assert volume.values[:, 0, 0].tolist() == [7, 3, 9]
    assert image_files.scan(tmp_path, Settings()).images.frame.tolist() == [0, 1, 2]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=[pages[1].resize((9, 9))])
    assert image_files.scan(tmp_path, Settings()).files.reason.tolist() == ["pages of different kinds"]


def test_every_cut_of_a_tiff_is_noticed(tmp_path):
    pages = [Image.fromarray(np.full((4, 5), level, np.uint8)) for level in (7, 3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    whole = (tmp_path / "a.tif").read_bytes()
    for cut in range(4, len(whole), 5):
        (tmp_path / "a.tif").write_bytes(whole[:cut])
        assert image_files.scan(tmp_path, Settings()).files.reason[0] in ("truncated", "undecodable"), cut


def test_every_file_is_found_once_with_its_reason(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "good.png")
    Image.fromarray(noise).save(tmp_path / "good.jpg")
    for name in ("good.png", "good.jpg"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / f"cut_{name}").write_bytes(whole[: len(whole) // 2])
        (tmp_path / f"stump_{name}").write_bytes(whole[:12])
    (tmp_path / "really_png.dat").write_bytes((tmp_path / "good.png").read_bytes())
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "m.png").write_bytes((tmp_path / "good.png").read_bytes())
    found = image_files.scan(tmp_path, Settings(ignore=["masks/*"])).files.set_index("path").reason.to_dict()
    assert found == {
        "good.png": "",
        "good.jpg": "",
        "really_png.dat": "",
        "cut_good.png": "truncated",
        "cut_good.jpg": "truncated",
        "stump_good.png": "truncated",
        "stump_good.jpg": "truncated",
        "text.png": "not an image file",
        "masks/m.png": "not an image (declared)",
    }


def test_known_spacing_reaches_the_volume(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.png")
    assert read(tmp_path, "a.png", spacing_mm=(0.2, 0.3)).spacing_mm[1:] == (0.2, 0.3)


def test_a_folder_that_is_not_there_is_a_clear_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        image_files.scan(tmp_path / "absent", Settings())


def test_real_head_ct_pictures_are_all_read(shared_data):
    scan = image_files.scan(shared_data / "head_ct_hemorrhage", Settings(), workers=2)
    assert scan.files.ok.sum() == 200
    assert scan.images[["rows", "columns"]].drop_duplicates().shape[0] == 195  # distinct sizes, as its README says
