"""Update rules are their papers', by two steps in NumPy float64; what all optimizers share holds for each of them."""

import keras
import numpy as np
import pytest

from scanloom import plugins
from scanloom.optimizers import averages_of, optimizer_of, players_of

RATE, DECAY = 0.1, 0.01
NAMES = plugins.names("optimizers")


def dense(seed: int = 0):
    """A model with a kernel [4, 3], a bias and a normalisation, all away from zero."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.BatchNormalization()])
    rng = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(1.0, 0.5, variable.shape))
    return model


def made(name: str, model, weight_decay: float = DECAY, settings: dict | None = None, **shared):
    plugin = plugins.load("optimizers", name)
    optimizer = optimizer_of(model, plugin, plugins.settings("optimizers", name, settings), weight_decay, **shared)
    optimizer.learning_rate = RATE
    return optimizer


def gradients(model, seed: int) -> list[np.ndarray]:
    return [np.random.default_rng([seed, i]).normal(size=v.shape) for i, v in enumerate(model.trainable_variables)]


def stepped(name: str, model, steps: int = 2, **arguments) -> list[np.ndarray]:
    """The trained variables after updates by the gradients of seeds 0, 1, ..."""
    optimizer = made(name, model, **arguments)
    for seed in range(steps):
        given = [keras.ops.convert_to_tensor(g.astype(np.float32)) for g in gradients(model, seed)]
        optimizer.apply(given, model.trainable_variables)
    return [keras.ops.convert_to_numpy(v) for v in model.trainable_variables]


def by_formula(rule, steps: int = 2, weight_decay: float = DECAY) -> list[np.ndarray]:
    """The same in float64: `rule(w, g, decay, state, t, thick)` -> new w; state is a dict per variable."""
    model, found = dense(), []
    for i, variable in enumerate(model.trainable_variables):
        w, state = np.asarray(keras.ops.convert_to_numpy(variable), np.float64), {}
        thick = w.ndim >= 2
        for seed in range(steps):
            w = rule(w, gradients(model, seed)[i], weight_decay if thick else 0.0, state, seed + 1, thick)
        found.append(w)
    return found


def adam_direction(g, state, t, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    state["m"] = beta_1 * state.get("m", 0) + (1 - beta_1) * g
    state["v"] = beta_2 * state.get("v", 0) + (1 - beta_2) * g**2
    return state["m"] / (1 - beta_1**t) / (np.sqrt(state["v"] / (1 - beta_2**t)) + epsilon)


def momentum_step(w, step, state, momentum=0.9):
    state["v"] = momentum * state.get("v", 0) + step
    return w - state["v"]


def sgd(w, g, decay, state, t, thick):
    return momentum_step(w, RATE * (g + decay * w), state)


def lars(w, g, decay, state, t, thick):
    norm = np.linalg.norm
    local = 0.02 * norm(w) / (norm(g) + decay * norm(w)) if thick else 0.5
    return momentum_step(w, RATE * local * (g + decay * w), state)


def lamb(w, g, decay, state, t, thick):
    r = adam_direction(g, state, t, epsilon=1e-6) + decay * w
    trust = np.linalg.norm(w) / np.linalg.norm(r) if thick else 1.0
    return w - RATE * trust * r


def adam(w, g, decay, state, t, thick):
    return w - RATE * adam_direction(g + decay * w, state, t)


def adamw(w, g, decay, state, t, thick):
    return w - RATE * decay * w - RATE * adam_direction(g, state, t)


SETTINGS = {"lars": {"trust": 0.02, "thin_rate": 0.5}}


@pytest.mark.parametrize("name", NAMES)
def test_two_steps_are_the_papers(name):
    expected = by_formula(globals()[name])
    for ours, theirs in zip(stepped(name, dense(), settings=SETTINGS.get(name)), expected, strict=True):
        assert np.allclose(ours, theirs, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_only_kernels_decay(name):
    model = dense()
    before = [keras.ops.convert_to_numpy(v) for v in model.trainable_variables]
    optimizer = made(name, model, weight_decay=0.5)
    optimizer.apply([keras.ops.zeros(v.shape) for v in model.trainable_variables], model.trainable_variables)
    for variable, old in zip(model.trainable_variables, before, strict=True):
        new = keras.ops.convert_to_numpy(variable)
        if new.ndim < 2:
            assert np.array_equal(new, old), variable.path
        else:
            assert np.linalg.norm(new) < np.linalg.norm(old)


@pytest.mark.parametrize("name", NAMES)
def test_biases_of_attention_do_not_decay_although_they_have_two_axes(name):
    tokens = keras.Input((5, 8))
    model = keras.Model(tokens, keras.layers.MultiHeadAttention(2, 4)(tokens, tokens))
    biases = [v for v in model.trainable_variables if v.path.endswith("bias")]
    assert [len(v.shape) for v in biases] == [2, 2, 2, 1]
    for variable in model.trainable_variables:
        variable.assign(keras.ops.ones(variable.shape))
    optimizer = made(name, model, weight_decay=0.5)
    optimizer.apply([keras.ops.zeros(v.shape) for v in model.trainable_variables], model.trainable_variables)
    for variable in model.trainable_variables:
        unchanged = bool((keras.ops.convert_to_numpy(variable) == 1).all())
        assert unchanged == variable.path.endswith("bias"), variable.path


@pytest.mark.parametrize("name", NAMES)
def test_the_mean_gradient_of_micro_batches_is_one_update(name):
    whole, parts = dense(), dense()
    at_once, in_parts = made(name, whole, clip_norm=0.5), made(name, parts, clip_norm=0.5, micro_batches=2)
    for update in range(2):
        halves = [gradients(whole, 10 * update + half) for half in (0, 1)]
        mean = [np.float32(a + b) / 2 for a, b in zip(*halves, strict=True)]
        at_once.apply(list(map(keras.ops.convert_to_tensor, mean)), whole.trainable_variables)
        for half in halves:
            given = [keras.ops.convert_to_tensor(np.float32(g)) for g in half]
            in_parts.apply(given, parts.trainable_variables)
    for a, b in zip(whole.trainable_variables, parts.trainable_variables, strict=True):
        assert np.allclose(a, b, rtol=1e-5, atol=1e-7)


def test_the_moving_average_moves_once_in_an_update_of_micro_batches():
    whole, parts = dense(), dense()
    at_once = made("adamw", whole, ema_momentum=0.8)
    in_parts = made("adamw", parts, ema_momentum=0.8, micro_batches=2)
    for update in range(3):
        given = [keras.ops.convert_to_tensor(np.float32(g)) for g in gradients(whole, update)]
        at_once.apply(given, whole.trainable_variables)
        for _ in range(2):
            in_parts.apply(given, parts.trainable_variables)
    for a, b, weight in zip(
        at_once._model_variables_moving_average,
        in_parts._model_variables_moving_average,
        whole.trainable_variables,
        strict=True,
    ):
        assert np.allclose(a, b, rtol=1e-5, atol=1e-7)
        assert np.abs(keras.ops.convert_to_numpy(a) - keras.ops.convert_to_numpy(weight)).max() > 1e-4


def test_a_layer_at_zero_can_leave_it_under_layer_wise_steps():
    for name in ("lars", "lamb"):
        model = dense()
        model.trainable_variables[0].assign(np.zeros((4, 3)))
        assert np.abs(stepped(name, model, steps=1)[0]).max() > 0


def test_gradients_are_clipped_by_their_joint_norm_or_number_by_number():
    model = dense()
    before = [keras.ops.convert_to_numpy(v).copy() for v in model.trainable_variables]
    moved = stepped("sgd", model, steps=1, weight_decay=0.0, clip_norm=0.5)
    assert np.isclose(np.sqrt(sum(((a - b) ** 2).sum() for a, b in zip(moved, before, strict=True))), RATE * 0.5)
    moved = stepped("sgd", dense(), steps=1, weight_decay=0.0, clip_value=0.2)
    for a, b, g in zip(moved, before, gradients(model, 0), strict=True):
        assert np.allclose(b - a, RATE * np.clip(g, -0.2, 0.2), atol=1e-6)
    with pytest.raises(ValueError, match=r"clip_norm \(1\) and clip_value \(2\) exclude each other"):
        made("sgd", dense(), clip_norm=1, clip_value=2)


def test_averages_follow_the_weights_with_their_momentum():
    model = dense()
    optimizer = made("sgd", model, weight_decay=0.0, ema_momentum=0.8)
    model.compile(optimizer=optimizer)
    expected = None
    for seed in range(3):
        given = [keras.ops.convert_to_tensor(np.float32(g)) for g in gradients(model, seed)]
        optimizer.apply(given, model.trainable_variables)
        kernel = keras.ops.convert_to_numpy(model.trainable_variables[0])
        expected = kernel if expected is None else 0.8 * expected + 0.2 * kernel
    assert np.allclose(averages_of(model)[id(model.trainable_variables[0])], expected, rtol=1e-5)
    model.compile(optimizer=made("sgd", model))
    assert averages_of(model) == {}


def test_loss_scaling_skips_an_overflow_and_divides_the_scale_out():
    model = dense()
    optimizer = made("sgd", model, weight_decay=0.0, scale_loss=True)
    optimizer.build(model.trainable_variables)
    before = [keras.ops.convert_to_numpy(v).copy() for v in model.trainable_variables]
    scale = float(optimizer.scale_loss(keras.ops.convert_to_tensor(1.0)))
    assert scale > 1
    optimizer.apply([keras.ops.full(v.shape, np.inf) for v in model.trainable_variables], model.trainable_variables)
    assert all(np.array_equal(v, b) for v, b in zip(model.trainable_variables, before, strict=True))
    halved = float(optimizer.scale_loss(keras.ops.convert_to_tensor(1.0)))
    assert halved == scale / 2
    optimizer.apply([keras.ops.full(v.shape, halved) for v in model.trainable_variables], model.trainable_variables)
    assert all(np.allclose(v, b - RATE, atol=1e-6) for v, b in zip(model.trainable_variables, before, strict=True))


def test_players_of_an_ordinary_model_are_the_model():
    model = dense()
    assert players_of(model) == [model]
