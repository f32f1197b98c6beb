"""Pretraining: the files, the guards, the monitors, and a kill at any step that changes nothing."""

import json
import os
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pandas as pd
import pytest
import tiny_corpus as tiny
from board_reading import board_entries

from scanloom import plugins
from scanloom.encoders import resnet
from scanloom.methods import barlow_twins
from scanloom.pretraining.method_batches import batches
from scanloom.pretraining.method_training import DoesNotFit
from scanloom.pretraining.view_pipeline import Pipeline
from scanloom.stateless_random import keys_of
from scanloom.training.budget import Budget
from scanloom.training.checkpoints import step_of


def weights_of(folder):
    return keras.saving.load_model(folder / "encoder.keras").get_weights()


def same(a, b) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.fixture(scope="module")
def barlow(tmp_path_factory):
    folder = tmp_path_factory.mktemp("barlow")
    return folder, tiny.run("barlow_twins", folder)


def test_a_run_leaves_encoder_history_facts_and_tensorboard_log(barlow):
    folder, about = barlow
    assert json.loads((folder / "run.json").read_text()) == about
    assert about["images"] == 48
    assert about["patients"] == 12
    assert about["epochs"] == 24 * 16 / 48
    history = pd.read_parquet(folder / "history.parquet")
    assert list(history["step"]) == [4, 8, 12, 16, 20, 24]
    assert np.isfinite(history["loss"]).all()
    columns = ["embedding_std", "rankme", "lidar", "alignment", "uniformity", "dead_units", "projection_redundancy"]
    columns += ["projection_kept"]
    columns += ["knn_level", "probe_level", "collapsing", "images_per_s", "wait_share", "retries"]
    assert set(columns) <= set(history.columns)
    assert (history["rankme"] >= 1).all()
    images, histograms = board_entries(folder / "tensorboard")
    assert {tag for tag, _ in images} == {"views"}
    assert {tag.partition("/")[0] for tag, _ in histograms} == {"weights", "features"}
    assert {step for _, step in [*images, *histograms]} == {4}
    start = resnet.build(resnet.Settings(depth=10, width=4), (16, 16, 1), 5).get_weights()
    assert not same(start, weights_of(folder))


def pretraining_command(folder, *slow_s: str) -> dict:
    """Arguments of Popen for a pretraining of the tiny corpus in a process of its own."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    return {"args": [sys.executable, tiny.__file__, "barlow_twins", str(folder), *slow_s], "env": environment}


def kill_after_a_checkpoint(folder) -> None:
    """Start a slowed-down pretraining in `folder` and kill it between two checkpoints."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(**pretraining_command(folder, "0.2"), **quiet)
    state = folder / "checkpoints" / "state.npz"
    deadline = time.monotonic() + 300
    while step_of(state) == 0 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the training ended before it could be killed"
    assert 0 < int(np.load(state)["step"]) < 24
    assert not (folder / "encoder.keras").exists()


def assert_same_run(one, other) -> None:
    assert same(weights_of(one), weights_of(other))
    histories = [pd.read_parquet(f / "history.parquet") for f in (one, other)]
    columns = ["step", "loss", "learning_rate", "embedding_std", "rankme"]
    pd.testing.assert_frame_equal(*[history[columns] for history in histories], check_exact=True)


def test_kill_9_at_any_step_and_a_second_start_reach_the_same_bits(barlow, tmp_path):
    kill_after_a_checkpoint(tmp_path / "killed")
    subprocess.run(**pretraining_command(tmp_path / "killed"), check=True, capture_output=True)
    assert_same_run(tmp_path / "killed", barlow[0])


def test_supervised_uses_only_images_with_the_label(tmp_path):
    about = tiny.run("supervised", tmp_path)
    assert about["uses_labels"] is True
    assert about["images"] == 40
    assert about["patients"] == 10


def test_from_scratch_is_the_encoder_of_the_seed(tmp_path):
    about = tiny.run("from_scratch", tmp_path)
    assert about["trains"] is False
    assert same(weights_of(tmp_path), resnet.build(resnet.Settings(depth=10, width=4), (16, 16, 1), 5).get_weights())
    assert list(pd.read_parquet(tmp_path / "history.parquet")["step"]) == [0]


def test_a_patient_outside_of_the_allowed_list_stops_everything(tmp_path):
    allowed = {f"patient{i}" for i in range(11)}
    with pytest.raises(ValueError, match=r"1 patients of the shards are not .* \(first: patient11\)"):
        tiny.run("from_scratch", tmp_path / "never", allowed_patients=allowed)
    assert not (tmp_path / "never").exists()


def test_an_unknown_label_is_named_with_a_suggestion(tmp_path):
    with pytest.raises(ValueError, match=r"no label 'levle'. Known: level. Did you mean 'level'"):
        tiny.run("supervised", tmp_path, method_settings={"label": "levle"})


