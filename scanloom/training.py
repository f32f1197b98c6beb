"""The training loop: a step is a pure function of its number, so a killed training goes on to the same bits.

`train_steps` runs `model.train_on_batch` on `batch_at(step)` at `learning_rate_at(step)`. Nothing else determines a
step, so a checkpoint is the variables, the step number and the history; no iterator position has to be stored. The loop
is the same on every Keras backend. Bits repeat on one machine with one number of threads: see `make_deterministic`.
"""

import gc
import json
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from scanloom.checkpoints import load_checkpoint, load_state, save_checkpoint, save_state
from scanloom.lazy import keras

__all__ = [
    "choose_jit",
    "limit_threads",
    "load_state",
    "make_deterministic",
    "remembered_jit",
    "save_state",
    "train_steps",
]

COLUMNS = ["step", "loss", "learning_rate", "images_per_s", "wait_share"]
BATCHES_AHEAD = 2
TIMED_STEPS = 3
CLEARLY_FASTER = 0.9
WORTH_MEASURING_S = 20.0
"""Trainings shorter than this in graph mode cannot win back the seconds that XLA needs to compile (4 to 10, twice)."""


def train_steps(
    model,
    batch_at: Callable[[int], dict[str, np.ndarray]],
    learning_rate_at: Callable[[int], float],
    steps: int,
    *,
    checkpoint_folder: Path | None = None,
    checkpoint_every: int = 0,
    on_interval: Callable[[int, dict], dict | None] | None = None,
    interval: int = 50,
    label: str = "",
) -> pd.DataFrame:
    """History of a training of `steps` updates: one row per `interval` updates (and one for a shorter last interval).

    Columns: step (updates done), loss (mean over the interval), learning_rate (of the interval's last update),
    images_per_s, wait_share (share of the interval spent waiting for data), the means of whatever else the model's
    metrics report, and what `on_interval(step, row)` returned.

    model: a compiled keras.Model whose loss is in `compute_loss`. `batch_at(step)` for step 0..steps-1 must be a pure
    function of the step; it runs in one other thread, ahead of the training. With `checkpoint_folder` the state is
    written there every `checkpoint_every` updates, at the end and on SIGTERM (exit status 143), and training goes on
    from what the folder holds. Raises FloatingPointError at the first loss that is not finite.
    """
    if steps < 1 or interval < 1:
        raise ValueError(f"steps ({steps}) and interval ({interval}) must be at least 1")
    _build(model, batch_at)
    checkpoint = None if checkpoint_folder is None else Path(checkpoint_folder) / "state.npz"
    first, rows, logs = load_checkpoint(checkpoint, model) if checkpoint and checkpoint.exists() else (0, [], [])
    if first > steps:
        raise ValueError(f"the checkpoint in {checkpoint_folder} is at update {first}, beyond the {steps} asked for")

    def save(step: int) -> None:
        if checkpoint:
            save_checkpoint(checkpoint, model, step, rows, logs)

    saved_at = first if checkpoint and checkpoint.exists() else -1
    clock = _Clock()
    with _stop_on_sigterm() as stopped, _ahead(batch_at, first, steps) as next_batch, _progress(label) as progress:
        for step in range(first, steps):
            with clock.waiting():
                batch = next_batch()
            images = len(next(iter(batch.values())))
            learning_rate = float(learning_rate_at(step))
            model.optimizer.learning_rate = learning_rate
            made = {name: float(value) for name, value in model.train_on_batch(batch, return_dict=True).items()}
            if not np.isfinite(made["loss"]):
                raise FloatingPointError(
                    f"loss is {made['loss']} at update {step + 1} (learning rate {learning_rate:g})"
                )
            logs.append(made)
            clock.images += images
            done = step + 1
            if progress.total is None:
                progress.reset(total=steps * images)
                progress.update(step * images)
            progress.update(images)
            if done % interval == 0 or done == steps:
                means = _means(logs)
                row = {"step": done, "loss": means.pop("loss"), "learning_rate": learning_rate, **clock.read(), **means}
                row |= (on_interval(done, row) or {}) if on_interval else {}
                rows.append(row)
                logs.clear()
                clock = _Clock()
            if stopped.is_set() or done == steps or (checkpoint_every and done % checkpoint_every == 0):
                save(done)
                saved_at = done
            if stopped.is_set() and done < steps:
                raise SystemExit(143)
    if saved_at != steps:
        save(steps)
    return pd.DataFrame(rows, columns=None if rows else COLUMNS)


