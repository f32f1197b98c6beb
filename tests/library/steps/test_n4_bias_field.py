import numpy as np
import pytest
from pydantic import ValidationError

from scanloom.readers._volume import Volume
from scanloom.steps import n4_bias_field

SHORT = n4_bias_field.Settings(shrink=2, iterations=[30, 30, 20], foreground=10)


def biased(slices: int) -> tuple[Volume, np.ndarray, np.ndarray]:
    """Two tissues of 200 and 400 under a field from 0.4 to 1.7, what they are without it, and the field."""
    y, x = np.meshgrid(*[np.linspace(-1, 1, 48)] * 2, indexing="ij")
    y, x = np.stack([y] * slices), np.stack([x] * slices)
    tissue = np.select([np.hypot(y, x) < 0.45, np.hypot(y, x) < 0.85], [400.0, 200.0], 0.0)
    tissue += (tissue > 0) * np.random.default_rng(0).normal(0, 4, tissue.shape)
    field = np.exp(0.5 * x - 0.35 * y**2 + 0.15 * y)
    return Volume((tissue * field).astype(np.float32), "arbitrary", (2.0, 1.0, 1.0)), tissue, field


def spread(values: np.ndarray, tissue: np.ndarray) -> float:
    """Coefficient of variation within the brighter tissue."""
    return float(values[tissue > 300].std() / values[tissue > 300].mean())


@pytest.mark.parametrize("slices", [1, 8])
def test_a_known_field_is_taken_out(slices):
    volume, tissue, field = biased(slices)
    out = n4_bias_field.apply(volume, SHORT)
    assert spread(volume.values, tissue) > 0.1
    assert spread(out.values, tissue) < 0.25 * spread(volume.values, tissue)
    found = volume.values[tissue > 100] / out.values[tissue > 100]
    assert np.corrcoef(np.log(found), np.log(field[tissue > 100]))[0, 1] > 0.98
    assert (out.slope, out.intercept, out.unit) == (volume.slope, volume.intercept, "arbitrary")


def test_channels_are_corrected_one_by_one():
    volume, tissue, _ = biased(1)
    flat = np.float32(300) * (tissue > 0)
    both = Volume(np.stack([volume.values, flat], -1).astype(np.float32), "arbitrary", (1, 1, 1), channels=("a", "b"))
    out = n4_bias_field.apply(both, SHORT)
    np.testing.assert_allclose(out.values[..., 0], n4_bias_field.apply(volume, SHORT).values, rtol=1e-5)
    np.testing.assert_allclose(out.values[..., 1], flat, rtol=0.02)


def test_ct_and_values_that_are_scaled_already_are_refused():
    with pytest.raises(ValueError, match="CT has no bias field"):
        n4_bias_field.apply(Volume(np.ones((1, 8, 8), np.float32), "HU", (1, 1, 1)), SHORT)
    scaled = Volume(np.ones((1, 8, 8), np.float32), "arbitrary", (1, 1, 1), slope=(900.0,), intercept=(0.0,))
    with pytest.raises(ValueError, match="put it before the step"):
        n4_bias_field.apply(scaled, SHORT)


def test_an_empty_picture_stays_as_it_is():
    black = Volume(np.zeros((2, 8, 8), np.float32), "arbitrary", (1, 1, 1))
    assert (n4_bias_field.apply(black, SHORT).values == 0).all()


@pytest.mark.parametrize("wrong", [{"iterations": []}, {"shrink": 0}, {"convergence": 0}])
def test_impossible_settings_are_errors(wrong):
    with pytest.raises(ValidationError):
        n4_bias_field.Settings(**wrong)
