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

from scanloom import pretraining
from scanloom.encoders import resnet
from scanloom.method_batches import batches
from scanloom.methods import barlow_twins
from scanloom.stateless_random import keys_of
from scanloom.view_pipeline import Pipeline


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
    columns = ["embedding_std", "rankme", "collapsing", "images_per_s", "wait_share"]
    assert set(columns) <= set(history.columns)
    assert (history["rankme"] >= 1).all()
    assert list((folder / "tensorboard").glob("events.out.tfevents*"))
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
    while not state.exists() and process.poll() is None and time.monotonic() < deadline:
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


@pytest.mark.slow
def test_the_same_bits_where_xla_was_chosen(tmp_path):
    """XLA rules TensorFlow's op determinism out, so the promise rests on XLA's own order of additions."""
    for name in ("killed", "whole"):
        (tmp_path / name / "checkpoints").mkdir(parents=True)
        choice = {"jit_compile": True, "graph_s": 1.0, "xla_s": 0.5}
        (tmp_path / name / "checkpoints" / "jit.json").write_text(json.dumps(choice))
    kill_after_a_checkpoint(tmp_path / "killed")
    for name in ("killed", "whole"):
        subprocess.run(**pretraining_command(tmp_path / name), check=True, capture_output=True)
        assert json.loads((tmp_path / name / "run.json").read_text())["jit"]["jit_compile"] is True
    assert_same_run(tmp_path / "killed", tmp_path / "whole")


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
    budget = pretraining.Budget(updates=2, batch=64, learning_rate=1e-3)
    with pytest.raises(ValueError, match=r"a batch of 64 images is larger than the corpus \(48 usable images\)"):
        tiny.run("barlow_twins", tmp_path, budget=budget)


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


def test_a_collapse_is_seen_logged_and_recorded(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(pretraining, "COLLAPSED_RANKME", 1e9)
    budget = pretraining.Budget(updates=8, batch=16, learning_rate=1e-3, interval=2)
    about = tiny.run("barlow_twins", tmp_path, budget=budget)
    assert about["collapsed"] is True
    assert [record.message[:27] for record in caplog.records] == ["the embedding has collapsed"]
    assert "at update 6" in caplog.text


def test_the_monitor_calls_a_constant_encoder_collapsing_and_a_spread_one_not():
    images = [np.random.default_rng(0).integers(0, 256, (16, 4, 4, 1), np.uint8)]
    inputs = keras.Input((4, 4, 1))
    flat = keras.layers.Flatten()(inputs)
    dead = keras.Model(inputs, keras.layers.Dense(4, kernel_initializer="zeros", bias_initializer="ones")(flat))
    assert pretraining.monitor(dead, images)["collapsing"] is True
    assert pretraining.monitor(keras.Model(inputs, flat), images)["collapsing"] is False
