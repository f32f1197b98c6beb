"""What both adversarial methods share: who moves, whose statistics, terms beside the game, prior and window."""

import tracemalloc

import adversarial_toys as toys
import keras
import numpy as np
import pytest

from scanloom import plugins
from scanloom.methods import gan, wgan_gp
from scanloom.methods._adversarial import sigmas_of, windowed
from scanloom.methods._prior import pca_exponent, prior_sigmas
from scanloom.stateless_random import uniform

RNG = np.random.default_rng(0)
EVERYTHING = {"window": (0.2, 0.6), "reconstruction_weight": 0.5, "latent": 3, "network_width": 1}


@pytest.mark.parametrize("method", [gan, wgan_gp])
@pytest.mark.parametrize("regressor", ["none", "attached", "independent", "encoder"])
def test_players_move_their_own_networks_only_and_losses_are_the_weighted_sums_of_what_is_reported(method, regressor):
    given = EVERYTHING | ({"reconstruction_weight": 0.0} if regressor == "none" else {})
    settings = method.Settings(regressor=regressor, regressor_weight=2.0, window_weight=3.0, **given)
    model = toys.build(method, settings)
    networks = model.players[0].networks
    judges = {"trunk", "heads"} | ({"reader", "reader_heads"} if regressor in ("independent", "encoder") else set())
    assert set(networks) == judges | {"generator"}
    body = networks["reader" if regressor == "encoder" else "trunk"]
    assert body is model.encoder
    for player, own in zip(model.players, (judges, {"generator"}), strict=True):
        before = toys.state_of(networks)
        logs = player.train_on_batch(toys.batch_of(method, settings), return_dict=True)
        assert toys.moved(networks, before) == own, player.name
        terms = logs["adversarial"] + 3.0 * logs["windowed_adversarial"]
        terms += 0.0 if regressor == "none" else 2.0 * logs["reading"] + 0.5 * logs["reconstruction"]
        assert np.isclose(logs["loss"], terms, rtol=1e-5)


@pytest.mark.parametrize("reconstruction", [0.0, 0.5])
@pytest.mark.parametrize("regressor", ["attached", "encoder"])
@pytest.mark.parametrize("method", [gan, wgan_gp])
def test_running_statistics_of_the_encoder_are_those_of_real_images(method, regressor, reconstruction):
    settings = method.Settings(regressor=regressor, **EVERYTHING | {"reconstruction_weight": reconstruction})
    model = toys.build(method, settings)
    batch = toys.batch_of(method, settings)
    maps = keras.Model(model.encoder.input, model.encoder.get_layer("conv").output)
    means = np.asarray(maps(batch["images"] / np.float32(255))).mean(axis=(0, 1, 2))
    model.players[0].train_on_batch(batch)
    assert np.allclose(model.encoder.get_layer("norm").moving_mean, 0.1 * means, rtol=1e-4, atol=1e-6)
    model.players[1].train_on_batch(batch)
    assert np.allclose(model.encoder.get_layer("norm").moving_mean, 0.1 * means, rtol=1e-4, atol=1e-6)


def test_a_critic_with_a_normalisation_judges_an_image_the_same_in_any_company():
    settings = wgan_gp.Settings(**EVERYTHING)
    model = toys.build(wgan_gp, settings)
    batch = toys.batch_of(wgan_gp, settings)
    alone, weights = {name: values[:1] for name, values in batch.items()}, model.encoder.get_weights()
    in_company = model.players[0](batch, training=True)["logit"]["real"]
    model.encoder.set_weights(weights)  # statistics have moved
    on_its_own = model.players[0](alone, training=True)["logit"]["real"]
    assert np.isclose(in_company[0], on_its_own[0], rtol=1e-5)


def test_reading_is_the_error_of_the_codes_and_reconstruction_that_of_the_pixels():
    settings = gan.Settings(prior="power", alpha=-1.5, regressor="independent", **EVERYTHING)
    model = toys.build(gan, settings)
    batch, nets = toys.batch_of(gan, settings), model.players[1].networks
    noise = batch["method:noise"].astype(np.float64)
    images = batch["images"] / np.float32(255)

    def read(images):
        return nets["reader_heads"](nets["reader"](images, training=True))["noise"]

    sigmas = np.array([1.0, 2.0**-1.5, 3.0**-1.5])
    sigmas /= np.sqrt(np.mean(sigmas**2))
    codes = sigmas * np.asarray(read(nets["generator"](batch["method:noise"], training=True)), np.float64)
    rebuilt = np.asarray(nets["generator"](read(images), training=True), np.float64)
    logs = model.players[1].train_on_batch(batch, return_dict=True)
    assert np.isclose(logs["reading"], np.mean((sigmas * noise - codes) ** 2), rtol=1e-4)
    assert np.isclose(logs["reconstruction"], np.mean((images - rebuilt) ** 2), rtol=1e-4)


