"""Small games for the tests of adversarial methods: a batch, networks with few weights, points on a circle."""

from types import SimpleNamespace

import keras
import numpy as np

from scanloom.methods._game import alternating
from scanloom.optimizers import players_of
from scanloom.pretraining.method_batches import draws
from scanloom.pretraining.view_pipeline import Pipeline
from scanloom.stateless_random import keys_of
from scanloom.training.backend import compiles
from scanloom.training.initial_weights import initialise

SHAPE = (8, 8, 1)
MODES, RADIUS, SPREAD, SPAN = 4, 2.0, 0.02, 6.0
CENTRES = RADIUS * np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])


def batch_of(method, settings, step: int = 0, size: int = 6, shape=SHAPE) -> dict[str, np.ndarray]:
    """Random images and all draws of an update."""
    images = np.random.default_rng([7, step]).integers(0, 256, (size, *shape), np.uint8)
    batch = {"images": images} | draws(method, settings, Pipeline([], shape), 1, step, keys_of(range(size)))
    return batch | {"step": np.full(size, step, np.int32), "progress": np.zeros(size, np.float32)}


def encoder(shape=SHAPE, normalised: bool = True):
    """One convolution, with a batch normalisation or without, and the layers that encoders end with."""
    images = keras.Input(shape)
    x = keras.layers.Conv2D(3, 3, strides=2, padding="same", name="conv")(images)
    x = keras.layers.BatchNormalization(momentum=0.9, name="norm")(x) if normalised else x
    x = keras.layers.LeakyReLU(name="feature_map")(x)
    return initialise(keras.Model(images, keras.layers.GlobalAveragePooling2D(name="features")(x), name="tiny"), 0)


def build(method, settings, given=None, shape=SHAPE):
    """The method's model, compiled without a graph: one update costs less than building one."""
    model = method.build(given or encoder(shape), settings, Pipeline([], shape), 0)
    for player in players_of(model):
        player.compile(optimizer=keras.optimizers.SGD(0.01), run_eagerly=True)
    return model


def state_of(networks: dict) -> dict[str, list[np.ndarray]]:
    """All weights of each network, statistics too."""
    return {name: network.get_weights() for name, network in networks.items()}


def moved(networks: dict, before: dict) -> set[str]:
    """Names of the networks any of whose weights changed."""
    pairs = {name: zip(before[name], network.get_weights(), strict=True) for name, network in networks.items()}
    return {name for name, both in pairs.items() if any(not np.array_equal(*pair) for pair in both)}


def linear_game(method, settings, seed: int = 3):
    """Players whose scores are w.x + b of four pixels x, and a generator A.z + c; and these numbers in float64."""
    rng = np.random.default_rng(seed)
    pixels, noise = keras.Input((4,)), keras.Input((settings.latent,))
    trunk = keras.Model(pixels, keras.layers.Activation("linear")(pixels), name="trunk")
    heads = keras.Model(pixels, {"logit": keras.layers.Dense(1)(pixels)}, name="heads")
    generator = keras.Model(noise, keras.layers.Dense(4)(noise), name="generator")
    heads.set_weights([rng.normal(size=shape).astype(np.float32) for shape in ((4, 1), (1,))])
    generator.set_weights([rng.normal(size=shape).astype(np.float32) for shape in ((settings.latent, 4), (4,))])
    (w, b), (a, c) = ([part.astype(np.float64) for part in model.get_weights()] for model in (heads, generator))
    nets = {"trunk": trunk, "heads": heads, "generator": generator}
    return method.game(settings, None).players(nets), SimpleNamespace(w=w[:, 0], b=b[0], a=a, c=c)


def learn_circle(method, settings, updates: int, rate: float, width: int = 64):
    """A generator of points [n, 2] that has learnt four narrow clusters on a circle (the toy of many GAN papers)."""
    trunk = _layers("trunk", 2, (width, width), scaled=True)
    features = keras.Input((width,))
    heads = initialise(keras.Model(features, {"logit": keras.layers.Dense(1)(features)}, name="heads"), 0)
    nets = {"trunk": trunk, "heads": heads, "generator": _layers("generator", settings.latent, (width, width, 2))}
    turns = (getattr(settings, "critic_steps", 1), 1)
    model = alternating(trunk, settings, method.game(settings, None).players(nets), turns)
    for player in model.players:
        adam = keras.optimizers.Adam(rate, beta_1=settings.beta_1, beta_2=settings.beta_2)
        player.compile(optimizer=adam, jit_compile=compiles())
    size = 128
    for step in range(updates):
        u = np.random.default_rng([9, step])
        drawn = method.draw(lambda n, u=u: u.random((size, n), dtype=np.float32), settings, (2,))
        batch = {"images": on_circle(step, size), "step": np.full(size, step, np.int32)}
        model.train_on_batch(batch | {f"method:{name}": values for name, values in drawn.items()})
    return nets["generator"]


def on_circle(seed: int, count: int) -> np.ndarray:
    """uint16 [count, 2]: points whose span of 6 is the range of the integers."""
    rng = np.random.default_rng([5, seed])
    points = CENTRES[rng.integers(MODES, size=count)] + SPREAD * rng.normal(size=(count, 2))
    return np.rint((points / SPAN + 0.5) * 65535).astype(np.uint16)


def shares_of_modes(points: np.ndarray) -> np.ndarray:
    """Share of points [n, 2] in [0, 1] near each cluster, within a fifth of the circle's radius."""
    distances = np.linalg.norm(((points - 0.5) * SPAN)[:, None] - CENTRES, axis=2)
    return (distances < RADIUS / 5).mean(axis=0)


def _layers(name: str, inputs: int, sizes: tuple[int, ...], scaled: bool = False):
    noise = keras.Input((inputs,))
    x = keras.layers.Rescaling(SPAN, -SPAN / 2)(noise) if scaled else noise
    for size in sizes:
        x = keras.layers.Dense(size, activation="sigmoid" if size == 2 else "relu")(x)
    return initialise(keras.Model(noise, x, name=name), 0)