def test_a_batch_larger_than_the_corpus_is_an_error(tmp_path):
    budget = Budget(updates=2, batch=64, learning_rate=1e-3)
    with pytest.raises(ValueError, match=r"a batch of 64 images is larger than the corpus \(48 usable images\)"):
        tiny.run("barlow_twins", tmp_path, budget=budget)


def test_patches_whose_size_does_not_suit_the_encoder_are_said_to_be_patches(tmp_path):
    with pytest.raises(ValueError, match=r"jigsaw shows the encoder parts of the images: image shape \(3, 3, 1\): vit"):
        tiny.run("jigsaw", tmp_path, encoder="vit", encoder_settings={"patch": 4, "width": 8, "depth": 1, "heads": 2})


def test_every_image_is_seen_once_per_epoch_in_another_order():
    corpus = tiny.TinyCorpus()
    corpus._images = np.arange(48, dtype=np.uint8).reshape(48, 1, 1, 1)
    keys = keys_of(corpus.table["item_id"])
    pipeline = Pipeline([("flip", {})], (1, 1, 1))
    settings = barlow_twins.Settings()
    batch_at = batches(corpus, np.arange(48), keys, None, barlow_twins, settings, pipeline, batch=16, updates=6, seed=1)
    epochs = [np.concatenate([batch_at(3 * e + i)["images"].ravel() for i in range(3)]) for e in range(3)]
    assert all(sorted(epoch) == list(range(48)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    first = batch_at(0)
    assert set(first) == {"images", "step", "progress", "branch0:0.flip.flipped", "branch1:0.flip.flipped"}
    assert not np.array_equal(first["branch0:0.flip.flipped"], first["branch1:0.flip.flipped"])


def options(**changed) -> Budget:
    """A training of six updates."""
    common = {"updates": 6, "batch": 16, "learning_rate": 1e-3, "interval": 2, "tensorboard_images": False}
    return Budget(**common | {"monitors": {"images": 16, "view_images": 4, "views": 2}} | changed)


SMALL_CNN = {
    "encoder": "small_cnn",
    "encoder_settings": {"width": 4, "stages": [1, 1]},
    "views": [("flip", {})],
}
EVERYTHING = {
    "optimizer": {"lars": {"trust": 0.02}},
    "schedule": {"step": {"at": [0.5]}},
    "learning_rate": 0.3,
    "clip_norm": 5.0,
    "accumulate": 2,
    "ema_momentum": 0.9,
    "keep": "best",
    "best_by": "lidar",
}


def test_a_kill_changes_nothing_with_averages_parts_lars_and_the_best_encoder_kept(tmp_path):
    budget = options(**EVERYTHING, snapshot_every=4, tensorboard_images=True)
    whole = tiny.run("barlow_twins", tmp_path / "whole", budget=budget, **SMALL_CNN)

    class Killed(tiny.TinyCorpus):
        """Cannot be read any more after some batches."""

        left = 7

        def images(self, indices):
            Killed.left -= 1
            if not Killed.left:
                raise KeyboardInterrupt
            return super().images(indices)

    with pytest.raises(KeyboardInterrupt):
        tiny.run("barlow_twins", tmp_path / "killed", Killed(), budget=budget, **SMALL_CNN)
    assert 0 < step_of(tmp_path / "killed" / "checkpoints" / "state.npz") < 6
    again = tiny.run("barlow_twins", tmp_path / "killed", budget=budget, **SMALL_CNN)
    assert_same_run(tmp_path / "killed", tmp_path / "whole")
    history = pd.read_parquet(tmp_path / "whole" / "history.parquet")
    assert whole["kept_update"] == again["kept_update"] == history["step"][history["lidar"].idxmax()]
    assert [path.name for path in sorted((tmp_path / "whole" / "snapshots").iterdir())] == ["encoder-000004.keras"]


def test_averaged_weights_are_watched_and_saved(tmp_path):
    plain = tiny.run("barlow_twins", tmp_path / "plain", budget=options(), **SMALL_CNN)
    tiny.run("barlow_twins", tmp_path / "averaged", budget=options(ema_momentum=0.999), **SMALL_CNN)
    small_cnn = plugins.load("encoders", "small_cnn")
    start = small_cnn.build(small_cnn.Settings(width=4, stages=(1, 1)), (16, 16, 1), 5).get_weights()[0]
    moved = [np.abs(weights_of(tmp_path / name)[0] - start).max() for name in ("plain", "averaged")]
    # An average of momentum 0.999 takes at most half a percent of the way of six updates, from the second on.
    assert 0 < moved[1] < 0.5 * moved[0]
    histories = [pd.read_parquet(tmp_path / name / "history.parquet") for name in ("plain", "averaged")]
    assert histories[0]["loss"].equals(histories[1]["loss"]), "averaging does not touch the training"
    assert plain["kept_update"] == 6


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_low_precision_trains_close_to_float32_and_saves_float32(tmp_path, precision):
    budget = options(updates=3, precision=precision)
    tiny.run("barlow_twins", tmp_path / "low", budget=budget, **SMALL_CNN)
    tiny.run("barlow_twins", tmp_path / "full", budget=options(updates=3), **SMALL_CNN)
    losses = [pd.read_parquet(tmp_path / name / "history.parquet")["loss"] for name in ("low", "full")]
    assert np.isclose(losses[0][0], losses[1][0], rtol=0.1)
    saved = keras.saving.load_model(tmp_path / "low" / "encoder.keras")
    assert {layer.dtype_policy.name for layer in saved.layers} == {"float32"}
    assert keras.config.dtype_policy().name == "float32", "later models are made as before"


def test_early_end_and_speed_without_input_are_recorded(tmp_path):
    threshold = {"metric": "loss", "value": 1e9}
    budget = options(stop_at=threshold, synthetic_updates=2, profile={"first": 0, "updates": 1})
    about = tiny.run("barlow_twins", tmp_path, budget=budget, **SMALL_CNN)
    assert about["stopped"]["update"] == 2
    assert about["stopped"]["why"].endswith("good enough by stop_at (1e+09)")
    assert about["epochs"] == 2 * 16 / 48
    assert about["images_per_s_without_input"] > 0
    assert list((tmp_path / "profile").rglob("*.pb"))


def test_a_loss_that_is_never_finite_names_update_and_images(tmp_path, monkeypatch):
    monkeypatch.setattr(barlow_twins, "barlow_loss", lambda z1, z2, weight: keras.ops.sum(z1) * np.nan)
    with pytest.raises(FloatingPointError, match=r"loss is nan at update 1 .*images of update 1: series\d+-\d+, "):
        tiny.run("barlow_twins", tmp_path, budget=options(), **SMALL_CNN)


def test_players_without_a_turn_in_an_interval_have_no_loss_there_and_end_nothing(tmp_path):
    ends = {"early_stopping": {"metric": "generator_loss", "patience": 3}}
    chosen = options(updates=3, interval=1, keep="best", best_by="generator_loss", **ends)
    about = tiny.run("gan", tmp_path, budget=chosen, **SMALL_CNN)
    losses = pd.read_parquet(tmp_path / "history.parquet")["generator_loss"]
    assert list(losses.isna()) == [True, False, True]
    assert (about["kept_update"], about["stopped"]) == (2, None)


def test_a_column_of_another_method_is_refused_before_the_first_update_with_a_name_that_works(tmp_path):
    given = SMALL_CNN | {"method_settings": {"latent": 3, "decoder_width": 2, "hidden": 8}}
    rule = {"metric": "reconstruction", "patience": 3}
    with pytest.raises(DoesNotFit, match=r"early_stopping: .*'reconstruction'.*mean 'autoencoder_reconst") as refusal:
        tiny.run("factor_vae", tmp_path, budget=options(early_stopping=rule), **given)
    assert "accuracy" not in str(refusal.value)
    assert not (tmp_path / "checkpoints").exists()
    advised = rule | {"metric": "autoencoder_reconstruction"}
    chosen = options(updates=3, interval=1, keep="best", best_by="autoencoder_kl", early_stopping=advised)
    about = tiny.run("factor_vae", tmp_path, budget=chosen, **given)
    history = pd.read_parquet(tmp_path / "history.parquet")
    assert list(history["autoencoder_reconstruction"].isna()) == [False, True, False], "the other player's turn"
    assert about["kept_update"] == history["step"][history["autoencoder_kl"].argmin()]


def test_an_encoder_that_fits_parts_of_images_alone_is_refused_before_the_first_update(tmp_path):
    vit = {"encoder": "vit", "encoder_settings": {"patch": 1, "width": 12, "depth": 1, "positions": "learned"}}
    with pytest.raises(DoesNotFit, match=r"jigsaw shows the encoder images of shape .*other weights.*sincos"):
        tiny.run("jigsaw", tmp_path, budget=options(), views=[], **vit)
    assert not (tmp_path / "history.parquet").exists()


def test_a_column_that_does_not_exist_is_named_with_those_that_do(tmp_path):
    with pytest.raises(ValueError, match=r"best_by: the history has no column 'knn_leval'. Known: .*rankme"):
        tiny.run("barlow_twins", tmp_path, budget=options(keep="best", best_by="knn_leval"), **SMALL_CNN)
    unknown = options(monitors={"labels": ["levle"]})
    with pytest.raises(ValueError, match=r"no label 'levle'. Known: level. Did you mean 'level'"):
        tiny.run("barlow_twins", tmp_path / "other", budget=unknown, **SMALL_CNN)
