"""A DICOMweb server: series found by QIDO-RS and fetched one by one by WADO-RS, as they are stored there.

DICOM PS3.18, 10.6 (search) and 10.4 (retrieve). Every instance becomes one file with the bytes that the server sent, in
its stored transfer syntax. Folders and files have pseudonymous names (keyed with a secret that lies in the download
folder), because UIDs identify patients to those who hold the archive; the headers inside stay as they are.
A series appears as a whole or not at all; one that has grown on the server is fetched anew.
"""

import os
import re
import shutil
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import requests
from pydantic import Field, field_validator

from scanloom.identity import pseudonym, study_salt
from scanloom.plugins import suggestion
from scanloom.sources import _web as web
from scanloom.sources._ledger import Ledger, only_one, set_aside
from scanloom.sources._report import FetchError, FetchPlan, FetchReport
from scanloom.sources._transfer import Meter, Transient, in_parallel, with_retries
from scanloom.strict_models import Strict

PROGRESS_UNIT = "instances"
PIECE = 1 << 16  # bytes
LONGEST_HEADER = 4 * PIECE  # of one part
UID = re.compile(r"[0-9.]{1,64}")  # PS3.5, 9.1; it becomes part of an address
# Without `transfer-syntax=*` a server must convert to Explicit VR Little Endian (PS3.18, 8.7.3): slow, and lossy or
# impossible for some files.
AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'
STUDY_UID, SERIES_UID, SOP_UID, INSTANCES = "0020000D", "0020000E", "00080018", "00201209"


class Settings(Strict):
    """Which server, and which of its series."""

    url: str = Field(description="address below which /studies lies")
    filters: dict[str, str] = Field(description="QIDO matching of studies, {DICOM keyword: value}; {}: all studies")
    series_filters: dict[str, str] = Field({}, description="QIDO matching of series, {DICOM keyword: value}")
    parallel: int = Field(2, ge=1, le=16, description="series fetched at the same time")
    page: int = Field(100, ge=1, le=10000, description="search results asked for at a time")
    retries: int = Field(5, ge=0, le=100, description="new attempts for a series or a search")
    backoff_s: float = Field(1.0, ge=0, le=60, description="wait before the first new attempt; doubles with each")
    timeout_s: float = Field(60.0, gt=0, description="silence of the server after which a request is given up")
    headers_from: str | None = Field(
        None, description="environment variable with headers to send, one `Name: value` a line; ~/.netrc works too"
    )

    @field_validator("url")
    @classmethod
    def _checked(cls, url: str) -> str:
        return web.checked_url(url).rstrip("/")

    @field_validator("filters", "series_filters", mode="before")
    @classmethod
    def _known_keywords(cls, filters: dict) -> dict:
        from pydicom.datadict import keyword_dict  # a third of a second to import: only for studies that use this

        if not isinstance(filters, dict):
            raise ValueError("expected DICOM keywords with the values to match: {ModalitiesInStudy: CT}")
        for keyword in filters:
            if keyword not in keyword_dict and not re.fullmatch(r"[0-9A-Fa-f]{8}", str(keyword)):
                known = suggestion(str(keyword), list(keyword_dict))
                raise ValueError(f"'{keyword}' is no DICOM keyword and no tag of eight digits.{known}")
        return {keyword: str(value) for keyword, value in filters.items()}


@dataclass(frozen=True)
class _Series:
    """One series at the server; name: `<study>/<series>`, both pseudonyms; instances: how many the server has."""

    study_uid: str
    series_uid: str
    name: str
    instances: int


def LABEL_COLUMNS(settings: Settings) -> None:
    """None: a server gives images alone."""
    return None


def root(settings: Settings, destination: Path) -> Path:
    """Folder that the reader scans."""
    return Path(destination) / "images"


def check(settings: Settings) -> list[str]:
    """What can be known to be wrong before anything is asked of the server."""
    try:
        web.secret_headers(settings.headers_from)
    except ValueError as error:
        return [f"source dicomweb: {error}"]
    return []


def plan(settings: Settings, destination: Path) -> FetchPlan:
    """Series and instances, from the server's answers to the search; nothing is fetched, no size is known before."""
    destination = Path(destination)
    # The key is made by the first fetch; before it no name matches anything here anyway.
    key = study_salt(None, destination) if (destination / "salt.txt").is_file() else "nothing is here yet"
    series = _search(settings, key)
    ledger = Ledger(destination, "dicomweb")
    here = [ledger.get(one.name)["files"] for one in series if _is_here(one, destination, ledger)]
    studies = len({one.study_uid for one in series})
    note = f"{studies} studies, {len(series)} series; the server does not say how many bytes they have"
    count, size = sum(map(len, here)), sum(sum(files.values()) for files in here)
    return FetchPlan(root(settings, destination), sum(one.instances for one in series), None, count, size, (note,))


