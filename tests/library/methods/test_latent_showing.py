"""What the latent-variable methods show is what their own inference pass computes, at both ranks, and can be saved."""

import keras
import method_trials as trials
import numpy as np
import pytest

from scanloom.methods import vae
from scanloom.methods._latent_model import passed
from scanloom.methods._likelihood import as_images
from scanloom.plugins import load
from scanloom.pretraining.view_pipeline import Pipeline
from scanloom.training.model_files import save_model

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("method", "rank", "changed"),
    [
        ("vae", 2, {"likelihood": "bernoulli"}),
        ("factor_vae", 2, {"latent_from": "feature_map"}),
        ("beta_tc_vae", 3, {"likelihood": "laplace", "dataset_size": 48}),
    ],
)
def test_saved_networks_give_codes_and_images_of_the_models_own_pass(method, rank, changed, tmp_path):
    shape, module = trials.SHAPES[rank], load("methods", method)
    settings = module.Settings(latent=3, decoder_width=2, hidden=8, **changed)
    model = module.build(trials._encoder(shape, 0), settings, Pipeline([], shape), 0)
    networks = getattr(model, "networks", None) or model.players[0].networks
    networks["posterior"].layers[-1].kernel.assign(networks["posterior"].layers[-1].kernel * 100)
    networks["decoder"].layers[-1].kernel.assign(networks["decoder"].layers[-1].kernel * 30)
    images = RNG.integers(0, 256, (5, *shape), np.uint8)
    expected = passed(networks, {"images": images}, None, training=False)
    assert np.abs(expected["log_variance"]).max() > 3, "the bound on log variances is at work"
    shown = module.showing(settings, model)
    assert set(shown.networks) == {"decoder", "posterior"}
    assert shown.networks["decoder"] is shown.generator
    for name, network in shown.networks.items():
        save_model(network, tmp_path / f"{name}.keras")
    decoder, posterior = (keras.saving.load_model(tmp_path / f"{name}.keras") for name in ("decoder", "posterior"))
    mean, log_variance = shown.codes(images / np.float32(255))
    assert np.allclose(mean, expected["mean"], rtol=1e-4, atol=1e-5)
    assert np.allclose(log_variance, expected["log_variance"], rtol=1e-4, atol=1e-5)
    decoded = decoder.predict_on_batch(mean)
    assert np.allclose(decoded, as_images(expected["decoded"], settings.likelihood), atol=1e-5)
    assert (decoded.min(), decoded.max()) != (0, 1)
    assert decoded.shape == images.shape
    again = posterior.predict_on_batch(networks["encoder"].predict_on_batch(images / np.float32(255)))
    assert np.array_equal(again["mean"], mean)
    assert np.array_equal(again["log_variance"], log_variance)


def test_under_a_mixed_policy_codes_and_images_are_float32():
    from scanloom.pretraining.method_training import precision

    with precision("bfloat16"):
        model = vae.build(
            trials._encoder((8, 8, 1), 0), vae.Settings(latent=3, decoder_width=2), Pipeline([], (8, 8, 1)), 0
        )
        shown = vae.showing(vae.Settings(), model)
    assert [output.dtype for output in (*shown.networks["posterior"].outputs, shown.generator.output)] == [
        "float32"
    ] * 3
