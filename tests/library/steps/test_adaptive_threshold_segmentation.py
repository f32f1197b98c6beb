import numpy as np
import pytest
from pydantic import ValidationError
from scipy import ndimage

from scanloom.readers._volume import Volume
from scanloom.steps import adaptive_threshold_segmentation as segmentation
from scanloom.steps import contrast
from scanloom.steps._grey_levels import to_levels

RNG = np.random.default_rng(0)


def blobs(shape=(2, 60, 75)) -> Volume:
    smooth = ndimage.gaussian_filter(RNG.normal(size=shape), (0, 3, 3))
    levels = np.clip(120 + 40 * smooth / smooth.std(), 0, 255).round()
    levels[RNG.random(shape) > 0.995] = 0  # specks
    return Volume(levels.astype(np.float32), "0-255", (1.0, 1.0, 1.0))


def test_parts_are_those_of_the_formula_in_scipy():
    volume = blobs()
    settings = segmentation.Settings(factor=2, block_px=21, offset=5, output="mask")
    out = segmentation.apply(volume, settings)
    levels = to_levels(contrast.apply(volume, contrast.Settings(factor=2)), "test")[..., 0].astype(float)
    for ours, plane in zip(out.values, levels, strict=True):
        mean = np.floor(ndimage.uniform_filter(plane, 21, mode="nearest") + 0.5)
        labels, count = ndimage.label(plane <= mean - 5, structure=np.ones((3, 3)))
        boxes = ndimage.find_objects(labels)
        large = [
            k + 1
            for k, (rows, columns) in enumerate(boxes)
            if rows.stop - rows.start > 60 / 15 and columns.stop - columns.start > 75 / 15
        ]
        assert 0 < len(large) < count  # some parts are too small
        expected = np.isin(labels, large)
        assert (ours.astype(bool) != expected).mean() < 0.002  # means that lie on a half round either way


def test_the_image_keeps_its_levels_inside_and_is_black_outside():
    volume = blobs()
    mask = segmentation.apply(volume, segmentation.Settings(output="mask"))
    image = segmentation.apply(volume, segmentation.Settings())
    np.testing.assert_array_equal(image.values, np.where(mask.values > 0, volume.values, 0))
    assert set(np.unique(mask.values)) == {0.0, 1.0}
    assert (mask.unit, mask.slope, mask.intercept) == ("0-1", (1.0,), (0.0,))


def test_colours_have_one_mask():
    values = np.repeat(blobs((1, 60, 60)).values[..., None], 3, axis=-1)
    volume = Volume(values, "0-255", (1.0, 1.0, 1.0), channels=contrast.COLOURS)
    out = segmentation.apply(volume, segmentation.Settings(output="mask")).values
    assert (out == out[..., :1]).all()
    assert 0 < out.mean() < 1


@pytest.mark.parametrize(
    ("wrong", "problem"), [({"block_px": 50}, "must be odd"), ({"block_px": 1}, "greater"), ({"factor": 0}, "greater")]
)
def test_impossible_settings_are_errors(wrong, problem):
    with pytest.raises(ValidationError, match=problem):
        segmentation.Settings(**wrong)