def fetch(
    settings: Settings,
    destination: Path,
    *,
    seed: int | None,
    progress: Callable[[int, int], None] | None = None,
) -> FetchReport:
    """Fetch into `destination`/images what is not there yet. `seed` is not used: nothing is random.

    progress: called with instances done and instances in all. Series that the search no longer finds are set aside.
    Raises FetchError naming every series that could not be had (the others are fetched), OSError of the disk.
    """
    destination = Path(destination)
    with only_one(destination):
        shutil.rmtree(destination / "partial", ignore_errors=True)
        key = study_salt(None, destination)
        series = _search(settings, key)
        ledger = Ledger(destination, "dicomweb")
        missing = [one for one in series if not _is_here(one, destination, ledger)]
        total = sum(one.instances for one in series)
        meter = Meter(progress, total - sum(one.instances for one in missing), total)

        def get(one: _Series, stop: threading.Event) -> None:
            files = with_retries(
                lambda: _attempt(settings, one, destination, key, meter, stop),
                **{"what": f"series {one.name}", "retries": settings.retries, "backoff_s": settings.backoff_s},
                **{"stop": stop},
            )
            ledger.add(one.name, {"instances": one.instances, "files": files})

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's quote header values, and logs must hold none
            in_parallel(get, missing, settings.parallel)
        gone = set(ledger.names()) - {one.name for one in series}
        withdrawn = set_aside(destination, (f"images/{name}" for name in gone))
        for name in gone:
            ledger.drop(name)
        shutil.rmtree(destination / "partial", ignore_errors=True)
    sizes = [size for one in series for size in ledger.get(one.name)["files"].values()]
    new = sum(len(ledger.get(one.name)["files"]) for one in missing)
    return FetchReport(root(settings, destination), len(sizes), sum(sizes), new, len(sizes) - new, withdrawn)


def _is_here(one: _Series, destination: Path, ledger: Ledger) -> bool:
    facts = ledger.get(one.name)
    if facts is None or facts["instances"] != one.instances:
        return False
    folder = destination / "images" / one.name
    try:
        return all((folder / name).stat().st_size == size for name, size in facts["files"].items())
    except OSError:
        return False


def _search(settings: Settings, key: str) -> list[_Series]:
    """Series that fit both filters, sorted by name; `key`: secret of their names."""
    from dicomweb_client.api import DICOMwebClient

    with web.Session(web.secret_headers(settings.headers_from)) as session:
        client = DICOMwebClient(settings.url, session=session, timeout=settings.timeout_s)
        client.set_http_retry_params(retry=False)  # ours heed Retry-After and Ctrl-C

        def found(search: Callable, uid_tag: str, what: str, stop: threading.Event, **arguments) -> list[dict]:
            return _all_pages(
                lambda offset: with_retries(
                    lambda: _answer(search, what, limit=settings.page, offset=offset, **arguments),
                    **{"what": what, "retries": settings.retries, "backoff_s": settings.backoff_s, "stop": stop},
                ),
                uid_tag,
            )

        def series_of(study: tuple[int, str], stop: threading.Event) -> list[_Series]:
            number, study_uid = study
            what, series = f"search for series of study {number}", []
            uids = {"study_instance_uid": study_uid}
            filters = {"search_filters": dict(settings.series_filters)}
            for answer in found(client.search_for_series, SERIES_UID, what, stop, **uids, **filters):
                series_uid = _uid(answer, SERIES_UID)
                count = _value(answer, INSTANCES)
                if count is None:  # servers may leave it out (PS3.18, 10.6.3.3)
                    uids["series_instance_uid"] = series_uid
                    count = len(found(client.search_for_instances, SOP_UID, f"{what}, its instances", stop, **uids))
                parts = (("study", study_uid), ("series", series_uid))
                name = "/".join(pseudonym(key, kind, "dicomweb", uid) for kind, uid in parts)
                series.append(_Series(study_uid, series_uid, name, int(count)))
            return series

        filters = {"search_filters": dict(settings.filters)}
        studies = found(client.search_for_studies, STUDY_UID, "search for studies", threading.Event(), **filters)
        numbered = list(enumerate((_uid(study, STUDY_UID) for study in studies), start=1))
        of_studies = in_parallel(series_of, numbered, settings.parallel)
    return sorted((one for series in of_studies for one in series), key=lambda one: one.name)


def _all_pages(page: Callable[[int], list[dict]], uid_tag: str) -> list[dict]:
    """All results of a search; a server that ignores limit and offset gives them all at once, over and over."""
    found: dict[str, dict] = {}
    offset = 0
    while True:
        results = page(offset)
        new = {_uid(result, uid_tag): result for result in results}
        if not new.keys() - found.keys():
            return list(found.values())
        found |= new
        offset += len(results)


