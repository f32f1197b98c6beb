"""Views that change values, against Pillow, OpenCV, SciPy, colorsys and formulas in NumPy."""

import colorsys

import cv2
import keras
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from scipy import ndimage

from scanloom.pretraining.view_pipeline import Pipeline
from scanloom.stateless_random import keys_of
from scanloom.views import _colour, _number_table

KEYS = keys_of(range(6))


def bytes_of(shape):
    """Images with an uneven histogram."""
    return (255 * np.random.default_rng(4).random((len(KEYS), *shape)) ** 2).astype(np.uint8)


def unit(images):
    return images.astype(np.float32) / 255


def applied(name, settings, images, draws=None):
    pipeline = Pipeline([(name, settings)], images.shape[1:])
    prefix = f"0.{name}."
    draws = pipeline.draw(1, 0, 0, KEYS) if draws is None else {prefix + k: v for k, v in draws.items()}
    made = keras.ops.convert_to_numpy(pipeline.apply(images, draws))
    return made, {k.removeprefix(prefix): v for k, v in draws.items()}


@pytest.mark.parametrize("shape", [(28, 20, 1), (6, 7, 3)])
def test_equalised_images_are_opencvs_per_channel(shape):
    images = bytes_of(shape)
    images[0, ..., 0] = 77  # one level: stays
    images[1, ..., 0] = np.where(images[1, ..., 0] > 100, 255, 0)
    got, _ = applied("equalise", {"p": 1.0}, unit(images))
    for image, seen in zip(images, got, strict=True):
        for channel in range(shape[-1]):
            expected = cv2.equalizeHist(np.ascontiguousarray(image[..., channel]))
            # OpenCV rounds to whole levels.
            assert np.abs(255 * seen[..., channel] - expected).max() < 0.5 + 1e-3


def test_a_volume_is_equalised_as_a_whole():
    images = bytes_of((5, 6, 7, 1))
    got, _ = applied("equalise", {"p": 1.0}, unit(images))
    expected = cv2.equalizeHist(images[0].reshape(1, -1))
    assert np.abs(255 * got[0].reshape(1, -1) - expected).max() < 0.5 + 1e-3


def test_solarised_images_are_pillows():
    images = bytes_of((9, 8, 1))
    got, _ = applied("solarise", {"p": 1.0, "threshold": 128 / 255}, unit(images))
    for image, seen in zip(images, got, strict=True):
        expected = np.asarray(ImageOps.solarize(Image.fromarray(image[..., 0]), 128))
        assert np.allclose(255 * seen[..., 0], expected, atol=1e-4)


def test_inverted_images_are_pillows():
    images = bytes_of((9, 8, 1))
    got, _ = applied("invert", {"p": 1.0}, unit(images))
    expected = np.asarray(ImageOps.invert(Image.fromarray(images[0, ..., 0])))
    assert np.allclose(255 * got[0, ..., 0], expected, atol=1e-4)


def test_gamma_is_a_power_between_its_limits_and_keeps_black_and_white():
    images = unit(bytes_of((9, 8, 1)))
    images[:, 0, 0], images[:, 0, 1] = 0, 1
    got, draws = applied("gamma", {"p": 1.0, "low": 0.5, "high": 2.0}, images)
    assert np.allclose(got, images.astype("f8") ** draws["power"].astype("f8")[:, None, None, None], atol=1e-6)
    assert (got[:, 0, 0] == 0).all()
    assert (got[:, 0, 1] == 1).all()
    powers = Pipeline([("gamma", {"p": 1.0, "low": 0.5, "high": 2.0})], (4, 4, 1)).draw(1, 0, 0, keys_of(range(4000)))
    logs = np.log2(powers["0.gamma.power"])
    assert logs.min() >= -1.0001
    assert logs.max() <= 1.0001
    assert np.isclose(logs.mean(), 0, atol=0.03), "evenly on the logarithm's scale"


@pytest.mark.parametrize("shape", [(9, 8, 3), (5, 6, 7, 1)])
def test_sharpened_images_add_what_scipys_binomial_blur_takes_away(shape):
    images = 0.3 + 0.4 * unit(bytes_of(shape))
    got, draws = applied("sharpen", {"p": 1.0, "amount": 2.0}, images)
    for image, seen, amount in zip(images.astype("f8"), got, draws["amount"], strict=True):
        blurred = image
        for axis in range(len(shape) - 1):
            blurred = ndimage.convolve1d(blurred, [0.25, 0.5, 0.25], axis=axis, mode="nearest")
        assert np.allclose(seen, np.clip(image + amount * (image - blurred), 0, 1), atol=1e-5)


def test_greyscale_images_are_pillows():
    images = bytes_of((9, 8, 3))
    got, _ = applied("greyscale", {"p": 1.0}, unit(images))
    expected = np.asarray(Image.fromarray(images[0]).convert("L"))
    assert np.abs(255 * got[0] - expected[..., None]).max() <= 1
    assert np.ptp(got, axis=-1).max() == 0


def test_greyscale_of_images_without_colours_is_an_error_that_says_what_to_do():
    with pytest.raises(ValueError, match=r"\(4, 4, 2\) have no colours; it needs 3 channels.*Take it out"):
        Pipeline([("greyscale", {})], (4, 4, 2)).draw(1, 0, 0, KEYS)


def factors(**changed):
    unchanged = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}
    return {k: np.full(6, value, np.float32) for k, value in (unchanged | changed).items()}


