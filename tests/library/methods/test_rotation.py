"""Turns are np.rot90's, the 24 of them a group, and a toy with an up and a down is learnt."""

import itertools

import keras
import numpy as np
import pretext_toys
import pytest
from scipy.spatial.transform import Rotation

from scanloom import plugins
from scanloom.methods import rotation
from scanloom.methods._patches import boxes
from scanloom.methods.rotation import Settings
from scanloom.views import _resample

RNG = np.random.default_rng(0)


def turned(images, settings, classes):
    """Every image turned by class `classes`, through the same table and gather as in training."""
    shape = images.shape[1:]
    size = rotation.encoder_shape(settings, shape)[:-1]
    start, step = rotation.as_steps(rotation.turns(settings, shape), size, shape[:-1])
    labels = np.tile(np.array(classes, np.int32), (len(images), 1))
    return keras.ops.convert_to_numpy(boxes(images, start[labels], step[labels], size))


@pytest.mark.parametrize("channels", [1, 3])
def test_the_four_turns_of_a_square_are_those_of_rot90(channels):
    images = RNG.random((3, 5, 5, channels), np.float32)
    found = turned(images, Settings(), range(4))
    for k in range(4):
        assert np.array_equal(found[:, k], np.rot90(images, k, axes=(1, 2)))


@pytest.mark.parametrize("size", [4, 5])
def test_the_ten_turns_of_a_cube_are_those_of_rot90(size):
    images = RNG.random((2, size, size, size, 1), np.float32)
    found = turned(images, Settings(), range(10))
    expected = [images]
    for axes in itertools.combinations((1, 2, 3), 2):
        expected += [np.rot90(images, k, axes) for k in (1, 2, 3)]
    assert np.array_equal(found, np.stack(expected, axis=1))


def test_the_24_turns_are_the_rotation_group_of_the_cube():
    matrices = rotation.rotation_matrices(3, "group")
    known = {m.tobytes() for m in matrices}
    assert len(known) == 24
    assert np.allclose(np.linalg.det(matrices), 1)
    assert {(a @ b).astype(np.int32).tobytes() for a in matrices for b in matrices} == known
    assert np.array_equal(matrices[:10], rotation.rotation_matrices(3, "axes"))


def test_all_24_turns_are_reached_by_turning_about_two_axes():
    cube = RNG.random((1, 3, 3, 3, 1), np.float32)
    found = {part.tobytes() for part in turned(cube, Settings(rotations="group"), range(24))[0]}
    reached, waiting = set(), [cube[0]]
    while waiting:
        volume = np.ascontiguousarray(waiting.pop())
        if volume.tobytes() not in reached:
            reached.add(volume.tobytes())
            waiting += [np.rot90(volume, 1, (0, 1)), np.rot90(volume, 1, (1, 2))]
    assert found == reached


def test_unequal_edges_are_an_error_that_says_what_to_do():
    with pytest.raises(ValueError, match="only 6 of the 10 turns keep that shape"):
        rotation.turns(Settings(), (3, 6, 6, 1))


@pytest.mark.parametrize(("shape", "rotations", "classes"), [((4, 6, 1), "axes", 2), ((3, 6, 6, 1), "axes", 6)])
def test_keep_shape_leaves_the_turns_that_do(shape, rotations, classes):
    settings = Settings(not_cubic="keep_shape", rotations=rotations)
    images = RNG.random((2, *shape), np.float32)
    found = turned(images, settings, range(classes))
    assert found.shape == (2, classes, *shape)
    half = np.rot90(images, 2, axes=(1, 2))
    assert any(np.array_equal(found[:, k], half) for k in range(classes))
    assert len({found[0, k].tobytes() for k in range(classes)}) == classes
    assert len(rotation.turns(settings, shape)) == classes


def test_crop_turns_the_cube_in_the_middle():
    images = RNG.random((2, 4, 8, 6, 1), np.float32)
    settings = Settings(not_cubic="crop", rotations="group")
    found = turned(images, settings, range(24))
    assert rotation.encoder_shape(settings, images.shape[1:]) == (4, 4, 4, 1)
    middle = images[:, :, 2:6, 1:5]
    assert np.array_equal(found[:, 0], middle)
    assert np.array_equal(found[:, 1], np.rot90(middle, 1, (1, 2)))


def test_an_image_gets_different_turns_and_all_turns_are_as_frequent():
    images = np.zeros((4000, 4, 4, 1), np.uint8)
    turn = pretext_toys.drawn(pretext_toys.batch_of(rotation, Settings(turns_per_image=3), images), "turn")
    assert (np.diff(np.sort(turn, axis=1), axis=1) > 0).all()
    # Binomial: 3000 expected of each class, standard deviation 27.
    assert np.abs(np.bincount(turn.ravel()) - 3000).max() < 5 * 27


def test_more_turns_than_there_are_is_an_error():
    with pytest.raises(ValueError, match=r"turns_per_image \(5\) is more than the 4 turns"):
        pretext_toys.batch_of(rotation, Settings(turns_per_image=5), np.zeros((2, 4, 4, 1), np.uint8))


@pytest.mark.parametrize("rank", [2, 3])
def test_a_toy_with_an_up_and_a_down_is_learnt(rank):
    size = 6

    def images_at(step):
        # The brightest corner is fixed, and no turn but the first leaves axes and corner where they are.
        along = np.indices((size,) * rank) * np.array([60, 25, 10][:rank]).reshape(-1, *(1,) * rank) / size
        noise = np.random.default_rng(step).normal(60, 10, (32, *(size,) * rank, 1))
        return (noise + 2 * along.sum(axis=0)[..., None]).clip(0, 255).astype(np.uint8)

    accuracy = pretext_toys.after_training(rotation, Settings(head=(32,)), images_at, updates=30)["accuracy"]
    assert accuracy > 2.0 * {2: 1 / 4, 3: 1 / 10}[rank]


@pytest.mark.parametrize("degrees", [5.0, 20.0, 45.0])
def test_the_largest_turn_of_three_planes_is_the_largest_there_is(degrees):
    """Every combination of the largest angles; SciPy tells by how much a matrix turns."""
    signs = np.array(list(itertools.product([-1.0, 1.0], repeat=3)))
    angles = Rotation.from_matrix(_resample.turned(np.deg2rad(signs * degrees), 3)).magnitude()
    settings = plugins.settings("views", "rotation", {"degrees": degrees})
    assert np.isclose(np.rad2deg(angles.max()), rotation._largest_turn("rotation", settings, 3))
    within = np.random.default_rng(0).uniform(-1, 1, (2000, 3))
    assert Rotation.from_matrix(_resample.turned(np.deg2rad(within * degrees), 3)).magnitude().max() <= angles.max()


def test_views_whose_turns_add_up_to_more_than_half_a_right_angle_are_refused():
    def problem(rank, *views):
        return rotation.problem_with_views(rotation.Settings(), list(views), rank)

    thirty, twenty = ("rotation", {"degrees": 30}), ("affine", {"degrees": 20})
    assert problem(2, thirty) is None
    assert problem(2, thirty, ("affine", {"degrees": 15})) is None
    assert "turn images far" in problem(2, thirty, twenty)
    assert "turn images far" in problem(3, thirty)
    assert problem(3, ("rotation", {"degrees": 30, "planes": "one"})) is None
    assert problem(3, twenty) is None
