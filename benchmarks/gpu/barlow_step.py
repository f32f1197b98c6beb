"""A Barlow Twins update of ResNet-50 at 224 pixels in bfloat16 on an accelerator: images/s and share of its peak.

Runs from a clean checkout on the JAX backend; no TensorFlow is needed:

    pip install "jax[cuda12]" keras pandas pyarrow pydantic pyyaml tensorboardX tqdm google-crc32c
    KERAS_BACKEND=jax python benchmarks/gpu/barlow_step.py --json barlow_step.json

Measured: the peak of bfloat16 matrix products (a chain of large ones, the best of some sizes); for each batch size the
update that pretraining runs, on one batch that stays the same (images go to the device as uint8, views are made in the
step); and with the largest batch a training from shards on the disk, with the share of the time that it waits for data.
FLOP are those of convolutions, dense layers and the loss's product, there and back. `--tiny` tries all of it with a
network and images of a few pixels, for machines without an accelerator.
"""

import math
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from _measure import limited, run
from _synthetic import images_of, shards_in_memory, write_shards
from training_step import VIEWS, Work, gflop_per_image

LARGE = Work((224, 224, 3), 256, {"depth": 50, "stem": "imagenet"}, (8192, 8192, 8192))
TINY = Work((32, 32, 3), 8, {"depth": 50, "stem": "imagenet", "width": 2}, (16, 16, 16))
WAIT_GOAL_PERCENT = 3.0
CHAIN = 20


def rows(folder: Path, tiny: bool = False, batches: list[int] | None = None, updates: int = 20) -> list[dict]:
    """The table; updates: timed ones per batch size."""
    import jax

    work = TINY if tiny else LARGE
    sizes = (64, 128) if tiny else (4096, 8192, 16384)
    kind = jax.devices()[0].device_kind
    peaks = [peak_of(size) for size in sizes]
    table = [limited(f"peak of bfloat16 products on {kind}", "TFLOP/s", [max(peaks)])]
    for batch in sorted(batches or [work.batch // 4, work.batch // 2, work.batch]):
        seconds, gflop = seconds_of(work, batch, updates)
        table.append(limited(f"batch {batch}", "images/s", [batch / seconds]))
        table.append(
            limited(f"batch {batch}, share of the peak", "share", [batch / seconds * gflop / 1e3 / max(peaks)])
        )
    history = fed(work, batch, folder, updates)
    table.append(limited(f"batch {batch}, from shards", "images/s", list(history["images_per_s"])))
    waiting = list(100 * history["wait_share"])
    return [*table, limited(f"batch {batch}, from shards, waiting for data", "% of time", waiting, WAIT_GOAL_PERCENT)]


def peak_of(size: int) -> float:
    """TFLOP/s of products of two bfloat16 matrices of this edge, many in a row: the best of three runs."""
    import jax
    import jax.numpy as jnp

    a = jnp.full((size, size), 1 / size, jnp.bfloat16)
    chain = jax.jit(lambda x, y: jax.lax.fori_loop(0, CHAIN, lambda _, z: jnp.matmul(z, y), x))
    chain(a, a).block_until_ready()
    times = []
    for _ in range(3):
        start = time.perf_counter()
        chain(a, a).block_until_ready()
        times.append(time.perf_counter() - start)
    return CHAIN * 2 * size**3 / min(times) / 1e12


def training_of(work: Work, batch: int, shards, updates: int):
    """(compiled model, step -> batch) as pretraining has them."""
    from scanloom.pretraining.method_training import bare_training
    from scanloom.training.budget import Budget

    return bare_training(
        shards,
        method="barlow_twins",
        method_settings={"projector": list(work.projector)},
        encoder="resnet",
        encoder_settings=work.encoder,
        views=VIEWS,
        budget=Budget(batch=batch, updates=updates, precision="bfloat16"),
        seed=0,
    )


def seconds_of(work: Work, batch: int, updates: int) -> tuple[float, float]:
    """(seconds per update with the batch at hand, GFLOP per image)."""
    from scanloom.training.updates import seconds_without_input

    model, batch_at = training_of(work, batch, shards_in_memory(batch, work.shape), updates)
    model.optimizer.learning_rate = 1e-3
    return seconds_without_input(model, batch_at(0), updates), gflop_per_image(model, work)


def fed(work: Work, batch: int, folder: Path, updates: int):
    """History of a training from shards, a few rows; the first, which compiles, is left out."""
    from scanloom.shards.records import open_shards
    from scanloom.training.training_loop import train_steps

    (folder / "shards").mkdir(exist_ok=True)
    images = images_of(4 * batch, work.shape[0], work.shape[-1], "uint8")
    shards = open_shards(write_shards(folder / "shards", images, parts=4))
    updates, interval = 4 * math.ceil(updates / 4), math.ceil(updates / 4)
    model, batch_at = training_of(work, batch, shards, updates)
    return train_steps(model, batch_at, lambda step: 1e-3, updates, interval=interval).iloc[1:]


if __name__ == "__main__":
    run(
        __file__,
        __doc__,
        rows,
        {
            "tiny": {"action": "store_true", "help": "a few pixels, for machines without an accelerator"},
            "batches": {"type": int, "nargs": "+", "metavar": "N", "help": "batch sizes; default: 64 128 256"},
            "updates": {"type": int, "default": 20, "metavar": "N", "help": "timed updates per batch size"},
        },
    )
