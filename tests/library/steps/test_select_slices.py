import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanloom.readers import dicom
from scanloom.readers._volume import Volume
from scanloom.steps import select_slices


def stack(n) -> Volume:
    return Volume(
        np.arange(n, dtype=np.float32).reshape(n, 1, 1), "HU", (5.0, 1.0, 1.0), padding_mask=np.zeros((n, 1, 1), bool)
    )


@pytest.mark.parametrize(
    ("n", "every", "share", "expected"),
    [
        (10, 1, 1.0, list(range(10))),
        (10, 1, 0.4, [3, 4, 5, 6]),
        (9, 2, 1.0, [0, 2, 4, 6, 8]),
        (9, 3, 0.5, [4]),
        (1, 5, 0.1, [0]),
    ],
)
def test_the_middle_is_kept(n, every, share, expected):
    out = select_slices.apply(stack(n), select_slices.Settings(every=every, central_share=share))
    assert out.slice_index.tolist() == expected
    assert out.values.ravel().tolist() == expected


@given(st.integers(1, 60), st.integers(1, 9), st.floats(0.01, 1))
def test_at_least_one_slice_is_left_and_numbers_stay_right(n, every, share):
    out = select_slices.apply(stack(n), select_slices.Settings(every=every, central_share=share))
    assert out.slices >= 1
    assert out.values.ravel().tolist() == out.slice_index.tolist()
    assert out.spacing_mm[0] == 5.0 * every


@given(st.integers(3, 60))
def test_thirds_by_height_share_no_slice_and_lose_none(n):
    """A range holds what is at its lower end and not what is at its upper end, but for the last slice."""
    thirds = [(0.0, 0.3333), (0.3333, 0.6667), (0.6667, 1.0)]
    kept = [select_slices.apply(stack(n), select_slices.Settings(z_range=part)).slice_index for part in thirds]
    assert np.concatenate(kept).tolist() == list(range(n))


def test_the_top_of_a_stack_is_what_its_normalised_height_says():
    """Height k / (n - 1): of 11 slices those from 0.9 on are the last two."""
    assert select_slices.apply(stack(11), select_slices.Settings(z_range=(0.9, 1.0))).slice_index.tolist() == [9, 10]


def test_height_is_measured_in_millimetres_where_slices_are_not_equally_far_apart(shared_data):
    """z = (z - min) / (max - min). A head CT with slices every 4 mm below and every 7 mm above: fewer lie in its upper
    thirds, and those that a step before has left keep their places."""
    folder = shared_data / "ct_head_tilt_dicom"
    settings = dicom.Settings(gantry_tilt="keep")
    images = dicom.group_series(dicom.scan(folder, settings), settings).images
    position = images.position_mm.to_numpy()
    height = (position - position.min()) / (position.max() - position.min())
    volume = dicom.read_series(folder, images, settings)
    thirds = [(0.0, 1 / 3), (1 / 3, 2 / 3), (2 / 3, 1.0)]
    kept = [select_slices.apply(volume, select_slices.Settings(z_range=part)).slice_index for part in thirds]
    assert [len(part) for part in kept] == [13, 8, 7]
    assert np.concatenate(kept).tolist() == list(range(len(height)))
    assert height[kept[1]].min() >= 1 / 3 > height[kept[0]].max()
    every_other = select_slices.apply(volume, select_slices.Settings(every=2))
    upper = select_slices.apply(every_other, select_slices.Settings(z_range=(0.5, 1.0))).slice_index
    assert (position[upper] - position[every_other.slice_index[0]]).min() >= np.ptp(
        position[every_other.slice_index]
    ) / 2


def test_a_range_without_slices_and_a_range_the_wrong_way_round_are_errors():
    middle = select_slices.Settings(z_range=(0.3, 0.6))
    with pytest.raises(ValueError, match=r"none of 2 slices has a height from 0.3 to 0.6"):
        select_slices.apply(stack(2), middle)
    with pytest.raises(ValueError, match="0 <= low < high <= 1"):
        select_slices.Settings(z_range=(0.6, 0.3))
