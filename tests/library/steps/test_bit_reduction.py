import numpy as np
import pytest
from PIL import Image, ImageOps
from pydantic import ValidationError

from scanloom.images.preprocessing import quantise
from scanloom.readers._volume import Volume
from scanloom.steps import bit_reduction, hu_window, scale_range

LEVELS = np.arange(256, dtype=np.uint8).reshape(16, 16)


@pytest.mark.parametrize("bits", range(1, 9))
def test_levels_are_those_of_pillows_posterize(bits):
    volume = Volume(LEVELS[None].astype(np.float32), "0-255", (np.nan,) * 3)
    expected = np.asarray(ImageOps.posterize(Image.fromarray(LEVELS), bits))
    out = bit_reduction.apply(volume, bit_reduction.Settings(bits=bits))
    np.testing.assert_array_equal(out.values[0], expected)
    stored, *_ = quantise(
        bit_reduction.apply(scale_range.apply(volume, scale_range.Settings()), bit_reduction.Settings(bits=bits)),
        "uint8",
    )
    np.testing.assert_array_equal(stored[0, ..., 0], expected)
    assert len(np.unique(stored)) == 2**bits


def test_windows_are_reduced_one_by_one():
    hu = np.linspace(-900, 2100, 200).reshape(1, 10, 20).astype(np.float32)
    volume = hu_window.apply(Volume(hu, "HU", (1, 1, 1)), hu_window.Settings(windows=["brain", "bone"]))
    out = bit_reduction.apply(volume, bit_reduction.Settings(bits=2))
    assert [len(np.unique(out.values[..., c])) for c in range(2)] == [4, 4]
    assert out.slope == volume.slope


def test_values_without_grey_levels_say_what_to_do_first():
    with pytest.raises(ValueError, match=r"bit_reduction works on grey levels.*unit 'HU'; map them to \[0, 1\] before"):
        bit_reduction.apply(Volume(np.zeros((1, 2, 2), np.float32), "HU", (1, 1, 1)), bit_reduction.Settings())


@pytest.mark.parametrize("bits", [0, 9, 2.5])
def test_only_1_to_8_bits_can_be_kept(bits):
    with pytest.raises(ValidationError):
        bit_reduction.Settings(bits=bits)
