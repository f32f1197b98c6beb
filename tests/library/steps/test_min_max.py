import numpy as np

from scanloom.readers._volume import Volume
from scanloom.steps import min_max


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
