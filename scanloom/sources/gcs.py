"""A prefix of a Google Cloud Storage bucket: objects fetched side by side, resumed, checked by CRC32C; upload too.

An object is pinned to the generation that the listing gave, so that one that is replaced meanwhile is never glued
together from two. It arrives as `partial/<path>.<generation>.part` and is renamed to `images/<path>` once its CRC32C
(RFC 3720, the sum that the service itself keeps for every object) is right.
"""

import base64
import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

import google.auth.exceptions
import google_crc32c
import urllib3
from google.api_core import exceptions as api
from google.cloud import storage
from pydantic import Field

from scanloom.files.archives import safe_path
from scanloom.sources._ledger import Ledger, only_one, set_aside, stamp, unchanged
from scanloom.sources._report import FetchError, FetchPlan, FetchReport
from scanloom.sources._transfer import Meter, Transient, in_parallel, with_retries
from scanloom.sources._web import NETWORK_ERRORS
from scanloom.strict_models import Strict

PROGRESS_UNIT = "B"
LISTED = "items(name,size,crc32c,generation),nextPageToken"
TRANSIENT = (
    *(api.TooManyRequests, api.ServerError, api.RetryError, google.auth.exceptions.TransportError),
    *(*NETWORK_ERRORS, urllib3.exceptions.HTTPError),
)


class Settings(Strict):
    """Which objects."""

    bucket: str = Field(min_length=3, max_length=222, description="name of the bucket, without gs://")
    prefix: str = Field("", description="beginning of the object names; paths are kept below its last /")
    patterns: list[str] = Field(
        ["*"], min_length=1, description="objects whose path below the prefix fits any of these"
    )
    anonymous: bool = Field(False, description="true: a public bucket, no login; false: this machine's Google login")
    billed_project: str | None = Field(
        None, description="project that pays, where the bucket wants that of its readers"
    )
    parallel: int = Field(8, ge=1, le=64, description="objects fetched at the same time")
    retries: int = Field(8, ge=0, le=100, description="attempts in a row that bring nothing new, after the first")
    backoff_s: float = Field(1.0, ge=0, le=60, description="wait before the first new attempt; doubles with each")
    timeout_s: float = Field(60.0, gt=0, description="silence of the service after which a request is given up")


@dataclass(frozen=True, slots=True)
class _Object:
    """One object of the listing; path: below images/; number: its place in it, which messages give for its name."""

    number: int
    name: str
    path: str
    bytes: int
    crc32c: str
    generation: int

    @property
    def shown(self) -> str:
        """What messages call it: object names may hold a patient's name, and messages reach logs."""
        return f"object {self.number} of the bucket's listing ({self.bytes} bytes)"

    @property
    def version(self) -> dict:
        return {"generation": self.generation, "crc32c": self.crc32c}


@dataclass(frozen=True)
class UploadReport:
    """files, bytes: of the folder; uploaded: written by this call; reused: there before with the same content."""

    files: int
    bytes: int
    uploaded: int
    reused: int


def LABEL_COLUMNS(settings: Settings) -> None:
    """None: the columns are those of the table among the objects."""
    return None


def root(settings: Settings, destination: Path) -> Path:
    """Folder that the reader scans."""
    return Path(destination) / "images"


def check(settings: Settings) -> list[str]:
    """What can be known to be wrong before anything is asked of the service."""
    if "/" in settings.bucket:
        return [f"source gcs: bucket '{settings.bucket}' holds a '/'; give the bucket alone, the rest is `prefix`"]
    return []


def plan(settings: Settings, destination: Path) -> FetchPlan:
    """Objects and bytes, from the service's listing; nothing is fetched."""
    destination = Path(destination)
    objects = _listing(settings, _client(settings))
    ledger = Ledger(destination, "gcs")
    here = [item.bytes for item in objects if _is_here(item, destination, ledger)]
    total = sum(item.bytes for item in objects)
    return FetchPlan(root(settings, destination), len(objects), total, len(here), sum(here))


