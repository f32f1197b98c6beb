"""ResNet has the published shapes; its published sizes are in test_published_sizes.py."""

import keras
import numpy as np
import pytest

from scanloom.encoders.resnet import Settings, build


@pytest.mark.parametrize(("depth", "features"), [(18, 32), (50, 128)])
def test_features_are_8_times_the_width_and_32_times_with_bottlenecks(depth, features):
    assert build(Settings(depth=depth, width=4), (16, 16, 1), 0).output.shape[-1] == features


def test_the_imagenet_stem_and_stages_reduce_by_32_and_the_small_stem_by_8():
    for stem, reduction in (("imagenet", 32), ("small", 8)):
        encoder = build(Settings(depth=10, width=2, stem=stem), (64, 64, 3), 0)
        assert encoder.get_layer("feature_map").output.shape[1] == 64 // reduction


def test_zero_initialised_blocks_start_as_the_identity():
    encoder = build(Settings(depth=18, width=4), (16, 16, 1), 0)
    block = keras.Model(encoder.input, [encoder.get_layer(name).output for name in ("stem", "stage1_block1_out")])
    images = np.random.default_rng(0).random((2, 16, 16, 1)).astype(np.float32)
    before, after = block(images)
    assert np.allclose(before, after)


def test_a_saved_encoder_loads_without_this_library_and_computes_the_same(tmp_path):
    encoder = build(Settings(depth=10, width=4), (8, 8, 8, 2), 0)
    encoder.save(tmp_path / "encoder.keras")
    loaded = keras.saving.load_model(tmp_path / "encoder.keras", safe_mode=True)
    images = np.random.default_rng(0).random((2, 8, 8, 8, 2)).astype(np.float32)
    assert np.array_equal(loaded(images), encoder(images))


def test_a_rank_that_does_not_exist_is_an_error():
    with pytest.raises(ValueError, match="has 1 spatial axes; resnet takes 2 or 3"):
        build(Settings(), (16, 1), 0)


@pytest.mark.parametrize("stem", ["small", "imagenet"])
def test_symmetric_padding_puts_as_many_zeros_before_as_behind(stem):
    """So a mirrored image with mirrored kernels has mirrored features, at odd sizes, as with PyTorch's padding."""
    settings = Settings(depth=10, width=2, stem=stem, padding="symmetric")
    encoder, mirrored = build(settings, (33, 33, 1), 0), build(settings, (33, 33, 1), 0)
    for variable in mirrored.variables:
        if variable.path.endswith("kernel"):
            variable.assign(np.asarray(variable.value)[:, ::-1])
    images = np.random.default_rng(0).random((2, 33, 33, 1)).astype(np.float32)
    assert np.allclose(encoder(images), mirrored(images[:, :, ::-1]), atol=1e-6)


def test_the_smallest_image_of_the_symmetric_strided_stem_has_features():
    settings = Settings(depth=10, width=2, stem="strided", padding="symmetric")
    assert build(settings, (2, 2, 1), 0).output.shape[-1] == 16


def test_a_seed_means_the_same_first_weights_in_every_version():
    """Depth 10, width 4, seed 3: sums of kernels, noted when 1 x 1 convolutions lost their strides (no release yet)."""
    encoder = build(Settings(depth=10, width=4), (16, 16, 1), 3)
    sums = [float(np.asarray(encoder.get_layer(n).kernel).sum()) for n in ("stem_conv", "stage4_block1_conv2")]
    assert np.allclose(sums, [1.4824313, -9.7489204], rtol=1e-6)
