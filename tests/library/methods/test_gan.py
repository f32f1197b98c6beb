"""Soft labels, the non-saturating loss, and a toy that is learnt."""

import adversarial_toys as toys
import keras
import numpy as np
from scipy.special import expit

from scanloom.methods import gan
from scanloom.methods.gan import Settings, cross_entropy, soft_accuracy
from scanloom.pretraining.generation import generated
from scanloom.pretraining.generative_metrics import fid

RNG = np.random.default_rng(0)


def bce(logits, labels):
    """Textbook cross-entropy in float64."""
    p = expit(logits.astype(np.float64))
    return -np.mean(labels * np.log(p) + (1 - labels) * np.log1p(-p))


def test_cross_entropy_is_the_textbooks_with_labels_clipped():
    logits = RNG.normal(0, 3, 50).astype(np.float32)
    labels = RNG.uniform(-0.3, 1.3, 50).astype(np.float32)
    assert np.isclose(float(cross_entropy(logits, labels)), bce(logits, np.clip(labels, 0, 1)), rtol=1e-5)
    assert np.isfinite(float(cross_entropy(np.array([1e4, -1e4], np.float32), np.array([0.0, 1.0], np.float32))))


def test_soft_accuracy_is_the_mean_probability_of_the_right_answer():
    real, fake = RNG.normal(size=(2, 20)).astype(np.float32)
    expected = (expit(real).mean() + (1 - expit(fake)).mean()) / 2
    assert np.isclose(float(soft_accuracy(real, fake)), expected, rtol=1e-5)
    assert float(soft_accuracy(np.zeros(3, np.float32), np.zeros(3, np.float32))) == 0.5


def test_labels_move_by_up_to_s_and_both_kinds_apart():
    settings = Settings(latent=5)
    moves = toys.batch_of(gan, settings, size=500)["method:label_moves"]
    assert moves.shape == (500, 2)
    assert -1 <= moves.min() < -0.95
    assert 0.95 < moves.max() <= 1
    assert abs(np.corrcoef(moves.T)[0, 1]) < 0.15


def test_both_losses_are_the_formulas_of_linear_players():
    settings = Settings(latent=3, regressor="none", label_noise=0.3)
    batch = toys.batch_of(gan, settings, shape=(4,))
    (discriminator, generator), true = toys.linear_game(gan, settings)
    x, noise = batch["images"] / 255.0, batch["method:noise"].astype(np.float64)
    moves = 0.3 * batch["method:label_moves"].astype(np.float64)
    real, fake = x @ true.w + true.b, (noise @ true.a + true.c) @ true.w + true.b
    ones, zeros = np.clip(1 + moves[:, 0], 0, 1), np.clip(moves[:, 1], 0, 1)
    assert 0.7 <= ones.min() < ones.max() == 1
    assert zeros.min() == 0 < zeros.max() <= 0.3
    found = float(discriminator.compute_loss(batch, y_pred=discriminator(batch, training=True)))
    assert np.isclose(found, bce(real, ones) + bce(fake, zeros), rtol=1e-5)
    found = float(generator.compute_loss(batch, y_pred=generator(batch, training=True)))
    assert np.isclose(found, bce(fake, ones), rtol=1e-5)


def test_four_clusters_on_a_circle_are_learnt():
    """FID to the clusters falls to a twentieth of the untrained generator's, and no cluster is left out."""
    settings = Settings(latent=2, regressor="none")
    real = toys.on_circle(-1 % 2**31, 1000) / 65535
    before, after = (
        np.asarray(generated(toys.learn_circle(gan, settings, updates, 2e-3), 1000, 0)) for updates in (0, 300)
    )
    assert toys.shares_of_modes(before).sum() < 0.02
    assert toys.shares_of_modes(after).min() > 0.04
    assert fid(real, after) < 0.05 * fid(real, before)


def test_a_batch_of_both_players_is_reported_under_their_names():
    settings = Settings(latent=3, network_width=1)
    model = toys.build(gan, settings)
    first = model.train_on_batch(toys.batch_of(gan, settings, 0))
    second = model.train_on_batch(toys.batch_of(gan, settings, 1))
    assert {"discriminator_adversarial", "discriminator_soft_accuracy", "discriminator_reading"} < set(first)
    assert {"generator_adversarial", "generator_reading"} < set(second)
    assert np.isclose(first["loss"], first["discriminator_adversarial"] + first["discriminator_reading"], rtol=1e-5)
    assert all(isinstance(player, keras.Model) for player in model.players)
