"""The training loop: a step is a pure function of its number, so a killed training goes on to the same bits.

`train_steps` runs `model.train_on_batch` on `batch_at(step)` at `learning_rate_at(step)`. Nothing else determines a
step, so a checkpoint is the variables, the step number, the history and how often the training had to go back; no
iterator position has to be stored. The loop is the same on every Keras backend. Bits repeat on one machine with one
number of threads: see `make_deterministic`.
"""

import gc
import json
import logging
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

from scanloom import profiler
from scanloom.atomic_files import whole_file, write_once
from scanloom.branches import UPDATE_SHARE
from scanloom.checkpoints import load_checkpoint, save_checkpoint
from scanloom.lazy import keras
from scanloom.optimizers import copied

__all__ = [
    "choose_jit",
    "limit_threads",
    "make_deterministic",
    "remembered_jit",
    "seconds_without_input",
    "train_steps",
]

COLUMNS = ["step", "loss", "learning_rate", "images_per_s", "wait_share", "monitor_share", "retries"]
BATCHES_AHEAD = 2
TIMED_STEPS = 3
CLEARLY_FASTER = 0.9
WORTH_MEASURING_S = 20.0
"""Trainings shorter than this in graph mode cannot win back the seconds that XLA needs to compile (4 to 10, twice)."""
RETRY_FACTOR = 0.5

log = logging.getLogger(__name__)


class NotFinite(FloatingPointError):
    """A loss, or the weights after an update, are not finite. step: updates done before it."""

    def __init__(self, step: int, what: str, batch: dict[str, np.ndarray]):
        super().__init__(what)
        self.step, self.batch = step, batch


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
    micro_batches: int = 1,
    stop_when: Callable[[list[dict]], str | None] | None = None,
    retries: int = 0,
    name_batch: Callable[[int], str] | None = None,
    profiled: range | None = None,
) -> pd.DataFrame:
    """History of a training of `steps` updates: one row per `interval` updates (and one for a shorter last interval).

    Columns: step (updates done), loss (mean over the interval), learning_rate (of the interval's last update),
    images_per_s, wait_share (share of the interval spent waiting for data), monitor_share (share of the time since the
    row before that its `on_interval` and checkpoints took), retries (so far), the means of whatever else the model's
    metrics report, and what `on_interval(step, row)` returned.

    model: a compiled keras.Model whose loss is in `compute_loss`. `batch_at(step)` for step 0..steps-1 must be a pure
    function of the step; it runs in one other thread, ahead of the training. With `checkpoint_folder` the state is
    written there every `checkpoint_every` updates, at the end and on SIGTERM (exit status 143), and training goes on
    from what the folder holds. micro_batches: equal parts of a batch that pass one after the other; the optimizer must
    have been made for as many. stop_when(rows): a reason to end after the last of these rows, a pure function of them.
    profiled: updates that the backend's profiler records into `checkpoint_folder`/../profile.

    At a loss that is not finite, the batch is tried on the weights of the last checkpoint. If it works there, the
    weights had gone astray, and training goes back to that checkpoint with half the learning rate from there on, up to
    `retries` times. Raises FloatingPointError otherwise, with what `name_batch(step)` says of the batch, which
    `checkpoint_folder`/offending_batch.npz then holds.
    """
    if steps < 1 or interval < 1:
        raise ValueError(f"steps ({steps}) and interval ({interval}) must be at least 1")
    _build(model, batch_at)
    checkpoint = None if checkpoint_folder is None else Path(checkpoint_folder) / "state.npz"
    training = _Training(model, checkpoint)
    if training.step > steps:
        raise ValueError(
            f"the checkpoint in {checkpoint_folder} is at update {training.step}, beyond the {steps} asked for"
        )
    if retries and checkpoint and not checkpoint.exists():
        training.save()

    def rate_at(step: int) -> float:
        return float(learning_rate_at(step)) * RETRY_FACTOR**training.retries

    def go_on(stopped: threading.Event) -> None:
        """Updates until the end, SIGTERM or a reason to stop."""
        if training.rows and stop_when and stop_when(training.rows):
            return
        first, clock = training.step, _Clock()
        with (
            _ahead(batch_at, first, steps) as next_batch,
            _progress(label) as progress,
            profiler.recorder(profiled, checkpoint_folder) as before_update,
        ):
            for step in range(first, steps):
                with clock.waiting():
                    batch = next_batch()
                before_update(step)
                training.update(batch, rate_at(step), micro_batches)
                clock.images += _advance(progress, step, steps, len(next(iter(batch.values()))))
                done, asked = training.step, stopped.is_set()
                ends_interval = done % interval == 0 or done == steps
                saves = asked or done == steps or bool(checkpoint_every and done % checkpoint_every == 0)
                if checkpoint and (ends_interval or saves) and not training.finite():
                    raise NotFinite(step, f"the weights are not finite after update {done}", batch)
                reason = None
                if ends_interval:
                    row, clock = training.row(rate_at(step), clock), _Clock()
                    with clock.aside():
                        row |= (on_interval(done, row) or {}) if on_interval else {}
                    training.rows.append(row)
                    training.logs.clear()
                    reason = stop_when(training.rows) if stop_when else None
                if saves or reason:
                    with clock.aside():
                        training.save()
                if reason and done < steps:
                    log.warning("training ends at update %d of %d: %s", done, steps, reason)
                    return
                if asked and done < steps:
                    raise SystemExit(143)

    with _stop_on_sigterm() as stopped:
        while True:
            try:
                go_on(stopped)
                return pd.DataFrame(training.rows, columns=None if training.rows else COLUMNS)
            except NotFinite as found:
                _go_back(training, found, retries, micro_batches, name_batch)


