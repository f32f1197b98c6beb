"""Kill anything, any time: run again and get the same result (DESIGN, promise 6)."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest


@pytest.mark.slow
def test_study_killed_while_pretraining_ends_with_the_same_encoder(finished_workflow):
    """kill -9 of Snakemake and all it started, after the first checkpoint; minutes, because it trains again."""
    folder = finished_workflow.folder
    encoder = folder / "results/corpus/pretrained/barlow_twins/encoder.keras"
    expected = hashlib.sha256(encoder.read_bytes()).hexdigest()
    shutil.rmtree(folder / "runs")
    shutil.rmtree(folder / "results/corpus/pretrained")

    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--configfile",
        "study.yaml",
        "--cores",
        "2",
        str(encoder.relative_to(folder)),
    ]
    running = subprocess.Popen(
        command, cwd=folder, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    for _ in range(1200):
        if list(folder.glob("runs/*/checkpoints/state.npz")):
            break
        assert running.poll() is None, "finished before it could be killed"
        time.sleep(0.1)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert not encoder.exists()

    finished_workflow.snakemake("--unlock")
    finished_workflow.snakemake(str(encoder.relative_to(folder)))
    assert hashlib.sha256(encoder.read_bytes()).hexdigest() == expected
