"""ResNet has the published sizes."""

import keras
import numpy as np
import pytest

from scanloom.encoders.resnet import Settings, build


@pytest.mark.parametrize(
    ("depth", "published"),
    # torchvision's resnet18, 34, 50 without their last layer (11,689,512; 21,797,672; 25,557,032 with it).
    [(18, 11_689_512 - 513_000), (34, 21_797_672 - 513_000), (50, 25_557_032 - 2_049_000)],
)
def test_parameters_are_as_many_as_published(depth, published):
    encoder = build(Settings(depth=depth, stem="imagenet"), (64, 64, 3), 0)
    assert sum(np.prod(v.shape) for v in encoder.trainable_variables) == published
    assert encoder.output.shape[-1] == (2048 if depth == 50 else 512)


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
