"""What is computed slice by slice equals NumPy on all values at once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from scanloom.readers._volume import Volume
from scanloom.steps._inside import Inside, inside

CHANNELS = arrays(
    np.float32,
    array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=6),
    elements=st.floats(-(2.0**99), 2.0**99, width=32) | st.sampled_from([0.0, -0.0, 1.0, -1.0]),
)


@given(CHANNELS, st.data())
def test_percentiles_range_and_mean_are_numpys(channel, data):
    mask = data.draw(st.none() | arrays(bool, channel.shape).filter(np.any))
    percents = data.draw(st.lists(st.floats(0, 100), min_size=1, max_size=3))
    values, counted = Inside(channel, mask), channel.ravel() if mask is None else channel[mask]
    counted = counted.astype(np.float64)
    assert values.count() == counted.size
    assert values.extremes() == (counted.min(), counted.max())
    scale = np.abs(counted).max() or 1.0
    assert values.mean() == pytest.approx(counted.mean(), abs=1e-12 * scale)
    expected = np.percentile(counted, percents)
    np.testing.assert_allclose(values.percentiles(percents), expected, rtol=0, atol=1e-12 * scale)


def test_percentiles_of_many_values_are_exact():
    """Ranks beyond the whole numbers that float32 holds (2 ** 24), where NumPy's own way is off by some ranks."""
    channel = np.arange(2**24 + 2**20, dtype=np.uint32).reshape(17, 1024, 1024).astype(np.float32)
    low, high = Inside(channel, None).percentiles([0.1, 99.9])
    last = channel.size - 1
    assert (low, high) == (pytest.approx(0.001 * last, abs=2), pytest.approx(0.999 * last, abs=2))


def test_padding_does_not_count_unless_there_is_nothing_else():
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2)
    padding = np.zeros((2, 3, 2), bool)
    padding[0] = True
    channels, scales = ("a", "b"), {"slope": (1.0, 1.0), "intercept": (0.0, 0.0)}
    volume = Volume(values, "arbitrary", (1, 1, 1), padding, channels, **scales)
    assert [one.extremes() for one in inside(volume)] == [(12, 22), (13, 23)]
    volume = Volume(values, "arbitrary", (1, 1, 1), np.ones_like(padding), channels, **scales)
    assert [one.extremes() for one in inside(volume)] == [(0, 22), (1, 23)]
