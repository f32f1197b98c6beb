"""Sheets of what a generator makes while it trains, its scores at the end, and a pretraining that leaves both."""

import io
import json
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest
import tiny_corpus as tiny
from board_reading import board_entries
from PIL import Image

from scanloom import plugins
from scanloom.files.png import png_of
from scanloom.methods import gan
from scanloom.pretraining import generation
from scanloom.pretraining.generation import (
    SampleSheets,
    generated,
    grey_histogram,
    grid,
    scored,
    side_by_side,
    write_for_report,
)
from scanloom.pretraining.method_training import bare_training
from scanloom.pretraining.showing import Showing

RNG = np.random.default_rng(0)
SHAPE = (2, 2, 1)
GIVEN = {
    "method_settings": {"latent": 3, "decoder_width": 2, "hidden": 8},
    "encoder": "small_cnn",
    "encoder_settings": {"width": 4, "stages": [1, 1]},
}


def keeping_the_best(by: str, **given) -> tiny.Budget:
    """A short training whose averaged weights at its best update are kept."""
    about = {"keep": "best", "best_by": by, "ema_momentum": 0.5, "schedule": {"constant": {}}}
    return tiny.Budget(batch=8, interval=2, monitors={"images": 24}, **about, **given)


def generator(scale: float = 1.0):
    """Images that are the noise, squeezed into [0, 1]."""
    noise = keras.Input((4,))
    images = keras.layers.Reshape(SHAPE)(keras.layers.Activation("sigmoid")(keras.layers.Rescaling(scale)(noise)))
    return keras.Model(noise, images)


def flat_encoder():
    """Features that are the pixels, from -4 to 4."""
    images = keras.Input(SHAPE)
    return keras.Model(images, keras.layers.Flatten()(keras.layers.Rescaling(8.0, -4.0)(images)))


def test_an_images_noise_depends_on_seed_and_number_alone():
    network = generator()
    every = generated(network, 6, seed=3)
    assert every.shape == (6, *SHAPE)
    assert np.allclose(generated(network, 2, seed=3, first=4), every[4:], atol=1e-6)
    assert np.abs(generated(network, 6, seed=4) - every).max() > 0.1


def test_a_grid_has_every_image_in_its_place_and_white_gaps():
    images = RNG.random((5, 3, 4, 1))
    sheet = grid(images)
    assert sheet.shape == (2 * 3 + 2, 3 * 4 + 2 * 2)
    assert np.array_equal(sheet[5:8, 6:10], np.rint(images[4, ..., 0] * 255))
    assert (sheet[3:5] == 255).all()
    assert grid(images, columns=1).shape == (5 * 3 + 4 * 2, 4)


def test_colours_stay_colours_volumes_show_their_middle_and_large_images_are_thinned_out():
    colour = RNG.random((4, 3, 3, 3))
    assert np.array_equal(grid(colour)[:3, :3], np.rint(colour[0] * 255))
    volumes = RNG.random((1, 5, 3, 4, 2))
    assert np.array_equal(grid(volumes), np.rint(volumes[0, 2, :, :, 0] * 255))
    assert max(grid(np.zeros((9, 1024, 700, 1))).shape) <= generation.LARGEST_GRID_PX + 2 * generation.GAP_PX


def test_sheets_stand_side_by_side():
    one, other = RNG.integers(0, 256, (2, 3, 4), np.uint8)
    both = side_by_side([one, other])
    assert np.array_equal(both[:, :4], one)
    assert np.array_equal(both[:, -4:], other)
    assert both.shape == (3, 16)


def test_a_histogram_is_numpys_per_channel():
    images = RNG.random((4, 5, 5, 2))
    found = grey_histogram(images)
    assert np.allclose(found.sum(axis=1), 1)
    assert np.allclose(found[1] * 100, np.histogram(images[..., 1], 64, (0, 1))[0], atol=1e-4)


def test_every_interval_leaves_a_picture_the_latest_arrays_and_a_tensorboard_entry(tmp_path):
    from tensorboardX import SummaryWriter

    showing = Showing(generator(), pictures=lambda real, made: {"negative": 1.0 - made})
    real = RNG.integers(0, 256, (40, *SHAPE), np.uint8)
    sheets = SampleSheets(showing, real, 3, tmp_path)
    with SummaryWriter(str(tmp_path / "board")) as board:
        assert sheets(board, 50) == {}
        sheets(board, 100)
    assert {path.name for path in (tmp_path / "samples").iterdir()} == {"00000050.png", "00000100.png", "latest.npz"}
    found = np.load(tmp_path / "samples" / "latest.npz")
    assert found["step"] == 100
    assert np.array_equal(found["real"], real[:36])
    made = generated(generator(), 36, 3)
    assert np.abs(found["generated"] - made * 255).max() < 0.51
    assert np.array_equal(found["generated_histogram"], grey_histogram(made))
    assert np.abs(found["negative"].astype(int) + found["generated"] - 255).max() <= 1
    picture = np.asarray(Image.open(tmp_path / "samples" / "00000100.png"))
    assert np.array_equal(picture, side_by_side([grid(real[:36] / 255), grid(made), grid(1 - made)]))
    images, histograms = board_entries(tmp_path / "board")
    assert set(images) == {
        (f"samples/{name}", step) for name in ("real", "generated", "negative") for step in (50, 100)
    }
    assert {tag for tag, _ in histograms} == {"grey/real", "grey/generated", "grey/negative"}
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(images["samples/generated", 100]))), grid(made))
    assert images["samples/generated", 100] == png_of(grid(made))