def _answer(search: Callable, what: str, **arguments) -> list[dict]:
    """One request of a search. Raises Transient or FetchError without the address, which may name a patient."""
    try:
        return search(**arguments)
    except requests.HTTPError as error:
        web.refuse_errors(error.response, what)
        raise
    except requests.exceptions.JSONDecodeError:
        raise FetchError(
            f"{what}: the answer is no DICOM JSON; is `url` the address below which /studies lies?"
        ) from None
    except web.REQUEST_ERRORS as error:
        raise web.problem_of(error, what) from None


def _value(result: dict, tag: str):
    values = result.get(tag, {}).get("Value") or [None]
    return values[0]


def _uid(result: dict, tag: str) -> str:
    uid = _value(result, tag)
    if not isinstance(uid, str) or not UID.fullmatch(uid):
        raise FetchError(f"dicomweb: the server gave a search result whose {tag} is no UID (digits and dots)")
    return uid


def _attempt(
    settings: Settings, one: _Series, destination: Path, key: str, meter: Meter, stop: threading.Event
) -> dict[str, int]:
    """Bring one series into its place; bytes of each file by its name. Raises Transient or FetchError."""
    folder, target = destination / "partial" / one.name, destination / "images" / one.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    sizes: dict[str, int] = {}
    try:
        with (
            web.Session(web.secret_headers(settings.headers_from)) as session,
            session.get(
                f"{settings.url}/studies/{one.study_uid}/series/{one.series_uid}",
                headers={"Accept": AS_STORED},
                stream=True,
                timeout=settings.timeout_s,
            ) as answer,
        ):
            web.refuse_errors(answer, f"series {one.name}")
            for path in _instances(answer, folder, stop):
                named = folder / f"{pseudonym(key, 'instance', 'dicomweb', _sop_uid(path))}.dcm"
                meter.add(named.name not in sizes)
                os.replace(path, named)
                sizes[named.name] = named.stat().st_size
        if len(sizes) < one.instances:
            raise Transient(f"{len(sizes)} of {one.instances} instances came")
    except (Transient, *web.REQUEST_ERRORS) as error:
        meter.add(-len(sizes))
        raise error if isinstance(error, Transient) else web.problem_of(error, f"series {one.name}") from None
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():  # it has grown: the new one holds all of the old
        os.replace(target, folder.with_name(f"{folder.name}.old"))
    os.replace(folder, target)
    return sizes


def _sop_uid(path: Path) -> str:
    """SOP Instance UID of a file; the file's own sum where it cannot be read, which the catalogue then reports."""
    import google_crc32c
    import pydicom

    try:
        return str(pydicom.dcmread(path, force=True, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)
    except Exception:  # whatever damaged bytes make a parser raise: the file is kept as it came
        return f"unreadable {google_crc32c.value(path.read_bytes())}"


def _instances(answer: requests.Response, folder: Path, stop: threading.Event) -> Iterator[Path]:
    """Write the parts of an answer to numbered files, each given as soon as it is complete."""
    kind, _, rest = answer.headers.get("Content-Type", "").partition(";")
    boundary = re.search(r'boundary="?([^";,]+)"?', rest)
    chunks = answer.iter_content(PIECE)
    if kind.strip().lower() == "application/dicom":  # some servers send a single instance bare
        path = folder / "0.part"
        with open(path, "wb") as file:
            for chunk in chunks:
                file.write(chunk)
        yield path
    elif kind.strip().lower() == "multipart/related" and boundary:
        yield from _parts(chunks, boundary[1].encode(), folder, stop)
    else:
        raise FetchError(
            f"dicomweb: the server answered with '{kind}' instead of multipart/related; is `url` a DICOMweb address?"
        )


def _parts(chunks: Iterable[bytes], boundary: bytes, folder: Path, stop: threading.Event) -> Iterator[Path]:
    """Bodies of a multipart message (RFC 2046, 5.1.1) as files; no more than a chunk of it is held in memory."""
    delimiter = b"\r\n--" + boundary
    held, file, number = b"\r\n", None, 0  # the line break lets the first delimiter look like all others
    try:
        for chunk in chunks:
            if stop.is_set():
                raise Transient("stopped")
            held += chunk
            while (found := held.find(delimiter)) >= 0:
                if file is not None:
                    file.write(held[:found])
                    file.close()
                    yield Path(file.name)
                    file, held, found = None, held[found:], 0
                after = found + len(delimiter)
                if held[after : after + 2] == b"--":
                    return
                body = held.find(b"\r\n\r\n", after)
                if body < 0:
                    break  # the end of the part's header has not arrived
                number += 1
                file = open(folder / f"{number}.part", "wb")  # noqa: SIM115 - open across chunks
                held = held[body + 4 :]
            else:
                if file is not None:  # all but what may be the beginning of a delimiter
                    keep = len(delimiter) - 1
                    file.write(held[:-keep])
                    held = held[-keep:]
            if len(held) > LONGEST_HEADER:
                raise FetchError("dicomweb: the server's answer has no parts, or parts with endless headers")
    finally:
        if file is not None:
            file.close()
    raise Transient("the answer ended in the middle of an instance")
