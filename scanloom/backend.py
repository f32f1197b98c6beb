"""How the Keras backend computes: with how many threads, repeatably to the bit or not, with XLA or as a plain graph."""

import gc
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from scanloom.atomic_files import write_once
from scanloom.lazy import keras
from scanloom.updates import build_variables, update

TIMED_STEPS = 3
CLEARLY_FASTER = 0.9
WORTH_MEASURING_S = 20.0
"""Trainings shorter than this in graph mode cannot win back the seconds that XLA needs to compile (4 to 10, twice)."""


def limit_threads(threads: int) -> None:
    """Let the backend compute with this many threads. To be called before its first computation.

    TensorFlow: as many threads inside an operation; two operations at once at most. JAX on CPU: NPROC, which XLA reads.
    """
    if threads < 1:
        raise ValueError(f"threads must be at least 1, not {threads}")
    os.environ["NPROC"] = str(threads)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(min(2, threads))


def make_deterministic() -> None:
    """From here on, the same step gives the same bits (TensorFlow op determinism; JAX on CPU needs nothing).

    With TensorFlow this rules out XLA for later models of this process, so measure with `choose_jit` first and call
    this where its answer is False. The number of threads belongs to the bits: partial sums are added per thread.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()


def _deterministic_tensorflow() -> bool:
    if keras.backend.backend() != "tensorflow":
        return False
    from tensorflow.python.framework import config

    return config.is_op_determinism_enabled()


def choose_jit(
    make_model: Callable, batch_at: Callable[[int], dict], steps: int | None = None, micro_batches: int = 1
) -> dict:
    """Whether to compile the step with XLA, by measurement: {"jit_compile", "graph_s", "xla_s"}, seconds per update.

    make_model(jit_compile) -> a new compiled model; batch_at, micro_batches as in `train_steps`. On CPUs XLA was
    measured up to 5 times slower than plain graphs for wide networks and up to 2.4 times faster for narrow ones, so
    nothing general can be said. JAX always compiles (both times are None there). Where a graph training of `steps`
    would be over before XLA had paid for its compilation, XLA is not tried (xla_s None).
    """
    if keras.backend.backend() == "jax":
        return {"jit_compile": True, "graph_s": None, "xla_s": None}
    batch = batch_at(0)
    graph_s, _ = _time_step(make_model(False), batch, micro_batches)
    if _deterministic_tensorflow() or (steps is not None and steps * graph_s < WORTH_MEASURING_S):
        return {"jit_compile": False, "graph_s": graph_s, "xla_s": None}
    xla_s, compile_s = _time_step(make_model(True), batch, micro_batches)
    pays = steps is None or steps * (graph_s - xla_s) > compile_s
    return {"jit_compile": bool(xla_s < CLEARLY_FASTER * graph_s and pays), "graph_s": graph_s, "xla_s": xla_s}


def remembered_jit(
    folder: Path, make_model: Callable, batch_at: Callable, steps: int | None = None, micro_batches: int = 1
) -> dict:
    """The choice of `choose_jit` that `folder`/jit.json holds, measured and written there the first time.

    A resumed training must not measure again: another choice would change the last bits of every later update. Of
    several processes that measure at once, the first one's choice is everybody's.
    """
    path = Path(folder) / "jit.json"
    if not path.exists():
        choice = choose_jit(make_model, batch_at, steps, micro_batches)
        write_once(path, json.dumps(choice))
    return json.loads(path.read_text())


def _time_step(model, batch: dict, micro_batches: int) -> tuple[float, float]:
    """Seconds of one update (best of a few), and of the first, which compiles."""
    build_variables(model, lambda step: batch)
    times = []
    for _ in range(1 + TIMED_STEPS):
        start = time.perf_counter()
        update(model, batch, micro_batches)
        times.append(time.perf_counter() - start)
    del model
    gc.collect()
    return min(times[1:]), times[0]
