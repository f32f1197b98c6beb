"""Views that move places, against SciPy's and OpenCV's interpolation in float64, Pillow's resize and np.rot90."""

import cv2
import keras
import numpy as np
import pytest
from PIL import Image
from scipy import interpolate, ndimage
from scipy.spatial.transform import Rotation

from scanloom import plugins
from scanloom.pretraining.view_pipeline import Pipeline
from scanloom.stateless_random import keys_of
from scanloom.views import _resample, _spline, elastic, perspective

KEYS = keys_of(range(5))
SHAPES = [(9, 12, 2), (7, 6, 8, 1)]
SCIPY_MODE = {"black": "grid-constant", "edge": "nearest", "mirror": "mirror"}


def images_of(shape):
    return np.random.default_rng(4).random((len(KEYS), *shape)).astype(np.float32)


def read_by_scipy(image, places, mode="grid-constant"):
    """The image [*spatial, channels] at places [rank, *spatial], linear, in float64."""
    channels = [ndimage.map_coordinates(c, places, order=1, mode=mode) for c in np.moveaxis(image.astype("f8"), -1, 0)]
    return np.stack(channels, axis=-1)


def pixels(spatial):
    return np.stack(np.meshgrid(*(np.arange(float(n)) for n in spatial), indexing="ij"))


def applied(views, images, draws=None):
    pipeline = Pipeline(views, images.shape[1:])
    draws = pipeline.draw(1, 0, 0, KEYS) if draws is None else draws
    return keras.ops.convert_to_numpy(pipeline.apply(images, draws)), draws


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("outside", SCIPY_MODE)
def test_reading_at_any_place_equals_scipy_inside_and_far_outside(shape, outside):
    images, spatial = images_of(shape), shape[:-1]
    places = np.random.default_rng(5).uniform(-9, 18, (len(images), len(spatial), np.prod(spatial))).astype(np.float32)
    got = _resample.sample(images, _resample.brought_inside(places, spatial, outside))
    for i, image in enumerate(images):
        expected = read_by_scipy(image, places[i].reshape(-1, *spatial), SCIPY_MODE[outside])
        assert np.allclose(got[i], expected, atol=2e-6)


def test_one_pixel_along_an_axis_is_no_special_case():
    images = images_of((1, 5, 1))
    for outside in SCIPY_MODE:
        places = _resample.brought_inside(_resample.grid((1, 5)), (1, 5), outside)
        assert np.array_equal(_resample.sample(images, places), images)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["rotation", "affine"])
def test_turned_images_equal_scipys_affine_transform_with_the_drawn_matrix(name, shape):
    images = images_of(shape)
    got, draws = applied([(name, {"p": 1.0, "degrees": 50})], images)
    for image, seen, matrix in zip(images, got, draws[f"0.{name}.matrix"].astype("f8"), strict=True):
        for channel in range(shape[-1]):
            expected = ndimage.affine_transform(
                image[..., channel].astype("f8"), matrix[:, :-1], matrix[:, -1], order=1, mode="grid-constant"
            )
            assert np.allclose(seen[..., channel], expected, atol=1e-5)


def test_a_rotation_is_scipys_by_the_same_angle():
    images = images_of((11, 11, 1))
    got, draws = applied([("rotation", {"p": 1.0, "degrees": 90})], images)
    for image, seen, matrix in zip(images, got, draws["0.rotation.matrix"], strict=True):
        angle = np.rad2deg(np.arctan2(matrix[0, 1], matrix[0, 0]))
        assert abs(angle) <= 90
        expected = ndimage.rotate(image[..., 0], angle, reshape=False, order=1, mode="grid-constant")
        assert np.allclose(seen[..., 0], expected, atol=1e-5)


def test_turns_of_a_volume_are_proper_rotations_in_one_or_several_planes():
    for planes, varying in (("each", 3), ("one", 1), ("in_slice", 1)):
        settings = plugins.settings("views", "rotation", {"planes": planes, "degrees": 30, "p": 1.0})
        pipeline = Pipeline([("rotation", settings)], (6, 6, 6, 1))
        matrices = pipeline.draw(1, 0, 0, keys_of(range(60)))["0.rotation.matrix"][:, :, :3].astype("f8")
        assert np.allclose(matrices @ matrices.transpose(0, 2, 1), np.eye(3), atol=1e-6)
        assert np.allclose(np.linalg.det(matrices), 1)
        vectors = Rotation.from_matrix(matrices).as_rotvec(degrees=True)
        turned = np.abs(vectors) > 0.01
        if planes == "each":
            assert turned.all(axis=1).mean() > 0.9
        else:
            assert (turned.sum(axis=1) <= varying).all()
            assert np.abs(vectors).max() <= 30 + 1e-4
            axes = set(np.argmax(np.abs(vectors), axis=1))
            assert axes == ({0} if planes == "in_slice" else {0, 1, 2})


