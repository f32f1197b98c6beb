"""Another library reads what is written."""

import io

import numpy as np
import pytest
from PIL import Image

from scanloom.files.png import png_of


@pytest.mark.parametrize("shape", [(5, 7), (1, 1), (4, 3, 3)])
def test_pillow_reads_the_same_pixels(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    image = Image.open(io.BytesIO(png_of(pixels)))
    image.verify()
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png_of(pixels)))), pixels)


@pytest.mark.parametrize("pixels", [np.zeros((4, 4)), np.zeros((4, 4, 2), np.uint8), np.zeros(4, np.uint8)])
def test_other_arrays_are_errors(pixels):
    with pytest.raises(ValueError, match="must be uint8"):
        png_of(pixels)
