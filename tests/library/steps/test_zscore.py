import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.preprocessing import StandardScaler

from scanloom.readers._volume import Volume
from scanloom.steps import zscore

RNG = np.random.default_rng(0)


def stripped(channels=1) -> Volume:
    """A brain of bright values in a background of exact zeros, per channel another scale."""
    values = RNG.normal(300, 40, (3, 12, 12, channels)).astype(np.float32) * np.arange(1, channels + 1)
    values[:, :3] = 0
    return Volume(values.astype(np.float32), "arbitrary", (1.0, 1.0, 1.0), channels=tuple(map(str, range(channels))))


def test_z_is_scikit_learns_standard_score_of_the_foreground():
    volume = stripped(channels=2)
    out = zscore.apply(volume, zscore.Settings(foreground=0, limit=10))
    z = out.values * 20 - 10
    inside = volume.values[..., 0] > 0
    expected = StandardScaler().fit_transform(volume.values[inside].astype(np.float64))
    np.testing.assert_allclose(z[inside], expected, atol=1e-4)


def test_the_mean_is_half_and_the_limits_are_the_ends():
    values = np.array([-3, -1, 1, 3], np.float32).reshape(1, 1, 4)  # mean 0, standard deviation sqrt(5)
    out = zscore.apply(Volume(values, "arbitrary", (1, 1, 1)), zscore.Settings(foreground="all", limit=1))
    np.testing.assert_allclose(out.values.ravel(), [0, 0.5 - 0.5 / 5**0.5, 0.5 + 0.5 / 5**0.5, 1], atol=1e-6)
    np.testing.assert_allclose([out.slope[0], out.intercept[0]], [2 * 5**0.5, -(5**0.5)])


def test_the_result_does_not_depend_on_the_scanners_scale():
    volume = stripped()
    other = Volume(volume.values * 7.5, "arbitrary", volume.spacing_mm, channels=volume.channels)
    settings = zscore.Settings(foreground="otsu")
    np.testing.assert_allclose(zscore.apply(volume, settings).values, zscore.apply(other, settings).values, atol=1e-5)


def test_otsus_foreground_is_not_moved_by_more_air():
    volume = stripped()
    wide = Volume(
        np.pad(volume.values, [(0, 0), (40, 40), (0, 0), (0, 0)]), "arbitrary", volume.spacing_mm, channels=("0",)
    )
    a, b = (zscore.apply(v, zscore.Settings()) for v in (volume, wide))
    np.testing.assert_allclose([a.slope, a.intercept], [b.slope, b.intercept], rtol=1e-6)


def test_a_constant_foreground_becomes_zero():
    out = zscore.apply(Volume(np.full((1, 3, 3), 9, np.float32), "arbitrary", (1, 1, 1)), zscore.Settings())
    assert (out.values == 0).all()
    assert out.intercept == (9.0,)


def test_a_limit_of_zero_and_an_unknown_foreground_are_errors():
    with pytest.raises(ValidationError):
        zscore.Settings(limit=0)
    with pytest.raises(ValidationError):
        zscore.Settings(foreground="brain")
