"""The loop: history, resume to the same bits, SIGTERM, waiting, going back."""

import os
import re
import signal
import time

import keras
import numpy as np
import pytest
import tiny_training as tiny

from scanloom.schedules import cosine, learning_rates
from scanloom.training.training_loop import train_steps

RATE = learning_rates(cosine, cosine.Settings(), 0.1, 20, 3)


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
    assert tiny.same_weights(model, other)
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
    assert tiny.same_weights(whole, resumed)
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


def numbered(step):
    return tiny.batch_at(step) | {"number": np.full(8, step)}


def constant_rate(step):
    return 0.1


RETRYING = {"interval": 4, "checkpoint_every": 4, "retries": 2, "name_batch": lambda step: f"items of {step}"}


def astray(model, at: int, recovers_below: float):
    """`model` whose weights become so large after `at` updates that its loss overflows, if the rate is not lower."""
    train = model.train_on_batch

    def train_on_batch(batch, return_dict):
        logs = train(batch, return_dict=return_dict)
        if int(batch["number"][0]) == at and float(model.optimizer.learning_rate) > recovers_below:
            model.dense.kernel.assign(np.full((5, 3), 3e38, np.float32))
        return logs

    model.train_on_batch = train_on_batch
    return model


def test_weights_gone_astray_go_back_to_the_checkpoint_at_half_the_rate(tmp_path, caplog):
    model = astray(tiny.make_model(), at=9, recovers_below=0.03)
    history = train_steps(model, numbered, constant_rate, 12, checkpoint_folder=tmp_path, **RETRYING)
    assert list(history["step"]) == [4, 8, 12]
    assert list(history["retries"]) == [0, 0, 2]
    assert list(history["learning_rate"]) == [0.1, 0.1, 0.025]
    # Outside expectation: 8 updates at the full rate and 4 at a quarter of it, with nothing going wrong.
    other = tiny.make_model()
    train_steps(other, numbered, lambda step: 0.1 if step < 8 else 0.025, 12)
    assert tiny.same_weights(model, other)
    assert "the weights of update 8, the last checkpoint, give the same batch a loss of" in caplog.text
    assert np.load(tmp_path / "offending_batch.npz")["number"][0] == 10


def test_a_kill_after_going_back_changes_nothing(tmp_path):
    whole = astray(tiny.make_model(), at=9, recovers_below=0.03)
    train_steps(whole, numbered, constant_rate, 12, checkpoint_folder=tmp_path / "whole", **RETRYING)

    def killed_at_9(step):
        if step == 9 and int(np.load(tmp_path / "killed" / "state.npz")["retries"]) == 1:
            raise KeyboardInterrupt
        return numbered(step)

    first = astray(tiny.make_model(), at=9, recovers_below=0.03)
    with pytest.raises(KeyboardInterrupt):
        train_steps(first, killed_at_9, constant_rate, 12, checkpoint_folder=tmp_path / "killed", **RETRYING)
    second = astray(tiny.make_model(), at=9, recovers_below=0.03)
    train_steps(second, numbered, constant_rate, 12, checkpoint_folder=tmp_path / "killed", **RETRYING)
    assert tiny.same_weights(whole, second)


def test_a_training_that_always_goes_astray_ends_with_update_images_and_advice(tmp_path):
    model = astray(tiny.make_model(), at=2, recovers_below=0.0)
    with pytest.raises(FloatingPointError) as error:
        train_steps(model, numbered, constant_rate, 12, checkpoint_folder=tmp_path, **RETRYING)
    message = str(error.value)
    assert re.match(
        r"loss is (inf|nan) at update 4 \(learning rate 0\.025\); images of update 4: items of 3; ", message
    )
    assert "so the weights went astray; gone back 2 times, each time to half the learning rate" in message
    assert message.endswith("lower learning_rate, set clip_norm, or use precision: float32")


