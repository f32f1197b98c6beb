import numpy as np
import pytest
from pydantic import ValidationError

from scanloom.readers._volume import Volume
from scanloom.steps import percentile


def test_the_percentiles_become_zero_and_one():
    values = np.arange(101, dtype=np.float32).reshape(1, 1, 101)
    out = percentile.apply(Volume(values, "arbitrary", (1, 1, 1)), percentile.Settings(low_percent=10, high_percent=90))
    np.testing.assert_allclose(out.values.ravel(), np.clip((np.arange(101) - 10) / 80, 0, 1), atol=1e-6)


def test_each_channel_has_its_own_and_padding_does_not_count():
    values = np.stack([np.arange(101.0), 10 * np.arange(101.0)], axis=-1)[None, None].astype(np.float32)
    values = np.concatenate([values, np.full((1, 1, 101, 2), -5000, np.float32)], axis=1)
    padding = np.zeros(values.shape[:3], bool)
    padding[:, 1] = True
    volume = Volume(values, "arbitrary", (1, 1, 1), padding_mask=padding, channels=("a", "b"))
    out = percentile.apply(volume, percentile.Settings(low_percent=0, high_percent=100))
    assert out.slope == (100.0, 1000.0)
    assert (out.values[:, 1] == 0).all()


def test_crossed_percentiles_are_an_error():
    with pytest.raises(ValidationError, match="must be below"):
        percentile.Settings(low_percent=60, high_percent=40)


def test_of_a_foreground_the_air_around_it_does_not_count():
    tissue = np.linspace(100, 200, 101, dtype=np.float32).reshape(1, 1, 101)
    padded = np.pad(tissue, [(0, 0), (30, 30), (0, 0)])
    settings = percentile.Settings(low_percent=10, high_percent=90, foreground="otsu")
    out = percentile.apply(Volume(padded, "arbitrary", (1, 1, 1)), settings)
    np.testing.assert_allclose([out.intercept[0], out.intercept[0] + out.slope[0]], [110, 190], rtol=1e-6)
    everything = percentile.apply(Volume(padded, "arbitrary", (1, 1, 1)), percentile.Settings(low_percent=10))
    assert everything.intercept == (0.0,)
