"""A state comes back to the bit, and only into the model it is of."""

import numpy as np
import pytest
import tiny_training as tiny

from scanloom.training.checkpoints import load_checkpoint, save_checkpoint


def trained():
    model = tiny.make_model()
    for step in range(3):
        model.train_on_batch(tiny.batch_at(step))
    return model


def test_state_holds_weights_and_optimizer_to_the_bit(tmp_path):
    model, other = trained(), tiny.make_model()
    other.optimizer.build(other.trainable_variables)
    save_checkpoint(tmp_path / "deep" / "state.npz", model, 3, [], [])
    assert load_checkpoint(tmp_path / "deep" / "state.npz", other)[0] == 3
    for had, got in ((model.variables, other.variables), (model.optimizer.variables, other.optimizer.variables)):
        for a, b in zip(had, got, strict=True):
            assert np.array_equal(np.asarray(a.value), np.asarray(b.value)), a.path
    assert model.train_on_batch(tiny.batch_at(3)) == other.train_on_batch(tiny.batch_at(3))
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["state.npz"]


def test_history_and_pending_losses_come_back_to_the_bit(tmp_path):
    rows, logs = [{"step": 2, "loss": 0.1 + 0.2, "collapsing": False}], [{"loss": 1 / 3}, {"loss": 2 / 3, "kl": 0.1}]
    save_checkpoint(tmp_path / "s.npz", trained(), 3, rows, logs, retries=1)
    assert load_checkpoint(tmp_path / "s.npz", trained()) == (3, rows, logs, 1)


def test_a_checkpoint_of_another_model_is_refused_before_anything_is_assigned(tmp_path):
    import keras

    save_checkpoint(tmp_path / "s.npz", trained(), 3, [], [])
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    other.compile(optimizer="sgd", loss="mse")
    other.optimizer.build(other.trainable_variables)
    before = other.get_weights()
    with pytest.raises(ValueError, match="is a checkpoint of another model"):
        load_checkpoint(tmp_path / "s.npz", other)
    assert all(np.array_equal(a, b) for a, b in zip(before, other.get_weights(), strict=True))
