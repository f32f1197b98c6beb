from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from scanloom.readers._volume import Volume
from scanloom.steps import hu_window, slices_2_5d


def stack(n=5, spacing=5.0) -> Volume:
    return Volume(np.arange(n, dtype=np.float32).reshape(n, 1, 1), "HU", (spacing, 1.0, 1.0))


def test_neighbours_are_channels_and_ends_are_repeated():
    out = slices_2_5d.apply(stack(4), slices_2_5d.Settings())
    assert out.values[:, 0, 0].tolist() == [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 3]]
    assert out.channels == ("image_minus_1", "image", "image_plus_1")
    assert out.slice_index.tolist() == [0, 1, 2, 3]
    assert out.spacing_mm == (5.0, 1.0, 1.0)


@given(st.integers(1, 12), st.integers(1, 4))
def test_every_channel_is_the_stack_shifted_with_its_border_repeated(n, neighbours):
    volume = stack(n)
    out = slices_2_5d.apply(volume, slices_2_5d.Settings(neighbours=neighbours))
    for channel, k in enumerate(range(-neighbours, neighbours + 1)):
        expected = ndimage.shift(volume.values, (-k, 0, 0), order=0, mode="nearest")
        np.testing.assert_array_equal(out.values[..., channel], expected)


@pytest.mark.parametrize(("spacing", "step"), [(5.0, 1), (2.5, 2), (1.25, 4), (9.0, 1), (12.0, 0)])
def test_a_distance_picks_the_nearest_slice_to_it(spacing, step):
    out = slices_2_5d.apply(stack(20, spacing), slices_2_5d.Settings(offset_mm=5.0))
    assert out.values[10, 0, 0].tolist() == [10 - step, 10, 10 + step]


def test_windows_of_each_neighbour_stay_together_and_lead_back_to_hu():
    windows = hu_window.apply(stack(3), hu_window.Settings(windows=["brain", "bone"]))
    out = slices_2_5d.apply(windows, slices_2_5d.Settings())
    assert out.channels[:3] == ("brain_minus_1", "bone_minus_1", "brain")
    back = out.values * np.array(out.slope) + np.array(out.intercept)
    np.testing.assert_allclose(back[1, 0, 0], [0, 0, 1, 1, 2, 2], atol=1e-3)


def test_a_distance_picks_the_nearest_slice_where_slices_are_not_equally_far_apart():
    volume = replace(stack(5), stack_mm=np.array([0.0, 2.0, 4.0, 10.0, 16.0]))
    out = slices_2_5d.apply(volume, slices_2_5d.Settings(neighbours=1, offset_mm=6.0))
    nearest = [[0, 0, 2], [0, 1, 3], [0, 2, 3], [2, 3, 4], [3, 4, 4]]
    np.testing.assert_array_equal(out.values[:, 0, 0], volume.values[nearest, 0, 0])


def test_a_distance_needs_the_distance_of_slices():
    with pytest.raises(ValueError, match="set offset_mm to null"):
        slices_2_5d.apply(stack(3, np.nan), slices_2_5d.Settings(offset_mm=5))
    single = slices_2_5d.apply(stack(1, np.nan), slices_2_5d.Settings(offset_mm=5))
    assert single.values.shape == (1, 1, 1, 3)
