"""Every method trained on a toy, for a second or two each: what its contract and the parity of backends are about.

As a command, method_trials.py OUT.npz RANK METHOD..., it writes the first steps under whatever backend runs; that needs
this library and a Keras backend, nothing else.
"""

import functools
import gc
import sys
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from scanloom import plugins
from scanloom.optimizers import players_of
from scanloom.pretraining.method_batches import draws
from scanloom.pretraining.view_pipeline import Pipeline
from scanloom.stateless_random import keys_of
from scanloom.training.backend import compiles, make_deterministic
from scanloom.training.checkpoints import load_checkpoint, save_checkpoint
from scanloom.training.model_files import save_model

SHAPES = {2: (16, 16, 1), 3: (8, 8, 8, 1)}
NEEDED = {"supervised": {"label": "kind"}, "beta_tc_vae": {"dataset_size": 48}}
"""Settings without which a method cannot be built."""
VARIANTS = {
    "cpc, binary": ("cpc", {"loss": "binary", "context": "gru"}),
    "exemplar, hardest": ("exemplar", {"negatives": "hardest"}),
    "exemplar, random": ("exemplar", {"negatives": "random"}),
    "masked_autoencoder, normalised": ("masked_autoencoder", {"normalise": True}),
    "restoration, skips": ("restoration", {"skips": True}),
    "rotation, several": ("rotation", {"turns_per_image": 2, "use_views": False}),
    "vae, laplace": ("vae", {"likelihood": "laplace", "latent_from": "feature_map"}),
    "vae, fitted": ("vae", {"likelihood": "gaussian", "scale": "fitted"}),
    "beta_vae, B": ("beta_vae", {"form": "B"}),
    "beta_tc_vae, weighted": ("beta_tc_vae", {"estimate": "weighted"}),
    "gan, regressor and window": (
        "gan",
        {"regressor": "attached", "reconstruction_weight": 1.0, "window": (0.25, 0.75), "window_in": "unit"},
    ),
    "wgan_gp, independent": ("wgan_gp", {"regressor": "independent", "networks": "residual", "critic_steps": 2}),
    "wgan_gp, encoder": ("wgan_gp", {"regressor": "encoder", "prior": "power", "alpha": -1.0, "clip": 1000.0}),
}
"""Case -> (method, settings): what else a method can be, where that is other code."""
SMALL = {"projector": (32, 16), "decoder_width": 4, "network_width": 4}
"""Settings that make a step cheap, for every method that has a field of that name."""
TINY_CELLS = {"jitter": 0.0, "gap": 0.0}
"""At rank 3: cells of such small volumes have no room for these guards."""
VIEWS = [("random_resized_crop", {"share_low": 0.6}), ("flip", {})]
KINDS = 3
BATCH = 12
REPEATS = 8
UPDATES = 24
SAVED_AT = 10
RATE = 0.003
UNSEEN = 150


@dataclass(frozen=True)
class FirstStep:
    """A player's first update from the first weights: its loss, and the gradient of each weight that it trains."""

    loss: float
    gradients: dict[str, np.ndarray]


@dataclass(frozen=True)
class Measured:
    """What one training of a method at one rank showed. A state is all variables of the model and its optimizers."""

    keeps_encoder: bool
    encoder_weights: list[str]
    first: dict[str, FirstStep]
    repeated: dict[str, list[float]]
    whole: tuple[list[float], list[np.ndarray]]
    resumed: tuple[list[float], list[np.ndarray]]
    start: list[np.ndarray]
    start_again: list[np.ndarray]
    start_of_other_seed: list[np.ndarray]
    features: np.ndarray
    features_of_saved: np.ndarray
    kinds: np.ndarray


@functools.cache
def measured(name: str, rank: int) -> Measured:
    """Made once per process; the models are gone afterwards."""
    make_deterministic()
    model, encoder = make(name, rank)
    start = state(model)
    first = first_steps(model, name, rank)
    repeated = {player.name: _repeated(model, start, player, batch_at(name, rank, 0)) for player in players_of(model)}
    restore(model, start)
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "state.npz"
        losses = train(model, name, rank, 0, SAVED_AT)
        save_checkpoint(saved, model, SAVED_AT, [], [])
        losses += train(model, name, rank, SAVED_AT, UPDATES)
        whole = losses, state(model)
        images, kinds = toy(rank, UNSEEN, seed=99)
        full = _encoder(SHAPES[rank], seed=1)
        full.set_weights(encoder.get_weights())
        save_model(full, Path(folder) / "encoder.keras")
        loaded = keras.saving.load_model(Path(folder) / "encoder.keras")
        # Whatever still drew its weights from the backend would now draw others.
        keras.utils.set_random_seed(4711)
        again, (another, _) = state(make(name, rank)[0]), make(name, rank, seed=1)
        other = state(another)
        # Another model, so that whatever is not among its variables is not there.
        step, *_ = load_checkpoint(saved, another)
    resumed = losses[:step] + train(another, name, rank, step, UPDATES), state(another)
    made = Measured(
        keeps_encoder=model.encoder is encoder,
        encoder_weights=[variable.path for variable in encoder.trainable_variables],
        first=first,
        repeated=repeated,
        whole=whole,
        resumed=resumed,
        start=start,
        start_again=again,
        start_of_other_seed=other,
        features=_features(full, images),
        features_of_saved=_features(loaded, images),
        kinds=kinds,
    )
    del model, encoder, full, loaded, another
    gc.collect()
    return made


