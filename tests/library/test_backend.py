"""Compiler and threads of the Keras backend."""

import keras
import pytest

from scanloom.backend import compiles, limit_threads


def test_tensorflow_trains_as_a_graph_and_jax_compiles(monkeypatch):
    assert compiles() is False
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    assert compiles() is True


def test_no_threads_is_an_error():
    with pytest.raises(ValueError, match="threads must be at least 1, not 0"):
        limit_threads(0)
