import numpy as np
import pytest
from PIL import Image, ImageEnhance
from pydantic import ValidationError

from scanloom.images.preprocessing import quantise
from scanloom.readers._volume import Volume
from scanloom.steps import contrast, scale_range

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("factor", [0.5, 1, 2, 4, 10])
@pytest.mark.parametrize("colours", [1, 3])
def test_grey_levels_are_those_of_pillow_to_one_level(factor, colours):
    levels = np.clip(RNG.normal(110, 40, (20, 30, colours)), 0, 255).astype(np.uint8)
    names = ("red", "green", "blue") if colours == 3 else ("image",)
    volume = Volume(levels[None].astype(np.float32), "0-255", (np.nan,) * 3, channels=names)
    theirs = np.asarray(ImageEnhance.Contrast(Image.fromarray(levels.squeeze())).enhance(factor)).reshape(levels.shape)
    for given in (volume, scale_range.apply(volume, scale_range.Settings())):
        stored, *_ = quantise(contrast.apply(given, contrast.Settings(factor=factor)), "uint8")
        # Pillow cuts off where we round.
        assert np.abs(stored[0].astype(int) - theirs).max() <= 1


def test_the_mean_is_of_the_series_without_its_padding():
    values = np.array([[[0, 100]], [[200, 20]]], np.float32)
    padding = np.array([[[False, False]], [[False, True]]])
    volume = Volume(values, "0-255", (1, 1, 1), padding_mask=padding)
    out = contrast.apply(volume, contrast.Settings(factor=2))
    np.testing.assert_allclose(out.values.ravel() * 255, [0, 100, 255, 0], atol=1e-4)  # 100 + 2 (p - 100)


def test_what_is_not_clipped_leads_back_to_its_value():
    values = RNG.uniform(100, 150, (1, 8, 8)).astype(np.float32)
    out = contrast.apply(Volume(values, "0-255", (1, 1, 1)), contrast.Settings(factor=2))
    np.testing.assert_allclose(out.values * out.slope[0] + out.intercept[0], values, atol=1e-3)


@pytest.mark.parametrize("factor", [0, -1, 11])
def test_an_impossible_factor_is_an_error(factor):
    with pytest.raises(ValidationError):
        contrast.Settings(factor=factor)
