"""Players take turns: each moves its own weights by its own loss, turns follow the step, a checkpoint holds it all.

That JAX makes the same updates is in test_backend_parity.py.
"""

import keras
import numpy as np
import pytest
import two_players as toy

from scanloom.optimizers import players_of
from scanloom.schedules import cosine, learning_rates
from scanloom.training.alternating import Alternating, Player
from scanloom.training.backend import make_deterministic
from scanloom.training.training_loop import train_steps
from scanloom.training.updates import means


def by_formula(weights: np.ndarray) -> list[tuple[float, np.ndarray]]:
    """Loss and weights after each update, in NumPy float64: gradients of a product of two matrices."""
    left = weights[: toy.WIDE * toy.NARROW].reshape(toy.WIDE, toy.NARROW).astype(np.float64)
    right = weights[toy.WIDE * toy.NARROW :].reshape(toy.NARROW, 1).astype(np.float64)
    expected = []
    for step in range(toy.UPDATES):
        x = toy.batch_at(step)["images"].astype(np.float64)
        turn = step % sum(toy.TURNS)
        error = x @ left @ right - (0.0 if turn < toy.TURNS[0] else 1.0)
        slope = 2 * error / toy.BATCH
        if turn < toy.TURNS[0]:
            left = left - toy.RATE * toy.FACTORS[0] * x.T @ slope @ right.T
        else:
            right = right - toy.RATE * toy.FACTORS[1] * (x @ left).T @ slope
        expected.append((np.mean(error**2), np.concatenate([left.ravel(), right.ravel()])))
    return expected


def test_each_turn_is_the_formulas_update_of_one_player_and_leaves_the_other_alone():
    found = toy.run()
    split = toy.WIDE * toy.NARROW
    for step, (loss, weights) in enumerate(by_formula(found["weights0"])):
        assert np.isclose(found[f"loss{step}"], loss, rtol=1e-5)
        assert np.allclose(found[f"weights{step + 1}"], weights, rtol=1e-5, atol=1e-7)
        still = slice(split, None) if step % 3 < 2 else slice(0, split)
        assert np.array_equal(found[f"weights{step + 1}"][still], found[f"weights{step}"][still])


def test_the_loss_of_a_row_does_not_depend_on_whose_turns_it_holds():
    players = [Player(name, {}, [], lambda *a: None, lambda *a: None) for name in ("critic", "painter")]
    model = Alternating(None, players, turns=(2, 1))
    for critics, painters in ((2, 1), (3, 1), (1, 1)):
        logs = [{"critic_loss": 6.0, "loss": 6.0}] * critics + [{"painter_loss": 0.0, "loss": 0.0}] * painters
        assert model.joint_loss(means(logs)) == 4.0
    assert model.joint_loss({"critic_loss": 6.0}) == 6.0


def everything(model) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(v.value) for v in (*model.variables, *model.optimizer.variables)]


def test_a_stopped_training_goes_on_in_new_players_to_the_same_bits(tmp_path):
    make_deterministic()
    stop_at = 4  # in the middle of left's two turns

    def train(folder, until=None):
        def batch_at(step):
            if step == until:
                raise KeyboardInterrupt
            return toy.batch_at(step)

        model = toy.make(optimizer=keras.optimizers.Adam)
        saving = {"checkpoint_folder": folder, "checkpoint_every": 1}
        return model, train_steps(
            model, batch_at, learning_rates(cosine, cosine.Settings(), toy.RATE, 9), 9, interval=2, **saving
        )

    whole, history = train(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "stopped", stop_at)
    assert np.load(tmp_path / "stopped" / "state.npz")["step"] == stop_at
    resumed, again = train(tmp_path / "stopped")
    assert all(np.array_equal(a, b) for a, b in zip(everything(whole), everything(resumed), strict=True))
    reported = ["loss", "left_loss", "right_loss"]
    assert again[reported].equals(history[reported])


def test_variables_are_listed_once_and_each_optimizer_holds_its_players():
    model = toy.make(optimizer=keras.optimizers.Adam)
    model.optimizer.build(None)
    assert model.optimizer.built
    assert len({id(v) for v in model.variables}) == len(model.variables)
    left, right = players_of(model)
    assert [tuple(v.shape) for v in left.trainable_variables] == [(toy.WIDE, toy.NARROW)]
    assert [tuple(v.shape) for v in right.trainable_variables] == [(toy.NARROW, 1)]
    assert not {id(v) for v in left.trainable_variables} & {id(v) for v in left.non_trainable_variables}
    assert {id(v) for v in right.trainable_variables} <= {id(v) for v in left.non_trainable_variables}
    shapes = {tuple(v.shape) for v in left.optimizer.variables}
    assert (toy.NARROW, 1) not in shapes


def test_one_learning_rate_sets_every_players_share():
    model = toy.make()
    model.optimizer.learning_rate = 0.2
    assert [float(player.optimizer.learning_rate) for player in model.players] == pytest.approx([0.2, 0.1])
    assert float(model.optimizer.learning_rate) == pytest.approx(0.2)


def test_a_single_model_is_its_own_only_player():
    alone = toy.make().players[0]
    assert players_of(alone) == [alone]


def test_unknown_networks_and_uneven_turns_are_errors():
    networks = toy.make().players[0].networks
    with pytest.raises(ValueError, match=r"player critic trains \['rigth'\], but the networks are \['left', 'right'\]"):
        Player("critic", networks, ["rigth"], None, None)
    with pytest.raises(ValueError, match="2 players, 3 turns, 2 learning-rate factors"):
        Alternating(networks["left"], toy.make().players, turns=(1, 1, 1))
