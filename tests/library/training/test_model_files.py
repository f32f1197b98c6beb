"""Saved models: the same bytes whenever they are saved, and what was saved comes back."""

import time

import keras
import numpy as np

from scanloom.encoders import resnet
from scanloom.training.model_files import save_model


def test_two_savings_have_the_same_bytes_and_load_as_the_same_function(tmp_path, monkeypatch):
    model = resnet.build(resnet.Settings(depth=10, width=4), (16, 16, 1), 5)
    save_model(model, tmp_path / "a.keras")
    later = time.time() + 86400
    monkeypatch.setattr(time, "time", lambda: later)
    again = resnet.build(resnet.Settings(depth=10, width=4), (16, 16, 1), 5)
    save_model(again, tmp_path / "b.keras")
    assert (tmp_path / "a.keras").read_bytes() == (tmp_path / "b.keras").read_bytes()
    images = np.random.default_rng(0).random((2, 16, 16, 1), np.float32)
    loaded = keras.saving.load_model(tmp_path / "b.keras")
    np.testing.assert_array_equal(model.predict_on_batch(images), loaded.predict_on_batch(images))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.keras", "b.keras"]
