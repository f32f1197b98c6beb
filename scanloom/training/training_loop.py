"""The training loop: a step is a pure function of its number, so a killed training goes on to the same bits.

`train_steps` runs `model.train_on_batch` on `batch_at(step)` at `learning_rate_at(step)`. Nothing else determines a
step, so a checkpoint is the variables, the step number, the history and how often the training had to go back; no
iterator position has to be stored. The loop is the same on every Keras backend. Bits repeat on one machine with one
number of threads: see `backend.make_deterministic`.
"""

import logging
import math
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

from scanloom.atomic_files import whole_file
from scanloom.lazy import keras
from scanloom.training import profiler
from scanloom.training.checkpoints import load_checkpoint, save_checkpoint
from scanloom.training.updates import build_variables, means, update

COLUMNS = ["step", "loss", "learning_rate", "images_per_s", "wait_share", "monitor_share", "retries"]
BATCHES_AHEAD = 2
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

    At a loss that is not finite, the batch and the one before it, whose gradients may be at fault, are tried on the
    weights of the last checkpoint. If both work there, the weights had gone astray, and training goes back to that
    checkpoint with half the learning rate from there on, up to `retries` times. Raises FloatingPointError otherwise,
    with what `name_batch(step)` says of the batch, which `checkpoint_folder`/offending_batch.npz then holds.
    """
    if steps < 1 or interval < 1:
        raise ValueError(f"steps ({steps}) and interval ({interval}) must be at least 1")
    build_variables(model, batch_at)
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
        self.before: dict[str, np.ndarray] | None = None  # the batch of the update that was done last
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
        self.before = batch

    def row(self, learning_rate: float, clock: "_Clock") -> dict:
        """The history's row of the interval that ends here."""
        reported = means(self.logs)
        loss = reported.pop("loss")
        if hasattr(self.model, "joint_loss"):
            loss = self.model.joint_loss(reported)
        row = {"step": self.step, "loss": loss, "learning_rate": learning_rate, **clock.read()}
        # A player without a turn in this interval reports nothing; rules that ask for its columns must still find them.
        idle = dict.fromkeys(getattr(self.model, "reported_names", ()), math.nan)
        return row | {"retries": self.retries, **idle, **reported}

    def load(self) -> None:
        self.step, self.rows, self.logs, self.retries = load_checkpoint(self.checkpoint, self.model)

    def save(self) -> None:
        if self.checkpoint:
            save_checkpoint(self.checkpoint, self.model, self.step, self.rows, self.logs, self.retries)

    def finite(self) -> bool:
        return all(np.isfinite(keras.ops.convert_to_numpy(v)).all() for v in self.model.trainable_variables)


def _go_back(training: _Training, found: NotFinite, retries: int, micro_batches: int, name_batch) -> None:
    """Set the training back to its last checkpoint at a lower rate, or raise `found` with all that is known."""

    def told(step: int) -> list[str]:
        return [str(found), *([f"images of update {step + 1}: {name_batch(step)}"] if name_batch else [])]

    if not (training.checkpoint and retries):
        _keep(training, found.batch)
        raise FloatingPointError("; ".join(told(found.step))) from None
    # A loss may be finite and its gradients not: then it was the update before that spoilt the weights.
    step, batch = found.step - 1, training.before
    spoils, again = (False, 0.0) if batch is None or batch is found.batch else _tried(training, batch, micro_batches)
    if not spoils:
        step, batch = found.step, found.batch
        spoils, again = _tried(training, batch, micro_batches)
    training.load()
    training.before = None
    _keep(training, batch)
    about, here = told(step), f"the weights of update {training.step}, the last checkpoint"
    if spoils:
        result = "weights that are not finite" if np.isfinite(again) else f"a loss of {again} too"
        about.append(f"{here}, give the same batch {result}, so the batch or the loss is the cause")
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


def _tried(training: _Training, batch: dict[str, np.ndarray], micro_batches: int) -> tuple[bool, float]:
    """(whether the batch spoils the weights of the last checkpoint, its loss there)."""
    training.load()
    loss = update(training.model, batch, micro_batches)["loss"]
    return not (np.isfinite(loss) and training.finite()), loss


def _keep(training: _Training, batch: dict[str, np.ndarray]) -> None:
    """Write the batch at fault beside the checkpoint."""
    if training.checkpoint:
        with whole_file(training.checkpoint.with_name("offending_batch.npz")) as file:
            np.savez(file, **batch)


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