@pytest.mark.parametrize(
    ("name", "enhance"),
    [("brightness", ImageEnhance.Brightness), ("contrast", ImageEnhance.Contrast), ("saturation", ImageEnhance.Color)],
)
@pytest.mark.parametrize("factor", [0.6, 1.4])
def test_brightness_contrast_and_saturation_are_pillows(name, enhance, factor):
    images = bytes_of((9, 8, 3))
    got, _ = applied("colour_jitter", {}, unit(images), factors(**{name: factor}))
    expected = np.asarray(enhance(Image.fromarray(images[0])).enhance(factor)).astype(float)
    # Pillow rounds luminance and mean to whole levels before it goes on.
    assert np.abs(255 * got[0] - expected).max() < 2


@pytest.mark.parametrize("turn", [-0.5, -0.1, 0.0, 0.3])
def test_hue_is_turned_as_colorsys_does(turn):
    images = unit(bytes_of((6, 5, 3)))
    images[0, 0, 0] = 0.5  # grey has no hue
    got = keras.ops.convert_to_numpy(_colour.hue_turned(images, np.full((6, 1, 1, 1), turn, np.float32)))

    def expected(pixel):
        hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
        return colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value)

    assert np.allclose(got.reshape(-1, 3), [expected(p) for p in images.reshape(-1, 3).astype(float)], atol=1e-5)


def test_colours_change_within_their_limits_in_the_documented_order():
    images = unit(bytes_of((6, 5, 3)))
    got, draws = applied("colour_jitter", {"p": 1.0, "hue": 0.0}, images)
    for image, seen, b, c, s in zip(
        images.astype("f8"), got, draws["brightness"], draws["contrast"], draws["saturation"], strict=True
    ):
        image = np.clip(image * b, 0, 1)
        mean = (image @ _colour.WEIGHTS).mean()
        image = np.clip(mean + (image - mean) * c, 0, 1)
        grey = (image @ _colour.WEIGHTS)[..., None]
        assert np.allclose(seen, np.clip(grey + (image - grey) * s, 0, 1), atol=1e-5)
    many = Pipeline([("colour_jitter", {"p": 1.0})], (4, 4, 3)).draw(1, 0, 0, keys_of(range(2000)))
    for name, middle, reach in (("brightness", 1, 0.4), ("contrast", 1, 0.4), ("saturation", 1, 0.2), ("hue", 0, 0.1)):
        way = np.abs(many[f"0.colour_jitter.{name}"] - middle)
        assert 0.99 * reach < way.max() <= reach + 1e-6


def test_colour_jitter_of_a_grey_volume_is_brightness_and_contrast():
    images = unit(bytes_of((4, 5, 6, 1)))
    got, draws = applied("colour_jitter", {"p": 1.0}, images)
    assert set(draws) == {"brightness", "contrast"}
    bright = np.clip(images[0].astype("f8") * draws["brightness"][0], 0, 1)
    expected = np.clip(bright.mean() + (bright - bright.mean()) * draws["contrast"][0], 0, 1)
    assert np.allclose(got[0], expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(20, 16, 2), (10, 12, 8, 1)])
def test_random_erasing_fills_one_box_inside_the_image(shape):
    count = 64
    images = np.full((count, *shape), 0.5, np.float32)
    pipeline = Pipeline([("random_erasing", {"p": 1.0, "fill": "black"})], shape)
    got = keras.ops.convert_to_numpy(pipeline.apply(images, pipeline.draw(1, 0, 0, keys_of(range(count)))))
    shares = []
    for image in got:
        erased = (image == 0).all(axis=-1)
        box = tuple(slice(found.min(), found.max() + 1) for found in np.nonzero(erased))
        assert erased[box].all()
        assert erased.sum() == erased[box].size
        shares.append(erased.mean())
    # Sides are whole pixels, so shares near the limits can lie a little beyond them.
    assert 0.01 < min(shares) < 0.08
    assert 0.25 < max(shares) < 0.4


def test_erased_boxes_are_filled_with_noise_or_the_mean_per_channel():
    images = unit(bytes_of((30, 30, 2)))
    box = {"start": np.full((6, 2), 5, np.float32), "end": np.full((6, 2), 25, np.float32)}
    box["offset"] = np.full(6, _number_table.TABLE - 100, np.int32)
    mean, _ = applied("random_erasing", {"fill": "mean"}, images, box)
    assert np.allclose(mean[:, 5:25, 5:25], images.mean(axis=(1, 2), keepdims=True), atol=1e-5)
    noise, _ = applied("random_erasing", {"fill": "noise"}, images, box)
    table = np.concatenate([_number_table.table("uniform")[-100:], _number_table.table("uniform")])
    assert np.array_equal(noise[0, 5:25, 5:25], table[: 30 * 30 * 2].reshape(30, 30, 2)[5:25, 5:25])
    assert np.array_equal(noise[:, :5], images[:, :5])


def test_erased_boxes_of_slices_have_log_uniform_sides():
    """As torchvision's RandomErasing: quartiles of a uniform logarithm lie half-way to its ends."""
    pipeline = Pipeline([("random_erasing", {"share_low": 0.04, "share_high": 0.05, "p": 1.0})], (400, 400, 1))
    drawn = pipeline.draw(1, 0, 0, keys_of(range(4000)))
    side = drawn["0.random_erasing.end"] - drawn["0.random_erasing.start"]
    quartiles = np.quantile(np.log(side[:, 0] / side[:, 1]), [0.25, 0.75])
    assert np.allclose(quartiles, [-np.log(1.8), np.log(1.8)], atol=0.06)
