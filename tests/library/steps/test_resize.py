from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from scanloom.readers._volume import Volume
from scanloom.steps import resize
from scanloom.steps._regrid import regrid


def test_every_slice_and_channel_is_resized_as_opencv_does():
    values = np.random.default_rng(0).random((3, 50, 40, 2), dtype=np.float32)
    volume = Volume(values, "HU", (5.0, 0.5, 0.5), channels=("a", "b"))
    out = resize.apply(volume, resize.Settings(size_px=[20, 30]))
    assert out.values.shape == (3, 20, 30, 2)
    for z in range(3):
        theirs = cv2.resize(values[z], (30, 20), interpolation=cv2.INTER_AREA)
        np.testing.assert_allclose(out.values[z], theirs, atol=1e-5)
    assert out.spacing_mm == pytest.approx((5.0, 1.25, 0.5 * 40 / 30))
    assert out.slice_index.tolist() == [0, 1, 2]


@given(st.tuples(*[st.integers(1, 40)] * 2), st.tuples(*[st.integers(1, 40)] * 2), st.sampled_from([None, 1, 3, 5]))
def test_slices_resized_by_opencv_equal_the_matrices_of_all_axes(before, after, channels):
    """Two ways to the same weights: `regrid`, which is checked against SimpleITK, and the fast one in plane."""
    shape = (2, *before) if channels is None else (2, *before, channels)
    values = np.random.default_rng(0).normal(0, 100, shape).astype(np.float32)
    names = ("a", "b", "c", "d", "e")[: channels or 1]
    volume = Volume(values, "HU", (5.0, 1.0, 1.0), channels=names)
    out = resize.apply(volume, resize.Settings(size_px=after))
    steps = [1.0, before[0] / after[0], before[1] / after[1]]
    expected = regrid(volume, [2, *after], steps)
    np.testing.assert_allclose(out.values, expected.values, atol=2e-3)
    assert out.spacing_mm == expected.spacing_mm


@given(st.tuples(*[st.integers(1, 40)] * 2), st.tuples(*[st.integers(1, 40)] * 2))
def test_slices_resized_one_by_one_as_they_are_read_make_the_same_volume(before, after):
    values = np.random.default_rng(1).normal(0, 100, (2, *before)).astype(np.float32)
    affine = np.array([[0, 0, 0.9, -20], [0, 0.8, 0, 30], [5, 0, 0, 100], [0, 0, 0, 1.0]])
    volume = Volume(values, "HU", (5.0, 0.8, 0.9), slice_index=np.array([4, 5]), affine_lps=affine)
    settings = resize.Settings(size_px=after)
    way = resize.of_slices(before, settings)
    if way is None:
        assert before == after or (before[0] > after[0]) != (before[1] > after[1])
        return
    size, fill = way
    made = np.full((2, *size), np.nan, np.float32)
    for plane, out in zip(values, made, strict=True):
        fill(plane, out)
    empty = replace(volume, values=np.broadcast_to(np.float32(0), values.shape))
    found, expected = resize.placed(empty, made, settings), resize.apply(volume, settings)
    np.testing.assert_array_equal(found.values, expected.values)
    np.testing.assert_array_equal(found.affine_lps, expected.affine_lps)
    assert (found.spacing_mm, found.slice_index.tolist()) == (expected.spacing_mm, [4, 5])


def test_sizes_of_whole_volumes_are_not_done_slice_by_slice():
    assert resize.of_slices((8, 8), resize.Settings(size_px=[4, 4, 4])) is None


def test_three_numbers_change_the_slices_too():
    volume = Volume(np.arange(8, dtype=np.float32).reshape(8, 1, 1), "HU", (1.0, 1.0, 1.0))
    out = resize.apply(volume, resize.Settings(size_px=[4, 1, 1]))
    assert out.values.ravel().tolist() == [0.5, 2.5, 4.5, 6.5]
    assert out.spacing_mm[0] == 2.0


def test_the_right_size_is_left_as_it_is():
    volume = Volume(np.random.default_rng(0).random((2, 5, 5), dtype=np.float32), "HU", (1.0, 1.0, 1.0))
    np.testing.assert_array_equal(resize.apply(volume, resize.Settings(size_px=[5, 5])).values, volume.values)


def test_a_mask_and_the_padding_go_to_the_nearest_pixel():
    mask = np.zeros((1, 8, 8), np.float32)
    mask[0, :4, 4:] = 1
    volume = Volume(mask, "mask", (1.0, 1.0, 1.0), padding_mask=mask.astype(bool))
    out = resize.apply_to_mask(volume, resize.Settings(size_px=[4, 16]))
    expected = np.zeros((4, 16))
    expected[:2, 8:] = 1
    np.testing.assert_array_equal(out.values[0], expected)
    np.testing.assert_array_equal(out.padding_mask[0], expected.astype(bool))


@pytest.mark.parametrize("size", [[48], [0, 4], [1, 2, 3, 4]])
def test_a_bad_size_is_an_error(size):
    with pytest.raises(ValidationError, match=r"expected \[y, x\] or \[z, y, x\]"):
        resize.Settings(size_px=size)
