"""The resource check: a real cell, and every way a cell can end, told apart."""

import json
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import yaml

from scanloom import config
from scanloom.pretraining.method_training import DoesNotFit
from scanloom.searches import resource_check, studies
from scanloom.searches.resource_check import ERROR, IMPOSSIBLE, KILLED, OK, OUT_OF_MEMORY, TOO_SLOW
from scanloom.training import peak_memory

CHECK = {
    "kind": "resource_check",
    "sizes_px": [16],
    "batches": [4],
    "updates": 2,
    "encoders": [{"small_cnn": {"width": 4}}],
}


@pytest.fixture(scope="module")
def cell(root):
    values = yaml.safe_load((root / "config.yaml").read_text()) | {"studies": {"check": CHECK}, "views": ["flip"]}
    return studies.cells(config.study_from(values), "check")[0]


def test_a_cell_is_measured_in_a_process_of_its_own(cell):
    """Starting a backend takes seconds."""
    found = resource_check.watched(cell, memory_mb=None, limit_s=120, threads=1)
    assert found["outcome"] == OK, found
    assert 0 < found["seconds"] < 60
    assert 0 < found["feeding_s"] < 60
    assert 50 < found["host_mb"] < 20000
    # LeNet-like count of the encoder alone, from the encoder's own description of its layers.
    from scanloom import plugins

    settings = plugins.settings("encoders", "small_cnn", cell["encoder"]["settings"])
    encoder = plugins.load("encoders", "small_cnn").build(settings, (16, 16, 1), 0)
    assert found["parameters"] == sum(np.prod(v.shape) for v in encoder.trainable_variables)
    assert json.loads(json.dumps(found)) == found


def test_players_that_take_turns_are_all_measured_and_a_window_needs_no_unit(cell, monkeypatch):
    """WGAN-GP: five critic updates before each of the generator, so a round has six."""
    turns = []

    def update(model, batch, micro_batches):
        turns.append(int(batch["step"][0]) % resource_check.round_of(model))
        return {"loss": 0.0}

    monkeypatch.setattr(resource_check, "update", update)
    settings = {"latent": 4, "network_width": 4, "window": (40.0, 80.0), "window_in": "unit"}
    resource_check.measure(cell | {"method": "wgan_gp", "method_settings": settings, "updates": 7})
    assert turns == [*range(6)] * (resource_check.UNTIMED + 2)


def test_passing_the_memory_limit_is_out_of_memory_and_not_an_error(cell):
    found = resource_check.watched(cell, memory_mb=20, limit_s=60, threads=1)
    assert found == {"outcome": OUT_OF_MEMORY, "reason": "passed the limit of 20 MB"}


def test_a_peak_between_two_looks_passes_the_limit_too(cell, monkeypatch):
    """Whoever looks sees nothing; the child's own count (VmHWM) has it. Starting a backend takes seconds."""
    monkeypatch.setattr(peak_memory, "resident_mb", lambda process: 0.0)
    found = resource_check.watched(cell, memory_mb=50, limit_s=120, threads=1)
    assert found["outcome"] == OUT_OF_MEMORY
    assert re.fullmatch(r"a peak of \d{3,4} MB passed the limit of 50 MB", found["reason"])


def test_a_cell_that_takes_too_long_is_given_up(cell):
    start = time.monotonic()
    found = resource_check.watched(cell, memory_mb=None, limit_s=0.2, threads=1)
    assert found["outcome"] == TOO_SLOW
    assert time.monotonic() - start < 5


def test_an_image_that_memory_cannot_hold_is_out_of_memory(cell):
    """NumPy's own refusal, for 10^14 bytes."""
    found = resource_check._measured_or_why(cell | {"size_px": 4_000_000})
    assert found["outcome"] == OUT_OF_MEMORY
    assert "allocate" in found["reason"]


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        (
            {"sizes_px": [16, 0]},
            "studies.check.resource_check.sizes_px.1 = 0: Input should be greater than or equal to 1",
        ),
        ({"batches": [-4]}, "batches.0 = -4: Input should be greater than or equal to 2"),
        ({"batches": [1]}, "batches.0 = 1: Input should be greater than or equal to 2"),
        ({"channels": [0]}, "channels.0 = 0: Input should be greater than or equal to 1"),
    ],
)
def test_numbers_that_no_image_and_no_batch_has_are_refused_with_the_configuration(root, numbers, said):
    """An image has a pixel and a channel; pretraining itself takes two images at least (pretraining.batch)."""
    values = yaml.safe_load((root / "config.yaml").read_text()) | {"studies": {"check": CHECK | numbers}}
    with pytest.raises(config.ConfigError, match=re.escape(said)):
        config.study_from(values)


def test_settings_that_cannot_be_trained_are_impossible_and_not_an_error(cell):
    found = resource_check._measured_or_why(cell | {"method": "from_scratch", "method_settings": {}})
    assert found["outcome"] == IMPOSSIBLE
    assert "trains nothing" in found["reason"]


