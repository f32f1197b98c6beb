import numpy as np
import pytest
from pydantic import ValidationError

from scanloom.readers._volume import Volume
from scanloom.steps import scale_range


def test_grey_levels_become_shares_of_255_whatever_the_image_holds():
    volume = Volume(np.array([[[0, 51, 102]]], np.float32), "0-255", (np.nan,) * 3)
    out = scale_range.apply(volume, scale_range.Settings())
    np.testing.assert_allclose(out.values.ravel(), [0, 0.2, 0.4], rtol=1e-6)
    assert (out.slope, out.intercept) == ((255.0,), (0.0,))


def test_values_beyond_the_bounds_are_clipped_and_scaling_twice_composes():
    volume = Volume(np.array([[[-1, 5, 99]]], np.float32), "arbitrary", (1, 1, 1))
    once = scale_range.apply(volume, scale_range.Settings(low=0, high=10))
    assert once.values.ravel().tolist() == [0.0, 0.5, 1.0]
    twice = scale_range.apply(once, scale_range.Settings(low=0.25, high=0.75))
    assert twice.values.ravel().tolist() == [0.0, 0.5, 1.0]
    assert 0.5 * twice.slope[0] + twice.intercept[0] == 5.0


def test_colour_channels_are_scaled_alike():
    values = np.tile(np.array([0, 255, 127.5], np.float32), (1, 2, 2, 1))
    out = scale_range.apply(Volume(values, "0-255", (np.nan,) * 3, channels=("r", "g", "b")), scale_range.Settings())
    assert out.values[0, 0, 0].tolist() == [0.0, 1.0, 0.5]


def test_an_empty_interval_is_an_error():
    with pytest.raises(ValidationError, match=r"low \(400\) must be below high \(-100\)"):
        scale_range.Settings(low=400, high=-100)
