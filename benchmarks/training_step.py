"""One Barlow Twins update, against PyTorch + lightly, the peak of matrix products, and a supervised update.

ResNet-18 of full width at 64 and 224 pixels, a ResNet-10 at 64^3 voxels. Ours is the update that pretraining runs
(`method_training.bare_training`, a TensorFlow graph, deterministic):
from uint8 images, both views made inside the step, the next batch drawn meanwhile. The peers start at views that lie in
memory: torchvision's ResNet-18 (in 3D the same blocks) with lightly's projection head and loss, channels first and
last, eager and compiled; the goal is against the best of them. All take the same SGD with momentum, batch and float32.
First, lightly's loss must be ours on the same embeddings, and the networks must have as many parameters.

The peers run in a Python of their own: make an environment with the CPU build of torch, torchvision and lightly, and
say `--peers PYTHON`; without it their rows are left out. The peak is the best of NumPy, TensorFlow and PyTorch on a
product of two matrices of 2048 x 2048, measured in the same rounds. FLOP are those of convolutions, dense layers and
the loss's product. `monitors and checkpoints` is of a short pretraining, told for the default interval.
"""

import json
import math
import os
import statistics
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _measure import Timing, compared, interleaved, limited, run
from _other_python import OtherPython
from _synthetic import shards_in_memory

VIEWS = [("random_resized_crop", {}), ("flip", {}), ("gaussian_blur", {}), ("brightness_contrast", {})]
SUPERVISED_GOAL, MONITOR_GOAL_PERCENT = 2.2, 5.0
MOST_WATCHED = 512  # images, by monitors
LOSS_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Work:
    """A network, its images and its batch; the goals: times PyTorch's speed, share of the peak."""

    shape: tuple[int, ...]
    batch: int
    encoder: dict
    projector: tuple[int, ...] = (2048, 2048, 2048)
    goal: float | None = None
    share_goal: float | None = None


WORKS = {
    "64 px": Work((64, 64, 3), 128, {"depth": 18, "stem": "imagenet"}, goal=1.0, share_goal=0.5),
    "224 px": Work((224, 224, 3), 32, {"depth": 18, "stem": "imagenet"}, goal=1.0),
    "64^3": Work((64, 64, 64, 1), 4, {"depth": 10, "stem": "strided", "width": 32}, (512, 512, 512), goal=1.1),
}


def rows(
    folder: Path,
    peers: str | None = None,
    only: list[str] | None = None,
    rounds: int = 5,
    compiled: bool = True,
    works: dict[str, Work] | None = None,
    matrix: int = 2048,
    interval: int = 3,
) -> list[dict]:
    """The table; matrix: edge of the matrices for the peak; interval: updates between the short pretraining's rows."""
    from scanloom.training.backend import make_deterministic

    make_deterministic()
    if not peers:
        print("no --peers: rows against PyTorch + lightly are left out\n")
    table = []
    chosen = {name: work for name, work in (works or WORKS).items() if only is None or name in only}
    for name, work in chosen.items():
        table += rows_of(name, work, folder, peers, rounds, compiled, matrix)
    name, work = next(iter(chosen.items()))
    return [*table, monitor_row(name, work, folder / "pretrained", interval)]


def rows_of(name: str, work: Work, folder: Path, peers: str | None, rounds: int, compiled: bool, matrix: int) -> list:
    """Of one network."""
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(1))
        model, ours = our_step(work, pool)
        ways = {"ours": ours, "supervised": supervised_step(work, pool)} | gemms(matrix)
        if peers:
            other = stack.enter_context(OtherPython(peers, "_lightly_peers.py", "step", asked(work, compiled, matrix)))
            check_equal(model, other, folder)
            ways |= {f"torch {way}": asking(other, way, work.batch) for way in other.ways if way.startswith("eager")}
            ways |= {f"torch {way}": asking(other, way, work.batch) for way in other.ways if way.startswith("compile")}
            ways["gemm, torch"] = asking(other, "gemm", gflop_of_product(matrix))
        timings = interleaved(ways, rounds)
    return table_of(name, work, timings, gflop_per_image(model, work))