def test_weights_that_are_not_finite_leave_no_sheet_and_no_error(tmp_path):
    lost = generator(np.nan)
    codes = {"codes": lambda real: (np.full((len(real), 4), np.nan),) * 2}
    real = np.zeros((4, *SHAPE), np.uint8)
    assert np.isnan(SampleSheets(Showing(lost, **codes), real, 3, tmp_path)(None, 50)["active_units"])
    assert SampleSheets(Showing(lost), real, 3, tmp_path)(None, 50) == {}
    assert not list(tmp_path.iterdir())


def test_volumes_are_traversed_in_their_middle_slices(tmp_path):
    from tensorboardX import SummaryWriter

    noise = keras.Input((3,))
    volumes = keras.layers.Reshape((2, 3, 3, 1))(keras.layers.Dense(18, activation="sigmoid")(noise))
    network = keras.Model(noise, volumes)
    mean = RNG.normal(size=(4, 3)).astype(np.float32)
    showing = Showing(network, codes=lambda real: (mean, np.zeros_like(mean)))
    parts = [np.zeros((4, 2, 3, 3, 1), np.uint16)] * 2
    with SummaryWriter(str(tmp_path / "board")) as board:
        about, arrays = SampleSheets(showing, parts[0], 3, tmp_path).explored(parts, board, 9)
    assert about["images"] == 8
    assert arrays["images"].shape == (3, 9, 3, 3, 1)
    cheapest = np.tile(mean[0], (9, 1))
    cheapest[:, np.argmin(np.square(mean).mean(axis=0))] = np.arange(-2, 2.5, 0.5)
    assert np.abs(arrays["images"][-1] - 255 * network.predict_on_batch(cheapest)[:, 1]).max() < 1
    sheet = np.asarray(Image.open(tmp_path / "samples" / "traversal.png"))
    assert np.array_equal(sheet, grid(arrays["images"].reshape(27, 3, 3, 1), 9))


def scores_of(network, real, tmp_path, patients=None, compared=None, batch=None):
    images = np.rint(real * 255).astype(np.uint8)
    patients = [f"p{i}" for i in range(len(real))] if patients is None else patients
    origins = pd.DataFrame({"patient_id": patients, "item_id": [f"item{i}" for i in range(len(real))]})
    compared = np.arange(len(real)) if compared is None else compared
    given = images.__getitem__, origins, compared, batch or len(real) // 4
    return scored(Showing(network, {"generator": network}), flat_encoder(), *given, 3, tmp_path)


def test_a_generator_of_the_real_distribution_scores_like_real_images_and_a_narrow_one_does_not(tmp_path):
    real = 1 / (1 + np.exp(-np.random.default_rng(1).normal(size=(400, *SHAPE))))
    good = scores_of(generator(), real, tmp_path)
    assert good["images"] == 200
    assert good["fid"] < 3 * good["fid_of_real"]
    assert good["precision"] > 0.8
    assert good["recall"] > 0.8
    narrow = scores_of(generator(0.2), real, tmp_path)
    assert narrow["fid"] > 10 * good["fid_of_real"]
    assert narrow["kid"] > 10 * max(abs(good["kid"]), abs(good["kid_of_real"]))
    assert narrow["recall"] < 0.5 < 0.9 < narrow["precision"]


def test_a_generator_that_repeats_a_training_image_is_caught_and_named(tmp_path):
    real = RNG.random((80, *SHAPE))
    real[30] = generated(generator(), 8, 3)[7]
    found = scores_of(generator(), real, tmp_path)
    number, item, distance = found["nearest"][0]
    assert (number, item) == (7, "item30")
    assert distance <= found["copies_threshold"]
    assert found["copies_share"] > 0
    pairs = np.asarray(Image.open(tmp_path / "samples" / "nearest.png")).astype(int)
    assert np.abs(pairs[:2, :2] - pairs[-2:, :2]).max() <= 1, "the copy stands above its origin"
    loaded = keras.saving.load_model(tmp_path / "generator.keras")
    assert np.array_equal(generated(loaded, 3, 3), generated(generator(), 3, 3))


