"""Seconds and memory of one update for every batch, image size and encoder, each measured in a process of its own.

`python -m scanloom.searches.resource_check` reads one cell (JSON) from its input, measures it and writes one line of
JSON. The parent watches: so it can tell apart what ran out of memory (the framework says so, the limit is passed, the
kernel kills), what took too long, what cannot be built (a projector too large, a size that an encoder does not take),
and what was killed or crashed for another reason.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import ValidationError

from scanloom import plugins
from scanloom.atomic_files import write_text
from scanloom.pretraining.method_training import DoesNotFit, bare_training
from scanloom.pretraining.pretraining_run import Budget
from scanloom.pretraining.view_choice import pairs
from scanloom.run_store import open_run
from scanloom.spoken_errors import spoken_error
from scanloom.training import peak_memory
from scanloom.training.peak_memory import says_out_of_memory
from scanloom.training.updates import at_step, round_of, update

OK, OUT_OF_MEMORY, IMPOSSIBLE = "ok", "out of memory", "impossible"
TOO_SLOW, KILLED, ERROR = "too slow", "killed", "error"

MEASURED = ["seconds", "feeding_s", "host_mb", "device_mb", "parameters", "device"]
MARK = "measured: "
FILE = "cell.json"
UNTIMED = 2  # updates, or rounds of players, before the clock starts: the first builds the graphs
WATCHED_EVERY_S = 0.05
SHARE_OF_FREE = 0.9


class _MadeUpImages:
    """Noise as the shards' images, and two classes: speed and memory do not depend on what is seen."""

    def __init__(self, cell: dict):
        shape = [*[cell["size_px"]] * cell["rank"], cell["channels"]]
        count = 2 * cell["budget"]["batch"]
        self.image_spec = {"shape": shape, "dtype": "uint8"}
        self._images = np.random.default_rng(0).integers(0, 256, (min(count, 8), *shape), np.uint8)
        labels = np.arange(count) % 2
        self.table = pd.DataFrame({"item_id": [f"image-{n:06d}" for n in range(count)], "label": labels.astype(float)})
        label = cell["method_settings"].get("label")
        if label:
            self.table[label] = self.table["label"]

    def images(self, indices) -> np.ndarray:
        return self._images[np.asarray(indices) % len(self._images)]


def measure(cell: dict) -> dict:
    """MEASURED of one cell of `studies.cells`, in this process. seconds: median of its updates, batch at hand.

    Where players take turns, whole rounds are measured and `seconds` is a round's mean. feeding_s: seconds to draw a
    batch's views and fetch its images, which training does meanwhile in another thread.
    """
    settings = cell["method_settings"]
    if settings.get("window") is not None and settings.get("window_in") == "unit":
        settings = settings | {"window": (0.25, 0.75), "window_in": "grey"}  # made-up images have no unit
    model, batch_at = bare_training(
        _MadeUpImages(cell),
        method=cell["method"],
        method_settings=settings,
        encoder=cell["encoder"]["name"],
        encoder_settings=cell["encoder"]["settings"],
        views=pairs(cell["views"]),
        budget=Budget(**cell["budget"]),
        seed=0,
    )
    start = time.perf_counter()
    made = [batch_at(0), batch_at(1)]
    feeding_s = (time.perf_counter() - start) / 2
    turns, times = round_of(model), []
    rounds = -(-cell["updates"] // turns)
    for step in range((UNTIMED + rounds) * turns):
        batch = at_step(made[step % 2], step)
        start = time.perf_counter()
        update(model, batch, cell["budget"]["accumulate"])  # gives numbers: nothing is still under way
        times.append(time.perf_counter() - start)
    return {
        "seconds": float(np.median(np.reshape(times, (-1, turns)).mean(axis=1)[UNTIMED:])),
        "feeding_s": feeding_s,
        "host_mb": peak_memory.host_mb(),
        "device_mb": peak_memory.accelerator_mb(),
        "parameters": int(sum(np.prod(v.shape) for v in model.encoder.trainable_variables)),
        "device": peak_memory.accelerator(),
    }


def watched(cell: dict, memory_mb: float | None, limit_s: float, threads: int) -> dict:
    """outcome, reason and, where it is OK, MEASURED of a cell: `measure` in a child process under these limits."""
    command = [sys.executable, "-m", "scanloom.searches.resource_check"]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"}
    told = json.dumps({"cell": cell, "threads": threads}).encode()
    kills = peak_memory.kernel_kills()
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=errors, env=environment)
        try:
            stopped = _watch(child, told, memory_mb, limit_s)
        finally:
            child.kill()
            child.wait()
        texts = []
        for file in (output, errors):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    if stopped:
        return dict(zip(("outcome", "reason"), stopped, strict=True))
    more_kills = kills is not None and (peak_memory.kernel_kills() or 0) > kills
    found = _outcome(child.returncode, *texts, more_kills)
    if found["outcome"] == OK and memory_mb is not None and found["host_mb"] > memory_mb:
        # Between two looks: the child's own peak has every moment of it.
        peak = f"a peak of {found['host_mb']:.0f} MB passed the limit of {memory_mb:.0f} MB"
        return {"outcome": OUT_OF_MEMORY, "reason": peak}
    return found


