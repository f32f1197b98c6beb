"""Views follow their formulas, alone and fused, at rank 2 and 3."""

import keras
import numpy as np
import pytest
from scipy import ndimage, stats

from scanloom import plugins
from scanloom.pretraining.view_pipeline import Pipeline, apply_matrices
from scanloom.stateless_random import keys_of
from scanloom.views import _number_table

RNG = np.random.default_rng(0)
KEYS = keys_of(range(6))


def images_of(shape):
    return RNG.random((6, *shape)).astype(np.float32)


def applied(views, images, draws=None, seed=1):
    pipeline = Pipeline(views, images.shape[1:])
    return keras.ops.convert_to_numpy(pipeline.apply(images, draws or pipeline.draw(seed, 0, 0, KEYS)))


@pytest.mark.parametrize("shape", [(7, 5, 1), (7, 5, 3), (4, 5, 6, 1), (4, 5, 6, 2)])
def test_matrices_act_along_their_own_axis_as_einsum_says(shape):
    images = images_of(shape)
    matrices = [RNG.random((6, n + 1, n)).astype(np.float32) for n in shape[:-1]]
    if len(shape) == 3:
        expected = np.einsum("nyb,nxa,nbac->nyxc", *matrices, images)
    else:
        expected = np.einsum("nzd,nyb,nxa,ndbac->nzyxc", *matrices, images)
    assert np.allclose(apply_matrices(images, matrices), expected, rtol=1e-4)


def test_a_crop_is_linear_interpolation_at_the_samples_of_its_box():
    images = images_of((12, 10, 2))
    start, size = RNG.uniform(0, 0.4, (6, 2)).astype("f4"), RNG.uniform(0.3, 0.6, (6, 2)).astype("f4")
    draws = {"0.random_resized_crop.start": start, "0.random_resized_crop.size": size}
    got = applied([("random_resized_crop", {})], images, draws)
    for i in range(6):
        axes = [s * n + (np.arange(n) + 0.5) * w - 0.5 for s, w, n in zip(start[i], size[i], (12, 10), strict=True)]
        grid = np.meshgrid(*axes, indexing="ij")
        for c in range(2):
            expected = ndimage.map_coordinates(images[i, ..., c], grid, order=1, mode="nearest")
            assert np.allclose(got[i, ..., c], expected, atol=1e-5)


def test_crop_boxes_lie_inside_and_have_the_share_that_was_asked_for():
    crop = plugins.load("views", "random_resized_crop")
    pipeline = Pipeline([("random_resized_crop", {"share_low": 0.2, "share_high": 0.5})], (9, 9, 9, 1))
    draws = pipeline.draw(1, 0, 0, keys_of(range(3000)))
    start, size = draws["0.random_resized_crop.start"], draws["0.random_resized_crop.size"]
    assert crop.Settings().share_high == 1.0
    assert (start >= 0).all()
    assert (start + size <= 1 + 1e-6).all()
    share = size.prod(axis=1)
    assert share.min() >= 0.2 - 1e-4
    assert share.max() <= 0.5 + 1e-4
    assert stats.kstest(share, stats.uniform(0.2, 0.3).cdf).pvalue > 0.01


def test_boxes_are_distributed_as_torchvisions():
    """The loop of torchvision.transforms.RandomResizedCrop.get_params, with scale (0.3, 1), ratio (3/4, 4/3)."""
    rng = np.random.default_rng(3)

    def by_torchvision() -> tuple[float, float]:
        for _ in range(10):
            share, ratio = rng.uniform(0.3, 1), np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
            width, height = np.sqrt(share * ratio), np.sqrt(share / ratio)
            if width <= 1 and height <= 1:
                return height, width
        return 1.0, 1.0

    expected = np.array([by_torchvision() for _ in range(4000)])
    draws = Pipeline([("random_resized_crop", {})], (9, 9, 1)).draw(1, 0, 0, keys_of(range(4000)))
    size = draws["0.random_resized_crop.size"].astype(np.float64)
    for of_box in (lambda s: s[:, 0] * s[:, 1], lambda s: np.log(s[:, 1] / s[:, 0])):
        assert stats.ks_2samp(of_box(size), of_box(expected)).pvalue > 0.01


