import numpy as np
import pytest
from pydantic import ValidationError

from scanloom.plugins import BadSettings, settings
from scanloom.readers._volume import Volume
from scanloom.steps import hu_window


def ct(values) -> Volume:
    return Volume(np.array(values, np.float32).reshape(1, 1, -1), "HU", (5.0, 1.0, 1.0))


@pytest.mark.parametrize("name", hu_window.WINDOWS)
def test_window_maps_bounds_to_exactly_zero_and_one(name):
    low, high = hu_window.bounds_hu(name)
    out = hu_window.apply(
        ct([low - 1000, low, (low + high) / 2, high, high + 1000]), hu_window.Settings(windows=[name])
    )
    assert out.values.dtype == np.float32
    assert out.values.ravel().tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]
    assert out.channels == (name,)


def test_bounds_are_level_minus_and_plus_half_the_width():
    # Published windows: brain 40/80, bone 600/2800.
    assert hu_window.bounds_hu("brain") == (0, 80)
    assert hu_window.bounds_hu("bone") == (-800, 2000)


def test_several_windows_are_channels_in_order_and_lead_back_to_hu():
    hu = np.linspace(5, 75, 20)
    chosen = hu_window.Settings(windows=["bone", {"level": 40, "width": 80}])
    out = hu_window.apply(ct(hu), chosen)
    assert out.values.shape == (1, 1, 20, 2)
    assert out.channels == ("bone", "level40_width80")
    back = out.values * np.array(out.slope) + np.array(out.intercept)
    np.testing.assert_allclose(back, np.stack([hu, hu], axis=-1)[None, None], atol=1e-3)


def test_the_same_hu_means_the_same_in_every_slice():
    values = np.array([[[40, 2797]], [[40, 80]]], np.float32)
    out = hu_window.apply(Volume(values, "HU", (5, 1, 1)), hu_window.Settings(windows=["brain"]))
    assert out.values[0, 0, 0, 0] == out.values[1, 0, 0, 0] == 0.5


@pytest.mark.parametrize("width", [0, -5])
def test_a_degenerate_window_is_an_error(width):
    with pytest.raises(ValidationError, match="window width must be > 0"):
        hu_window.Settings(windows=[{"level": -1000, "width": width}])


def test_unknown_and_repeated_windows_are_errors():
    with pytest.raises(BadSettings, match=r"no window 'brian'.*Did you mean 'brain'"):
        settings("steps", "hu_window", {"windows": ["brian"]})
    with pytest.raises(BadSettings, match="listed twice"):
        settings("steps", "hu_window", {"windows": ["bone", "bone"]})
    with pytest.raises(BadSettings):
        settings("steps", "hu_window", {"windows": []})


def test_only_hounsfield_units_are_windowed_and_only_once():
    grey = Volume(np.zeros((1, 2, 2), np.float32), "0-255", (np.nan,) * 3)
    with pytest.raises(ValueError, match="unit '0-255'; use scale_range"):
        hu_window.apply(grey, hu_window.Settings(windows=["brain"]))
    once = hu_window.apply(ct([0, 1]), hu_window.Settings(windows=["brain"]))
    with pytest.raises(ValueError, match="already scaled"):
        hu_window.apply(once, hu_window.Settings(windows=["brain"]))
