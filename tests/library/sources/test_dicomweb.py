"""A real DICOMweb server (Orthanc) that holds real files, reached through a proxy that fails on demand.

The truth is the bytes of the files that were given to the server, whatever their transfer syntax.
"""

import base64
import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pydicom
import pytest
import real_servers
from pydantic import ValidationError
from pydicom.uid import generate_uid

from scanloom.sources import dicomweb
from scanloom.sources._ledger import Ledger
from scanloom.sources._report import FetchError

KEY = "Authorization: Basic " + base64.b64encode(b"lab:lab").decode()


@pytest.fixture(scope="module")
def held(orthanc, shared_data):
    """What the server holds: SHA-256 -> header of each file that it took."""
    files = [path for name in ("dicom_cases", "ct_head_tilt_dicom") for path in sorted((shared_data / name).rglob("*"))]
    stored = {}
    for path in files:
        if path.is_file() and path.suffix not in (".gz", ".md", ".csv"):
            content = path.read_bytes()
            if orthanc.store(content) == "Success":
                header = pydicom.dcmread(path, force=True, stop_before_pixels=True)
                stored[hashlib.sha256(content).hexdigest()] = header
    assert len(stored) > 60
    return stored


@pytest.fixture(scope="module")
def running_proxy(orthanc, held):
    with real_servers.proxy(orthanc.host) as proxy:
        yield proxy


@pytest.fixture
def server(running_proxy, monkeypatch):
    monkeypatch.setenv("LAB_LOGIN", KEY)
    running_proxy.faults()
    yield running_proxy
    running_proxy.faults()


def settings(server, **also) -> dicomweb.Settings:
    values = {"url": f"{server.url}/dicom-web", "filters": {}, "headers_from": "LAB_LOGIN"}
    return dicomweb.Settings(**{**values, "backoff_s": 0.0, "retries": 2, "timeout_s": 20, **also})


