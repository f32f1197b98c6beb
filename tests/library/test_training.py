"""The loop: history, resume to the same bits, SIGTERM, waiting, the choice of compiler."""

import json
import os
import signal
import time

import numpy as np
import pytest
import tiny_training as tiny

from scanloom.schedules import cosine
from scanloom.training import choose_jit, limit_threads, remembered_jit, train_steps

RATE = cosine(0.1, 20, 3)


def same_weights(a, b) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a.get_weights(), b.get_weights(), strict=True))


def test_history_has_one_row_per_interval_with_mean_loss_and_set_rate():
    seen = []
    model = tiny.make_model()

    def on_interval(step, row):
        seen.append((step, row["step"]))
        return {"twice": 2 * step}

    history = train_steps(model, tiny.batch_at, RATE, 20, interval=8, on_interval=on_interval)
    assert list(history["step"]) == [8, 16, 20]
    assert seen == [(8, 8), (16, 16), (20, 20)]
    assert list(history["twice"]) == [16, 32, 40]
    assert list(history["learning_rate"]) == [RATE(7), RATE(15), RATE(19)]
    # Outside expectation: the mean of single updates, each read on its own.
    other = tiny.make_model()
    losses = []
    for step in range(20):
        other.optimizer.learning_rate = RATE(step)
        losses.append(float(other.train_on_batch(tiny.batch_at(step), return_dict=True)["loss"]))
    assert np.allclose(history["loss"], [np.mean(losses[:8]), np.mean(losses[8:16]), np.mean(losses[16:])], rtol=1e-12)
    assert same_weights(model, other)
    assert (history["images_per_s"] > 0).all()
    assert history["wait_share"].between(0, 1).all()


@pytest.mark.parametrize("at", [3, 8, 11])
def test_sigterm_ends_the_update_saves_and_a_second_call_reaches_the_same_bits(tmp_path, at):
    whole = tiny.make_model()
    history = train_steps(whole, tiny.batch_at, RATE, 20, interval=8)

    def terminated(step):
        if step == at:
            os.kill(os.getpid(), signal.SIGTERM)
        return tiny.batch_at(step)

    with pytest.raises(SystemExit) as stopped:
        train_steps(tiny.make_model(), terminated, RATE, 20, interval=8, checkpoint_folder=tmp_path)
    assert stopped.value.code == 143
    assert 0 < int(np.load(tmp_path / "state.npz")["step"]) < 20
    resumed = tiny.make_model()
    again = train_steps(resumed, tiny.batch_at, RATE, 20, interval=8, checkpoint_folder=tmp_path)
    assert same_weights(whole, resumed)
    assert list(again["loss"]) == list(history["loss"])
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_finished_training_does_nothing_again(tmp_path):
    first = train_steps(tiny.make_model(), tiny.batch_at, RATE, 20, interval=8, checkpoint_folder=tmp_path)
    model = tiny.make_model()
    again = train_steps(model, lambda step: tiny.batch_at(0), RATE, 20, interval=8, checkpoint_folder=tmp_path)
    assert again.equals(first)


def test_checkpoints_appear_every_so_many_updates(tmp_path):
    seen = {}

    def look(step, row):
        state = tmp_path / "state.npz"
        seen[step] = int(np.load(state)["step"]) if state.exists() else None

    train_steps(
        tiny.make_model(),
        tiny.batch_at,
        RATE,
        20,
        interval=5,
        checkpoint_folder=tmp_path,
        checkpoint_every=10,
        on_interval=look,
    )
    assert seen == {5: None, 10: None, 15: 10, 20: 10}
    assert int(np.load(tmp_path / "state.npz")["step"]) == 20
    assert not list(tmp_path.glob("*.part"))


def test_a_slow_source_of_batches_shows_as_waiting():
    def slow(step):
        time.sleep(0.03)
        return tiny.batch_at(step)

    history = train_steps(tiny.make_model(), slow, RATE, 20, interval=10)
    assert history["wait_share"].iloc[-1] > 0.5


def test_a_loss_that_is_not_finite_stops_with_update_and_rate():
    def poisoned(step):
        batch = tiny.batch_at(step)
        if step == 4:
            batch["target"][0, 0] = np.nan
        return batch

    with pytest.raises(FloatingPointError, match=r"loss is nan at update 5 \(learning rate 0\.09"):
        train_steps(tiny.make_model(), poisoned, RATE, 20)


def test_an_error_in_the_batch_thread_comes_out_as_it_is():
    def broken(step):
        raise OSError("shard 3 is truncated")

    model = tiny.make_model()
    with pytest.raises(OSError, match="shard 3 is truncated"):
        train_steps(model, broken, RATE, 20)


def test_a_checkpoint_beyond_the_training_is_an_error(tmp_path):
    train_steps(tiny.make_model(), tiny.batch_at, RATE, 20, checkpoint_folder=tmp_path)
    with pytest.raises(ValueError, match="is at update 20, beyond the 10 asked for"):
        train_steps(tiny.make_model(), tiny.batch_at, RATE, 10, checkpoint_folder=tmp_path)


def test_the_choice_of_compiler_is_measured_and_remembered(tmp_path):
    choice = choose_jit(tiny.make_model, tiny.batch_at)
    assert set(choice) == {"jit_compile", "graph_s", "xla_s"}
    assert choice["graph_s"] > 0
    if choice["xla_s"] is not None:  # op determinism, if an earlier test switched it on, rules XLA out
        assert choice["jit_compile"] in (choice["xla_s"] < choice["graph_s"], False)
    (tmp_path / "jit.json").write_text(json.dumps({"jit_compile": True, "graph_s": 1.0, "xla_s": 0.5}))
    assert remembered_jit(tmp_path, None, None) == {"jit_compile": True, "graph_s": 1.0, "xla_s": 0.5}


def test_a_short_training_does_not_pay_for_measuring_xla(tmp_path):
    choice = remembered_jit(tmp_path, tiny.make_model, tiny.batch_at, steps=2)
    assert choice["xla_s"] is None
    assert choice["jit_compile"] is False
    assert json.loads((tmp_path / "jit.json").read_text()) == choice


def test_no_threads_is_an_error():
    with pytest.raises(ValueError, match="threads must be at least 1, not 0"):
        limit_threads(0)
