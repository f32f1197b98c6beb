"""Decoders reach every image size from every grid, at both ranks."""

import numpy as np
import pytest

from scanloom import plugins
from scanloom.methods._decoder import decoder_of_maps, decoder_of_vectors, feature_map_of, levels, skips_of


def test_halving_that_rounds_down_is_undone_too():
    """DenseNet at 28 pixels: 28, 14, 7, 3; every cell of the grid is 8 pixels."""
    assert levels((28,), (3,)) == [((2,), (7,)), ((2,), (14,)), ((2,), (28,))]
    assert decoder_of_maps((3, 4, 2), (28, 32, 1), 2, 0)(np.ones((1, 3, 4, 2), np.float32)).shape == (1, 28, 32, 1)


@pytest.mark.parametrize("size", range(1, 40))
def test_halving_as_same_padding_does_is_undone_exactly(size):
    grid = size
    for _ in range(3):
        grid = -(-grid // 2)
    plan = levels((size,), (grid,))
    assert plan == [] if grid == size else plan[-1][1] == (size,)
    before = grid
    for (stride,), (after,) in plan:
        assert before * stride >= after > before * stride - stride
        before = after


def test_grids_that_are_no_halvings_are_reached_by_factors():
    assert levels((224,), (16,)) == [((2,), (32,)), ((7,), (224,))]


def test_axes_of_other_sizes_join_at_the_fine_end():
    assert levels((4, 16), (4, 4)) == [((1, 2), (4, 8)), ((1, 2), (4, 16))]


def test_a_grid_larger_than_the_image_is_refused():
    with pytest.raises(ValueError, match=r"\(9,\) is larger than the image, \(8,\)"):
        levels((8,), (9,))


@pytest.mark.parametrize("shape", [(13, 28, 3), (5, 9, 8, 1)])
def test_images_have_their_shape_and_start_small(shape):
    decoder = decoder_of_vectors(6, shape, 4, seed=0)
    codes = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    decoded = np.asarray(decoder(codes, training=True))
    assert decoded.shape == (4, *shape)
    assert 0.02 < decoded.std() < 0.5


def test_skips_are_the_encoders_last_maps_of_each_level():
    resnet = plugins.load("encoders", "resnet")
    shape = (14, 12, 1)
    encoder = resnet.build(resnet.Settings(depth=10, width=4), shape, seed=0)
    skips = skips_of(encoder, shape)
    assert [tuple(skip.shape[1:]) for skip in skips] == [(4, 3, 16), (7, 6, 8), (14, 12, 4)]
    sources = [encoder.get_layer(f"stage{stage}_block1_out").output for stage in (3, 2, 1)]
    assert all(skip is source for skip, source in zip(skips, sources, strict=True))
    grid = tuple(feature_map_of(encoder).shape[1:])
    decoder = decoder_of_maps(grid, shape, 2, 0, [tuple(skip.shape[1:]) for skip in skips])
    maps = [np.ones((2, *tensor.shape[1:]), np.float32) for tensor in decoder.inputs]
    assert decoder(maps).shape == (2, *shape)


def test_an_encoder_of_one_size_has_no_skips():
    vit = plugins.load("encoders", "vit")
    encoder = vit.build(vit.Settings(patch=4, width=6, depth=1), (8, 8, 1), seed=0)
    with pytest.raises(ValueError, match=r"features of none of the sizes.*set skips: false"):
        skips_of(encoder, (8, 8, 1))