@pytest.mark.parametrize("planes", ["each", "one"])
def test_the_probability_of_a_turn_is_per_plane_or_per_image(planes):
    pipeline = Pipeline([("rotation", {"planes": planes, "degrees": 30, "p": 0.5})], (6, 6, 6, 1))
    matrices = pipeline.draw(1, 0, 0, keys_of(range(4000)))["0.rotation.matrix"][:, :, :3]
    unturned = (np.abs(matrices - np.eye(3)).max(axis=(1, 2)) < 1e-6).mean()
    assert np.isclose(unturned, 0.5**3 if planes == "each" else 0.5, atol=0.03)


@pytest.mark.parametrize("name", ["rotation", "quarter_turns"])
@pytest.mark.parametrize("shape", [(8, 8, 2), (6, 6, 6, 1)])
def test_quarter_turns_only_move_pixels(name, shape):
    extra = {"quarter_turns": 1.0} if name == "rotation" else {}
    images = images_of(shape)
    got, _ = applied([(name, {"p": 1.0, **extra})], images)
    for image, seen in zip(images, got, strict=True):
        assert not np.array_equal(seen, image)
        assert np.array_equal(np.sort(seen, axis=None), np.sort(image, axis=None))


def test_quarter_turns_are_those_of_numpy():
    images = images_of((6, 6, 6, 1))
    for plane, axes in enumerate(_resample.planes_of(3)):
        for turns in range(4):
            drawn = np.zeros((len(KEYS), 3), int)
            drawn[:, plane] = turns
            got, _ = applied([("quarter_turns", {})], images, {"0.quarter_turns.turns": drawn})
            assert np.array_equal(got[0], np.rot90(images[0], turns, axes))


def test_planes_of_unequal_sides_turn_by_half_a_circle_only():
    drawn = Pipeline([("quarter_turns", {"p": 1.0})], (6, 8, 8, 1)).draw(1, 0, 0, keys_of(range(200)))
    turns = drawn["0.quarter_turns.turns"]
    assert set(turns[:, 0]) == {0, 1, 2, 3}
    assert set(turns[:, 1]) == set(turns[:, 2]) == {0, 2}


def test_affine_matrices_hold_the_scale_shear_and_shift_that_are_allowed():
    settings = {"degrees": 0, "scale_low": 0.8, "scale_high": 1.25, "shear_degrees": 10, "shift": 0.1, "p": 1.0}
    matrices = Pipeline([("affine", settings)], (21, 11, 1)).draw(1, 0, 0, keys_of(range(500)))["0.affine.matrix"]
    scale = 1 / np.sqrt(np.linalg.det(matrices[:, :, :2].astype("f8")))
    assert 0.8 <= scale.min() < 0.82
    assert 1.22 < scale.max() <= 1.2501
    shear = np.rad2deg(np.arctan(matrices[:, 1, 0] * scale))
    assert 9 < np.abs(shear).max() <= 10.001
    assert np.allclose(matrices[:, 0, 1], 0)
    centre = np.array([10.0, 5.0])
    moved = (matrices[:, :, :2] @ centre + matrices[:, :, 2] - centre) / [21, 11]
    assert (np.abs(moved).max(axis=0) <= 0.1001).all()
    assert (np.abs(moved).max(axis=0) > 0.09).all()


def test_perspective_equals_opencvs_projection_through_the_moved_corners():
    size = (20, 30)
    images = images_of((*size, 1))
    got, draws = applied([("perspective", {"p": 1.0, "distortion": 0.4})], images)
    corners = perspective.CORNERS * (np.array(size) - 1)
    for image, seen, matrix in zip(images, got, draws["0.perspective.matrix"].astype("f8"), strict=True):
        back = np.linalg.inv(matrix[:3]) @ np.vstack([corners.T, np.ones(4)])
        moved = (back[:2] / back[2]).T
        inwards = (moved - corners) * (1 - 2 * perspective.CORNERS) / (np.array(size) / 2)
        assert (inwards > -1e-3).all()
        assert (inwards < 0.4001).all()
        assert inwards.max() > 0.1
        theirs = cv2.getPerspectiveTransform(moved[:, ::-1].astype("f4"), corners[:, ::-1].astype("f4"))
        x, y = pixels(size)[::-1]
        u, v, w = np.einsum("ij,j...->i...", theirs, np.stack([x, y, np.ones_like(x)]))
        assert np.allclose(seen, read_by_scipy(image, np.stack([v / w, u / w])), atol=1e-3)


