"""Compiler, determinism and threads of the Keras backend."""

import json

import pytest
import tiny_training as tiny

from scanloom.backend import choose_jit, limit_threads, remembered_jit


def test_the_choice_of_compiler_is_measured_and_remembered(tmp_path):
    choice = choose_jit(tiny.make_model, tiny.batch_at)
    assert set(choice) == {"jit_compile", "graph_s", "xla_s"}
    assert choice["graph_s"] > 0
    if choice["xla_s"] is not None:  # op determinism, if an earlier test switched it on, rules XLA out
        assert choice["jit_compile"] in (choice["xla_s"] < choice["graph_s"], False)
    (tmp_path / "jit.json").write_text(json.dumps({"jit_compile": True, "graph_s": 1.0, "xla_s": 0.5}))
    assert remembered_jit(tmp_path, None, None) == {"jit_compile": True, "graph_s": 1.0, "xla_s": 0.5}


def test_the_first_choice_of_compiler_is_that_of_all_processes(tmp_path):
    """Two that measure at once: the later one must not change the choice that the first one trains with."""
    first = {"jit_compile": True, "graph_s": 1.0, "xla_s": 0.5}

    def made_meanwhile(jit_compile):
        (tmp_path / "jit.json").write_text(json.dumps(first))
        return tiny.make_model(jit_compile)

    assert remembered_jit(tmp_path, made_meanwhile, tiny.batch_at, steps=2) == first


def test_a_short_training_does_not_pay_for_measuring_xla(tmp_path):
    choice = remembered_jit(tmp_path, tiny.make_model, tiny.batch_at, steps=2)
    assert choice["xla_s"] is None
    assert choice["jit_compile"] is False
    assert json.loads((tmp_path / "jit.json").read_text()) == choice


def test_no_threads_is_an_error():
    with pytest.raises(ValueError, match="threads must be at least 1, not 0"):
        limit_threads(0)
