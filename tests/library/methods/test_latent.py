"""Posteriors, their divergence from the prior, and schedules that follow the training's progress."""

import keras
import numpy as np
import pytest
from scipy import integrate, stats

from scanloom import plugins
from scanloom.methods import _latent, beta_tc_vae, beta_vae, factor_vae, vae
from scanloom.pretraining.view_pipeline import Pipeline

SHAPE = (8, 8, 1)


def test_kl_equals_the_integral_of_its_definition():
    for mean, log_variance in ((0.0, 0.0), (1.3, -0.7), (-0.4, 1.1)):
        q = stats.norm(mean, np.exp(log_variance / 2))
        expected, _ = integrate.quad(lambda z, q=q: q.pdf(z) * (q.logpdf(z) - stats.norm.logpdf(z)), -12, 12)
        found = _latent.kl_to_prior(np.float32(mean), np.float32(log_variance))
        assert np.isclose(float(found), expected, atol=1e-6)


def test_log_normal_equals_scipy():
    z, mean, log_variance = np.random.default_rng(0).normal(size=(3, 7)).astype(np.float32)
    expected = stats.norm.logpdf(z, mean, np.exp(log_variance / 2))
    assert np.allclose(_latent.log_normal(z, mean, log_variance), expected, rtol=1e-5)


def test_normals_are_normal_and_finite_at_the_ends():
    ends = _latent.normals(np.array([0.0, 1.0 - 2.0**-24], np.float32))
    assert np.isfinite(ends).all()
    assert ends[0] == -ends[1]
    numbers = _latent.normals(np.random.default_rng(0).random(20_000, dtype=np.float32))
    assert stats.kstest(numbers, "norm").pvalue > 0.01


def test_the_ramp_advances_with_the_progress_and_stays_at_one():
    assert [float(_latent.ramp(progress, 0.5)) for progress in (0.0, 0.25, 0.5, 0.9)] == [0.0, 0.5, 1.0, 1.0]
    assert _latent.ramp(0.0, 0.0) == 1.0


def test_bounded_leaves_usual_log_variances_alone():
    found = np.asarray(_latent.bounded(np.array([-1e4, -1.0, 0.0, 1.0, 1e4], np.float32)))
    assert np.allclose(found, [-10, -1, 0, 1, 10], atol=0.005)


@pytest.fixture(scope="module")
def untrained():
    resnet = plugins.load("encoders", "resnet")
    return resnet.build(resnet.Settings(depth=10, width=4), SHAPE, seed=0)


def losses(method, encoder, **settings):
    """progress -> (loss, scalars) of given outputs, by the model or the first of its players; and what they are."""
    checked = method.Settings(latent=3, hidden=0, decoder_width=2, scale=0.5, likelihood="gaussian", **settings)
    model = method.build(encoder, checked, Pipeline([], SHAPE), 0)
    model = getattr(model, "players", [model])[0]
    rng = np.random.default_rng(1)
    images, decoded = rng.random((2, 4, *SHAPE)).astype(np.float32)
    mean, log_variance = rng.normal(size=(2, 4, 3)).astype(np.float32)
    outputs = {"images": images, "decoded": decoded, "mean": mean, "log_variance": log_variance, "z": mean}
    outputs["logits"] = rng.normal(size=(4, 2)).astype(np.float32)

    def at(progress):
        loss = float(model.compute_loss({"progress": np.full(4, progress, np.float32)}, None, outputs))
        found = {metric.name: float(metric.result()) for metric in model.metrics if metric.name != "loss"}
        model.reset_metrics()
        return loss, found

    reconstruction = -stats.norm.logpdf(images.astype(np.float64), decoded, 0.5).reshape(4, -1).sum(1).mean()
    kl = 0.5 * (mean.astype(np.float64) ** 2 + np.exp(log_variance) - 1 - log_variance).sum(1).mean()
    return at, reconstruction, kl, outputs


def test_vae_loss_is_the_evidence_bound_after_the_warm_up(untrained):
    at, reconstruction, kl, _ = losses(vae, untrained, kl_warmup=0.5)
    for progress, weight in ((0.0, 0.0), (0.25, 0.5), (0.5, 1.0), (1.0, 1.0)):
        loss, found = at(progress)
        assert np.isclose(loss, reconstruction + weight * kl, rtol=1e-5)
        assert np.isclose(found["reconstruction"], reconstruction, rtol=1e-5)
        assert np.isclose(found["kl"], kl, rtol=1e-5)