def test_the_second_game_judges_windowed_images_real_and_generated():
    settings = gan.Settings(**EVERYTHING)
    model = toys.build(gan, settings)
    batch, nets = toys.batch_of(gan, settings), model.players[0].networks
    fake = np.asarray(nets["generator"](batch["method:noise"], training=True))
    found = model.players[0](batch, training=True)["windowed"]
    for kind, images in (("real", batch["images"] / np.float32(255)), ("fake", fake)):
        seen = np.clip((images - 0.2) / 0.4, 0, 1)
        assert seen.min() < seen.max(), kind
        scores = nets["heads"](nets["trunk"](seen, training=True))["windowed"][:, 0]
        assert np.allclose(found[kind], scores, rtol=1e-4, atol=1e-6), kind


@pytest.mark.parametrize("method", [gan, wgan_gp])
def test_another_window_is_another_loss_for_both_players_and_a_window_of_everything_changes_nothing(method):
    def losses(window):
        settings = method.Settings(**EVERYTHING | {"window": window})
        model = toys.build(method, settings)
        batch = toys.batch_of(method, settings)
        return [player.train_on_batch(batch, return_dict=True)["windowed_adversarial"] for player in model.players]

    narrow, other = losses((0.2, 0.6)), losses((0.45, 0.55))
    assert not np.isclose(narrow, other, rtol=1e-3).any()
    images = RNG.random((2, 3, 3, 1), np.float32)
    assert np.allclose(windowed(images, (0.0, 1.0)), images, atol=1e-7)
    assert gan.Settings(window=(0, 1)).window == (0, 1)
    assert gan.Settings(window=(-40, 120), window_in="unit").window == (-40, 120)


def test_windows_in_the_images_unit_become_shares_of_what_is_stored():
    """Stored 0..65535 hold HU + 1024, so HU -40 is 984 / 65535."""
    spec = {"dtype": "uint16", "slope": [1.0], "intercept": [-1024.0]}
    settings = gan.Settings(window=(-40, 120), window_in="unit")
    settled = gan.settle(settings, np.zeros((4, 2, 2, 1), np.uint16), spec)
    assert settled.window == pytest.approx((984 / 65535, 1144 / 65535))
    assert gan.settle(settled, np.zeros((4, 2, 2, 1), np.uint16), spec) == settled
    ranged = {"dtype": "uint8", "range": [[-100.0, 300.0]]}
    assert gan.settle(settings, np.zeros((4, 2, 2, 1), np.uint8), ranged).window == pytest.approx((0.15, 0.55))
    with pytest.raises(ValueError, match="span different ranges"):
        gan.settle(settings, np.zeros((4, 2, 2, 2), np.uint8), {"range": [[0.0, 80.0], [-100.0, 300.0]]})
    with pytest.raises(ValueError, match="span different ranges"):
        gan.settle(settings, np.zeros((4, 2, 2, 2), np.uint8), {"slope": None, "intercept": None})
    with pytest.raises(ValueError, match="outside of what the images hold, 200 to 300"):
        gan.settle(settings, np.zeros((4, 2, 2, 1), np.uint8), {"range": [[200.0, 300.0]]})


def test_the_power_law_is_the_formula_and_the_identity_has_no_scale():
    assert np.allclose(prior_sigmas(4, -1.127, 10.0), [10, 10 * 2**-1.127, 10 * 3**-1.127, 10 * 4**-1.127])
    assert np.isclose(np.mean(np.square(prior_sigmas(50, -1.127))), 1.0)
    assert sigmas_of(gan.Settings(latent=3)) == (1.0, 1.0, 1.0)
    assert sigmas_of(gan.Settings(latent=2, prior="power", alpha=-1.0, prior_scale=2.0)) == (2.0, 1.0)
    with pytest.raises(ValueError, match="call settle first"):
        sigmas_of(gan.Settings(prior="power"))


