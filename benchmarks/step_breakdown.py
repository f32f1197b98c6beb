"""Where the time of one Barlow Twins update goes: every kind of layer by itself, there and back.

The updates of training_step (64 and 224 pixels, 64^3 voxels). Each layer of encoder and projector runs alone, as a
TensorFlow graph on inputs of its own shape; layers that are alike are timed once and counted. Of convolutions and dense
layers the way there and the two gradients are timed apart, with the GFLOP/s that they reach; the first convolution
needs no gradient of its input. Rows sum up a kind over all its layers and both views, in ms per image of the batch;
"left over" is the whole update less all rows: what runs side by side makes it negative, what memory cannot hold
meanwhile makes it positive.
"""

import math
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from _measure import interleaved, limited, run
from training_step import VIEWS, WORKS, Work, gemms, our_step

VIEWS_PER_IMAGE = 2
FORWARD, OF_INPUT, OF_WEIGHTS = "products, forward", "products, gradient of input", "products, gradient of weights"


class Piece(NamedTuple):
    """A part of the update: kind, what makes it once, how often an update makes it, GFLOP of once (0: not counted)."""

    kind: str
    make: Callable[[], object]
    times: int
    gflop: float = 0.0


def rows(
    folder: Path,
    only: list[str] | None = None,
    rounds: int = 5,
    works: dict[str, Work] | None = None,
    matrix: int = 2048,
) -> list[dict]:
    """The table; matrix: edge of the matrices for the peak."""
    from scanloom.training.backend import make_deterministic

    make_deterministic()
    chosen = {name: work for name, work in (works or WORKS).items() if only is None or name in only}
    return [row for name, work in chosen.items() for row in rows_of(name, work, rounds, matrix)]


def rows_of(name: str, work: Work, rounds: int, matrix: int) -> list[dict]:
    """Of one network."""
    with ThreadPoolExecutor(1) as pool:
        model, whole = our_step(work, pool)
        whole()
        pieces = {f"piece {number}": piece for number, piece in enumerate(pieces_of(model, work))}
        ways = {key: lambda make=piece.make: (make(), 1)[1] for key, piece in pieces.items()}
        timings = interleaved({"whole": whole} | gemms(matrix) | ways, rounds)
    ms, gflop = defaultdict(lambda: np.zeros(rounds)), defaultdict(float)
    for key, piece in pieces.items():
        ms[piece.kind] += 1000 * piece.times * np.array(timings[key].wall_s) / work.batch
        gflop[piece.kind] += piece.times * piece.gflop / work.batch
    step = 1000 * np.array(timings["whole"].wall_s)
    table = [limited(f"{name}, whole update", "ms/image", step.tolist())]
    for kind in sorted(ms, key=lambda kind: -np.median(ms[kind])):
        table.append(limited(f"{name}, {kind}", "ms/image", ms[kind].tolist()))
    table.append(limited(f"{name}, left over", "ms/image", (step - sum(ms.values())).tolist()))
    for kind in (FORWARD, OF_INPUT, OF_WEIGHTS):
        table.append(limited(f"{name}, {kind}", "GFLOP/s", (1000 * gflop[kind] / ms[kind]).tolist()))
    peak = max(1 / np.median(timing.wall_s) for way, timing in timings.items() if way.startswith("gemm"))
    return [*table, limited(f"{name}, peak of matrix products", "GFLOP/s", [float(peak)])]


def pieces_of(model, work: Work) -> list[Piece]:
    """Views, all layers, the loss and the optimizer of an update."""
    alike: dict[tuple, list] = defaultdict(list)
    for network in (model.encoder, model.head):
        for layer in network.layers:
            if layer.__class__.__name__ != "InputLayer":
                alike[_description(layer, network is model.encoder)].append(layer)
    found = [piece for layers in alike.values() for piece in _layer_pieces(model, layers, work.batch)]
    return [*found, _views(work), _loss(work, model.head.output.shape[-1]), _optimizer(model)]


def _inputs(layer) -> list[tuple[int, ...]]:
    """Shapes of what enters, without the batch."""
    tensors = layer.input if isinstance(layer.input, list) else [layer.input]
    return [tuple(tensor.shape[1:]) for tensor in tensors]


