"""What all sources that use a network share: waits, retries, parallel work, the ledger, headers, progress."""

import io
import threading
import time
from email.utils import formatdate
from types import SimpleNamespace

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from scanloom.sources import _progress, _web
from scanloom.sources._ledger import Ledger, stamp, unchanged
from scanloom.sources._report import FetchError
from scanloom.sources._transfer import LONGEST_WAIT_S, Meter, Transient, in_parallel, wait_before, with_retries


@given(st.integers(1, 60), st.floats(0.001, 60))
def test_waits_double_up_to_a_limit_with_a_random_half(attempt, backoff_s):
    doubled = min(backoff_s * 2 ** (attempt - 1), LONGEST_WAIT_S)
    assert doubled / 2 <= wait_before(attempt, backoff_s) <= doubled


@given(st.floats(0, 1e6))
def test_host_decides_how_long_to_wait_up_to_the_limit(asked_s):
    assert wait_before(1, 0.0, asked_s) == min(asked_s, LONGEST_WAIT_S)


def test_attempts_that_gain_nothing_are_counted_and_gains_start_anew():
    gains = iter([0, 1, 1, 2, 2, 2])
    reached = [0]

    def attempt():
        reached[0] = next(gains)
        raise Transient("cut")

    with pytest.raises(FetchError, match=r"scan: cut; gave up after 3 attempts"):
        with_retries(attempt, what="scan", retries=2, backoff_s=0, stop=threading.Event(), gained=lambda: reached[0])
    assert next(gains, None) is None, "all six were made"


def test_other_errors_are_not_tried_again():
    calls = []
    with pytest.raises(FetchError, match="no such file"):
        with_retries(
            lambda: calls.append(1) or (_ for _ in ()).throw(FetchError("no such file")),
            **{"what": "scan", "retries": 5, "backoff_s": 0, "stop": threading.Event()},
        )
    assert calls == [1]


def test_full_disk_stops_all_work_at_once():
    """One item meets the full disk while another is at work; that one is told, and items not begun never begin."""
    at_work, begun = threading.Event(), []

    def work(item, stop):
        begun.append(item)
        if item == "waits":
            at_work.set()
            assert stop.wait(30), "it was never told"
        elif item == "fails":
            assert at_work.wait(30)
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        in_parallel(work, ["waits", "fails", *range(100)], 2)
    assert set(begun) == {"waits", "fails"}


def test_results_come_in_the_order_of_the_items():
    assert in_parallel(lambda item, stop: item * item, range(50), 8) == [i * i for i in range(50)]


def test_meter_counts_from_many_threads():
    seen = []
    meter = Meter(lambda done, total: seen.append((done, total)), 10, 1010)
    in_parallel(lambda item, stop: meter.add(1), range(1000), 16)
    assert seen[0] == (10, 1010)
    assert max(seen) == (1010, 1010)


def test_ledger_survives_a_kill_in_the_middle_of_a_line(tmp_path):
    ledger = Ledger(tmp_path, "http")
    ledger.add("a", {"bytes": 1})
    ledger.add("b", {"bytes": 2})
    whole = ledger.path.read_bytes()
    for cut in range(len(whole) + 1):
        ledger.path.write_bytes(whole[:cut])
        again = Ledger(tmp_path, "http")
        assert again.get("a") in ({"bytes": 1}, None)
        again.add("c", {"bytes": 3})
        last = Ledger(tmp_path, "http")
        assert last.get("c") == {"bytes": 3}
        assert last.get("a") == again.get("a")
    last.drop("c")
    assert "c" not in Ledger(tmp_path, "http").names()


def test_folder_of_another_source_is_not_mixed_with_this_one(tmp_path):
    Ledger(tmp_path, "http").add("a", {"bytes": 1})
    with pytest.raises(FetchError, match="source gcs: its download folder was filled by source http"):
        Ledger(tmp_path, "gcs")


def test_file_is_known_again_until_it_changes(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"123")
    facts = stamp(path)
    assert unchanged(path, facts)
    path.write_bytes(b"1234")
    assert not unchanged(path, facts)
    path.unlink()
    assert not unchanged(path, facts)


def test_retry_after_is_seconds_or_a_date():
    """RFC 9110, 10.2.3."""
    answer = SimpleNamespace(headers={"Retry-After": "120"})
    assert _web.retry_after_s(answer) == 120
    answer.headers["Retry-After"] = formatdate(time.time() + 100, usegmt=True)
    assert 90 <= _web.retry_after_s(answer) <= 100
    answer.headers["Retry-After"] = formatdate(0, usegmt=True)
    assert _web.retry_after_s(answer) == 0
    for nothing in ("", "soon"):
        answer.headers["Retry-After"] = nothing
        assert _web.retry_after_s(answer) is None


def test_untrusted_certificate_is_not_tried_again_and_a_broken_connection_is():
    told = requests.exceptions.SSLError("https://host/a?key=secret [SSL: CERTIFICATE_VERIFY_FAILED] self-signed")
    problem = _web.problem_of(told, "a.zip")
    assert isinstance(problem, FetchError)
    assert "REQUESTS_CA_BUNDLE" in str(problem)
    broken = _web.problem_of(requests.ConnectionError("https://host/a?key=secret: reset"), "a.zip")
    assert isinstance(broken, Transient)
    wrong = _web.problem_of(requests.TooManyRedirects("https://host/a?key=secret"), "a.zip")
    assert isinstance(wrong, FetchError)
    assert not any("secret" in str(error) for error in (problem, broken, wrong))


def test_address_for_logs_has_no_query_and_no_password():
    assert _web.address("https://me:secret@host:8080/a/b.zip?key=secret#x") == "https://host:8080/a/b.zip"


def test_progress_shows_bytes_rate_and_time_left_without_what_was_there_before(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(_progress.sys, "stderr", stream)
    monkeypatch.setattr(_progress, "DELAY_S", 0)
    with _progress.shown("B") as progress:
        progress(50_000_000, 200_000_000)
        progress(80_000_000, 200_000_000)
        progress(70_000_000, 200_000_000)
        progress(200_000_000, 200_000_000)
    last = stream.getvalue().split("\r")[-1]
    assert "100%" in last
    assert "200M/200M" in last
    assert "B/s" in last