def test_perspective_of_a_volume_is_the_same_at_every_depth_of_one_plane():
    images = np.repeat(images_of((1, 8, 9, 1)), 6, axis=1)
    pipeline = Pipeline([("perspective", {"p": 1.0})], images.shape[1:])
    matrices = pipeline.draw(1, 0, 0, keys_of(range(50)))["0.perspective.matrix"]
    untouched = np.array(
        [[np.array_equal(m[[axis, 3 + axis]], np.eye(4)[[axis, 3]]) for axis in range(3)] for m in matrices]
    )
    assert (untouched.sum(axis=1) == 1).all()
    assert (untouched.sum(axis=0) > 5).all()
    in_slice = matrices[untouched[:, 0]][:1]
    got = keras.ops.convert_to_numpy(pipeline.apply(images[:1], {"0.perspective.matrix": in_slice}))[0]
    assert np.allclose(got, got[:1], atol=1e-6)
    assert not np.allclose(got, images[0])


@pytest.mark.parametrize(("size", "numbers"), [(9, 4), (20, 7), (1, 5)])
def test_spline_weights_are_those_of_scipys_b_splines(size, numbers):
    intervals = numbers - 3
    place = np.linspace(0, intervals, size) if size > 1 else [intervals / 2]
    expected = interpolate.BSpline.design_matrix(place, np.arange(-3, intervals + 4.0), 3).toarray()
    assert np.allclose(_spline.basis(size, numbers), expected, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_elastic_deformation_reads_the_image_at_pixels_plus_a_spline_of_the_displacements(shape):
    images, spatial = images_of(shape), shape[:-1]
    got, draws = applied([("elastic", {"p": 1.0, "control_points": 4})], images)
    displacement = draws["0.elastic.displacement_px"].astype("f8")
    bases = [_spline.basis(size, 6).astype("f8") for size in spatial]
    formula = "nij,ai,bj->nab" if len(spatial) == 2 else "nijk,ai,bj,ck->nabc"
    for image, seen, field in zip(images, got, displacement, strict=True):
        places = pixels(spatial) + np.einsum(formula, field, *bases)
        assert np.allclose(seen, read_by_scipy(image, places, "nearest"), atol=1e-5)


@pytest.mark.parametrize("spatial", [(40, 32), (24, 24, 24)])
def test_the_strongest_elastic_deformation_never_folds_the_image(spatial):
    settings = elastic.Settings(displacement=0.4, control_points=5, p=1.0)
    drawn = Pipeline([("elastic", settings)], (*spatial, 1)).draw(1, 0, 0, keys_of(range(20)))
    # The worst case: every control point as far as it can go, towards or away from its neighbours.
    field = drawn["0.elastic.displacement_px"]
    spacing = (np.array(spatial) - 1) / 4
    field = np.sign(field) * 0.4 * spacing[(None, slice(None)) + (None,) * len(spatial)]
    places = pixels(spatial)[None] + keras.ops.convert_to_numpy(_spline.smooth_field(field.astype("f4"), spatial))
    rank = len(spatial)
    jacobian = np.stack(
        [np.stack(np.gradient(places[:, k], axis=tuple(range(1, 1 + rank))), axis=-1) for k in range(rank)], axis=-2
    )
    assert np.linalg.det(jacobian).min() > 0


@pytest.mark.parametrize("scale", [0.5, 0.75, 1.0, 1.5])
def test_zoom_equals_pillows_bilinear_resize_of_the_middle(scale):
    size = 24
    image = images_of((size, size, 1))[:1]
    got, _ = applied(
        [("zoom", {"scale_low": 0.5, "scale_high": 2.0})], image, {"0.zoom.scale": np.float32([[scale, scale]])}
    )
    whole = Image.fromarray(image[0, ..., 0]).resize([round(size * scale)] * 2, Image.Resampling.BILINEAR)
    shown = np.asarray(whole)
    middle = min(size, round(size * scale)) - 6
    at, there = (size - middle) // 2, (len(shown) - middle) // 2
    assert np.allclose(
        got[0, at : at + middle, at : at + middle, 0], shown[there:, there:][:middle, :middle], atol=1e-5
    )
    if scale <= 0.75:
        assert got[0, 0].max() == 0


def test_neighbouring_turns_are_read_once_and_equal_one_reading_at_the_chained_places():
    images = images_of((10, 12, 1))
    views = [("rotation", {"p": 1.0, "outside": "mirror"}), ("perspective", {"p": 1.0}), ("elastic", {"p": 1.0})]
    got, draws = applied(views, images)
    field = draws["2.elastic.displacement_px"].astype("f8")
    for i, image in enumerate(images):
        places = pixels((10, 12)) + np.einsum("nij,ai,bj->nab", field[i], _spline.basis(10, 7), _spline.basis(12, 7))
        last, seen = np.array([9, 11])[:, None, None], 1.0
        places = np.clip(places, 0, last)
        for name in ("1.perspective", "0.rotation"):
            matrix = draws[f"{name}.matrix"][i].astype("f8")
            places = np.einsum("ij,j...->i...", matrix, np.concatenate([places, np.ones((1, 10, 12))]))
            places = places[:2] / (places[2:] if len(places) == 4 else 1)
            if name == "1.perspective":  # black beyond the turned image, whatever the turn mirrors there
                seen = np.prod(np.clip(1 - np.maximum(-places, places - last), 0, 1), axis=0)[..., None]
                places = np.clip(places, 0, last)
        assert np.allclose(got[i], seen * read_by_scipy(image, places, "mirror"), atol=2e-5)


@pytest.mark.parametrize("shape", [(33, 33, 1), (9, 8, 10, 1)])
@pytest.mark.parametrize("first", ["edge", "mirror"])
@pytest.mark.parametrize("second", ["affine", "perspective", "rotation", "elastic"])
def test_black_beyond_a_view_stays_black_behind_views_that_fill_the_image(shape, first, second):
    """White images: what one view after the other shows is known whatever is interpolated between them."""
    white = np.ones((len(KEYS), *shape), np.float32)
    strong = {"elastic": {"displacement": 0.1}, "perspective": {"distortion": 0.9}}.get(second, {"degrees": 40})
    views = [("rotation", {"p": 1.0, "outside": first}), (second, {"p": 1.0, "outside": "black", **strong})]
    both, draws = applied(views, white)
    own = {f"0.{k[2:]}": v for k, v in draws.items() if k.startswith(f"1.{second}.")}
    alone, _ = applied(views[1:], white, own)
    assert np.allclose(both, alone, atol=1e-5)
    assert alone.min() < 0.95


def test_each_axis_may_be_zoomed_by_its_own_factor():
    pipeline = Pipeline([("zoom", {"per_axis": True, "p": 1.0})], (6, 7, 8, 1))
    scale = pipeline.draw(1, 0, 0, keys_of(range(2000)))["0.zoom.scale"]
    assert np.abs(np.corrcoef(scale.T) - np.eye(3)).max() < 0.08
    assert np.allclose(scale.mean(axis=0), 1.0, atol=0.01)


def test_quarter_turns_and_free_turns_are_chosen_for_every_plane():
    pipeline = Pipeline([("rotation", {"quarter_turns": 0.5, "p": 1.0, "degrees": 180})], (6, 6, 6, 1))
    matrix = pipeline.draw(1, 0, 0, keys_of(range(4000)))["0.rotation.matrix"][:, :, :3]
    only_quarters = (np.abs(matrix - np.round(matrix)).max(axis=(1, 2)) < 1e-6).mean()
    assert np.isclose(only_quarters, 0.5**3, atol=0.02)


def test_a_view_behind_an_elastic_one_reads_the_bent_image():
    images = images_of((10, 12, 1))
    views = [("elastic", {"p": 1.0}), ("rotation", {"p": 1.0})]
    both, draws = applied(views, images)
    bent, _ = applied(views[:1], images, {k: v for k, v in draws.items() if "elastic" in k})
    turned, _ = applied(views[1:], bent, {"0.rotation.matrix": draws["1.rotation.matrix"]})
    assert np.allclose(both, turned, atol=1e-6)


@pytest.mark.parametrize("shape", [(8, 8, 1), (8, 8, 8, 1)])
@pytest.mark.parametrize(("low", "stretch"), [(1.0, 1.155), (0.8, 1.5)])
def test_no_box_is_smaller_than_asked_for(shape, low, stretch):
    pipeline = Pipeline([("random_resized_crop", {"share_low": low, "stretch": stretch})], shape)
    size = pipeline.draw(1, 0, 0, keys_of(range(5000)))["0.random_resized_crop.size"]
    assert np.prod(size.astype("f8"), axis=1).min() >= low - 1e-6
    assert size.max() <= 1


def test_views_that_change_nothing_or_cannot_be_are_refused():
    for axes in ([], [-1, -1]):
        with pytest.raises(ValueError, match="axes"):
            plugins.settings("views", "flip", {"axes": axes})
    with pytest.raises(ValueError, match=r"perspective: an axis of one pixel.*\[3, 1\]"):
        Pipeline([("perspective", {"p": 1.0})], (3, 1, 1)).draw(1, 0, 0, KEYS)