def _description(layer, in_encoder: bool) -> tuple:
    """Equal for layers that take equal time. The encoder's first layer with weights is one of its own."""
    config = {name: value for name, value in layer.get_config().items() if name not in ("name", "kernel_initializer")}
    return layer.__class__.__name__, str(config), str(_inputs(layer)), in_encoder


def _layer_pieces(model, layers: list, batch: int) -> list[Piece]:
    """Of layers that are alike: the time of the first one counts for all."""
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")  # it warns that many small graphs are made, as they should be
    layer, times = layers[0], VIEWS_PER_IMAGE * len(layers)
    rng = np.random.default_rng(0)
    xs = [tf.constant(rng.random((batch, *shape), np.float32)) for shape in _inputs(layer)]
    given = xs if len(xs) > 1 else xs[0]
    change = tf.random.normal(layer(given, training=True).shape, seed=0)
    weights = layer.trainable_variables

    def back(wanted: Callable[[object], list], with_output: bool) -> Callable:
        """A graph that makes these gradients, and the output where the way there is to be counted, too."""

        @tf.function(jit_compile=False)
        def graph(given, change):
            with tf.GradientTape() as tape:
                tape.watch(given)
                made = layer(given, training=True)
            gradients = tape.gradient(made, wanted(given), output_gradients=change)
            return (made, gradients) if with_output else gradients

        return lambda: tf.nest.map_structure(lambda made: made[..., :1].numpy(), graph(given, change))

    if not hasattr(layer, "kernel"):
        return [Piece(_kind(layer), back(lambda given: [given, *(w.value for w in weights)], True), times)]
    forward = tf.function(lambda x: layer(x, training=True), jit_compile=False)
    gflop = 2.0 * batch * math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:-1]) / 1e9
    pieces = [
        Piece(FORWARD, lambda: forward(given)[..., :1].numpy(), times, gflop),
        Piece(OF_WEIGHTS, back(lambda given: [layer.kernel.value], False), times, gflop),
    ]
    if _inputs(layer) != [tuple(model.encoder.input.shape[1:])]:
        pieces.append(Piece(OF_INPUT, back(lambda given: [given], False), times, gflop))
    return pieces


def _kind(layer) -> str:
    name = layer.__class__.__name__
    if "Pooling" in name:
        return "pooling"
    return {"BatchNormalization": "batch normalisation", "Add": "additions"}.get(name, name.lower())


def _views(work: Work) -> Piece:
    """Both views of a batch."""
    import tensorflow as tf

    from scanloom.images.intensity import to_unit
    from scanloom.pretraining.view_pipeline import Pipeline

    pipeline = Pipeline(VIEWS, work.shape)
    stored = tf.constant(np.random.default_rng(0).integers(0, 256, (work.batch, *work.shape), np.uint8))
    keys = np.arange(work.batch, dtype=np.uint64)
    draws = [{k: tf.constant(v) for k, v in pipeline.draw(0, branch, 0, keys).items()} for branch in range(2)]
    graph = tf.function(lambda stored, draws: [pipeline.apply(to_unit(stored), drawn) for drawn in draws])
    return Piece("views", lambda: [view[..., :1].numpy() for view in graph(stored, draws)], 1)


def _loss(work: Work, dimensions: int) -> Piece:
    """Loss of two embeddings and its gradients."""
    import tensorflow as tf

    from scanloom.methods.barlow_twins import barlow_loss

    pair = tf.constant(np.random.default_rng(0).standard_normal((2, work.batch, dimensions)).astype(np.float32))

    @tf.function(jit_compile=False)
    def graph(pair):
        with tf.GradientTape() as tape:
            tape.watch(pair)
            loss = barlow_loss(pair[0], pair[1], 0.005)
        return tape.gradient(loss, pair)

    return Piece("loss", lambda: graph(pair).numpy(), 1)


def _optimizer(model) -> Piece:
    """An update by gradients of zero."""
    import tensorflow as tf

    variables = model.trainable_variables
    zeros = [tf.zeros(variable.shape) for variable in variables]

    @tf.function(jit_compile=False)
    def graph(zeros):
        model.optimizer.apply(zeros, variables)

    return Piece("optimizer", lambda: graph(zeros), 1)


if __name__ == "__main__":
    run(
        __file__,
        __doc__,
        rows,
        {
            "only": {"nargs": "+", "choices": list(WORKS), "help": "these networks alone"},
            "rounds": {"type": int, "default": 5, "help": "of all pieces"},
        },
    )
