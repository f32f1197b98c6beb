"""What all benchmarks share: interleaved timing, one table, one JSON file.

Alternatives of one comparison run in the same process, once to warm up and then in shuffled rounds, so that load on the
machine meets all of them alike; what is compared is the ratio of their medians. Times are per item, lower is better.
Importing this makes the library of this checkout importable and puts TensorFlow, should it come, in a quiet mood.
"""

import argparse
import datetime
import gc
import json
import os
import platform
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

COLUMNS = ["measure", "unit", "ours", "peer", "ratio", "spread", "goal", "met"]
PACKAGES = ["keras", "numpy", "pandas", "snakemake", "tensorflow-cpu"]


@dataclass
class Timing:
    """Seconds per item of one alternative, one entry per round."""

    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)


def cpu_seconds() -> float:
    """User and system time of this process, all its threads, and its finished children."""
    used = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(part.ru_utime + part.ru_stime for part in used)


def interleaved(ways: dict[str, Callable[[], int]], rounds: int) -> dict[str, Timing]:
    """Timings of every way; a way is a function that returns how many items it made."""
    timings = {name: Timing() for name in ways}
    for way in ways.values():
        way()
    for number in range(rounds):
        for name in random.Random(number).sample(list(ways), len(ways)):
            gc.collect()
            wall, cpu = time.perf_counter(), cpu_seconds()
            items = ways[name]()
            wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
            timings[name].wall_s.append(wall / items)
            timings[name].cpu_s.append(cpu / items)
    return timings


def compared(measure: str, unit: str, ours: list[float], peer: list[float], goal: float | None = None) -> dict:
    """A row: medians of two interleaved timings and how many times less ours is; `goal`: at least this ratio.

    spread: lowest and highest ratio of one round's pair. Without a goal the row is for orientation.
    """
    ratio = statistics.median(peer) / statistics.median(ours)
    pairs = [b / max(a, 1e-12) for a, b in zip(ours, peer, strict=True)]
    return {
        "measure": measure,
        "unit": unit,
        "ours": statistics.median(ours),
        "peer": statistics.median(peer),
        "ratio": ratio,
        "spread": [min(pairs), max(pairs)],
        "goal": None if goal is None else f">= {goal:g} x",
        "met": None if goal is None else bool(ratio >= goal),
    }


def limited(
    measure: str, unit: str, ours: list[float], at_most: float | None = None, *, at_least: float | None = None
) -> dict:
    """A row without a peer: the median and, as spread, the lowest and highest value; at_most or at_least: the goal."""
    median = statistics.median(ours)
    goals = [(f"<= {at_most:g}", median <= at_most)] if at_most is not None else []
    goals += [(f">= {at_least:g}", median >= at_least)] if at_least is not None else []
    goal, met = goals[0] if goals else (None, None)
    return {
        "measure": measure,
        "unit": unit,
        "ours": median,
        "peer": None,
        "ratio": None,
        "spread": [min(ours), max(ours)],
        "goal": goal,
        "met": met if met is None else bool(met),
    }


def table(rows: list[dict]) -> str:
    """The rows as a Markdown table."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    return "\n".join(lines + ["| " + " | ".join(_cell(row[name]) for name in COLUMNS) + " |" for row in rows])


def _cell(value) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, list):
        return " to ".join(_cell(part) for part in value)
    return f"{value:.3g}" if isinstance(value, float) and abs(value) < 1000 else str(value)


def machine() -> dict:
    """Cores, processor, memory, system and load: nothing that names the machine or its folders."""
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        models = [s for s in Path("/proc/cpuinfo").read_text().splitlines() if s.startswith("model name")]
        cpu = models[0].partition(":")[2].strip() if models else cpu
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "cpu": cpu,
        "memory_gb": round(pages / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "load_at_start": round(os.getloadavg()[0], 1),
    }


def versions() -> dict:
    """Versions of Python and of what is measured here."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


@contextmanager
def _folder(data: Path | None) -> Iterator[Path]:
    if data is not None:
        data.mkdir(parents=True, exist_ok=True)
        yield data.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="scanloom-benchmark-") as folder:
        yield Path(folder)


def run(script: str, description: str, rows: Callable[..., list[dict]], options: dict[str, dict] | None = None) -> None:
    """The command line of a benchmark: measure, print the table, write the JSON.

    rows(folder, **options) measures; options: name of a further argument -> its `add_argument` settings.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="folder for the benchmark's files (kept); default: temporary"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table there as well")
    for name, settings in (options or {}).items():
        parser.add_argument(f"--{name}", **settings)
    arguments = vars(parser.parse_args())
    data, json_file = arguments.pop("data"), arguments.pop("json")
    about = {
        "benchmark": Path(script).stem,
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "versions": versions(),
    }
    with _folder(data) as folder:
        about["rows"] = rows(folder, **arguments)
    print(f"{about['benchmark']}: {description.splitlines()[0]}\n")
    print(table(about["rows"]))
    print("\n" + ", ".join(f"{k} {v}" for k, v in (about["machine"] | about["versions"]).items()))
    if json_file:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(about, indent=1) + "\n")
