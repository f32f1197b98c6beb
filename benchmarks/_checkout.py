"""A copy of this checkout to run Snakemake in, without anything that earlier runs made."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from _measure import ROOT

FILES = ["Snakefile", "config.yaml"]
FOLDERS = ["rules", "workflow_scripts", "scanloom", "datasets", "envs", "profiles", "schemas", "report_captions"]


def copy_of_checkout(folder: Path) -> Path:
    """`folder`, holding what runs. Raises FileExistsError where a run was made in it before."""
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "results").exists():
        raise FileExistsError(f"{folder} holds the results of an earlier run: give another folder or delete it")
    for name in FILES:
        shutil.copy(ROOT / name, folder / name)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    return folder


def snakemake(folder: Path, *arguments: str) -> tuple[float, str]:
    """Seconds and output of Snakemake in that copy. Raises RuntimeError with the end of the output if it fails."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    seconds = time.perf_counter() - start
    output = done.stdout + done.stderr
    if done.returncode:
        raise RuntimeError(f"snakemake {' '.join(arguments)} failed:\n{output[-5000:]}")
    return seconds, output


def planned_jobs(output: str) -> int:
    """Number of jobs in the output of a dry run or a run; 0 where there was nothing to do."""
    found = re.search(r"^total\s+(\d+)\s*$", output, flags=re.MULTILINE)
    if not found and "Nothing to be done" not in output:
        raise ValueError(f"no table of jobs in Snakemake's output:\n{output[-2000:]}")
    return int(found.group(1)) if found else 0
