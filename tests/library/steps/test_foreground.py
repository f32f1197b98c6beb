import numpy as np
import pytest
import SimpleITK as sitk

from scanloom.readers._volume import Volume
from scanloom.steps import hu_window
from scanloom.steps._foreground import above, foreground, otsu_threshold
from scanloom.steps._inside import Inside


@pytest.mark.parametrize("seed", range(4))
def test_the_threshold_is_simpleitks_to_one_of_256_levels(seed):
    rng = np.random.default_rng(seed)
    values = np.concatenate([rng.normal(-900, 60, 4000), rng.normal(rng.uniform(0, 300), 90, 3000)]).astype(np.float32)
    otsu = sitk.OtsuThresholdImageFilter()
    otsu.SetNumberOfHistogramBins(256)
    otsu.Execute(sitk.GetImageFromArray(values.reshape(70, 100)))
    # Between two classes far apart any threshold in the gap has the same variance; what counts is who is above.
    ours = values > otsu_threshold(Inside(values.reshape(7, 10, 100), None))
    assert (ours != (values > otsu.GetThreshold())).mean() < 0.01


def test_nothing_of_a_constant_is_foreground_and_then_all_of_it_counts():
    volume = Volume(np.full((2, 3, 3), 7, np.float32), "arbitrary", (1, 1, 1))
    assert not above(volume, "otsu").any()
    assert foreground(volume, "otsu").all()
    assert foreground(volume, 100.0).all()


def test_a_number_is_a_physical_value_before_and_after_scaling():
    values = np.random.default_rng(0).uniform(-100, 200, (2, 8, 8)).astype(np.float32)
    ct = Volume(values, "HU", (5.0, 1.0, 1.0))
    brain = hu_window.apply(ct, hu_window.Settings(windows=["brain"]))
    np.testing.assert_array_equal(above(ct, 30.0), values > 30)
    np.testing.assert_array_equal(above(brain, 30.0), values > 30)


def test_padding_is_no_foreground_and_one_bright_channel_is_enough():
    values = np.zeros((1, 2, 2, 2), np.float32)
    values[0, 0, 0, 1] = values[0, 1] = 5
    padding = np.array([[[False, False], [True, True]]])
    volume = Volume(values, "arbitrary", (1, 1, 1), padding_mask=padding, channels=("a", "b"))
    assert above(volume, 1.0).tolist() == [[[True, False], [False, False]]]
    assert foreground(volume, "all").tolist() == [[[True, True], [False, False]]]
