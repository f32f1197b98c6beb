import numpy as np
import pytest

from scanloom.readers._volume import Volume
from scanloom.steps import crop_or_pad, hu_window


def ct(shape=(2, 5, 6)) -> Volume:
    return Volume(np.random.default_rng(0).uniform(0, 80, shape).astype(np.float32), "HU", (5.0, 1.0, 1.0))


def test_the_centre_is_kept_and_borders_become_air():
    volume = ct()
    out = crop_or_pad.apply(volume, crop_or_pad.Settings(size_px=[9, 2]))
    np.testing.assert_array_equal(out.values[:, 2:7], volume.values[:, :, 2:4])
    assert (out.values[:, :2] == -1024).all()
    assert (out.values[:, 7:] == -1024).all()
    assert out.spacing_mm == volume.spacing_mm


def test_padding_undoes_cropping_and_cropping_undoes_padding():
    volume = ct((3, 7, 8))
    larger = crop_or_pad.apply(volume, crop_or_pad.Settings(size_px=[6, 12, 9]))
    back = crop_or_pad.apply(larger, crop_or_pad.Settings(size_px=[3, 7, 8]))
    np.testing.assert_array_equal(back.values, volume.values)
    assert back.slice_index.tolist() == [0, 1, 2]
    assert larger.slice_index.tolist() == [-1, 0, 1, 2, -1, -1]


def test_after_windowing_air_is_zero_and_otherwise_the_lowest_value():
    windowed = hu_window.apply(ct(), hu_window.Settings(windows=["brain", "bone"]))
    out = crop_or_pad.apply(windowed, crop_or_pad.Settings(size_px=[7, 6]))
    assert (out.values[:, [0, -1]] == 0).all()
    mr = Volume(np.full((1, 2, 2), 5, np.float32), "arbitrary", (1.0, 1.0, 1.0))
    assert (crop_or_pad.apply(mr, crop_or_pad.Settings(size_px=[4, 4])).values == 5).all()
    assert crop_or_pad.apply(mr, crop_or_pad.Settings(size_px=[4, 4], fill=9)).values[0, 0, 0] == 9


def test_new_pixels_are_padding_and_outside_of_the_mask():
    volume = Volume(np.ones((1, 2, 2), np.float32), "mask", (1.0, 1.0, 1.0), padding_mask=np.zeros((1, 2, 2), bool))
    out = crop_or_pad.apply_to_mask(volume, crop_or_pad.Settings(size_px=[4, 2]))
    assert out.values[0, :, 0].tolist() == [0, 1, 1, 0]
    assert out.padding_mask[0, :, 0].tolist() == [True, False, False, True]


@pytest.mark.parametrize("size", [3, 4, 5, 6, 7])
def test_image_and_mask_stay_aligned(size):
    volume = ct((1, 5, 5))
    mask = Volume((volume.values == volume.values[0, 2, 2]).astype(np.float32), "mask", volume.spacing_mm)
    chosen = crop_or_pad.Settings(size_px=[size, size])
    place = crop_or_pad.apply_to_mask(mask, chosen).values == 1
    assert crop_or_pad.apply(volume, chosen).values[place].tolist() == [volume.values[0, 2, 2]]