class _Training:
    """Where a training stands: its model, updates done, rows and logs so far, times it went back."""

    def __init__(self, model, checkpoint: Path | None):
        self.model, self.checkpoint = model, checkpoint
        self.step, self.rows, self.logs, self.retries = 0, [], [], 0
        if checkpoint and checkpoint.exists():
            self.load()

    def update(self, batch: dict[str, np.ndarray], learning_rate: float, micro_batches: int) -> None:
        """Raises NotFinite where the loss is not."""
        self.model.optimizer.learning_rate = learning_rate
        made = update(self.model, batch, micro_batches)
        if not np.isfinite(made["loss"]):
            what = f"loss is {made['loss']} at update {self.step + 1} (learning rate {learning_rate:g})"
            raise NotFinite(self.step, what, batch)
        self.logs.append(made)
        self.step += 1

    def row(self, learning_rate: float, clock: "_Clock") -> dict:
        """The history's row of the interval that ends here."""
        means = _means(self.logs)
        row = {"step": self.step, "loss": means.pop("loss"), "learning_rate": learning_rate, **clock.read()}
        return row | {"retries": self.retries, **means}

    def load(self) -> None:
        self.step, self.rows, self.logs, self.retries = load_checkpoint(self.checkpoint, self.model)

    def save(self) -> None:
        if self.checkpoint:
            save_checkpoint(self.checkpoint, self.model, self.step, self.rows, self.logs, self.retries)

    def finite(self) -> bool:
        return all(np.isfinite(keras.ops.convert_to_numpy(v)).all() for v in self.model.trainable_variables)


def _go_back(training: _Training, found: NotFinite, retries: int, micro_batches: int, name_batch) -> None:
    """Set the training back to its last checkpoint at a lower rate, or raise `found` with all that is known."""
    about = [str(found)]
    if name_batch:
        about.append(f"images of that update: {name_batch(found.step)}")
    if training.checkpoint:
        with whole_file(training.checkpoint.with_name("offending_batch.npz")) as file:
            np.savez(file, **found.batch)
    if not (training.checkpoint and retries):
        raise FloatingPointError("; ".join(about)) from None
    training.load()
    again = update(training.model, found.batch, micro_batches)["loss"]
    training.load()
    here = f"the weights of update {training.step}, the last checkpoint"
    if not np.isfinite(again):
        about.append(f"{here}, give the same batch a loss of {again} too, so the batch or the loss is the cause")
        raise FloatingPointError("; ".join(about)) from None
    about.append(f"{here}, give the same batch a loss of {again:.4g}, so the weights went astray")
    if training.retries == retries:
        times = f"{retries} times" if retries > 1 else "once"
        about.append(f"gone back {times}, each time to half the learning rate")
        about.append("lower learning_rate, set clip_norm, or use precision: float32")
        raise FloatingPointError("; ".join(about)) from None
    training.retries += 1
    training.save()
    log.warning("%s; going on from there with half the learning rate", "; ".join(about))