def sums(folder: Path) -> set[str]:
    return {hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def heads(held) -> tuple[str, set[str]]:
    """Study UID and sums of the head CT with 28 slices."""
    of_study = {}
    for key, header in held.items():
        of_study.setdefault(header.StudyInstanceUID, set()).add(key)
    return max(of_study.items(), key=lambda item: len(item[1]))


def test_every_instance_arrives_with_the_bytes_that_the_server_was_given(server, held, tmp_path):
    """All of them: uncompressed, JPEG, JPEG 2000, JPEG-LS, RLE, multi-frame, segmentation, report, DICOMDIR."""
    seen = []
    everything = settings(server, page=7)
    report = dicomweb.fetch(everything, tmp_path, seed=None, progress=lambda done, total: seen.append((done, total)))
    assert sums(tmp_path / "images") == set(held)
    assert (report.files, report.fetched, report.reused) == (len(held), len(held), 0)
    assert report.bytes == sum(path.stat().st_size for path in (tmp_path / "images").rglob("*.dcm"))
    assert seen[-1] == (len(held), len(held))
    before = [entry for entry in server.log() if "/series/" in entry["path"]]
    report = dicomweb.fetch(everything, tmp_path, seed=None)
    assert (report.fetched, report.reused) == (0, len(held))
    assert [entry for entry in server.log() if "/series/" in entry["path"]] == before


def test_names_tell_nothing(server, held, tmp_path):
    dicomweb.fetch(settings(server, filters={"StudyInstanceUID": heads(held)[0]}), tmp_path, seed=None)
    paths = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")]
    ledger = (tmp_path / "fetched.jsonl").read_text()
    header = held[next(iter(heads(held)[1]))]
    for identifier in (header.StudyInstanceUID, header.SeriesInstanceUID, header.SOPInstanceUID, header.PatientID):
        if identifier:
            assert not any(identifier in text for text in (*paths, ledger))
    again = tmp_path / "again"
    dicomweb.fetch(settings(server, filters={"StudyInstanceUID": heads(held)[0]}), again, seed=None)
    names = {path.name for path in tmp_path.glob("images/*/*/*")}
    assert not names & {path.name for path in again.rglob("*.dcm")}, "each download folder has its own key"


def test_filters_choose_studies_and_series(server, held, tmp_path):
    dicomweb.fetch(settings(server, filters={"ModalitiesInStudy": "XA"}), tmp_path / "xa", seed=None)
    assert sums(tmp_path / "xa/images") == {key for key, header in held.items() if header.Modality == "XA"}
    study = heads(held)[0]
    only = settings(server, filters={"StudyInstanceUID": study}, series_filters={"Modality": "MR"})
    assert dicomweb.fetch(only, tmp_path / "none", seed=None).files == 0


def test_plan_counts_and_fetches_nothing(server, held, tmp_path):
    plan = dicomweb.plan(settings(server), tmp_path / "data")
    studies, series = ({header[key].value for header in held.values()} for key in (0x0020000D, 0x0020000E))
    assert (plan.files, plan.bytes, plan.files_here) == (len(held), None, 0)
    assert plan.notes[0].startswith(f"{len(studies)} studies, {len(series)} series")
    assert not (tmp_path / "data").exists()
    chosen = settings(server, filters={"StudyInstanceUID": heads(held)[0]})
    report = dicomweb.fetch(chosen, tmp_path, seed=None)
    plan = dicomweb.plan(chosen, tmp_path)
    assert (plan.files, plan.files_here, plan.bytes_here) == (report.files, report.files, report.bytes)


def test_cut_answer_is_asked_for_again(server, held, tmp_path):
    study, wanted = heads(held)
    server.faults({"match": f"/studies/{study}/series/", "kind": "cut", "after": 3_000_000, "times": 2})
    seen = []
    dicomweb.fetch(
        settings(server, filters={"StudyInstanceUID": study}),
        tmp_path,
        seed=None,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert sums(tmp_path / "images") == wanted
    assert seen[-1] == (len(wanted), len(wanted))
    assert not (tmp_path / "partial").exists()


@pytest.mark.parametrize(("match", "code"), [("/series", 503), ("/studies?", 429), ("/studies?", 503)])
def test_overloaded_server_is_asked_again(server, held, tmp_path, match, code):
    study, wanted = heads(held)
    server.faults({"match": match, "kind": "status", "code": code, "times": 2})
    dicomweb.fetch(settings(server, filters={"StudyInstanceUID": study}), tmp_path, seed=None)
    assert sums(tmp_path / "images") == wanted


def test_one_bad_series_does_not_keep_the_others_away_and_messages_name_no_uid(server, held, tmp_path):
    study, missing = heads(held)
    server.faults({"match": f"/studies/{study}/series/", "kind": "cut", "after": 100_000, "times": 99})
    with pytest.raises(FetchError, match=r"series [0-9a-f]{16}/[0-9a-f]{16}: .* gave up") as error:
        dicomweb.fetch(settings(server), tmp_path, seed=None)
    assert study not in str(error.value)
    assert sums(tmp_path / "images") == set(held) - missing


def test_grown_series_is_fetched_anew_and_a_deleted_file_again(server, orthanc, held, shared_data, tmp_path):
    base = pydicom.dcmread(sorted((shared_data / "ct_head_tilt_dicom/GE").glob("*.dcm"))[0])
    base.StudyInstanceUID, base.SeriesInstanceUID = generate_uid(), generate_uid()
    base.PatientID = "growing"
    chosen = settings(server, filters={"StudyInstanceUID": str(base.StudyInstanceUID)})

    def add_slice() -> None:
        base.SOPInstanceUID = base.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        base.save_as(tmp_path / "slice.dcm")
        assert orthanc.store((tmp_path / "slice.dcm").read_bytes()) == "Success"

    add_slice()
    assert dicomweb.fetch(chosen, tmp_path / "data", seed=None).files == 1
    add_slice()
    assert dicomweb.fetch(chosen, tmp_path / "data", seed=None).files == 2
    files = sorted((tmp_path / "data/images").rglob("*.dcm"))
    assert len(files) == 2
    files[0].unlink()
    dicomweb.fetch(chosen, tmp_path / "data", seed=None)
    assert sorted((tmp_path / "data/images").rglob("*.dcm")) == files
    orthanc.delete_patient("growing")


def test_series_that_no_longer_fits_is_set_aside(server, held, tmp_path):
    study, wanted = heads(held)
    dicomweb.fetch(settings(server, filters={"StudyInstanceUID": study}), tmp_path, seed=None)
    report = dicomweb.fetch(settings(server, filters={"ModalitiesInStudy": "XA"}), tmp_path, seed=None)
    assert report.withdrawn == len(wanted)
    assert sums(tmp_path / "withdrawn") == wanted
    assert not sums(tmp_path / "images") & wanted


def test_wrong_login_and_wrong_address_are_told(server, monkeypatch, tmp_path):
    monkeypatch.setenv("LAB_LOGIN", "Authorization: Basic bm86bm8=")
    with pytest.raises(FetchError, match=r"search for studies: the host answered 401 .* wants a login"):
        dicomweb.fetch(settings(server), tmp_path, seed=None)
    monkeypatch.setenv("LAB_LOGIN", KEY)
    with pytest.raises(FetchError, match=r"search for studies: .*(no DICOM JSON|404)"):
        dicomweb.fetch(settings(server, url=f"{server.url}/app/explorer.html"), tmp_path, seed=None)
    monkeypatch.delenv("LAB_LOGIN")
    assert "LAB_LOGIN is not set" in dicomweb.check(settings(server))[0]


KILLED = """
import sys
from pathlib import Path
from scanloom.sources import dicomweb
settings = dicomweb.Settings(url=sys.argv[1], filters={}, headers_from="LAB_LOGIN", parallel=1)
dicomweb.fetch(settings, Path(sys.argv[2]), seed=None)
"""


def test_killed_download_keeps_its_finished_series(server, held, tmp_path):
    """Killed in the middle of the tilted head's series; the other series that were done are not asked for again."""
    study, _ = heads(held)
    server.faults({"match": f"/studies/{study}/series/", "kind": "hold", "after": 5_000_000, "times": 1})
    running = subprocess.Popen([sys.executable, "-c", KILLED, settings(server).url, tmp_path])
    real_servers.wait_until(lambda: any((tmp_path / "partial").rglob("*.dcm")), running)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    # A series whose files are in place but not yet in the ledger is fetched again: the ledger is what counts.
    done = Ledger(tmp_path, "dicomweb").names()
    asked = len(server.log())
    report = dicomweb.fetch(settings(server), tmp_path, seed=None)
    assert sums(tmp_path / "images") == set(held)
    series = {header.SeriesInstanceUID for header in held.values()}
    retrieved = {entry["path"] for entry in server.log()[asked:] if entry["path"].rpartition("/")[2] in series}
    assert len(retrieved) == len(series) - len(done)
    assert (report.reused > 0) == bool(done)


# The parts of an answer, without any server


@pytest.mark.parametrize("size", [1, 2, 7, 64, 10_000])
def test_parts_are_found_wherever_the_network_cuts_the_message(tmp_path, size):
    """RFC 2046, 5.1.1: preamble, parts with and without headers, a body that resembles the delimiter, epilogue."""
    bodies = [b"one", b"", b"\r\n--bounds", b"\r\n-\r\n--\r\n--boun\r\n\r\n" * 20, bytes(range(256)) * 9]
    message = b"preamble"
    for body in bodies:
        message += b"\r\n--boundary\r\nContent-Type: application/dicom\r\n\r\n" + body
    message += b"\r\n--boundary--\r\nepilogue"
    chunks = [message[i : i + size] for i in range(0, len(message), size)]
    stop = dicomweb.threading.Event()
    assert [path.read_bytes() for path in dicomweb._parts(chunks, b"boundary", tmp_path, stop)] == bodies
    with pytest.raises(dicomweb.Transient, match="middle of an instance"):
        list(dicomweb._parts([message[:-30]], b"boundary", tmp_path, stop))
    with pytest.raises(FetchError, match="endless headers"):
        list(dicomweb._parts([b"\r\n--boundary\r\n" + b"x" * 300_000], b"boundary", tmp_path, stop))


def test_search_of_a_server_that_ignores_paging_ends():
    results = [{dicomweb.STUDY_UID: {"Value": [f"1.2.{i}"]}} for i in range(5)]
    assert dicomweb._all_pages(lambda offset: results, dicomweb.STUDY_UID) == results
    assert dicomweb._all_pages(lambda offset: results[offset : offset + 2], dicomweb.STUDY_UID) == results
    with pytest.raises(FetchError, match="no UID"):
        dicomweb._all_pages(lambda offset: [{dicomweb.STUDY_UID: {"Value": ["../x"]}}], dicomweb.STUDY_UID)


def test_filters_are_dicom_keywords():
    with pytest.raises(ValidationError, match=r"'ModalityInStudy' is no DICOM keyword.* Did you mean 'Modalit"):
        dicomweb.Settings(url="http://host/dicom-web", filters={"ModalityInStudy": "CT"})
    chosen = dicomweb.Settings(url="http://host/dicom-web/", filters={"StudyDate": 20200101, "00080060": "CT"})
    assert (chosen.url, chosen.filters["StudyDate"]) == ("http://host/dicom-web", "20200101")
    with pytest.raises(ValidationError, match="filters"):
        dicomweb.Settings(url="http://host/dicom-web")