@pytest.mark.parametrize("alpha", [-0.6, -1.127, -1.43])
def test_the_exponent_of_images_with_a_known_spectrum_is_found(alpha):
    images, components = 80, 40
    scores = RNG.normal(size=(images, components))
    scores, _ = np.linalg.qr(scores - scores.mean(axis=0))
    directions, _ = np.linalg.qr(RNG.normal(size=(64, components)))
    made = scores * np.arange(1, components + 1) ** alpha @ directions.T + 0.5
    assert pca_exponent(made.reshape(images, 8, 8, 1), 30) == pytest.approx(alpha, abs=1e-3)
    settled = gan.settle(gan.Settings(prior="power", latent=30), made.reshape(images, 8, 8, 1), {})
    assert settled.alpha == pytest.approx(alpha, abs=1e-3)


def test_smooth_images_have_steeper_spectra_than_noise_and_too_few_have_none():
    noise = RNG.normal(size=(200, 24, 24, 1))
    smooth = sum(np.roll(noise, (i, j), (1, 2)) for i in range(5) for j in range(5))
    assert pca_exponent(smooth, 100) < pca_exponent(noise, 100) - 0.2
    large = np.repeat(np.repeat(smooth[:64], 6, 1), 6, 2)  # 144 pixels, averaged down
    assert pca_exponent(large, 20) == pytest.approx(pca_exponent(smooth[:64], 20), abs=0.1)
    with pytest.raises(ValueError, match="4 images have 2 usable principal components"):
        pca_exponent(noise[:4], 20)


def test_the_exponent_of_volumes_takes_little_memory_beside_what_is_decomposed():
    volumes = RNG.integers(0, 65536, (48, 256, 16, 16, 1)).astype(np.uint16)
    tracemalloc.start()
    found = pca_exponent(volumes, 8)
    largest = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    shrunk = volumes.reshape(48, 64, 4, 16, 16, 1).mean(axis=2)
    assert found == pca_exponent(shrunk, 8)
    assert largest < 4 * shrunk.nbytes, "all volumes as float64 would be 4 already"


def test_whoever_runs_the_saved_generator_samples_from_the_prior_it_was_trained_with(tmp_path):
    settings = gan.Settings(**EVERYTHING | {"latent": 6, "prior": "power", "alpha": -2.0})
    trained = gan.showing(settings, toys.build(gan, settings)).networks["generator"]
    trained.save(tmp_path / "generator.keras")
    loaded = keras.saving.load_model(tmp_path / "generator.keras")
    noise = gan.draw(lambda n: uniform(1, np.arange(4000), size=(n,)), settings, toys.SHAPE)["noise"]
    codes = np.asarray(loaded.get_layer("prior")(noise))
    assert np.allclose(codes.std(axis=0), sigmas_of(settings), rtol=0.05)
    assert np.array_equal(np.asarray(loaded(noise[:5])), np.asarray(trained(noise[:5])))


def test_images_in_every_picture_are_what_their_name_says():
    settings = gan.Settings(**EVERYTHING)
    model = toys.build(gan, settings)
    real, made = RNG.random((2, 5, *toys.SHAPE), np.float32)
    found = gan.showing(settings, model).pictures(real, made)
    assert set(found) == {"reconstructed", "generated_windowed", "real_windowed"}
    assert np.allclose(found["generated_windowed"], np.clip((made - 0.2) / 0.4, 0, 1), atol=1e-6)
    nets = model.players[0].networks
    noise = nets["heads"](nets["trunk"](real))["noise"]
    assert np.allclose(found["reconstructed"], nets["generator"](noise), atol=1e-5)
    assert set(gan.showing(settings, model).networks) == {"generator", "regressor"}
    assert gan.showing(gan.Settings(regressor="none"), model).pictures(real, made) == {}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"window": (0.6, 0.2)}, r"window low \(0.6\) must be below high \(0.2\)"),
        ({"window": (0, 80)}, r"window \(0, 80\) is in shares of the stored range, 0 to 1; for HU.* window_in: unit"),
        ({"window": (-0.1, 0.5)}, r"window \(-0.1, 0.5\) is in shares"),
        ({"regressor": "none", "reconstruction_weight": 1.0}, "reconstruction_weight needs a regressor"),
        ({"alpha": 0.5}, "alpha"),
        ({"alpha": -1.0}, r"alpha \(-1\) is of prior: power, but prior is identity; set prior: power"),
        ({"prior_scale": 2.0}, r"prior_scale \(2\) is of prior: power"),
        ({"regresor": "none"}, "Did you mean 'regressor'"),
    ],
)
def test_settings_that_contradict_each_other_are_errors(values, message):
    with pytest.raises(plugins.BadSettings, match=message):
        plugins.settings("methods", "gan", values)
