"""Damaged files of every format: excluded with a reason, or used with the pixels they had (benchmarks/fuzz.py)."""

import importlib
import random

import pytest

FILES, REAL_FILES = 200, 25


@pytest.fixture(scope="module")
def fuzz(root):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(root / "benchmarks"))
        yield importlib.import_module("fuzz")


@pytest.fixture(scope="module")
def originals(fuzz, tmp_path_factory):
    return fuzz.originals_of(tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("x") / "none")


def test_damaged_files_do_no_harm(fuzz, originals, tmp_path):
    """200 files in two processes, some 20 seconds: cataloguing a file costs a tenth of one."""
    outcomes, _ = fuzz.fuzz(tmp_path, FILES, 2, 1, originals)
    assert len(outcomes) == FILES
    assert [outcome for outcome in outcomes if outcome["problem"]] == []
    assert {outcome["verdict"] for outcome in outcomes} == {"used", "excluded"}


def test_damaged_real_files_do_no_harm(fuzz, shared_data, tmp_path, tmp_path_factory):
    originals = fuzz.originals_of(tmp_path_factory.mktemp("whole"), shared_data)
    outcomes, _ = fuzz.fuzz(tmp_path, REAL_FILES, 2, 1, originals)
    assert [outcome for outcome in outcomes if outcome["problem"]] == []


def test_every_format_and_every_kind_of_damage_is_drawn(fuzz, originals):
    drawn = [fuzz.damage_of(number, originals, 0) for number in range(600)]
    assert {original.ending for original, _, _ in drawn} == {original.ending for original in originals}
    assert {kind for _, kind, _ in drawn} == set(fuzz.DAMAGE)
    assert fuzz.damage_of(7, originals, 0) == drawn[7]


def test_silence_is_noticed_and_a_given_reason_is_not_silence(fuzz, originals, tmp_path):
    """A TFRecord with a damaged record is used without it, and says so; one that lost a whole record says nothing."""
    records = next(original for original in originals if original.ending == ".tfrecord")
    data = records.path.read_bytes()
    length = int.from_bytes(data[:8], "little") + 16
    whole = fuzz.content(records, fuzz._alone(tmp_path, records, data))
    damaged = fuzz.content(records, fuzz._alone(tmp_path, records, data[:60] + b"?" + data[61:]))
    shorter = fuzz.content(records, fuzz._alone(tmp_path, records, data[length:]))
    assert (whole.pixels.total(), whole.left_out) == (3, 0)
    assert (damaged.pixels.total(), damaged.left_out) == (2, 1)
    assert (shorter.pixels.total(), shorter.left_out) == (2, 0)
    invented = {records: fuzz.Content(whole.pixels + fuzz.Counter(["another"]), 0)}
    numbers = [n for n in range(999) if fuzz.damage_of(n, originals, 0)[0] == records]
    outcomes = (fuzz.attempt(tmp_path, number, originals, 0, invented) for number in numbers)
    assert next(outcome for outcome in outcomes if outcome["verdict"] == "used")["problem"] == "silent"


@pytest.mark.parametrize("kind", ["cut", "cut at its end", "removed", "inserted", "bits", "zeros"])
def test_damages_do_what_their_names_say(fuzz, kind):
    data = bytes(range(1, 256)) * 20
    damaged = fuzz.DAMAGE[kind](data, random.Random(3))
    assert damaged != data
    lengths = {"cut": -1, "cut at its end": -1, "removed": -1, "inserted": 1}
    assert (len(damaged) > len(data)) - (len(damaged) < len(data)) == lengths.get(kind, 0)


def test_what_goes_wrong_is_seen(fuzz, originals, tmp_path, monkeypatch):
    """A process that dies and one that hangs are reported as such, and the files after them are still read."""
    real = fuzz.attempt

    def attempt(folder, number, *others):
        if number == 1:
            fuzz.os.kill(fuzz.os.getpid(), 9)
        while number == 2:
            pass
        return real(folder, number, *others)

    monkeypatch.setattr(fuzz, "attempt", attempt)
    monkeypatch.setattr(fuzz, "TIME_LIMIT_S", 5)
    outcomes, _ = fuzz.fuzz(tmp_path, 4, 1, 0, originals)
    assert [outcome["problem"] for outcome in outcomes] == ["", "crash", "hang", ""]
    assert "exit code -9" in outcomes[1]["detail"]