def _watch(child, told: bytes, memory_mb: float | None, limit_s: float) -> tuple[str, str] | None:
    """Wait for the child. (outcome, reason) where it passed a limit; the caller kills it."""
    start = time.monotonic()
    try:
        child.stdin.write(told)
        child.stdin.close()
    except BrokenPipeError:
        pass  # it died at once: how, the exit status says
    while child.poll() is None:
        if memory_mb is not None and peak_memory.resident_mb(child.pid) > memory_mb:
            return OUT_OF_MEMORY, f"passed the limit of {memory_mb:.0f} MB"
        if time.monotonic() - start > limit_s:
            return TOO_SLOW, f"not done after {limit_s:g} s"
        time.sleep(WATCHED_EVERY_S)
    return None


def _outcome(status: int, output: str, errors: str, kernel_killed: bool) -> dict:
    """What the child's end means."""
    lines = [line.removeprefix(MARK) for line in output.splitlines() if line.startswith(MARK)]
    if status == 0 and lines:
        return json.loads(lines[-1])
    if status == -signal.SIGKILL and kernel_killed:
        return {"outcome": OUT_OF_MEMORY, "reason": "the kernel killed it for want of memory"}
    last = spoken_error(next((line for line in reversed(errors.splitlines()) if line.strip()), ""))
    if says_out_of_memory(errors):
        return {"outcome": OUT_OF_MEMORY, "reason": last}
    if status == -signal.SIGKILL:
        return {"outcome": KILLED, "reason": "killed from outside (SIGKILL); if nobody did, memory ran out"}
    how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
    return {"outcome": ERROR, "reason": f"{how}: {last}"}


def _measured_or_why(cell: dict) -> dict:
    """As `watched` gives it; what Python can tell about a failure is told here."""
    try:
        return {"outcome": OK, "reason": "", **measure(cell)}
    except MemoryError as error:
        return {"outcome": OUT_OF_MEMORY, "reason": f"MemoryError: {spoken_error(str(error))}"}
    except DoesNotFit as error:
        if says_out_of_memory(f"{type(error).__name__} {error}"):
            return {"outcome": OUT_OF_MEMORY, "reason": spoken_error(str(error))}
        return {"outcome": IMPOSSIBLE, "reason": spoken_error(str(error))}
    except ValidationError as error:
        return {"outcome": IMPOSSIBLE, "reason": spoken_error(plugins.explain(error))}
    except Exception as error:  # the frameworks' own errors share no base class
        outcome = OUT_OF_MEMORY if says_out_of_memory(f"{type(error).__name__} {error}") else ERROR
        return {"outcome": outcome, "reason": f"{type(error).__name__}: {spoken_error(str(error))}"}


def remembered(
    cell: dict, memory_mb: int | None, limit_s: float, threads: int, store: Path, versions: dict, code: str
) -> dict:
    """`watched`, or what an earlier run on an equal machine found. memory_mb None: SHARE_OF_FREE of what is free now.

    Remembered is what another run would only repeat: times, what cannot be built, and what a given limit does not hold.
    """
    job = {"kind": "resources", "cell": cell, "memory_mb": memory_mb, "machine": _machine(threads)}
    run = open_run(store, job | {"versions": versions, "code": code})
    if run.finished():
        return json.loads((run.folder / FILE).read_text())
    free = peak_memory.free_mb() if memory_mb is None else None
    found = watched(cell, memory_mb if free is None else SHARE_OF_FREE * free, limit_s, threads)
    if found["outcome"] in (OK, IMPOSSIBLE) or (found["outcome"] == OUT_OF_MEMORY and memory_mb is not None):
        write_text(run.folder / FILE, json.dumps(found))
        run.finish([FILE])
    return found


def _machine(threads: int) -> dict:
    """What a time depends on, as far as it can be known without starting the backend; no name of the machine."""
    model = ""
    if Path("/proc/cpuinfo").exists():
        lines = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        model = lines[0].split(":", 1)[1].strip() if lines else ""
    cards = sorted(path.name for path in Path("/dev").glob("nvidia[0-9]*"))
    return {"cpu": model, "threads": threads, "cards": cards, "backend": os.environ.get("KERAS_BACKEND", "")}


def check(cells: list[dict], measure_cell, progress=print) -> pd.DataFrame:
    """One row per cell: encoder, encoder_settings (JSON), channels, size_px, batch, outcome, reason, MEASURED.

    measure_cell(cell) -> dict as of `watched`. Within equal encoder, size and channels batches rise; the first that is
    out of memory answers for the larger ones.
    """
    rows, full = [], set()
    for cell in cells:
        encoder = cell["encoder"]
        about = {"encoder": encoder["name"], "encoder_settings": json.dumps(encoder["settings"], sort_keys=True)}
        about |= {"channels": cell["channels"], "size_px": cell["size_px"], "batch": cell["budget"]["batch"]}
        kind = tuple(value for key, value in about.items() if key != "batch")
        if kind in full:
            found = {"outcome": OUT_OF_MEMORY, "reason": "not tried: a smaller batch ran out of memory"}
        else:
            found = measure_cell(cell)
        if found["outcome"] == OUT_OF_MEMORY:
            full.add(kind)
        progress(f"{about['encoder']}, {about['size_px']} px, batch {about['batch']}: {found['outcome']}")
        rows.append(about | {name: found.get(name) for name in ("outcome", "reason", *MEASURED)})
    table = pd.DataFrame(rows)
    return table.astype({name: float for name in MEASURED if name != "device"})


if __name__ == "__main__":
    from scanloom.training.backend import limit_threads

    asked = json.load(sys.stdin)
    limit_threads(asked["threads"])
    print(MARK + json.dumps(_measured_or_why(asked["cell"])), flush=True)