def fetch(
    settings: Settings,
    destination: Path,
    *,
    seed: int | None,
    progress: Callable[[int, int], None] | None = None,
) -> FetchReport:
    """Fetch into `destination`/images what is not there yet. `seed` is not used: nothing is random.

    progress: called with bytes done and bytes in all. Objects that the listing no longer has are set aside.
    Raises FetchError naming every object that could not be had (the others are fetched), OSError of the disk.
    """
    destination = Path(destination)
    with only_one(destination):
        client = _client(settings)
        objects = _listing(settings, client)
        ledger = Ledger(destination, "gcs")
        missing = [item for item in objects if not _is_here(item, destination, ledger)]
        total = sum(item.bytes for item in objects)
        begun = sum(_arrived(_part(item, destination)) for item in missing)
        meter = Meter(progress, total - sum(item.bytes for item in missing) + begun, total)

        def get(item: _Object, stop: threading.Event) -> None:
            target, part = root(settings, destination) / item.path, _part(item, destination)
            if _crc32c(target) != item.crc32c:  # else put there by hand, or by a run killed before it could say so
                with_retries(
                    lambda: _attempt(client, settings, item, part, target, meter, stop),
                    **{"what": item.shown, "retries": settings.retries, "backoff_s": settings.backoff_s},
                    **{"stop": stop, "gained": lambda: _arrived(part)},
                )
            ledger.add(item.path, {**item.version, **stamp(target)})

        in_parallel(get, missing, settings.parallel)
        gone = set(ledger.names()) - {item.path for item in objects}
        withdrawn = set_aside(destination, (f"images/{path}" for path in gone))
        for path in gone:
            ledger.drop(path)
        shutil.rmtree(destination / "partial", ignore_errors=True)
    new = len(missing)
    return FetchReport(root(settings, destination), len(objects), total, new, len(objects) - new, withdrawn)


