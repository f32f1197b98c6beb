"""Files from web servers that fail in every way: the bytes on the disk are the server's, or there is a clear error.

The truth is the file that the server process was given, compared byte by byte, and the requests that it logged.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import real_servers
import requests
from pydantic import ValidationError

from scanloom.sources import http
from scanloom.sources._ledger import only_one
from scanloom.sources._report import FetchError

CONTENT = bytes((i * i + i // 251) % 256 for i in range(500_000))


@pytest.fixture(scope="module", autouse=True)
def served(web_server):
    """One file on the server."""
    (web_server.folder / "scans.bin").write_bytes(CONTENT)
    (web_server.folder / "other.bin").write_bytes(CONTENT[::3])


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def wanted(url: str, **also) -> dict:
    if not {"md5", "no_checksum", "sha256"} & set(also):
        also["sha256"] = sha256(CONTENT)
    return {"url": url, "path": "scans.bin", **also}


def settings(*files: dict, **also) -> http.Settings:
    return http.Settings(files=list(files), **{"backoff_s": 0.0, "retries": 3, "timeout_s": 20, **also})


def fetched(settings, destination, progress=None) -> bytes:
    report = http.fetch(settings, destination, seed=None, progress=progress)
    assert report.root == destination / "images"
    return (destination / "images" / "scans.bin").read_bytes()


def left(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {".lock"}


def begin(server, destination, bytes_there: int) -> None:
    """A download that broke off after so many bytes."""
    begun = settings(wanted(server.url(f"cut={bytes_there}/norange=1/scans.bin")), retries=0)
    with pytest.raises(FetchError, match="run again to go on"):
        http.fetch(begun, destination, seed=None)
    [part] = (destination / "partial").rglob("*.part")
    assert part.read_bytes() == CONTENT[:bytes_there]


def test_file_arrives_whole_and_a_second_run_asks_nothing(web_server, tmp_path):
    first = settings(wanted(web_server.url("bare=0/scans.bin")))
    seen = []
    assert fetched(first, tmp_path, lambda done, total: seen.append((done, total))) == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert all(done <= total or total == 0 for done, total in seen)
    before = web_server.requests_for("bare=0/scans.bin")
    report = http.fetch(first, tmp_path, seed=None)
    assert (report.files, report.bytes, report.fetched, report.reused) == (1, len(CONTENT), 0, 1)
    assert web_server.requests_for("bare=0/scans.bin") == before
    assert left(tmp_path) == {"images/scans.bin", "fetched.jsonl"}


def test_connection_cut_again_and_again_still_brings_the_file(web_server, tmp_path):
    """Seven cuts with one retry allowed: every attempt gains bytes, so none counts against it."""
    path = "cut=70000/scans.bin"
    assert fetched(settings(wanted(web_server.url(path)), retries=1), tmp_path) == CONTENT
    log = web_server.requests_for(path)
    assert [entry["status"] for entry in log] == [200] + [206] * 7
    assert [entry["headers"].get("Range") for entry in log[1:]] == [f"bytes={70_000 * i}-" for i in range(1, 8)]
    assert all(entry["headers"]["If-Range"] for entry in log[1:])
    assert all(entry["headers"]["Accept-Encoding"] == "identity" for entry in log)


def test_host_that_ignores_range_is_read_from_the_start(web_server, tmp_path):
    begin(web_server, tmp_path, 150_000)
    path = "norange=1/scans.bin"
    assert fetched(settings(wanted(web_server.url(path))), tmp_path) == CONTENT
    [entry] = web_server.requests_for(path)
    assert (entry["headers"]["Range"], entry["status"]) == ("bytes=150000-", 200)


def test_host_that_ignores_range_and_cuts_is_given_up(web_server, tmp_path):
    path = "norange=2/cut=1000/scans.bin"
    with pytest.raises(FetchError, match=r"scans.bin: the connection broke .* gave up after 4 attempts without"):
        fetched(settings(wanted(web_server.url(path))), tmp_path)
    # The first attempt gains 1000 bytes and starts the count; three more bring nothing new.
    assert len(web_server.requests_for(path)) == 4


@pytest.mark.parametrize("told", ["changed=2", "changed=2/weak=1", "changed=2/bare=1"])
def test_file_that_changes_while_it_is_fetched_is_never_glued_together(web_server, tmp_path, told):
    """With a validator the host itself sends all anew; without one only the checksum can tell, so it decides."""
    path = f"{told}/cutonce=100000/scans.bin"
    changed = settings(wanted(web_server.url(path), sha256=sha256(CONTENT[::-1])))
    assert fetched(changed, tmp_path) == CONTENT[::-1]


def test_file_without_checksum_and_validator_starts_anew(web_server, tmp_path):
    path = "changed=2/bare=1/cutonce=120000/scans.bin"
    unchecked = settings(wanted(web_server.url(path), no_checksum="the publisher gives none"))
    assert fetched(unchecked, tmp_path) == CONTENT[::-1]
    assert "Range" not in web_server.requests_for(path)[1]["headers"]


def test_file_without_checksum_is_resumed_where_the_host_names_its_version(web_server, tmp_path):
    path = "cutonce=130000/scans.bin"
    unchecked = settings(wanted(web_server.url(path), no_checksum="the publisher gives none"))
    assert fetched(unchecked, tmp_path) == CONTENT
    assert [entry["status"] for entry in web_server.requests_for(path)] == [200, 206]


@pytest.mark.parametrize("fault", ["gone=416", "slip=5", "slip=-5"])
def test_impossible_answers_to_a_range_lead_to_a_fresh_start(web_server, tmp_path, fault):
    begin(web_server, tmp_path, 160_000)
    assert fetched(settings(wanted(web_server.url(f"{fault}/scans.bin"))), tmp_path) == CONTENT


def test_part_that_holds_wrong_bytes_is_found_out_and_fetched_anew(web_server, tmp_path):
    begin(web_server, tmp_path, 140_000)
    [part] = (tmp_path / "partial").rglob("*.part")
    part.write_bytes(b"?" * 140_000)
    assert fetched(settings(wanted(web_server.url("scans.bin"))), tmp_path) == CONTENT


def test_silent_host_is_given_up_and_what_it_sent_kept(web_server, tmp_path):
    silent = settings(wanted(web_server.url("hold=150001/scans.bin")), timeout_s=0.5, retries=0)
    with pytest.raises(FetchError, match=r"the connection broke .* run again to go on"):
        fetched(silent, tmp_path)
    [part] = (tmp_path / "partial").rglob("*.part")
    assert part.read_bytes() == CONTENT[:150_001]


def test_complete_part_needs_no_network(web_server, tmp_path):
    """Killed between the last byte and the check."""
    begin(web_server, tmp_path, 140_000)
    [part] = (tmp_path / "partial").rglob("*.part")
    part.write_bytes(CONTENT)
    assert fetched(settings(wanted(web_server.url("status=404/scans.bin"))), tmp_path) == CONTENT


@pytest.mark.parametrize("fault", ["busy=2", "broken=3", "busy=1/broken=3"])
def test_overloaded_host_is_asked_again(web_server, tmp_path, fault):
    assert fetched(settings(wanted(web_server.url(f"{fault}/scans.bin"))), tmp_path) == CONTENT


def test_host_that_stays_overloaded_is_given_up(web_server, tmp_path):
    path = "broken=99/scans.bin"
    with pytest.raises(FetchError, match=r"scans.bin: the host answered 503 .* 4 attempts"):
        fetched(settings(wanted(web_server.url(path))), tmp_path)
    assert len(web_server.requests_for(path)) == 4


def test_missing_file_is_asked_for_once(web_server, tmp_path):
    with pytest.raises(FetchError, match=r"scans.bin: the host answered 404 Not Found; correct the address"):
        fetched(settings(wanted(web_server.url("status=404/x=1/scans.bin"))), tmp_path)
    assert len(web_server.requests_for("status=404/x=1/scans.bin")) == 1


def test_no_host_at_all(tmp_path):
    with pytest.raises(FetchError, match="the connection broke"):
        fetched(settings(wanted("http://127.0.0.1:9/scans.bin"), retries=1), tmp_path)


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_wrong_checksum_removes_the_file_and_names_both(web_server, tmp_path, algorithm):
    expected, found = "0" * (64 if algorithm == "sha256" else 32), hashlib.new(algorithm, CONTENT).hexdigest()
    with pytest.raises(FetchError, match=f"wrong {algorithm}: expected {expected}, found {found}.*was removed"):
        fetched(settings(wanted(web_server.url("scans.bin?key=secret"), **{algorithm: expected})), tmp_path)
    assert left(tmp_path) == set()


def test_address_is_shown_without_its_query(web_server, tmp_path):
    with pytest.raises(FetchError) as error:
        fetched(settings(wanted(web_server.url("scans.bin?key=secret"), sha256="0" * 64)), tmp_path)
    assert web_server.url("scans.bin") in str(error.value)
    assert "secret" not in str(error.value)


def test_size_other_than_published_stops_before_the_first_byte(web_server, tmp_path):
    with pytest.raises(FetchError, match="the host has 500000 bytes, the dataset file says 499999"):
        fetched(settings(wanted(web_server.url("scans.bin"), bytes=499_999)), tmp_path)
    assert left(tmp_path) == set()


def test_host_that_sends_more_than_the_file_has_is_stopped(web_server, tmp_path):
    with pytest.raises(FetchError, match="more than the 500000 bytes"):
        fetched(settings(wanted(web_server.url("nolength=1/extra=900000/scans.bin"), bytes=500_000)), tmp_path)


def test_body_without_length_is_judged_by_its_checksum(web_server, tmp_path):
    assert fetched(settings(wanted(web_server.url("nolength=1/scans.bin"))), tmp_path) == CONTENT


@pytest.mark.parametrize("trust", [{"no_checksum": "none published"}, {"sha256": sha256(CONTENT)}])
def test_login_page_is_called_one(web_server, tmp_path, trust):
    with pytest.raises(FetchError, match="a web page instead of the file"):
        fetched(settings(wanted(web_server.url("html=1/scans.bin"), **trust)), tmp_path)
    assert not (tmp_path / "images").exists()


def test_one_bad_file_does_not_keep_the_others_away(web_server, tmp_path):
    both = settings(
        {"url": web_server.url("status=404/other.bin"), "sha256": "0" * 64}, wanted(web_server.url("scans.bin"))
    )
    with pytest.raises(FetchError, match=r"other.bin: the host answered 404"):
        http.fetch(both, tmp_path, seed=None)
    assert (tmp_path / "images/scans.bin").read_bytes() == CONTENT


def test_all_problems_are_told_together(web_server, tmp_path):
    both = settings(
        {"url": web_server.url("status=404/a.bin"), "sha256": "0" * 64},
        {"url": web_server.url("status=410/b.bin"), "sha256": "0" * 64},
    )
    with pytest.raises(FetchError, match=r"(?s)2 items failed:.*(a.bin.*b.bin|b.bin.*a.bin)"):
        http.fetch(both, tmp_path, seed=None)


def test_changed_or_deleted_file_is_fetched_again_and_a_good_one_adopted(web_server, tmp_path):
    both = settings(
        wanted(web_server.url("scans.bin")), {"url": web_server.url("other.bin"), "sha256": sha256(CONTENT[::3])}
    )
    (tmp_path / "images").mkdir()
    (tmp_path / "images/other.bin").write_bytes(CONTENT[::3])  # put there by hand
    http.fetch(both, tmp_path, seed=None)
    assert web_server.requests_for("other.bin") == []
    (tmp_path / "images/scans.bin").write_bytes(b"damaged")
    report = http.fetch(both, tmp_path, seed=None)
    assert (report.fetched, report.reused) == (1, 1)
    assert (tmp_path / "images/scans.bin").read_bytes() == CONTENT


def test_secret_header_comes_from_the_environment_and_goes_to_its_host_alone(web_server, tmp_path, monkeypatch):
    monkeypatch.setenv("SCANS_KEY", "X-Key: open sesame\nX-Also: 1")
    keyed = settings(wanted(web_server.url("needs=open%20sesame/scans.bin")), headers_from="SCANS_KEY")
    with pytest.raises(FetchError, match="401"):
        fetched(keyed, tmp_path / "a")
    monkeypatch.setenv("SCANS_KEY", "X-Key: sesame\nX-Also: 1")
    keyed = settings(wanted(web_server.url("needs=sesame/scans.bin")), headers_from="SCANS_KEY")
    assert fetched(keyed, tmp_path / "b") == CONTENT
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/scans.bin").write_bytes(CONTENT)
    with real_servers.web_server(tmp_path / "elsewhere") as other:
        path = f"to=127.0.0.1:{other.port}/scans.bin"
        assert fetched(settings(wanted(web_server.url(path)), headers_from="SCANS_KEY"), tmp_path / "c") == CONTENT
        assert web_server.requests_for(path)[0]["headers"]["X-Key"] == "sesame"
        assert not {"X-Key", "X-Also"} & set(other.requests_for("scans.bin")[0]["headers"])
    for file in (tmp_path / "b").rglob("*.jsonl"):
        assert "sesame" not in file.read_text().replace("needs=sesame", "")


def test_absent_secret_is_found_before_the_first_job(monkeypatch):
    monkeypatch.delenv("SCANS_KEY", raising=False)
    [problem] = http.check(settings(wanted("http://host/scans.bin"), headers_from="SCANS_KEY"))
    assert "SCANS_KEY is not set" in problem
    monkeypatch.setenv("SCANS_KEY", "no header")
    [problem] = http.check(settings(wanted("http://host/scans.bin"), headers_from="SCANS_KEY"))
    assert "no header" not in problem, "the value is a secret"
    assert http.check(settings(wanted("http://host/scans.bin"))) == []


def test_two_downloads_into_one_folder_do_not_mix(web_server, tmp_path):
    with only_one(tmp_path), pytest.raises(BlockingIOError, match="another download"):
        fetched(settings(wanted(web_server.url("scans.bin"))), tmp_path)


KILLED = """
import sys
from pathlib import Path
from scanloom.sources import http
settings = http.Settings(files=[{"url": sys.argv[1], "sha256": sys.argv[2], "path": "scans.bin"}])
http.fetch(settings, Path(sys.argv[3]), seed=None)
"""


def test_killed_download_goes_on_to_the_same_bytes(web_server, tmp_path):
    """kill -9 with 300,000 of 500,000 bytes there; the next run asks for the rest alone."""
    url, destination = web_server.url("hold=300000/x=kill/scans.bin"), tmp_path / "data"
    running = subprocess.Popen([sys.executable, "-c", KILLED, url, sha256(CONTENT), destination])
    part = destination / "partial/images/scans.bin.part"
    real_servers.wait_until(lambda: part.is_file() and part.stat().st_size > 250_000, running)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    arrived = part.stat().st_size
    assert fetched(settings(wanted(web_server.url("x=kill/scans.bin"))), destination) == CONTENT
    [entry] = web_server.requests_for("x=kill/scans.bin")
    assert entry["headers"]["Range"] == f"bytes={arrived}-"
    assert entry["status"] == 206


# Archives


def archive(server, name, files, kind=zipfile.ZipFile) -> dict:
    path = server.folder / name
    if kind is zipfile.ZipFile:
        with zipfile.ZipFile(path, "w") as file:
            for member, content in files.items():
                file.writestr(member, content)
    else:
        with tarfile.open(path, "w:gz") as file:
            for member, content in files.items():
                source = server.folder / "member"
                source.write_bytes(content)
                file.add(source, member)
    return {"url": server.url(name), "sha256": sha256(path.read_bytes()), "unpack": True}


def test_archives_are_unpacked_into_one_folder_and_remembered(web_server, tmp_path):
    two = settings(
        archive(web_server, "one.zip", {"images/1.dcm": b"one", "images/a/2.dcm": b"two"}),
        archive(web_server, "two.tar.gz", {"images/3.dcm": b"three", "labels.csv": b"table"}, tarfile),
        {**archive(web_server, "three.zip", {"images/1.dcm": b"apart"}), "into": "third"},
    )
    report = http.fetch(two, tmp_path, seed=None)
    expected = {"images/1.dcm", "images/a/2.dcm", "images/3.dcm", "labels.csv", "third/images/1.dcm"}
    assert left(tmp_path / "images") == expected
    assert (tmp_path / "images/third/images/1.dcm").read_bytes() == b"apart"
    assert (report.files, report.bytes, report.fetched) == (5, 3 + 3 + 5 + 5 + 5, 5)
    assert left(tmp_path / "archives") == {"one.zip", "two.tar.gz", "three.zip"}
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "images").rglob("*")}
    report = http.fetch(two, tmp_path, seed=None)
    assert (report.fetched, report.reused) == (0, 5)
    assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / "images").rglob("*")}
    assert len(web_server.requests_for("one.zip")) == 1

    (tmp_path / "images/images/a/2.dcm").unlink()
    report = http.fetch(two, tmp_path, seed=None)
    assert (report.fetched, report.reused) == (2, 3)
    assert left(tmp_path / "images") == expected
    assert len(web_server.requests_for("one.zip")) == 1, "the archive is still here"

    (tmp_path / "images/images/3.dcm").write_bytes(b"eerht")
    assert http.fetch(two, tmp_path, seed=None).fetched == 2
    assert (tmp_path / "images/images/3.dcm").read_bytes() == b"three"


def test_archive_may_go_once_it_is_unpacked(web_server, tmp_path):
    lean = settings(archive(web_server, "lean.zip", {"1.dcm": b"one"}), keep_archives=False)
    http.fetch(lean, tmp_path, seed=None)
    assert left(tmp_path) == {"images/1.dcm", "fetched.jsonl"}
    assert http.fetch(lean, tmp_path, seed=None).fetched == 0
    shutil.rmtree(tmp_path / "images")
    assert http.fetch(lean, tmp_path, seed=None).fetched == 1


def test_hostile_archive_is_refused_and_puts_nothing_among_the_images(web_server, tmp_path):
    hostile = settings(archive(web_server, "hostile.zip", {"good.dcm": b"1", "../../../evil": b"2"}))
    with pytest.raises(FetchError, match=r"hostile.zip: unsafe archive: member 2 has a path with '..'"):
        http.fetch(hostile, tmp_path / "data", seed=None)
    assert left(tmp_path) == {"data/archives/hostile.zip", "data/.lock"}


def test_what_the_dataset_file_no_longer_names_is_set_aside(web_server, tmp_path):
    """A new version of an archive: what only the old one held must not be read as if it were there twice."""
    old = archive(web_server, "v1.zip", {"1.dcm": b"one", "2.dcm": b"two"})
    extra = {"url": web_server.url("other.bin"), "sha256": sha256(CONTENT[::3])}
    http.fetch(settings(old, extra), tmp_path, seed=None)
    new = archive(web_server, "v2.zip", {"1.dcm": b"one", "3.dcm": b"three"})
    report = http.fetch(settings(new), tmp_path, seed=None)
    assert left(tmp_path / "images") == {"1.dcm", "3.dcm"}
    assert (report.files, report.withdrawn) == (2, 2)
    assert left(tmp_path / "withdrawn") == {"images/2.dcm", "images/other.bin", "archives/v1.zip"}
    same_name = {**archive(web_server, "v2.zip", {"4.dcm": b"four"}), "url": web_server.url("v2.zip")}
    http.fetch(settings(same_name), tmp_path, seed=None)
    assert left(tmp_path / "images") == {"4.dcm"}


def test_death_while_members_are_put_in_place_is_made_good(web_server, tmp_path, monkeypatch):
    packed = settings(archive(web_server, "many.zip", {f"{i}.dcm": bytes([i]) for i in range(10)}))
    replace, moved = os.replace, []

    def dying(source, target):
        if "images" in Path(target).parts:
            moved.append(target)
            if len(moved) == 5:
                raise MemoryError
        replace(source, target)

    monkeypatch.setattr(os, "replace", dying)
    with pytest.raises(MemoryError):
        http.fetch(packed, tmp_path, seed=None)
    monkeypatch.undo()
    assert len(left(tmp_path / "images")) == 4
    assert http.fetch(packed, tmp_path, seed=None).files == 10
    assert {path.name: path.read_bytes() for path in (tmp_path / "images").iterdir()} == {
        f"{i}.dcm": bytes([i]) for i in range(10)
    }
    assert left(tmp_path) - {f"images/{i}.dcm" for i in range(10)} == {"archives/many.zip", "fetched.jsonl"}


def test_two_archives_with_the_same_path_are_told_to_part(web_server, tmp_path):
    clash = settings(
        archive(web_server, "left.zip", {"1.dcm": b"left"}), archive(web_server, "right.zip", {"1.dcm": b"right"})
    )
    with pytest.raises(FetchError, match=r"(left|right).zip and (left|right).zip bring files of the same path"):
        http.fetch(clash, tmp_path, seed=None)


# The plan


def test_plan_asks_for_sizes_and_fetches_nothing(web_server, tmp_path):
    many = settings(
        wanted(web_server.url("scans.bin")),
        {"url": web_server.url("nohead=1/other.bin"), "sha256": "0" * 64},
        {"url": web_server.url("status=404/said.bin"), "sha256": "0" * 64, "bytes": 1000},
    )
    plan = http.plan(many, tmp_path / "data")
    assert (plan.files, plan.bytes) == (3, len(CONTENT) + len(CONTENT[::3]) + 1000)
    assert (plan.files_here, plan.bytes_here, plan.notes) == (0, 0, ())
    assert not (tmp_path / "data").exists()


def test_plan_tells_what_is_here_begun_unknown_or_unchecked(web_server, tmp_path):
    some = settings(wanted(web_server.url("scans.bin")))
    http.fetch(some, tmp_path, seed=None)
    more = settings(
        *some.model_dump()["files"],
        {"url": web_server.url("status=404/lost.bin"), "no_checksum": "the publisher gives none"},
    )
    plan = http.plan(more, tmp_path)
    assert (plan.files, plan.bytes, plan.files_here, plan.bytes_here) == (2, None, 1, len(CONTENT))
    assert "size of lost.bin unknown: lost.bin: the host answered 404" in plan.notes[0]
    assert "lost.bin has no checksum: the publisher gives none" in plan.notes[1]


# Settings


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ({"url": "ftp://host/a", "md5": "0" * 32}, "starts with http"),
        ({"url": "https://me:secret@host/a", "md5": "0" * 32}, "no passwords here"),
        ({"url": "https://host/a"}, "expected one of sha256, md5 or no_checksum"),
        ({"url": "https://host/a", "md5": "0" * 32, "sha256": "0" * 64}, "expected one of"),
        ({"url": "https://host/", "md5": "0" * 32}, "give `path`"),
        ({"url": "https://host/a", "md5": "0" * 31}, "md5"),
        ({"url": "https://host/a", "md5": "0" * 32, "path": "../a"}, "a path with '..'"),
        ({"url": "https://host/a", "md5": "0" * 32, "into": "/a"}, "an absolute or empty path"),
    ],
)
def test_bad_file_entries_are_refused(file, message):
    with pytest.raises(ValidationError, match=message):
        http.Settings(files=[file])


def test_two_files_of_one_name_are_refused():
    twice = [{"url": f"https://host{i}/a.zip?download=1", "md5": "0" * 32} for i in range(2)]
    with pytest.raises(ValidationError, match=r"2 files would be called 'a.zip'"):
        http.Settings(files=twice)


# A second truth: a real web server, not ours


@pytest.fixture(scope="module")
def nginx(tmp_path_factory):
    """Address of an nginx, whose folder norange/ knows no Range; skipped where it is not installed."""
    binary = shutil.which("nginx")
    if binary is None:
        pytest.skip("nginx is not installed")
    folder = tmp_path_factory.mktemp("nginx")
    for name in ("files", "norange", "temp"):
        (folder / name).mkdir()
    for name in ("files", "norange"):
        (folder / name / "scans.bin").write_bytes(CONTENT)
    temporary = "".join(
        f"{kind}_temp_path {folder}/temp;" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    port = real_servers.free_port()
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;"
        "events {} http { access_log off; " + temporary + f"server {{ listen 127.0.0.1:{port}; root {folder};"
        " location /norange/ { max_ranges 0; } } }"
    )
    running = subprocess.Popen([binary, "-c", folder / "nginx.conf"], stderr=subprocess.DEVNULL)
    try:
        real_servers.wait_until(lambda: real_servers.answers(f"http://127.0.0.1:{port}/files/scans.bin"), running)
        yield f"http://127.0.0.1:{port}"
    finally:
        running.terminate()
        running.wait()


@pytest.mark.parametrize("kind", ["files", "norange"])
@pytest.mark.parametrize("version", ["same", "other"])
def test_nginx_goes_on_with_the_same_version_and_sends_all_of_another(nginx, tmp_path, kind, version):
    """Without a checksum nothing but the validator keeps versions apart."""
    url = f"{nginx}/{kind}/scans.bin"
    etag = requests.head(url, timeout=5).headers["ETag"] if version == "same" else '"other"'
    part = tmp_path / "partial/images/scans.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes((CONTENT if version == "same" else CONTENT[::-1])[:100_000])
    told = {"url": url, "checksum": None, "total": len(CONTENT), "etag": etag}
    part.with_name("scans.bin.part.json").write_text(json.dumps(told))
    assert fetched(settings(wanted(url, no_checksum="none published")), tmp_path) == CONTENT


def test_nginx_answers_416_to_a_part_that_is_too_long(nginx, web_server, tmp_path):
    begin(web_server, tmp_path, 100_000)
    [part] = (tmp_path / "partial").rglob("*.part")
    part.write_bytes(CONTENT + b"more")
    assert fetched(settings(wanted(f"{nginx}/files/scans.bin")), tmp_path) == CONTENT


def test_nginx_tells_the_plan_its_sizes(nginx, tmp_path):
    assert http.plan(settings(wanted(f"{nginx}/files/scans.bin")), tmp_path).bytes == len(CONTENT)
