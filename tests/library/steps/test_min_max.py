import numpy as np
import pytest
from pydantic import ValidationError

from scanloom.readers._volume import Volume
from scanloom.steps import hu_window, min_max


def test_the_series_not_the_slice_sets_the_scale():
    values = np.array([[[0, 50]], [[25, 100]]], np.float32)
    out = min_max.apply(Volume(values, "arbitrary", (1, 1, 1)), min_max.Settings())
    assert out.values.ravel().tolist() == [0.0, 0.5, 0.25, 1.0]
    np.testing.assert_allclose(out.values * out.slope[0] + out.intercept[0], values)


def test_padding_does_not_set_the_scale():
    values = np.array([[[-2000, 10, 30]]], np.float32)
    padding = np.array([[[True, False, False]]])
    out = min_max.apply(Volume(values, "arbitrary", (1, 1, 1), padding_mask=padding), min_max.Settings())
    assert out.values.ravel().tolist() == [0.0, 0.0, 1.0]


def test_a_constant_channel_becomes_zero():
    out = min_max.apply(Volume(np.full((1, 2, 2), 7, np.float32), "arbitrary", (1, 1, 1)), min_max.Settings())
    assert (out.values == 0).all()
    assert out.values[0, 0, 0] * out.slope[0] + out.intercept[0] == 7


def test_over_the_dataset_a_value_means_the_same_in_every_image():
    settings = min_max.Settings(over="dataset", low=0, high=4000)
    for values in ([0, 1000], [1000, 9000]):
        volume = Volume(np.array(values, np.float32).reshape(1, 1, 2), "arbitrary", (1, 1, 1))
        out = min_max.apply(volume, settings)
        assert out.values[volume.values == 1000].tolist() == [0.25]
        assert (out.slope, out.intercept) == ((4000.0,), (0.0,))


@pytest.mark.parametrize(("unit", "bounds"), [("HU", (-1024, 3071)), ("0-255", (0, 255))])
def test_over_the_dataset_a_unit_brings_its_range(unit, bounds):
    volume = Volume(np.array(bounds, np.float32).reshape(1, 1, 2), unit, (1, 1, 1))
    assert min_max.apply(volume, min_max.Settings(over="dataset")).values.ravel().tolist() == [0.0, 1.0]


def test_without_a_range_of_its_own_a_unit_needs_bounds():
    volume = Volume(np.zeros((1, 2, 2), np.float32), "arbitrary", (1, 1, 1))
    with pytest.raises(ValueError, match="unit 'arbitrary' has no natural range; give low and high"):
        min_max.apply(volume, min_max.Settings(over="dataset"))


def test_channels_may_have_bounds_of_their_own():
    volume = Volume(np.full((1, 1, 1, 2), 50, np.float32), "arbitrary", (1, 1, 1), channels=("t1", "t2"))
    out = min_max.apply(volume, min_max.Settings(over="dataset", low=[0, 0], high=[100, 200]))
    assert out.values.ravel().tolist() == [0.5, 0.25]
    with pytest.raises(ValueError, match="3 values of low and high for 2 channels"):
        min_max.apply(volume, min_max.Settings(over="dataset", low=[0, 0, 0], high=[1, 1, 1]))


def test_bounds_are_physical_values_after_a_window():
    ct = Volume(np.array([[[0, 40, 80]]], np.float32), "HU", (1, 1, 1))
    brain = hu_window.apply(ct, hu_window.Settings(windows=["brain"]))
    out = min_max.apply(brain, min_max.Settings(over="dataset", low=0, high=40))
    np.testing.assert_allclose(out.values.ravel(), [0, 1, 1], atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"over": "dataset", "low": 1}, "both low and high"),
        ({"low": 0, "high": 1}, "belong to over: dataset"),
        ({"over": "dataset", "low": 5, "high": 5}, "must be below"),
        ({"over": "dataset", "low": [0, 0], "high": [1]}, "2 lows and 1 highs"),
    ],
)
def test_bounds_that_mean_nothing_are_errors(settings, problem):
    with pytest.raises(ValidationError, match=problem):
        min_max.Settings(**settings)