def make(name: str, rank: int, seed: int = 0):
    """(the method's model, compiled and built; the encoder that it was given)."""
    module, settings, pipeline = parts_of_case(name, rank)
    shape = SHAPES[rank]
    trained_shape = module.encoder_shape(settings, shape) if hasattr(module, "encoder_shape") else shape
    encoder = _encoder(trained_shape, seed)
    model = module.build(encoder, settings, pipeline, seed, KINDS)
    for player in players_of(model):
        player.compile(optimizer=keras.optimizers.Adam(RATE), jit_compile=compiles())
        player.optimizer.build(player.trainable_variables)
    return model, encoder


def batch_at(name: str, rank: int, step: int) -> dict[str, np.ndarray]:
    """The batch of an update: images of the toy, and everything that is random about it."""
    module, settings, pipeline = parts_of_case(name, rank)
    images, kinds = toy(rank, BATCH, seed=step)
    batch = {"images": images} | draws(module, settings, pipeline, 1, step, keys_of(range(BATCH)))
    batch |= {"step": np.full(BATCH, step, np.int32), "progress": np.full(BATCH, step / UPDATES, np.float32)}
    return batch | ({"labels": kinds} if module.USES_LABELS else {})


def toy(rank: int, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 images of three kinds (squares of 1, 2 or 4 pixels, at random places, of random contrast) and the kinds."""
    rng = np.random.default_rng([seed, rank])
    shape = SHAPES[rank]
    kinds = np.arange(count, dtype=np.int32) % KINDS
    images = np.empty((count, *shape))
    for image, kind in zip(images, kinds, strict=True):
        squares = rng.uniform(-1, 1, [2 * size for size in shape[:-1]])
        for axis, size in enumerate(shape[:-1]):
            at = (np.arange(size) + rng.integers(4)) // 2**kind
            squares = squares.take(at, axis)
        image[..., 0] = 128 + rng.uniform(80, 120) * squares
    return np.clip(images + rng.normal(0, 5, images.shape), 0, 255).astype(np.uint8), kinds


def first_steps(model, name: str, rank: int) -> dict[str, FirstStep]:
    """Each player's, all from the first weights. Adam's first momentum is a tenth of the gradient."""
    start, found = state(model), {}
    for player in players_of(model):
        restore(model, start)
        loss = player.train_on_batch(batch_at(name, rank, 0), return_dict=True)["loss"]
        trained = player.trainable_variables
        momentums = [v for v in player.optimizer.variables if v.path.endswith("_momentum")]
        tenths = [keras.ops.convert_to_numpy(momentum.value) for momentum in momentums]
        gradients = {variable.path: 10.0 * tenth for variable, tenth in zip(trained, tenths, strict=True)}
        found[player.name] = FirstStep(float(loss), gradients)
    restore(model, start)
    return found


def train(model, name: str, rank: int, first: int, last: int) -> list[float]:
    """The losses of the updates first, ..., last - 1."""
    steps = range(first, last)
    return [float(model.train_on_batch(batch_at(name, rank, step), return_dict=True)["loss"]) for step in steps]


def state(model) -> list[np.ndarray]:
    """All variables of the model and its optimizers."""
    return [keras.ops.convert_to_numpy(v.value) for v in (*model.variables, *model.optimizer.variables)]


def restore(model, values: list[np.ndarray]) -> None:
    """What `state` gave, put back."""
    for variable, value in zip((*model.variables, *model.optimizer.variables), values, strict=True):
        variable.assign(value)


def _repeated(model, start, player, batch) -> list[float]:
    """The losses of one player that learns from one batch again and again, while the others stand still."""
    restore(model, start)
    return [float(player.train_on_batch(batch, return_dict=True)["loss"]) for _ in range(REPEATS)]


def parts_of_case(case: str, rank: int):
    """(method, its settings, the pipeline of views) of a method or variant."""
    name, chosen = VARIANTS.get(case, (case, {}))
    module = plugins.load("methods", name)
    small = small_settings(module, rank)
    settings = plugins.settings("methods", name, small | NEEDED.get(name, {}) | chosen)
    return module, settings, Pipeline(VIEWS, SHAPES[rank])


def small_settings(module, rank: int, small: dict = SMALL) -> dict:
    """Those of `small` that the method has, for the small images of these tests."""
    every = small | (TINY_CELLS if rank == 3 else {})
    return {field: value for field, value in every.items() if field in module.Settings.model_fields}


def _encoder(shape: tuple[int, ...], seed: int):
    """Two convolutions, whose graph is built three times faster than that of the smallest ResNet.

    At rank 3 nothing is pooled: TensorFlow gives the gradient of a maximum over a volume to every value within 1e-5 of
    it, JAX to one, so the gradients below would differ by up to a hundredth.
    """
    module = plugins.load("encoders", "small_cnn")
    return module.build(module.Settings(width=8, stages=(1, 1) if len(shape) == 3 else (2,)), shape, seed)


def _features(encoder, images: np.ndarray) -> np.ndarray:
    return keras.ops.convert_to_numpy(encoder(images.astype(np.float32) / 255.0, training=False))


def _write_first_steps(path: str, rank: int, names: list[str]) -> None:
    """Losses and gradients by "method player what"; of a method that fails "method error", so the others are there."""
    found = {}
    for name in names:
        try:
            steps = first_steps(make(name, rank)[0], name, rank)
        except Exception:
            found[f"{name} error"] = np.array(traceback.format_exc())
            continue
        for player, step in steps.items():
            found[f"{name} {player} loss"] = np.float64(step.loss)
            found |= {f"{name} {player} {i:03d}": gradient for i, gradient in enumerate(step.gradients.values())}
    np.savez(path, **found)


if __name__ == "__main__":
    _write_first_steps(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
    if keras.backend.backend() == "jax":
        assert "tensorflow" not in sys.modules, "the JAX backend must not need TensorFlow"