def _means(logs: list[dict[str, float]]) -> dict[str, float]:
    """The mean of each number over the updates that reported it."""
    names = sorted({name for log in logs for name in log})
    return {name: float(np.mean([log[name] for log in logs if name in log])) for name in names}


def choose_jit(make_model: Callable, batch_at: Callable[[int], dict], steps: int | None = None) -> dict:
    """Whether to compile the step with XLA, by measurement: {"jit_compile", "graph_s", "xla_s"}, seconds per update.

    make_model(jit_compile) -> a new compiled model; batch_at as in `train_steps`. On CPUs XLA was measured up to 5
    times slower than plain graphs for wide networks and up to 2.4 times faster for narrow ones, so nothing general can
    be said. JAX always compiles (both times are None there). Where a graph training of `steps` would be over before
    XLA had paid for its compilation, XLA is not tried (xla_s None).
    """
    if keras.backend.backend() == "jax":
        return {"jit_compile": True, "graph_s": None, "xla_s": None}
    batch = batch_at(0)
    graph_s, _ = _time_step(make_model(False), batch)
    if _deterministic_tensorflow() or (steps is not None and steps * graph_s < WORTH_MEASURING_S):
        return {"jit_compile": False, "graph_s": graph_s, "xla_s": None}
    xla_s, compile_s = _time_step(make_model(True), batch)
    pays = steps is None or steps * (graph_s - xla_s) > compile_s
    return {"jit_compile": bool(xla_s < CLEARLY_FASTER * graph_s and pays), "graph_s": graph_s, "xla_s": xla_s}


def remembered_jit(folder: Path, make_model: Callable, batch_at: Callable, steps: int | None = None) -> dict:
    """The choice of `choose_jit` that `folder`/jit.json holds, measured and written there the first time.

    A resumed training must not measure again: another choice would change the last bits of every later update.
    """
    path = Path(folder) / "jit.json"
    if path.exists():
        return json.loads(path.read_text())
    choice = choose_jit(make_model, batch_at, steps)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name("jit.json.part")
    part.write_text(json.dumps(choice))
    os.replace(part, path)
    return choice


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


def _build(model, batch_at: Callable) -> None:
    """Create all variables, so that a checkpoint has where to go before the first update."""
    if not model.built:
        model({name: values[:2] for name, values in batch_at(0).items()}, training=False)
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)


def _time_step(model, batch: dict) -> tuple[float, float]:
    """Seconds of one update (best of a few), and of the first, which compiles."""
    _build(model, lambda step: batch)
    times = []
    for _ in range(1 + TIMED_STEPS):
        start = time.perf_counter()
        model.train_on_batch(batch)
        times.append(time.perf_counter() - start)
    del model
    gc.collect()
    return min(times[1:]), times[0]


class _Clock:
    """Images per second and share of waiting since its making."""

    def __init__(self):
        self.start, self.waited, self.images = time.perf_counter(), 0.0, 0

    @contextmanager
    def waiting(self):
        start = time.perf_counter()
        yield
        self.waited += time.perf_counter() - start

    def read(self) -> dict[str, float]:
        passed = time.perf_counter() - self.start
        return {"images_per_s": self.images / passed, "wait_share": self.waited / passed}


@contextmanager
def _ahead(batch_at: Callable, first: int, steps: int):
    """A function that gives the batches of steps first, first + 1, ...; one thread makes the next ones meanwhile."""
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as thread:
        pending = deque(thread.submit(batch_at, step) for step in range(first, min(first + BATCHES_AHEAD, steps)))
        following = iter(range(first + BATCHES_AHEAD, steps))

        def next_batch() -> dict[str, np.ndarray]:
            batch = pending.popleft().result()
            step = next(following, None)
            if step is not None:
                pending.append(thread.submit(batch_at, step))
            return batch

        try:
            yield next_batch
        finally:
            for future in pending:
                future.cancel()


@contextmanager
def _stop_on_sigterm():
    """An event that SIGTERM sets, so that the running update ends before the state is saved (main thread only)."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return
    before = signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGTERM, before)


def _progress(label: str) -> tqdm:
    """A bar with images/s and time left; in a log file one line every half minute instead of ten per second."""
    every_s = 0.2 if sys.stderr.isatty() else 30.0
    return tqdm(desc=label or None, unit=" images", unit_scale=True, mininterval=every_s, maxinterval=every_s)