def test_copies_of_training_images_outside_the_compared_sample_are_found_and_shown(tmp_path):
    real = np.random.default_rng(2).random((90, *SHAPE))
    real[60:90] = generated(generator(), 30, 3)
    found = scores_of(generator(), real, tmp_path, compared=np.arange(60), batch=20)
    assert (found["images"], found["copies_share"], found["memorised_against"]) == (30, 1.0, 90)
    assert all(item == f"item{60 + number}" for number, item, _ in found["nearest"])
    pairs = np.asarray(Image.open(tmp_path / "samples" / "nearest.png")).astype(int)
    assert np.abs(pairs[:2, :2] - pairs[-2:, :2]).max() <= 1
    sample_alone = scores_of(generator(), real[:60], tmp_path, batch=20)
    assert {name: found[name] for name in ("fid", "kid", "precision", "recall")} == {
        name: sample_alone[name] for name in ("fid", "kid", "precision", "recall")
    }


def test_one_patient_is_too_few_for_scores(tmp_path):
    assert scores_of(generator(), RNG.random((16, *SHAPE)), tmp_path, ["p"] * 16) == {"images": 8}
    assert (tmp_path / "generator.keras").exists()


def test_a_pretraining_leaves_samples_and_scores_and_repeats_them_after_a_stop(tmp_path):
    corpus = tiny.TinyCorpus()
    corpus.image_spec |= {"slope": [1.0], "intercept": [-100.0]}
    given = {
        "method_settings": {
            "network_width": 2,
            "latent": 4,
            "prior": "power",
            "window": [-50, 50],
            "window_in": "unit",
        },
        "encoder": "small_cnn",
        "encoder_settings": {"width": 4, "stages": [1, 1]},
        "budget": tiny.Budget(updates=4, batch=8, learning_rate=1e-3, interval=2),
    }
    about = tiny.run("gan", tmp_path, corpus, **given)
    assert json.loads((tmp_path / "run.json").read_text()) == about
    assert (about["generation"]["images"], about["generation"]["memorised_against"]) == (24, 48)
    assert np.isfinite([about["generation"][name] for name in ("fid", "kid", "precision", "recall")]).all()
    names = {path.name for path in (tmp_path / "samples").iterdir()}
    assert names == {"00000002.png", "00000004.png", "latest.npz", "nearest.png"}
    assert {"real_windowed", "reconstructed"} < set(np.load(tmp_path / "samples" / "latest.npz"))
    history = pd.read_parquet(tmp_path / "history.parquet")
    reports = ["discriminator_adversarial", "discriminator_windowed_adversarial", "generator_reading"]
    assert np.isfinite(history[reports]).all(axis=None)
    again = tiny.run("gan", tmp_path, corpus, **given)
    assert again["generation"] == about["generation"]


@pytest.mark.parametrize("regressor", ["attached", "encoder"])
def test_an_adversarial_method_leaves_a_regressor_that_belongs_to_its_generator_whatever_the_budget_keeps(
    tmp_path, regressor
):
    budget = keeping_the_best("dead_units", updates=8, learning_rate=2e-2)
    settings = {"network_width": 2, "latent": 4, "regressor": regressor}
    about = tiny.run("gan", tmp_path, **GIVEN | {"budget": budget, "method_settings": settings})
    assert about["kept_update"] < 8, "else this test shows nothing"
    load = keras.saving.load_model
    encoder, reader, maker = (load(tmp_path / f"{name}.keras") for name in ("encoder", "regressor", "generator"))
    body = keras.Model(reader.input, reader.get_layer("features").output)
    pictures = np.load(tmp_path / "pictures.npz")
    real = np.load(tmp_path / "samples" / "latest.npz")["real"] / np.float32(255)
    assert np.allclose(body.predict_on_batch(real), encoder.predict_on_batch(real), atol=1e-6)
    rebuilt = maker.predict_on_batch(reader.predict_on_batch(real))
    assert np.abs(pictures["reconstructed"] - 255 * rebuilt).max() < 1


def test_the_players_optimizers_have_the_methods_momenta():
    from scanloom.optimizers import adamw, optimizer_of

    player = SimpleNamespace(adam_betas=(0.5, 0.9), trainable_variables=[])
    own = optimizer_of(player, adamw, adamw.Settings(), 0.0)
    assert (own.beta_1, own.beta_2) == (0.5, 0.9)
    plain = optimizer_of(SimpleNamespace(trainable_variables=[]), adamw, adamw.Settings(), 0.0)
    assert (plain.beta_1, plain.beta_2) == (0.9, 0.999)
    assert (gan.Settings().beta_1, gan.Settings().beta_2) == (0.5, 0.999)