def update(model, batch: dict[str, np.ndarray], micro_batches: int = 1) -> dict[str, float]:
    """What the model reports of one update on a batch, in parts if so wished: then the parts' means."""
    parts = _parts(batch, micro_batches) if micro_batches > 1 else [batch]
    made = [model.train_on_batch(part, return_dict=True) for part in parts]
    return _means([{name: float(value) for name, value in logs.items()} for logs in made])


def _parts(batch: dict[str, np.ndarray], count: int) -> list[dict[str, np.ndarray]]:
    size = len(next(iter(batch.values())))
    if size % count:
        raise ValueError(f"a batch of {size} images cannot be cut into {count} equal parts")
    cuts = [slice(i * size // count, (i + 1) * size // count) for i in range(count)]
    share = np.full(size // count, 1 / count, np.float32)
    return [{name: values[cut] for name, values in batch.items()} | {UPDATE_SHARE: share} for cut in cuts]


def seconds_without_input(model, batch: dict[str, np.ndarray], updates: int, micro_batches: int = 1) -> float:
    """Seconds per update on one batch that stays in memory; the model is afterwards as before.

    Where players take turns, whole rounds are timed, at least as many updates as asked for; the first round, which
    builds the graphs, is left out.
    """
    _build(model, lambda step: batch)
    variables = [*model.variables, *model.optimizer.variables]
    before = [copied(variable) for variable in variables]
    turns = round_of(model)
    updates = -(-updates // turns) * turns
    for step in range(turns):
        update(model, at_step(batch, step), micro_batches)
    start = time.perf_counter()
    for step in range(updates):
        update(model, at_step(batch, step), micro_batches)
    passed = time.perf_counter() - start
    for variable, value in zip(variables, before, strict=True):
        variable.assign(value)
    return passed / updates


def round_of(model) -> int:
    """Updates until every player of an `Alternating` model has had its turns; 1 for other models."""
    return getattr(model, "round", 1)


def at_step(batch: dict[str, np.ndarray], step: int) -> dict[str, np.ndarray]:
    """The batch as if it were that of another step, which says whose turn it is."""
    return batch | {"step": np.full_like(batch["step"], step)} if "step" in batch else batch


def _means(logs: list[dict[str, float]]) -> dict[str, float]:
    """The mean of each number over the updates that reported it."""
    names = sorted({name for made in logs for name in made})
    return {name: float(np.mean([made[name] for made in logs if name in made])) for name in names}


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


def _time_step(model, batch: dict, micro_batches: int) -> tuple[float, float]:
    """Seconds of one update (best of a few), and of the first, which compiles."""
    _build(model, lambda step: batch)
    times = []
    for _ in range(1 + TIMED_STEPS):
        start = time.perf_counter()
        update(model, batch, micro_batches)
        times.append(time.perf_counter() - start)
    del model
    gc.collect()
    return min(times[1:]), times[0]


class _Clock:
    """Images per second, and where the time since its making went."""

    def __init__(self):
        self.start, self.waited, self.beside, self.images = time.perf_counter(), 0.0, 0.0, 0

    @contextmanager
    def waiting(self):
        start = time.perf_counter()
        yield
        self.waited += time.perf_counter() - start

    @contextmanager
    def aside(self):
        """For what is neither updates nor waiting: monitors and checkpoints."""
        start = time.perf_counter()
        yield
        self.beside += time.perf_counter() - start

    def read(self) -> dict[str, float]:
        passed = time.perf_counter() - self.start
        training = passed - self.beside
        return {
            "images_per_s": self.images / training,
            "wait_share": self.waited / training,
            "monitor_share": self.beside / passed,
        }


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


def _advance(progress: tqdm, step: int, steps: int, images: int) -> int:
    """The images of this step, after the bar has moved by them; the first call tells it how many there will be."""
    if progress.total is None:
        progress.reset(total=steps * images)
        progress.update(step * images)
    progress.update(images)
    return images


def _progress(label: str) -> tqdm:
    """A bar with images/s and time left; in a log file one line every half minute instead of ten per second."""
    every_s = 0.2 if sys.stderr.isatty() else 30.0
    return tqdm(desc=label or None, unit=" images", unit_scale=True, mininterval=every_s, maxinterval=every_s)