def test_where_a_box_lies_and_whether_there_is_one_do_not_depend_on_its_size():
    settings = {"share_low": 0.2, "share_high": 0.5, "p": 0.5}
    draws = Pipeline([("random_resized_crop", settings)], (9, 9, 1)).draw(1, 0, 0, keys_of(range(6000)))
    start, size = (draws[f"0.random_resized_crop.{name}"].astype(np.float64) for name in ("start", "size"))
    boxes = size[:, 0] * size[:, 1] < 0.99
    assert 0.47 < boxes.mean() < 0.53
    size, place = size[boxes], (start / (1 - size + (size == 1)))[boxes]
    share, ratio = size.prod(axis=1), np.log(size[:, 0] / size[:, 1])
    assert stats.kstest(share, stats.uniform(0.2, 0.3).cdf).pvalue > 0.01
    for numbers in (*place.T, ratio):
        assert abs(np.corrcoef(numbers, share)[0, 1]) < 0.06
    assert all(abs(np.corrcoef(along, ratio)[0, 1]) < 0.06 for along in place.T)


def test_a_blur_is_scipys_gaussian_away_from_the_border():
    images = images_of((24, 24, 1))
    sigma = np.array([0.5, 0.8, 1.0, 1.3, 1.5, 0.01], np.float32)
    got = applied([("gaussian_blur", {})], images, {"0.gaussian_blur.sigma_px": sigma})
    for i in range(5):
        expected = ndimage.gaussian_filter(images[i, ..., 0], sigma[i], truncate=8)
        assert np.allclose(got[i, 8:-8, 8:-8, 0], expected[8:-8, 8:-8], atol=2e-4)
    assert np.array_equal(got[5], images[5])


def test_a_blur_keeps_a_constant_image_up_to_the_border():
    images = np.full((6, 8, 8, 8, 1), 0.4, np.float32)
    assert np.allclose(applied([("gaussian_blur", {"p": 1, "sigma_low_px": 2, "sigma_high_px": 4})], images), 0.4)


def test_crop_then_blur_fused_equals_one_after_the_other():
    images = images_of((10, 12, 3))
    fused = Pipeline([("random_resized_crop", {}), ("gaussian_blur", {"p": 1.0})], images.shape[1:])
    draws = fused.draw(1, 0, 0, KEYS)
    cropped = applied([("random_resized_crop", {})], images, draws)
    second = {k.replace("1.gauss", "0.gauss"): v for k, v in draws.items() if "blur" in k}
    assert np.allclose(fused.apply(images, draws), applied([("gaussian_blur", {"p": 1.0})], cropped, second), atol=1e-5)


@pytest.mark.parametrize("shape", [(10, 12, 3), (4, 5, 6, 1)])
def test_a_flip_done_to_waiting_matrices_equals_one_done_to_the_images(shape):
    images = images_of(shape)
    flip = ("flip", {"axes": [-1, -2]})
    fused = Pipeline([("random_resized_crop", {}), flip, ("gaussian_blur", {"p": 1.0})], shape)
    draws = fused.draw(1, 0, 0, KEYS)
    assert 0 < draws["1.flip.flipped"].mean() < 1
    step_by_step = applied([("random_resized_crop", {})], images, draws)
    step_by_step = applied([flip], step_by_step, {"0.flip.flipped": draws["1.flip.flipped"]})
    blurred = {"0.gaussian_blur.sigma_px": draws["2.gaussian_blur.sigma_px"]}
    step_by_step = applied([("gaussian_blur", {"p": 1.0})], step_by_step, blurred)
    assert np.allclose(fused.apply(images, draws), step_by_step, atol=1e-5)


def test_flips_mirror_exactly_the_drawn_images_along_the_chosen_axes():
    images = images_of((4, 5, 6, 2))
    flipped = np.array([[0, 0], [1, 0], [0, 1], [1, 1], [0, 0], [1, 1]], bool)
    got = applied([("flip", {"axes": [-1, -3]})], images, {"0.flip.flipped": flipped})
    for i, (last, first) in enumerate(flipped):
        expected = images[i, :, :, ::-1] if last else images[i]
        assert np.array_equal(got[i], expected[::-1] if first else expected)


def test_a_flip_along_an_axis_that_does_not_exist_is_an_error():
    with pytest.raises(ValueError, match=r"axes \[-3\] do not exist"):
        Pipeline([("flip", {"axes": [-3]})], (4, 4, 1)).draw(1, 0, 0, KEYS)