def test_a_generator_may_have_an_optimizer_of_its_own_at_its_share_of_the_rate(tmp_path):
    own = {"generator_optimizer": {"adam": {"beta_1": 0.3}}, "generator_rate": 0.5, "latent": 3, "network_width": 1}
    training, _ = bare_training(
        tiny.TinyCorpus(),
        method="wgan_gp",
        method_settings=own,
        encoder="small_cnn",
        encoder_settings={"width": 4, "stages": [1]},
        views=tiny.VIEWS,
        budget=tiny.Budget(updates=4, batch=8, optimizer={"sgd": {"momentum": 0.9}}),
        seed=5,
    )
    critic, generator = (player.optimizer for player in training.players)
    assert isinstance(critic, keras.optimizers.SGD)
    assert critic.momentum == 0.9
    assert isinstance(generator, keras.optimizers.Adam)
    assert (generator.beta_1, generator.beta_2) == (0.3, 0.999)
    training.optimizer.learning_rate = 1e-2
    assert np.allclose([float(critic.learning_rate), float(generator.learning_rate)], [1e-2, 5e-3])
    with pytest.raises(ValueError, match="Did you mean 'adam'"):
        plugins.settings("methods", "wgan_gp", {"generator_optimizer": "adm"})


def test_a_latent_method_leaves_networks_that_belong_together_and_a_traversal_of_what_they_know(tmp_path):
    budget = keeping_the_best("active_units", updates=4, learning_rate=3e-2)
    about = tiny.run("vae", tmp_path, budget=budget, **GIVEN)
    history = pd.read_parquet(tmp_path / "history.parquet")
    assert about["kept_update"] == history["step"][history["active_units"].argmax()]
    load = keras.saving.load_model
    encoder, posterior, decoder = (load(tmp_path / f"{name}.keras") for name in ("encoder", "posterior", "decoder"))
    samples, pictures = np.load(tmp_path / "samples" / "traversal.npz"), np.load(tmp_path / "pictures.npz")
    real = np.load(tmp_path / "samples" / "latest.npz")["real"]
    found = posterior.predict_on_batch(encoder.predict_on_batch(real / np.float32(255)))
    code = found["mean"][0]
    order = np.argsort(about["latent"]["kl"])[::-1]
    assert np.array_equal(samples["numbers"], order)
    for number, row in zip(samples["numbers"], samples["images"], strict=True):
        codes = np.tile(code, (9, 1))
        codes[:, number] = np.arange(-2, 2.5, 0.5)
        assert np.abs(row - 255 * decoder.predict_on_batch(codes)).max() < 1
    assert np.abs(pictures["reconstructed"] - 255 * decoder.predict_on_batch(found["mean"])).max() < 1
    assert np.array_equal(pictures["real"], real)
    assert about["latent"]["images"] == 24
    assert len(about["latent"]["kl"]) == 3
    images, histograms = board_entries(tmp_path / "tensorboard")
    assert ("samples/traversal", about["kept_update"]) in images
    assert ("latent/kl", 2) in histograms


def test_players_with_a_latent_space_show_it_too_and_repeat_it_after_a_stop(tmp_path):
    given = GIVEN | {"budget": tiny.Budget(updates=4, batch=8, learning_rate=1e-3, interval=2)}
    about = tiny.run("factor_vae", tmp_path, **given)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.*") if path.is_file()}
    assert {"decoder.keras", "posterior.keras", "pictures.npz"} < set(before)
    assert tiny.run("factor_vae", tmp_path, **given)["latent"] == about["latent"]
    after = {path.name: path.read_bytes() for path in tmp_path.glob("*.*") if path.is_file()}
    assert after == before


def test_a_method_that_makes_no_images_leaves_an_empty_sheet(tmp_path):
    about = tiny.run("from_scratch", tmp_path, encoder=GIVEN["encoder"], encoder_settings=GIVEN["encoder_settings"])
    assert "latent" not in about
    assert np.load(tmp_path / "pictures.npz").files == ["step"]


def test_the_reports_pictures_are_few_flat_and_small(tmp_path):
    volumes = RNG.random((12, 6, 300, 200, 2)).astype(np.float32)
    rows = RNG.integers(0, 256, (10, 9, 4, 4, 3), np.uint8)
    traversed = {"images": rows, "values": np.arange(9), "numbers": np.arange(10), "kl": np.arange(10)[::-1]}
    write_for_report(tmp_path / "pictures.npz", 7, {"real": volumes}, traversed)
    found = np.load(tmp_path / "pictures.npz")
    assert np.array_equal(found["real"], np.rint(volumes[:8, 3, ::3, ::3, :1] * 255))
    assert np.array_equal(found["traversal"], rows[:8])
    assert list(found["traversal_numbers"]) == list(range(8))
    assert (found["step"], found["traversal_kl"][0]) == (7, 9)