def table_of(name: str, work: Work, timings: dict[str, Timing], gflop: float) -> list[dict]:
    """The rows of these timings: seconds per image, and per GFLOP of the products."""
    ours = timings["ours"].wall_s
    ms = {way: [1000 * s for s in timing.wall_s] for way, timing in timings.items()}
    peers = sorted((way for way in timings if way.startswith("torch")), key=lambda way: statistics.median(ms[way]))
    table = []
    for place, way in enumerate(peers):
        goal = work.goal if place == 0 else None
        table.append(compared(f"{name}, against {way}", "ms/image", ms["ours"], ms[way], goal))
    if not peers:
        table.append(limited(f"{name}, step", "ms/image", ms["ours"]))
    peak = max(1 / statistics.median(timing.wall_s) for way, timing in timings.items() if way.startswith("gemm"))
    table.append(limited(f"{name}, peak of matrix products", "GFLOP/s", [peak]))
    shares = {way: [gflop / s / peak for s in timings[way].wall_s] for way in ("ours", *peers[:1])}
    table.append(limited(f"{name}, share of the peak", "share", shares["ours"], at_least=work.share_goal))
    if peers:
        table.append(limited(f"{name}, share of the peak, {peers[0]}", "share", shares[peers[0]]))
    times = [two / one for two, one in zip(ours, timings["supervised"].wall_s, strict=True)]
    table.append(limited(f"{name}, two views against a supervised step", "times", times, SUPERVISED_GOAL))
    return table


def our_step(work: Work, pool: ThreadPoolExecutor):
    """(model, function that makes one update and returns its number of images)."""
    from scanloom.pretraining.method_training import bare_training

    model, batch_at = bare_training(
        shards_in_memory(4 * work.batch, work.shape),
        method="barlow_twins",
        method_settings={"projector": list(work.projector)},
        encoder="resnet",
        encoder_settings=work.encoder,
        views=VIEWS,
        budget=budget_of(work),
        seed=0,
    )
    model.optimizer.learning_rate = 1e-3
    return model, updating(model, batch_at, pool, work.batch)


def budget_of(work: Work, **changed):
    """The budget of every training here."""
    from scanloom.training.budget import Budget

    return Budget(**{"batch": work.batch, "updates": 1000, "optimizer": {"sgd": {}}, "learning_rate": 1e-3} | changed)


def supervised_step(work: Work, pool: ThreadPoolExecutor):
    """A function that makes one update of finetuning the whole network on one view: number of images."""
    from scanloom import plugins
    from scanloom.downstream.arms import Finetuned
    from scanloom.downstream.finetuning import phase_of, set_frozen
    from scanloom.downstream.heads import classifier
    from scanloom.downstream.labelled_batches import labelled_batches
    from scanloom.pretraining.view_pipeline import Pipeline

    shards = shards_in_memory(4 * work.batch, work.shape)
    settings = plugins.settings("encoders", "resnet", work.encoder)
    network = classifier(plugins.load("encoders", "resnet").build(settings, work.shape, 0), 2)
    set_frozen(network, False)
    pipeline = Pipeline(VIEWS, work.shape)
    phase = phase_of(network, pipeline, Finetuned(), frozen=False)
    rows, labels = np.arange(len(shards.table)), shards.table["level"].to_numpy().astype(int)
    even = np.ones(len(rows), np.float32)
    return updating(phase, labelled_batches(shards, rows, labels, even, pipeline, 0, work.batch), pool, work.batch)


def updating(model, batch_at, pool: ThreadPoolExecutor, images: int):
    """A function that makes the next update while the pool makes the batch after it, as training does."""
    from scanloom.training.updates import update

    state = {"step": 0, "batch": pool.submit(batch_at, 0)}

    def step() -> int:
        batch = state["batch"].result()
        state["step"] += 1
        state["batch"] = pool.submit(batch_at, state["step"])
        update(model, batch)
        return images

    return step


def gflop_of_product(size: int) -> float:
    """Of two square matrices."""
    return 2 * size**3 / 1e9