@pytest.mark.parametrize(
    ("status", "errors", "kernel_killed", "outcome"),
    [
        (
            1,
            "tensorflow.ResourceExhaustedError: OOM when allocating tensor with shape[512,64,256,256]",
            False,
            OUT_OF_MEMORY,
        ),
        (1, "XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory allocating 17179869184 bytes.", False, OUT_OF_MEMORY),
        (-6, "terminate called after throwing an instance of 'std::bad_alloc'\n", False, OUT_OF_MEMORY),
        (-9, "", True, OUT_OF_MEMORY),
        (-9, "", False, KILLED),
        (-11, "", False, ERROR),
        (1, "Traceback\nModuleNotFoundError: No module named 'keras'\n", False, ERROR),
    ],
)
def test_the_end_of_a_process_is_told_apart(status, errors, kernel_killed, outcome):
    assert resource_check._outcome(status, "", errors, kernel_killed)["outcome"] == outcome


def test_a_crash_is_named():
    assert resource_check._outcome(-11, "", "", False)["reason"].startswith("SIGSEGV")
    said = resource_check._outcome(1, "", "Traceback\nKeyError: 'x'\n\n", False)["reason"]
    assert said == "exit status 1: KeyError: 'x'"


@pytest.mark.parametrize("kind", [DoesNotFit, RuntimeError, MemoryError])
def test_reasons_name_neither_folders_of_the_machine_nor_colours(cell, monkeypatch, kind):
    """As Keras colours its messages; the page is for others than who ran the study."""
    said = "\x1b[1mno room for /home/anna/runs/x.npz\x1b[0m\n\nArguments received"

    def measure(cell):
        raise kind(said)

    monkeypatch.setattr(resource_check, "measure", measure)
    assert resource_check._measured_or_why(cell)["reason"].endswith("no room for …/x.npz")
    assert resource_check._outcome(1, "", f"Traceback\n{said.splitlines()[0]}", False)["reason"].endswith("…/x.npz")


def cells_of(sizes, batches):
    encoder = {"name": "resnet", "settings": {"depth": 10}}
    return [
        {"encoder": encoder, "channels": 1, "size_px": size, "budget": {"batch": batch}}
        for size in sizes
        for batch in batches
    ]


def test_larger_batches_are_not_tried_once_one_ran_out_of_memory():
    tried = []

    def measure(cell):
        tried.append((cell["size_px"], cell["budget"]["batch"]))
        full = cell["size_px"] * cell["budget"]["batch"] > 600
        return {"outcome": OUT_OF_MEMORY, "reason": "x"} if full else {"outcome": OK, "reason": "", "seconds": 0.1}

    table = resource_check.check(cells_of([8, 64], [8, 16, 32]), measure, progress=lambda said: None)
    assert tried == [(8, 8), (8, 16), (8, 32), (64, 8), (64, 16)]
    assert table.outcome.tolist() == [OK] * 4 + [OUT_OF_MEMORY] * 2
    assert table.reason.iloc[-1].startswith("not tried")
    assert table.seconds.isna().tolist() == [False] * 4 + [True] * 2


def test_an_error_does_not_speak_for_larger_batches():
    table = resource_check.check(
        cells_of([8], [8, 16]), lambda cell: {"outcome": ERROR, "reason": "x"}, lambda said: None
    )
    assert table.reason.tolist() == ["x", "x"]
    assert isinstance(table, pd.DataFrame)


@pytest.mark.parametrize(
    ("outcome", "memory_mb", "measured"),
    [
        (OK, None, 1),
        (IMPOSSIBLE, None, 1),
        (OUT_OF_MEMORY, 500, 1),
        (OUT_OF_MEMORY, None, 2),
        (TOO_SLOW, 500, 2),
        (KILLED, 500, 2),
    ],
)
def test_only_what_would_come_out_the_same_is_remembered(monkeypatch, tmp_path, outcome, memory_mb, measured):
    calls = []

    def watched(cell, memory_mb, limit_s, threads):
        calls.append(memory_mb)
        return {"outcome": outcome, "reason": "r"}

    monkeypatch.setattr(resource_check, "watched", watched)
    for _ in range(2):
        found = resource_check.remembered({"size_px": 8}, memory_mb, 60, 1, tmp_path, {"keras": "3"}, "code")
        assert found == {"outcome": outcome, "reason": "r"}
    assert len(calls) == measured
    assert calls[0] == memory_mb or calls[0] > 0


def test_peak_memory_of_a_process_is_its_own_and_not_its_parents():
    """A child of this process, which is larger, reads its own peak; 200 MB more of it are seen."""
    code = (
        "from scanloom.training import peak_memory; before = peak_memory.host_mb(); block = bytearray(200_000_000);"
        "block[::4096] = b'x' * len(block[::4096]); print(before, peak_memory.host_mb())"
    )
    before, after = map(
        float, subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split()
    )
    assert before < 150
    assert 190 < after - before < 230


def test_resident_memory_of_a_process_that_has_gone_is_nothing():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"])
    assert peak_memory.resident_mb(child.pid) >= 0
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert peak_memory.resident_mb(child.pid) == 0
    assert peak_memory.free_mb() > 0
