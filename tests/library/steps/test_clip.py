import numpy as np
import pytest
from pydantic import ValidationError

from scanloom.readers._volume import Volume
from scanloom.steps import clip, hu_window

HU = np.random.default_rng(0).uniform(-1100, 3000, (2, 6, 6)).astype(np.float32)


@pytest.mark.parametrize("bounds", [{"low": -100}, {"high": 500}, {"low": -100, "high": 500}])
def test_values_are_those_of_numpys_clip(bounds):
    out = clip.apply(Volume(HU, "HU", (5.0, 1.0, 1.0)), clip.Settings(**bounds))
    np.testing.assert_array_equal(out.values, np.clip(HU, bounds.get("low"), bounds.get("high")))
    assert (out.unit, out.slope, out.intercept) == ("HU", (1.0,), (0.0,))


def test_bounds_are_physical_values_after_scaling_too():
    windows = hu_window.Settings(windows=["brain", "bone"])
    volume = Volume(HU, "HU", (5.0, 1.0, 1.0))
    before = hu_window.apply(clip.apply(volume, clip.Settings(low=20, high=60)), windows)
    after = clip.apply(hu_window.apply(volume, windows), clip.Settings(low=20, high=60))
    np.testing.assert_allclose(before.values, after.values, atol=1e-6)


@pytest.mark.parametrize(
    ("bounds", "problem"),
    [({}, "at least one"), ({"low": 5, "high": 5}, "must be below"), ({"low": float("nan")}, "finite")],
)
def test_an_empty_interval_is_an_error(bounds, problem):
    with pytest.raises(ValidationError, match=problem):
        clip.Settings(**bounds)
