"""The penalty on slopes, critic steps one after the other, and a toy that is learnt."""

import adversarial_toys as toys
import keras
import numpy as np
import pytest

from scanloom.methods import wgan_gp
from scanloom.methods.wgan_gp import Settings, between, bounded, gradient_penalty
from scanloom.pretraining.generation import generated
from scanloom.pretraining.generative_metrics import fid
from scanloom.training.input_gradients import gradient_of_inputs

RNG = np.random.default_rng(0)


def linear_critic(slope: float, shape):
    """Scores with gradients of this length everywhere."""
    direction = RNG.normal(size=shape)
    direction = (slope * direction / np.linalg.norm(direction)).astype(np.float32)
    return lambda x: keras.ops.sum(x * direction, axis=tuple(range(1, len(shape) + 1)))


@pytest.mark.parametrize("shape", [(4, 5, 1), (3, 4, 2, 2)])
@pytest.mark.parametrize("slope", [1.0, 0.0, 0.5, 3.0])
def test_the_penalty_of_a_linear_critic_is_its_slopes_distance_from_one_squared(slope, shape):
    images = keras.ops.convert_to_tensor(RNG.normal(size=(6, *shape)).astype(np.float32))
    found = float(gradient_penalty(linear_critic(slope, shape), images))
    assert found == pytest.approx((slope - 1) ** 2, abs=3e-5)


def test_each_image_has_a_slope_of_its_own():
    """D(x) = |x|^2 / 2 has the gradient x."""
    images = RNG.normal(size=(6, 4, 5, 1)).astype(np.float32)
    found = gradient_penalty(lambda x: keras.ops.sum(x * x, axis=(1, 2, 3)) / 2, keras.ops.convert_to_tensor(images))
    lengths = np.linalg.norm(images.reshape(6, -1).astype(np.float64), axis=1)
    assert float(found) == pytest.approx(np.mean((lengths - 1) ** 2), rel=1e-5)


def test_a_critic_without_slope_still_learns_and_learns_finite_things():
    """The root alone has an infinite derivative at 0. By the slope k of a critic k x the penalty's is 2 (k - 1)."""
    images = keras.ops.convert_to_tensor(np.ones((3, 1), np.float32))

    def penalties(slopes):
        return keras.ops.expand_dims(
            gradient_penalty(lambda x: keras.ops.sum(x * keras.ops.sum(slopes), axis=1), images), 0
        )

    for slope, expected in ((0.0, 0.0), (0.5, -1.0), (3.0, 4.0)):
        found = gradient_of_inputs(penalties, keras.ops.convert_to_tensor(np.array([slope], np.float32)))
        assert np.allclose(keras.ops.convert_to_numpy(found), expected, atol=1e-3)


def test_points_between_lie_on_the_lines_that_join_the_pairs():
    real, fake = RNG.normal(size=(2, 5, 3, 3, 1)).astype(np.float32)
    mix = np.array([0.0, 0.25, 0.5, 0.75, 1.0], np.float32)
    found = np.asarray(between(real, fake, mix))
    assert np.array_equal(found[0], fake[0])
    assert np.array_equal(found[4], real[4])
    assert np.allclose(found[1], 0.25 * real[1] + 0.75 * fake[1], atol=1e-6)


def test_both_losses_are_the_formulas_of_linear_players():
    settings = Settings(latent=3, regressor="none", penalty_weight=7.0)
    batch = toys.batch_of(wgan_gp, settings, shape=(4,))
    (critic, generator), true = toys.linear_game(wgan_gp, settings)
    x, noise = batch["images"] / 255.0, batch["method:noise"].astype(np.float64)
    real, fake = x @ true.w + true.b, (noise @ true.a + true.c) @ true.w + true.b
    expected = fake.mean() - real.mean() + 7.0 * (np.linalg.norm(true.w) - 1) ** 2
    found = float(critic.compute_loss(batch, y_pred=critic(batch, training=True)))
    assert np.isclose(found, expected, rtol=1e-5)
    found = float(generator.compute_loss(batch, y_pred=generator(batch, training=True)))
    assert np.isclose(found, -fake.mean(), rtol=1e-5)


def test_losses_beyond_the_bound_teach_nothing():
    x = keras.ops.convert_to_tensor(np.array([-5.0, 0.5, 7.0], np.float32))
    assert np.array_equal(np.asarray(bounded(x, 2.0)), [-2.0, 0.5, 2.0])
    assert np.array_equal(np.asarray(gradient_of_inputs(lambda x: bounded(x, 2.0), x)), [0.0, 1.0, 0.0])
    assert np.array_equal(np.asarray(bounded(x, None)), np.asarray(x))


def test_the_critics_steps_come_one_after_the_other_each_on_its_own_batch():
    settings = Settings(latent=3, network_width=1, critic_steps=3)
    model = toys.build(wgan_gp, settings, toys.encoder(normalised=False))
    networks, kernels = model.players[0].networks, []
    for step in range(5):
        before = toys.state_of(networks)
        model.train_on_batch(toys.batch_of(wgan_gp, settings, step))
        assert toys.moved(networks, before) == ({"generator"} if step == 3 else {"trunk", "heads"})
        kernels.append(model.encoder.get_weights()[0])
    steps = np.diff(kernels[:3], axis=0)
    assert not np.allclose(steps[0], steps[1]), "the same batch again would give nearly the same step"


def test_four_clusters_on_a_circle_are_learnt():
    """FID to the clusters falls to a twentieth of the untrained generator's, and no cluster is left out."""
    settings = Settings(latent=2, regressor="none", penalty_weight=0.1)
    real = toys.on_circle(-1 % 2**31, 1000) / 65535
    before, after = (
        np.asarray(generated(toys.learn_circle(wgan_gp, settings, updates, 3e-3), 1000, 0)) for updates in (0, 300)
    )
    assert toys.shares_of_modes(before).sum() < 0.02
    assert toys.shares_of_modes(after).min() > 0.04
    assert fid(real, after) < 0.05 * fid(real, before)
