import numpy as np
import pytest
from pydantic import ValidationError

from scanloom.images.preprocessing import quantise
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


@pytest.mark.parametrize(
    ("name", "bounds"),
    [
        # Level and width as earlier work on head CT listed them: brain 40/80, stroke 40/40, ...
        ("brain", (0, 80)),
        ("stroke", (20, 60)),
        ("subdural", (-65, 215)),
        ("soft_tissue", (-147.5, 227.5)),
        ("bone", (-800, 2000)),
        ("angio", (0, 600)),
        ("whole", (-1024, 3071)),
    ],
)
def test_bounds_are_level_minus_and_plus_half_the_width(name, bounds):
    assert hu_window.bounds_hu(name) == bounds


def test_the_whole_range_keeps_every_hu_apart_at_16_bits():
    hu = np.arange(-1024, 3072, dtype=np.float32)
    images, slope, intercept = quantise(hu_window.apply(ct(hu), hu_window.Settings(windows=["whole"])), "uint16")
    np.testing.assert_array_equal(np.rint(images.ravel() * slope + intercept), hu)


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


def test_the_window_of_width_zero_that_some_lists_have_is_refused_by_name():
    with pytest.raises(BadSettings, match="window 'air' has width 0"):
        settings("steps", "hu_window", {"windows": ["brain", "air"]})
    with pytest.raises(BadSettings, match="finite"):
        settings("steps", "hu_window", {"windows": [{"level": float("nan"), "width": 80}]})


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


@pytest.mark.parametrize("windows", [["brain"], ["brain", "subdural", "bone"], list(hu_window.WINDOWS)])
def test_windows_in_one_pass_are_within_half_a_grey_level_of_the_formula(windows):
    hu = np.random.default_rng(0).uniform(-1500, 3500, (3, 20, 30)).astype(np.float32)
    hu[0, 0, :4] = 0, 40, 80, 25  # bounds, and a tie
    volume = Volume(hu, "HU", (5.0, 1.0, 1.0), slice_index=np.array([4, 5, 6]))
    chosen = hu_window.Settings(windows=windows)
    images, about = hu_window.apply_uint8(volume, chosen)
    low, high = np.array([hu_window.bounds_hu(window) for window in windows]).T
    exact = np.clip((hu[..., np.newaxis].astype(np.float64) - low) / (high - low), 0, 1) * 255
    assert images.dtype == np.uint8
    assert np.abs(images - exact).max() <= 0.5 + 1e-3
    usual = hu_window.apply(volume, chosen)
    for name in ("unit", "channels", "slope", "intercept", "spacing_mm"):
        assert getattr(about, name) == getattr(usual, name)
    assert about.slice_index.tolist() == [4, 5, 6]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_one_pass_refuses_values_that_are_not_finite(bad):
    with pytest.raises(ValueError, match="not finite"):
        hu_window.apply_uint8(ct([1, bad, 3]), hu_window.Settings(windows=["brain"]))


@pytest.mark.parametrize("huge", [1e9, 1e30])  # beyond 32 bits after scaling; its square beyond float32
def test_one_pass_takes_values_beyond_integers(huge):
    images, _ = hu_window.apply_uint8(ct([huge, -huge, 40]), hu_window.Settings(windows=["brain"]))
    assert images.ravel().tolist() == [255, 0, 128]  # level 40 is the middle: 127.5 to the even number


def test_one_pass_takes_windows_beyond_integers():
    wide, far = {"level": 0, "width": 4e9}, {"level": 1e7, "width": 1}
    volume, settings = ct([2e9, 0, -2e9]), hu_window.Settings(windows=["brain", wide, far])
    images, _ = hu_window.apply_uint8(volume, settings)
    assert images[..., :2].reshape(3, 2).tolist() == [[255, 255], [0, 128], [0, 0]]
    np.testing.assert_array_equal(images, np.rint(hu_window.apply(volume, settings).values * 255))