def upload(
    folder: Path,
    settings: Settings,
    *,
    replace: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> UploadReport:
    """Put every file below `folder` into the bucket, below the prefix; what is there with the same content stays.

    replace: whether an object with other content may be overwritten; if not, that is an error and the object stays.
    The service refuses a content whose CRC32C is not that of the file, and a write that another writer came before.
    Raises FetchError with every file that could not be written, by its number in the order of names.
    """
    folder, client = Path(folder), _client(settings)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    there = {item.path: item for item in _listing(settings.model_copy(update={"patterns": ["*"]}), client)}
    sizes = {path: path.stat().st_size for path in files}
    meter = Meter(progress, 0, sum(sizes.values()))
    bucket = client.bucket(settings.bucket, user_project=settings.billed_project)

    def put(numbered: tuple[int, Path], stop: threading.Event) -> bool:
        number, path = numbered
        below, shown = path.relative_to(folder).as_posix(), f"file {number} of {len(files)} in the order of names"
        before = there.get(below)
        is_there = before is not None and before.crc32c == _crc32c(path)
        if before is not None and not is_there and not replace:
            raise FetchError(
                f"{shown} is in the bucket with other content; remove it there, or say that it may be replaced"
            )
        if not is_there:
            blob = bucket.blob(_folder(settings.prefix) + below)
            expected = before.generation if before else 0
            with_retries(
                lambda: _put(blob, path, expected, settings.timeout_s, shown),
                **{"what": shown, "retries": settings.retries, "backoff_s": settings.backoff_s, "stop": stop},
            )
        meter.add(sizes[path])
        return not is_there

    written = in_parallel(put, list(enumerate(files, start=1)), settings.parallel)
    return UploadReport(len(files), sum(sizes.values()), sum(written), len(written) - sum(written))


def _client(settings: Settings) -> storage.Client:
    if settings.anonymous:
        return storage.Client.create_anonymous_client()
    try:
        return storage.Client(project=settings.billed_project)
    except (google.auth.exceptions.DefaultCredentialsError, OSError):
        raise FetchError(
            "gcs: this machine has no Google Cloud login; run `gcloud auth application-default login`, "
            "or write anonymous: true for a public bucket"
        ) from None


def _folder(prefix: str) -> str:
    """The prefix up to and with its last slash: what is left out of the paths."""
    return prefix[: prefix.rfind("/") + 1]


def _listing(settings: Settings, client: storage.Client) -> list[_Object]:
    """Objects that fit, sorted by path. Raises FetchError for names that are no paths, or no bucket of that name."""
    objects = []
    try:
        bucket = client.bucket(settings.bucket, user_project=settings.billed_project)
        blobs = client.list_blobs(bucket, prefix=settings.prefix, fields=LISTED, timeout=settings.timeout_s)
        for number, blob in enumerate(blobs, start=1):
            path = _path(number, blob.name.removeprefix(_folder(settings.prefix)))
            if path and any(fnmatchcase(path, pattern) for pattern in settings.patterns):
                objects.append(_Object(number, blob.name, path, blob.size, blob.crc32c, blob.generation))
    except api.NotFound:
        raise FetchError(f"gcs: there is no bucket '{settings.bucket}'; correct `bucket` in the dataset file") from None
    except (api.Forbidden, api.Unauthorized) as error:
        raise FetchError(f"gcs: bucket '{settings.bucket}' refuses this login ({error.code}); ask its owner") from None
    except TRANSIENT as error:
        raise FetchError(f"gcs: the service did not answer ({type(error).__name__}); run again") from None
    paths = {item.path for item in objects}
    if len(paths) < len(objects) or any(str(above) in paths for path in paths for above in PurePosixPath(path).parents):
        raise FetchError("gcs: one object has the name of another one's folder; narrow `prefix` or `patterns`")
    return sorted(objects, key=lambda item: item.path)


def _path(number: int, name: str) -> str | None:
    """An object's path below images/; None for what consoles put there to show an empty folder."""
    if not name or name.endswith("/"):
        return None
    try:
        return str(safe_path(name))
    except ValueError as error:
        raise FetchError(
            f"gcs: object {number} of the bucket's listing has {error}; rename it, or narrow `prefix`"
        ) from None


def _is_here(item: _Object, destination: Path, ledger: Ledger) -> bool:
    facts = ledger.get(item.path) or {}
    same = {key: facts.get(key) for key in item.version} == item.version
    return same and unchanged(destination / "images" / item.path, facts)


def _part(item: _Object, destination: Path) -> Path:
    return destination / "partial" / f"{item.path}.{item.generation}.part"


def _arrived(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _crc32c(path: Path) -> str | None:
    """The sum as the service writes it: base64 of its four bytes, big end first; None where there is no such file."""
    if not path.is_file():
        return None
    checksum = google_crc32c.Checksum()
    with open(path, "rb") as file:
        for _ in checksum.consume(file, 1 << 20):
            pass
    return base64.b64encode(checksum.digest()).decode()


class _Counting:
    """A file to write to that counts what arrives and ends the transfer when others have failed."""

    def __init__(self, file, meter: Meter, stop: threading.Event):
        self._file, self._meter, self._stop = file, meter, stop

    def write(self, piece: bytes) -> int:
        if self._stop.is_set():
            raise Transient("stopped")
        self._meter.add(len(piece))
        return self._file.write(piece)


def _attempt(
    client: storage.Client,
    settings: Settings,
    item: _Object,
    part: Path,
    target: Path,
    meter: Meter,
    stop: threading.Event,
) -> None:
    """Bring the object into its place, from where the last attempt ended. Raises Transient or FetchError."""
    offset = _arrived(part)
    part.parent.mkdir(parents=True, exist_ok=True)
    bucket = client.bucket(settings.bucket, user_project=settings.billed_project)
    blob = bucket.blob(item.name, generation=item.generation)
    try:
        with open(part, "ab") as file:
            if offset < item.bytes:
                blob.download_to_file(
                    _Counting(file, meter, stop),
                    start=offset or None,
                    raw_download=True,  # as stored: the sum is that of the stored bytes
                    checksum=None,  # that of a range would be compared with the whole object's
                    retry=None,  # ours goes on where the last one ended
                    timeout=settings.timeout_s,
                )
    except TRANSIENT as error:
        raise Transient(f"the service failed ({type(error).__name__})") from None
    except api.NotFound:
        raise FetchError(f"{item.shown}: replaced or deleted since it was listed; run again") from None
    except api.ClientError as error:
        raise FetchError(f"{item.shown}: the service answered {error.code}; ask the bucket's owner") from None
    if _arrived(part) < item.bytes:
        raise Transient(f"the connection ended after {_arrived(part)} of {item.bytes} bytes")
    found = _crc32c(part)
    if found != item.crc32c:
        meter.add(-_arrived(part))
        part.unlink()
        problem = f"wrong crc32c: expected {item.crc32c}, found {found}"
        if offset:
            raise Transient(f"{problem} after going on from byte {offset}: once more from the start")
        raise FetchError(f"{item.shown}: {problem}; the bad file was removed. Something on the way changes it")
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(part, target)


def _put(blob: storage.Blob, path: Path, expected_generation: int, timeout_s: float, shown: str) -> None:
    try:
        blob.upload_from_filename(
            path, checksum="crc32c", if_generation_match=expected_generation, timeout=timeout_s, retry=None
        )
    except api.PreconditionFailed:
        raise FetchError(f"{shown}: somebody else wrote it meanwhile; run again to compare") from None
    except TRANSIENT as error:
        raise Transient(f"the service failed ({type(error).__name__})") from None
    except api.ClientError as error:
        raise FetchError(f"{shown}: the service answered {error.code}; ask the bucket's owner") from None
