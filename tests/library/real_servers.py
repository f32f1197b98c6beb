"""Servers that the tests of sources talk to: real processes on free ports of the loopback interface, stopped again."""

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

HERE = Path(__file__).parent
ORTHANC_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


@dataclass(frozen=True)
class WebServer:
    """A running unreliable_server.py."""

    port: int
    folder: Path

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}"

    def requests_for(self, path: str) -> list[dict]:
        """Requests that the server got for this path: method, headers, status."""
        log = requests.get(self.url("_log"), timeout=10).json()
        return [entry for entry in log if entry["path"].partition("?")[0] == f"/{path}"]


@dataclass(frozen=True)
class Proxy:
    """A running faulty_proxy.py."""

    url: str

    def faults(self, *faults: dict) -> None:
        """Order these faults, instead of those ordered before."""
        requests.post(f"{self.url}/_faults", json=list(faults), timeout=10).raise_for_status()

    def log(self) -> list[dict]:
        """Method, path and Range of all requests so far."""
        return requests.get(f"{self.url}/_log", timeout=10).json()


@dataclass(frozen=True)
class Orthanc:
    """A running Orthanc with DICOMweb below `/dicom-web` and a user `lab` with the password `lab`."""

    host: str

    def store(self, content: bytes) -> str:
        """Status of an upload: Success, AlreadyStored, or the server's refusal."""
        answer = requests.post(f"http://{self.host}/instances", data=content, auth=("lab", "lab"), timeout=30)
        return answer.json()["Status"] if answer.ok else f"refused {answer.status_code}"

    def delete_patient(self, patient_id: str) -> None:
        asked = {"Level": "Patient", "Query": {"PatientID": patient_id}}
        login = {"auth": ("lab", "lab"), "timeout": 20}
        for found in requests.post(f"http://{self.host}/tools/find", json=asked, **login).json():
            requests.delete(f"http://{self.host}/patients/{found}", **login).raise_for_status()


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(ready: Callable[[], bool], running: subprocess.Popen, seconds: float = 60) -> None:
    """Return once `ready()`; fail if the process ends before that."""
    deadline = time.monotonic() + seconds
    while not ready():
        assert running.poll() is None, f"ended too early, with status {running.returncode}"
        assert time.monotonic() < deadline, "not ready in time"
        time.sleep(0.02)


def answers(url: str, **asked) -> bool:
    """Somebody listens there and answers without an error."""
    try:
        return requests.get(url, timeout=5, **asked).ok
    except requests.ConnectionError:
        return False


@contextmanager
def started(script: str, argument) -> Iterator[int]:
    """The port on which a script of this folder listens."""
    process = subprocess.Popen([sys.executable, HERE / script, str(argument)], stdout=subprocess.PIPE, text=True)
    try:
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@contextmanager
def web_server(folder: Path) -> Iterator[WebServer]:
    """A web server with faults to order, on the files of `folder`."""
    with started("unreliable_server.py", folder) as port:
        yield WebServer(port, folder)


@contextmanager
def proxy(backend: str) -> Iterator[Proxy]:
    """A proxy with faults to order, in front of `backend` (host:port)."""
    with started("faulty_proxy.py", backend) as port:
        yield Proxy(f"http://127.0.0.1:{port}")


def orthanc_is_installed() -> bool:
    return shutil.which("Orthanc") is not None and ORTHANC_PLUGIN.is_file()


@contextmanager
def orthanc(folder: Path) -> Iterator[Orthanc]:
    """An empty Orthanc that keeps its files in `folder`."""
    port = free_port()
    configuration = {
        "Name": "lab",
        "StorageDirectory": str(folder),
        "IndexDirectory": str(folder),
        "HttpPort": port,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {"lab": "lab"},
        "Plugins": [str(ORTHANC_PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    with open(folder / "log", "w") as log:
        running = subprocess.Popen([shutil.which("Orthanc"), folder / "orthanc.json"], stdout=log, stderr=log)
        try:
            wait_until(lambda: answers(f"http://127.0.0.1:{port}/system", auth=("lab", "lab")), running)
            yield Orthanc(f"127.0.0.1:{port}")
        finally:
            running.terminate()
            running.wait()
