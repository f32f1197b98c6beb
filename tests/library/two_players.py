"""Two linear players whose updates fit into a formula, on any backend; as a command: two_players.py OUT.npz."""

import sys
import tempfile
from pathlib import Path

import keras
import numpy as np

from scanloom.training.alternating import Alternating, Player
from scanloom.training.backend import compiles
from scanloom.training.checkpoints import load_checkpoint, save_checkpoint
from scanloom.training.initial_weights import initialise

BATCH, WIDE, NARROW = 8, 3, 2
TURNS, FACTORS, RATE = (2, 1), (1.0, 0.5), 0.1
UPDATES, RESUMED_AT = 7, 4


def make(seed: int = 0, optimizer=keras.optimizers.SGD, turns=TURNS) -> Alternating:
    """left wants right(left(x)) to be 0, right wants it to be 1."""
    networks = {"left": _dense("left", WIDE, NARROW, seed), "right": _dense("right", NARROW, 1, seed)}

    def forward(nets, batch, training):
        return nets["right"](nets["left"](batch["images"], training=training), training=training)

    def towards(value):
        return lambda outputs, batch: keras.ops.mean(keras.ops.square(outputs - value))

    players = [
        Player("left", networks, ["left"], forward, towards(0.0)),
        Player("right", networks, ["right"], forward, towards(1.0)),
    ]
    for player in players:
        player.compile(optimizer=optimizer(RATE), jit_compile=compiles())
    return Alternating(networks["left"], players, turns, FACTORS)


def batch_at(step: int) -> dict[str, np.ndarray]:
    """Normal numbers and the update's number."""
    images = np.random.default_rng([3, step]).normal(size=(BATCH, WIDE)).astype(np.float32)
    return {"images": images, "step": np.full(BATCH, step, np.int32)}


def run() -> dict[str, np.ndarray]:
    """Weights before and after each update, the losses, and the end of a copy resumed in the middle of left's turns."""
    model = _ready()
    found = {"weights0": _weights(model)}
    with tempfile.TemporaryDirectory() as folder:
        for step in range(UPDATES):
            if step == RESUMED_AT:
                save_checkpoint(Path(folder) / "state.npz", model, step, [], [])
            found[f"loss{step}"] = np.float64(model.train_on_batch(batch_at(step))["loss"])
            found[f"weights{step + 1}"] = _weights(model)
        resumed = _ready(seed=1)
        for step in range(load_checkpoint(Path(folder) / "state.npz", resumed)[0], UPDATES):
            resumed.train_on_batch(batch_at(step))
    return found | {"resumed": _weights(resumed)}


def _ready(seed: int = 0) -> Alternating:
    model = make(seed)
    model.optimizer.build(None)
    model.optimizer.learning_rate = RATE
    return model


def _weights(model) -> np.ndarray:
    networks = model.players[0].networks
    return np.concatenate([networks[name].get_weights()[0].ravel() for name in ("left", "right")])


def _dense(name: str, inputs: int, outputs: int, seed: int):
    x = keras.Input((inputs,))
    return initialise(keras.Model(x, keras.layers.Dense(outputs, use_bias=False)(x), name=name), seed)


if __name__ == "__main__":
    np.savez(sys.argv[1], **run())