def test_a_batch_that_no_weights_can_learn_from_is_told_apart(tmp_path):
    def broken(step):
        batch = numbered(step)
        batch["target"][0, 0] = np.nan if step == 6 else 0.0
        return batch

    with pytest.raises(FloatingPointError, match=r"give the same batch a loss of nan too, so the batch or the loss"):
        train_steps(tiny.make_model(), broken, constant_rate, 12, checkpoint_folder=tmp_path, **RETRYING)


def test_a_finite_loss_whose_gradients_are_not_is_laid_to_its_own_batch(tmp_path):
    """d sqrt(x) / dx at 0: the loss of the batch is 0, the weights after it are NaN, the loss of the next one, too."""

    class Root(tiny.TinyModel):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            return keras.ops.sqrt(keras.ops.sum(keras.ops.square(y_pred - x["target"])))

    def flat_at_6(step):
        batch = numbered(step)
        if step == 6:
            batch["images"][:], batch["target"][:] = 0, 0.0
        return batch

    model = Root()
    model(tiny.batch_at(0))
    model.dense.bias.trainable = False  # so that images of zeros give zeros
    model.compile(optimizer=keras.optimizers.SGD(1e-3), jit_compile=False)
    with pytest.raises(FloatingPointError) as error:
        train_steps(model, flat_at_6, constant_rate, 12, checkpoint_folder=tmp_path, **RETRYING)
    assert "images of update 7: items of 6; the weights of update 4" in str(error.value)
    assert "weights that are not finite, so the batch or the loss is the cause" in str(error.value)
    assert np.load(tmp_path / "offending_batch.npz")["number"][0] == 6


def test_weights_that_are_not_finite_are_never_a_checkpoint(tmp_path):
    model = astray(tiny.make_model(), at=3, recovers_below=0.07)
    assign = model.dense.kernel.assign
    model.dense.kernel.assign = lambda values: assign(np.where(np.abs(values) > 1e38, np.nan, values))
    history = train_steps(model, numbered, constant_rate, 8, checkpoint_folder=tmp_path, **RETRYING)
    assert list(history["retries"]) == [1, 1]


def test_micro_batches_are_one_batch_where_nothing_looks_across_images():
    whole, parts = (tiny.make_model(micro_batches=count) for count in (1, 4))
    one = train_steps(whole, tiny.batch_at, RATE, 20, interval=8)
    four = train_steps(parts, tiny.batch_at, RATE, 20, interval=8, micro_batches=4)
    assert np.allclose(one["loss"], four["loss"], rtol=1e-5)
    assert np.allclose(whole.dense.kernel, parts.dense.kernel, rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="a batch of 8 images cannot be cut into 3 equal parts"):
        train_steps(parts, tiny.batch_at, RATE, 20, micro_batches=3)


def test_a_reason_to_stop_ends_the_training_there_and_again_when_resumed(tmp_path):
    def enough(rows):
        return "enough" if rows[-1]["step"] >= 8 else None

    model = tiny.make_model()
    saved = {"checkpoint_folder": tmp_path, "interval": 4, "stop_when": enough}
    history = train_steps(model, tiny.batch_at, RATE, 20, **saved)
    assert list(history["step"]) == [4, 8]
    other = tiny.make_model()
    assert train_steps(other, tiny.batch_at, RATE, 20, **saved).equals(history)
    assert tiny.same_weights(model, other)


def test_the_profiler_records_the_updates_it_is_asked_for(tmp_path):
    saved = {"checkpoint_folder": tmp_path / "checkpoints", "profiled": range(2, 4)}
    train_steps(tiny.make_model(), tiny.batch_at, RATE, 5, **saved)
    assert [path.suffix for path in (tmp_path / "profile").rglob("*.pb")] == [".pb"]


def test_a_training_that_goes_back_and_ends_while_it_is_profiled_is_recorded(tmp_path):
    model = astray(tiny.make_model(), at=6, recovers_below=0.07)
    saved = {"checkpoint_folder": tmp_path / "checkpoints", "profiled": range(5, 30)}
    history = train_steps(model, numbered, constant_rate, 8, **saved, **RETRYING)
    assert list(history["retries"]) == [0, 1]
    assert list((tmp_path / "profile").rglob("*.pb"))


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
