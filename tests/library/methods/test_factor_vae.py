"""Shuffled codes, the ratio that a discriminator has learnt, and what each player moves."""

import keras
import method_trials as trials
import numpy as np
import pytest
import tiny_corpus as tiny
from scipy import stats
from scipy.special import log_softmax

from scanloom.methods import factor_vae
from scanloom.methods.factor_vae import Settings, discriminator_loss, permuted, total_correlation
from scanloom.optimizers import adam, optimizer_of
from scanloom.pretraining.method_batches import draws
from scanloom.pretraining.method_training import DoesNotFit, MethodTraining
from scanloom.pretraining.view_pipeline import Pipeline
from scanloom.stateless_random import keys_of

RNG = np.random.default_rng(0)


def test_every_dimension_is_a_permutation_of_its_own():
    z = RNG.normal(size=(64, 5)).astype(np.float32)
    shuffled = np.asarray(permuted(z, RNG.random(z.shape).astype(np.float32)))
    assert np.array_equal(np.sort(shuffled, axis=0), np.sort(z, axis=0))
    order = [tuple(np.argsort(np.argsort(column))) for column in shuffled.T]
    assert len(set(order)) == 5


def test_shuffling_breaks_the_dependence_of_dimensions():
    z = np.repeat(RNG.normal(size=(2000, 1)), 2, axis=1).astype(np.float32)
    shuffled = np.asarray(permuted(z, RNG.random(z.shape).astype(np.float32)))
    assert abs(np.corrcoef(shuffled.T)[0, 1]) < 0.1


def test_total_correlation_of_the_best_discriminator_is_the_divergence():
    """For a normal with correlation r the total correlation is -log(1 - r^2) / 2."""
    r = 0.8
    z = RNG.multivariate_normal([0, 0], [[1, r], [r, 1]], 100_000)
    real = stats.multivariate_normal([0, 0], [[1, r], [r, 1]]).logpdf(z)
    logits = np.stack([real, stats.norm.logpdf(z).sum(1)], axis=1).astype(np.float32)
    assert np.isclose(float(total_correlation(logits)), -0.5 * np.log(1 - r**2), atol=0.01)


def test_discriminator_loss_is_the_cross_entropy_of_both_kinds():
    real, shuffled = RNG.normal(size=(2, 7, 2)).astype(np.float32)
    expected = -(log_softmax(real, axis=1)[:, 0].mean() + log_softmax(shuffled, axis=1)[:, 1].mean()) / 2
    assert np.isclose(float(discriminator_loss(real, shuffled)), expected, rtol=1e-5)


def test_the_discriminator_has_the_papers_momenta():
    """Kim & Mnih, appendix A: Adam with 0.9 and 0.999, for the discriminator 0.5 and 0.9."""
    _, discriminator = trials.make("factor_vae", 2)[0].players
    chosen = optimizer_of(discriminator, adam, adam.Settings(), 0.0)
    assert (chosen.beta_1, chosen.beta_2) == (0.5, 0.9)


@pytest.mark.parametrize(("batch", "accumulate", "part"), [(2, 1, 2), (3, 1, 3), (8, 4, 2)])
def test_so_few_images_that_nothing_would_be_shuffled_are_refused(batch, accumulate, part):
    def training(batch, accumulate):
        return MethodTraining(
            tiny.TinyCorpus(),
            method="factor_vae",
            method_settings={},
            encoder="small_cnn",
            encoder_settings={},
            views=[],
            budget=tiny.Budget(batch=batch, accumulate=accumulate),
            seed=0,
        )

    told = f"factor_vae needs 4 images at a time, and batch: {batch} with accumulate: {accumulate} gives it {part}"
    with pytest.raises(DoesNotFit, match=told):
        training(batch, accumulate)
    training(8, 2)


def test_each_player_moves_its_own_networks_and_reports_its_own_numbers():
    shape, pipeline = (4, 4, 1), Pipeline([], (4, 4, 1))
    images = keras.Input(shape)
    encoder = keras.Model(images, keras.layers.Dense(5)(keras.layers.Flatten()(images)))
    settings = Settings(latent=3, hidden=0, decoder_width=1, discriminator=(4,))
    model = factor_vae.build(encoder, settings, pipeline, 0)
    batch = {"images": RNG.integers(0, 256, (8, *shape), np.uint8)}
    batch |= draws(factor_vae, settings, pipeline, 1, 0, keys_of(range(8)))
    batch["progress"] = np.zeros(8, np.float32)
    networks = model.players[0].networks
    for player in model.players:
        player.compile(optimizer=keras.optimizers.SGD(0.01), jit_compile=False)
    for step, own in enumerate(({"encoder", "posterior", "decoder"}, {"discriminator"})):
        before = {name: network.get_weights() for name, network in networks.items()}
        found = model.train_on_batch(batch | {"step": np.full(8, step, np.int32)})
        moved = {
            name
            for name, network in networks.items()
            if any(not np.array_equal(*pair) for pair in zip(before[name], network.get_weights(), strict=True))
        }
        assert moved == own
        assert np.isfinite(list(found.values())).all()
        names = {"autoencoder_total_correlation", "autoencoder_kl", "autoencoder_reconstruction"}
        assert (names if step == 0 else {"discriminator_accuracy"}) < set(found)