def test_brightness_and_contrast_follow_their_formula():
    images = 0.4 + 0.2 * images_of((5, 5, 2))
    brightness, contrast = np.linspace(-0.1, 0.1, 6).astype("f4"), np.linspace(0.8, 1.2, 6).astype("f4")
    draws = {"0.brightness_contrast.brightness": brightness, "0.brightness_contrast.contrast": contrast}
    mean = images.mean(axis=(1, 2, 3), keepdims=True)
    expected = (images - mean) * contrast[:, None, None, None] + mean + brightness[:, None, None, None]
    assert np.allclose(applied([("brightness_contrast", {})], images, draws), expected, atol=1e-6)


def test_noise_is_normal_with_its_share_of_the_mean_and_differs_between_images():
    images = np.full((6, 64, 64, 1), 0.5, np.float32)
    settings = {"p": 1.0, "relative_std_low": 0.1, "relative_std_high": 0.1}
    noise = applied([("gaussian_noise", settings)], images) - 0.5
    assert np.allclose(noise.std(axis=(1, 2, 3)), 0.05, rtol=0.05)
    assert stats.kstest(noise[0].ravel() / 0.05, "norm").pvalue > 0.001
    correlations = np.corrcoef(noise.reshape(6, -1)) - np.eye(6)
    assert np.abs(correlations).max() < 0.08


def test_noise_wraps_around_the_end_of_its_table():
    images = np.full((6, 8, 8, 1), 0.5, np.float32)
    draws = {
        "0.gaussian_noise.amplitude": np.full(6, 0.1, np.float32),
        "0.gaussian_noise.offset": np.full(6, _number_table.TABLE - 10, np.int32),
    }
    got = applied([("gaussian_noise", {})], images, draws)
    table = _number_table.table("normal")
    expected = 0.5 + 0.05 * np.concatenate([table[-10:], table[:54]]).reshape(8, 8)
    assert np.allclose(got[0, ..., 0], expected, atol=1e-6)


def test_noise_of_images_larger_than_the_table_does_not_repeat():
    size = _number_table.TABLE
    noise = keras.ops.convert_to_numpy(_number_table.read(np.array([77], np.int32), (3, size), "normal"))[0]
    assert np.abs(np.corrcoef(noise) - np.eye(3)).max() < 0.01
    assert np.abs(noise.mean(axis=1)).max() < 0.01


def test_cutout_clears_one_whole_box_inside_each_drawn_image():
    images = np.ones((6, 8, 12, 2), np.float32)
    got = applied([("cutout", {"side": 0.5, "p": 1.0})], images)
    for image in got:
        rows, columns = np.where(image[..., 0] == 0)
        assert len(rows) == 4 * 6
        assert np.ptp(rows) == 3
        assert np.ptp(columns) == 5
        assert np.array_equal(image[..., 0], image[..., 1])


BRANCHES = {"branch_1": [("flip", {"p": 1.0})], "branch_2": [("flip", {"p": 1.0}), ("invert", {"p": 1.0})]}


def test_each_branch_is_made_by_its_own_views():
    images = images_of((4, 5, 1))
    pipeline = Pipeline(BRANCHES, (4, 5, 1))
    first, second, third = (pipeline.apply(images, pipeline.draw(1, branch, 0, KEYS)) for branch in range(3))
    assert np.array_equal(first, images[:, :, ::-1])
    assert np.allclose(second, 1 - images[:, :, ::-1], atol=1e-6)
    assert np.array_equal(third, first), "a third branch starts again with the views of the first"
    assert pipeline.names == ["flip", "invert"]


def test_branches_with_equal_lists_still_differ_and_lists_do_not_change_the_draws_of_one_list():
    same = Pipeline({"branch_1": [("flip", {})], "branch_2": [("flip", {})]}, (4, 5, 1))
    many = keys_of(range(64))
    flips = [next(iter(same.draw(1, branch, 0, many).values())) for branch in range(2)]
    assert not np.array_equal(*flips)
    alone = Pipeline([("flip", {})], (4, 5, 1))
    assert set(alone.draw(1, 0, 0, many)) == {"0.flip.flipped"}


def test_draws_of_no_branch_are_an_error():
    pipeline = Pipeline(BRANCHES, (4, 5, 1))
    draws = Pipeline([("invert", {})], (4, 5, 1)).draw(1, 0, 0, KEYS)
    with pytest.raises(ValueError, match="belong to no branch"):
        pipeline.apply(images_of((4, 5, 1)), draws)