def test_beta_vae_h_weighs_and_b_leads_to_a_growing_capacity(untrained):
    at, reconstruction, kl, _ = losses(beta_vae, untrained, beta=5.0, kl_warmup=0.0)
    assert np.isclose(at(0.0)[0], reconstruction + 5.0 * kl, rtol=1e-5)
    at, reconstruction, kl, _ = losses(beta_vae, untrained, form="B", gamma=7.0, capacity=20.0, capacity_growth=0.5)
    for progress, capacity in ((0.0, 0.0), (0.25, 10.0), (0.5, 20.0), (1.0, 20.0)):
        loss, found = at(progress)
        assert np.isclose(loss, reconstruction + 7.0 * abs(kl - capacity), rtol=1e-5)
        assert np.isclose(found["capacity"], capacity)


@pytest.mark.parametrize("estimate", ["weighted", "stratified"])
def test_beta_tc_vae_weighs_the_three_parts_of_equation_4(untrained, estimate):
    """Chen et al. 2018, with equation 5 or appendix C.2 (see the module) for q(z), in float64 and without its code."""
    chosen = {"alpha": 2.0, "beta": 5.0, "gamma": 0.5, "dataset_size": 10, "estimate": estimate}
    at, reconstruction, _, outputs = losses(beta_tc_vae, untrained, kl_warmup=0.5, **chosen)
    z, mean, log_variance = (outputs[name].astype(np.float64) for name in ("z", "mean", "log_variance"))
    each = stats.norm.logpdf(z[:, None], mean[None], np.exp(log_variance / 2)[None])
    weights = np.full((4, 4), 1 / (4 * 10)) if estimate == "weighted" else np.full((4, 4), 0.9 / 3)
    if estimate == "stratified":
        np.fill_diagonal(weights, 1 / 10)
    joint = np.log((weights * np.exp(each.sum(2))).sum(1))
    product = np.log((weights[..., None] * np.exp(each)).sum(1)).sum(1)
    own, prior = each[range(4), range(4)].sum(1), stats.norm.logpdf(z).sum(1)
    terms = 2.0 * (own - joint).mean() + 5.0 * (joint - product).mean() + 0.5 * (product - prior).mean()
    for progress, weight in ((0.0, 0.0), (0.25, 0.5), (1.0, 1.0)):
        assert np.isclose(at(progress)[0], reconstruction + weight * terms, rtol=1e-5)


def test_factor_vae_adds_the_ratio_that_its_discriminator_has_learnt(untrained):
    at, reconstruction, kl, outputs = losses(factor_vae, untrained, gamma=3.0, kl_warmup=0.5)
    ratio = (outputs["logits"][:, 0] - outputs["logits"][:, 1]).astype(np.float64).mean()
    for progress, weight in ((0.0, 0.0), (0.25, 0.5), (1.0, 1.0)):
        assert np.isclose(at(progress)[0], reconstruction + weight * kl + 3.0 * ratio, rtol=1e-5)


def test_the_posterior_can_come_from_the_feature_map(untrained):
    nets = _latent.networks(untrained, vae.Settings(latent=3, latent_from="feature_map"), SHAPE, 0)
    assert nets["encoder"].output.shape == (None, 32)
    assert untrained.get_layer("feature_map") in nets["encoder"].layers
    mean, log_variance = nets["posterior"].outputs
    assert mean.shape == log_variance.shape == (None, 3)


def test_inference_uses_the_mean_and_training_the_drawn_numbers(untrained):
    model = vae.build(untrained, vae.Settings(latent=3, decoder_width=2), Pipeline([], SHAPE), 0)
    images = np.random.default_rng(0).integers(0, 256, (2, *SHAPE), np.uint8)
    epsilon = np.random.default_rng(1).normal(size=(2, 3)).astype(np.float32)
    calm = model({"images": images, "method:epsilon": epsilon}, training=False)
    assert np.array_equal(calm["z"], calm["mean"])
    trained = {
        k: keras.ops.convert_to_numpy(v)
        for k, v in model({"images": images, "method:epsilon": epsilon}, training=True).items()
    }
    expected = trained["mean"] + np.exp(trained["log_variance"] / 2) * epsilon
    assert np.allclose(trained["z"], expected, rtol=1e-5)
