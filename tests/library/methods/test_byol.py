"""BYOL: the paper's distance, and a target that moves by the paper's moving average and by nothing else."""

import keras
import numpy as np
import pytest

from scanloom.methods import byol
from scanloom.methods._momentum import learned
from scanloom.pretraining.method_batches import draws
from scanloom.pretraining.view_pipeline import Pipeline
from scanloom.stateless_random import keys_of
from scanloom.training.initial_weights import initialise

RNG = np.random.default_rng(0)
SHAPE = (4, 4, 1)


def published(predictions, targets):
    """arXiv 2006.07733, equation 2: squared distance of the normalised vectors, for both orders of the views."""
    total = 0.0
    for q, t in ((predictions[0], targets[1]), (predictions[1], targets[0])):
        q, t = (v.astype(np.float64) / np.linalg.norm(v.astype(np.float64), axis=1, keepdims=True) for v in (q, t))
        total += np.mean(np.sum((q - t) ** 2, axis=1))
    return total


@pytest.mark.parametrize(("n", "d"), [(5, 3), (64, 32)])
def test_loss_is_the_squared_distance_of_unit_vectors_in_both_orders(n, d):
    predictions, targets = RNG.normal(1, 2, (2, 2, n, d)).astype(np.float32)
    expected = published(predictions, targets)
    assert np.isclose(float(byol.loss(list(predictions), list(targets))), expected, rtol=1e-5)


def test_momentum_follows_the_cosine_of_the_paper():
    assert np.allclose([float(byol.momentum(p, 0.98)) for p in (0.0, 0.5, 1.0)], [0.98, 0.99, 1.0], atol=1e-7)
    progress = np.linspace(0, 1, 11)
    expected = 1 - (1 - 0.996) * (np.cos(np.pi * progress) + 1) / 2
    assert np.allclose([float(byol.momentum(p, 0.996)) for p in progress], expected, atol=1e-7)


def small_model(momentum):
    images = keras.Input(SHAPE)
    x = keras.layers.Dense(8, name="hidden")(keras.layers.Flatten()(images))
    x = keras.layers.Activation("relu")(keras.layers.BatchNormalization(name="norm")(x))
    encoder = initialise(keras.Model(images, x, name="toy"), 0)
    settings = byol.Settings(projector=(8, 4), predictor=(8,), momentum=momentum)
    model = byol.build(encoder, settings, Pipeline([], SHAPE), 0)
    model.compile(optimizer=keras.optimizers.SGD(0.5), jit_compile=False)
    return model, settings


def batch_of(step, settings):
    images = np.random.default_rng(step).integers(0, 256, (8, *SHAPE), np.uint8)
    batch = {"images": images} | draws(byol, settings, Pipeline([], SHAPE), 0, step, keys_of(range(8)))
    return batch | {"step": np.full(8, step, np.int32), "progress": np.full(8, step / 2, np.float32)}


def weights(network) -> list[np.ndarray]:
    return [weight.numpy().astype(np.float64) for weight in learned(network)]


def test_three_updates_move_the_target_by_the_moving_average_and_by_nothing_else():
    model, settings = small_model(0.6)
    pairs = [(model.encoder, model.target_encoder), (model.head, model.target_head)]
    expected = [weights(target) for _, target in pairs]
    frozen = {id(weight) for _, target in pairs for weight in target.weights}
    assert not frozen & {id(variable) for variable in model.trainable_variables}
    for step, m in enumerate((0.6, 0.8, 1.0)):  # at progress 0, 1/2 and 1, from the paper's cosine
        online = [weights(network) for network, _ in pairs]
        model.train_on_batch(batch_of(step, settings))
        for i, (network, target) in enumerate(pairs):
            expected[i] = [m * t + (1 - m) * o for t, o in zip(expected[i], online[i], strict=True)]
            for found, wanted in zip(weights(target), expected[i], strict=True):
                assert np.allclose(found, wanted, rtol=1e-5, atol=1e-6)
            moved = [np.abs(a - b).max() for a, b in zip(weights(network), online[i], strict=True)]
            assert max(moved) > 1e-3, "the online network learns"
    assert max(np.abs(a - b).max() for a, b in zip(expected[0], weights(model.encoder), strict=True)) > 1e-3


def test_the_target_normalises_by_the_batch_and_keeps_statistics_of_its_own():
    """As in the reference code of arXiv 2006.07733; at progress 0 the two networks are the same function."""
    model, settings = small_model(0.6)
    batch = batch_of(0, settings)
    images = batch["images"].astype(np.float32) / 255
    _, targets = model(batch, training=True)
    online = model.head(model.encoder(images, training=True), training=True)
    np.testing.assert_allclose(targets[0], online, rtol=1e-5, atol=1e-6)
    still = keras.ops.convert_to_numpy(model.target_head(model.target_encoder(images, training=False), training=False))
    assert np.abs(still - np.asarray(targets[0])).max() > 1e-2, "the statistics of one batch are not those it keeps"
    for network in (model.target_encoder, model.target_head):
        kept = [w.numpy() for w in network.weights if w.path.endswith("moving_mean")]
        assert kept
        assert all(np.abs(mean).max() > 0 for mean in kept)


def test_inference_moves_nothing():
    model, settings = small_model(0.6)
    before = model.get_weights()
    model(batch_of(0, settings), training=False)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_mixed_precision_leaves_the_moving_average_at_full_precision():
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        model, settings = small_model(0.99)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    kernel = model.encoder.get_layer("hidden").kernel
    kernel.assign(kernel + np.float32(0.01))
    assert model.encoder.compute_dtype == "bfloat16"
    online, before = weights(model.encoder), weights(model.target_encoder)
    model(batch_of(0, settings), training=True)
    for found, t, o in zip(weights(model.target_encoder), before, online, strict=True):
        # The step is 0.01 * 0.01: bfloat16 keeps 8 bits, so it would be lost in weights above 0.03.
        assert np.allclose(found, 0.99 * t + 0.01 * o, rtol=1e-6, atol=1e-8)
