import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from scanloom.images.preprocessing import run_mask_steps
from scanloom.readers._volume import Volume
from scanloom.steps import crop_to_foreground

AFFINE = np.diag([5.0, 1.0, 1.0, 1.0])


def spots(*places, shape=(5, 20, 24)) -> Volume:
    values = np.full(shape, -1000, np.float32)
    for place in places:
        values[place] = 50
    return Volume(values, "HU", (5.0, 1.0, 1.0), slice_index=np.arange(7, 7 + shape[0]), affine_lps=AFFINE)


@given(st.integers(0, 2**32 - 1))
def test_the_box_is_simpleitks_bounding_box(seed):
    rng = np.random.default_rng(seed)
    mask = rng.random((4, 9, 8)) > 0.95
    mask[rng.integers(4), rng.integers(9), rng.integers(8)] = True
    statistics = sitk.LabelShapeStatisticsImageFilter()
    statistics.Execute(sitk.GetImageFromArray(mask.astype(np.uint8)))
    x, y, z, width, height, depth = statistics.GetBoundingBox(1)
    volume = Volume(np.where(mask, 1, 0).astype(np.float32), "arbitrary", (1, 1, 1))
    out = crop_to_foreground.apply(volume, crop_to_foreground.Settings(threshold=0.5, margin_px=[0, 0, 0]))
    np.testing.assert_array_equal(out.values, volume.values[z : z + depth, y : y + height, x : x + width])


def test_two_margins_keep_the_slices_three_cut_them():
    volume = spots((2, 5, 6), (3, 9, 15))
    flat = crop_to_foreground.apply(volume, crop_to_foreground.Settings(margin_px=[1, 2]))
    assert flat.values.shape == (5, 7, 14)
    assert flat.slice_index.tolist() == [7, 8, 9, 10, 11]
    cut = crop_to_foreground.apply(volume, crop_to_foreground.Settings(margin_px=[0, 1, 2]))
    np.testing.assert_array_equal(cut.values, flat.values[2:4])
    assert cut.slice_index.tolist() == [9, 10]
    assert cut.affine_lps[:3, 3].tolist() == [10.0, 4.0, 4.0]  # voxel (2, 4, 4) at 5, 1 and 1 mm


def test_a_margin_ends_at_the_border_and_an_empty_picture_stays_whole():
    out = crop_to_foreground.apply(spots((0, 0, 23)), crop_to_foreground.Settings(margin_px=[3, 3]))
    assert out.values.shape == (5, 4, 4)
    assert crop_to_foreground.apply(spots(), crop_to_foreground.Settings()).values.shape == (5, 20, 24)


def test_only_the_largest_part_counts_where_asked():
    body = spots((slice(1, 4), slice(4, 12), slice(5, 15)), (2, 19, 0))
    assert crop_to_foreground.apply(body, crop_to_foreground.Settings()).values.shape[1:] == (16, 15)
    largest = crop_to_foreground.Settings(parts="largest")
    assert crop_to_foreground.apply(body, largest).values.shape[1:] == (8, 10)


def test_a_mask_is_cut_by_its_image_through_the_steps_before_it():
    """The lesion lies at one place of the body; boxes follow the body, after slices were dropped and pixels resized."""
    volume = spots((slice(0, 5), slice(4, 16), slice(2, 22)))
    inside = (volume.values > 0) & (np.arange(24) >= 18)
    lesion = Volume(inside.astype(np.float32), "mask", volume.spacing_mm)
    steps = [
        {"name": "select_slices", "settings": {"central_share": 0.6}},
        {"name": "crop_to_foreground", "settings": {"threshold": 0}},
        {"name": "resize", "settings": {"size_px": [24, 40]}},
    ]
    mask, index = run_mask_steps(lesion, steps, 2, volume)
    assert index.tolist() == [1, 2, 3]
    expected = np.zeros((24, 40), bool)
    expected[:, 32:] = True  # columns 18 to 21 of a body from 2 to 21, twice as large
    np.testing.assert_array_equal(mask, [expected] * 3)
    with pytest.raises(ValueError, match="crop_to_foreground moves pixels to where the image says"):
        run_mask_steps(lesion, steps, 2)


@pytest.mark.parametrize("margin", [[1], [-1, 0], [0, 0, 0, 0]])
def test_a_bad_margin_is_an_error(margin):
    with pytest.raises(ValidationError, match=r"expected \[y, x\] or \[z, y, x\]"):
        crop_to_foreground.Settings(margin_px=margin)