def gemms(size: int) -> dict:
    """Products of two matrices by NumPy and TensorFlow; they return GFLOP."""
    import tensorflow as tf

    a, b = np.random.default_rng(0).random((2, size, size), np.float32)
    c, d = tf.constant(a), tf.constant(b)
    gflop = gflop_of_product(size)

    def by_numpy() -> float:
        a @ b
        return gflop

    def by_tensorflow() -> float:
        tf.matmul(c, d).numpy()
        return gflop

    return {"gemm, NumPy": by_numpy, "gemm, TensorFlow": by_tensorflow}


def gflop_per_image(model, work: Work) -> float:
    """Of both views there and back: convolutions, dense layers and the loss's product; the stem has no way back."""
    encoder, head = flop_of(model.encoder), flop_of(model.head)
    correlation = 2.0 * work.projector[-1] ** 2
    return (2 * (3 * sum(encoder + head) - encoder[0]) + 3 * correlation) / 1e9


def flop_of(network) -> list[float]:
    """Of each convolution and dense layer for one image, a multiplication and an addition counting as two."""
    return [
        2.0 * math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:-1])
        for layer in network.layers
        if hasattr(layer, "kernel")
    ]


def asked(work: Work, compiled: bool, matrix: int) -> str:
    """What the peers are told."""
    told = {"shape": work.shape, "batch": work.batch, "encoder": work.encoder, "projector": work.projector}
    return json.dumps(told | {"threads": len(os.sched_getaffinity(0)), "compiled": compiled, "matrix": matrix})


def asking(other: OtherPython, way: str, items: float):
    """A function that lets the other process do it once."""

    def one() -> float:
        other.ask(way)
        return items

    return one


def check_equal(model, other: OtherPython, folder: Path) -> None:
    """Raise ValueError unless both have the same loss on the same embeddings and networks of one size."""
    from scanloom.methods.barlow_twins import barlow_loss

    rng = np.random.default_rng(0)
    z1 = rng.standard_normal((32, 48)).astype(np.float32)
    z2 = (z1 + rng.standard_normal(z1.shape)).astype(np.float32)
    np.savez(folder / "embeddings.npz", z1=z1, z2=z2)
    theirs = other.ask("loss", file=str(folder / "embeddings.npz"))["loss"]
    ours = float(barlow_loss(z1, z2, 0.005))
    if abs(ours - theirs) > LOSS_TOLERANCE * abs(theirs):
        raise ValueError(f"our loss of the same embeddings is {ours:.6f}, lightly's {theirs:.6f}")
    size, other_size = (
        sum(math.prod(v.shape) for v in model.trainable_variables),
        other.ask("parameters")["parameters"],
    )
    # lightly's last layer has a bias.
    if abs(size - other_size) > model.head.output.shape[-1]:
        raise ValueError(f"our networks have {size} parameters, PyTorch's {other_size}")


def monitor_row(name: str, work: Work, folder: Path, interval: int) -> dict:
    """Share of the time that monitors and checkpoints take, from a pretraining of three rows, the first left out.

    They look at as many images as at the default interval.
    """
    import pandas as pd
    from training_feed import beside_percent

    from scanloom.pretraining.pretraining_run import pretrain
    from scanloom.training.budget import Budget

    shards = shards_in_memory(max(4 * work.batch, MOST_WATCHED), work.shape)
    images, view_images = budget_of(work).looked_at(branches=2)
    usual = {"images": images, "view_images": view_images}
    pretrain(
        shards,
        set(shards.table["patient_id"]),
        method="barlow_twins",
        method_settings={"projector": list(work.projector)},
        encoder="resnet",
        encoder_settings=work.encoder,
        views=VIEWS,
        budget=budget_of(work, updates=3 * interval, interval=interval, monitors=usual),
        seed=0,
        folder=folder,
    )
    history = pd.read_parquet(folder / "history.parquet").iloc[1:]
    percent = beside_percent(history, interval, Budget().interval)
    return limited(f"{name}, monitors and checkpoints", "% of time", percent, MONITOR_GOAL_PERCENT)


if __name__ == "__main__":
    run(
        __file__,
        __doc__,
        rows,
        {
            "peers": {"metavar": "PYTHON", "help": "a Python with torch, torchvision and lightly"},
            "only": {"nargs": "+", "choices": list(WORKS), "help": "these networks alone"},
            "rounds": {"type": int, "default": 5, "help": "of the comparison"},
        },
    )
