"""One file from a web server: gone on with where it broke off, checked, and put into its place in one step.

A broken download goes on with `Range` and `If-Range` (RFC 9110, 13.1.5 and 14), so that a file that changed meanwhile
is fetched anew instead of being glued together from two; a host that ignores `Range` is read from the start.
"""

import hashlib
import json
import os
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pydantic import Field, field_validator, model_validator

from scanloom.atomic_files import write_text
from scanloom.files.archives import safe_path
from scanloom.sources import _web as web
from scanloom.sources._report import FetchError
from scanloom.sources._transfer import Meter, Transient
from scanloom.strict_models import Strict

PIECE = 1 << 16  # bytes
WEB_PAGE = "a web page instead of the file; the host may want a login, or a click, first"


class File(Strict):
    """One file to fetch."""

    url: str = Field(description="http:// or https:// address")
    sha256: str | None = Field(None, pattern=r"^[0-9a-fA-F]{64}$", description="checksum as the publisher states it")
    md5: str | None = Field(None, pattern=r"^[0-9a-fA-F]{32}$", description="where the publisher gives no SHA-256")
    no_checksum: str | None = Field(None, min_length=1, description="why there is no checksum, where there is none")
    bytes: int | None = Field(None, ge=0, description="size, if published; another one is an error")
    path: str | None = Field(None, description="name below the dataset's folder; null: the last part of the address")
    unpack: bool = Field(False, description="true: an archive (zip, tar, gz) whose members are the images")
    into: str = Field(".", description="folder below the dataset's folder for the archive's members")

    @field_validator("url")
    @classmethod
    def _checked(cls, url: str) -> str:
        return web.checked_url(url)

    @field_validator("path", "into")
    @classmethod
    def _below(cls, path: str | None) -> str | None:
        try:
            return None if path is None else str(safe_path(path))
        except ValueError as error:
            raise ValueError(f"expected a path below the dataset's folder, not {error}") from None

    @model_validator(mode="after")
    def _one_way_to_trust(self):
        given = [key for key in ("sha256", "md5", "no_checksum") if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(
                f"expected one of sha256, md5 or no_checksum (the reason why there is none); found {given or 'none'}"
            )
        if self.path == ".":
            raise ValueError("`path` is the name of a file, not '.'")
        if self.path is None and not unquote(urlsplit(self.url).path).rpartition("/")[2].strip("."):
            raise ValueError("the address ends in no file name; give `path`")
        return self

    @property
    def name(self) -> str:
        """Path below images/, or below archives/ where it is to be unpacked; the item's name in the ledger."""
        return self.path or str(safe_path(unquote(urlsplit(self.url).path).rpartition("/")[2]))

    @property
    def checksum(self) -> str | None:
        """`sha256:<digits>` or `md5:<digits>`, None where there is none."""
        algorithm = "sha256" if self.sha256 else "md5"
        digits = getattr(self, algorithm)
        return f"{algorithm}:{digits.lower()}" if digits else None


@dataclass(frozen=True)
class Place:
    """Where one file lies while it arrives and afterwards."""

    part: Path
    target: Path

    @property
    def told(self) -> Path:
        """What the host said about the file of which `part` is the beginning."""
        return self.part.with_name(self.part.name + ".json")

    def arrived(self) -> int:
        """Bytes of the part."""
        return self.part.stat().st_size if self.part.is_file() else 0

    def was_told(self) -> dict:
        """What `told` says: url, checksum, etag or last_modified, total, type; empty before the first answer."""
        return json.loads(self.told.read_text()) if self.told.is_file() else {}

    def discard(self) -> None:
        """Forget what has arrived."""
        self.part.unlink(missing_ok=True)
        self.told.unlink(missing_ok=True)


def same_item(file: File, facts: dict) -> bool:
    """With a checksum the content counts, wherever it came from; without one the address does."""
    if facts.get("checksum") != file.checksum:
        return False
    return file.checksum is not None or facts.get("url") == web.address(file.url)


def checksum_of(path: Path, algorithm: str) -> str:
    """`<algorithm>:<hexadecimal digits>` of a file's bytes."""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False))
    return f"{algorithm}:{digest.hexdigest()}"


def size_at_host(file: File, headers: dict[str, str], timeout_s: float) -> int | None:
    """Bytes of the file as the host states them, None if it does not. Raises Transient or FetchError."""
    asked = {"timeout": timeout_s, "allow_redirects": True, "headers": {"Accept-Encoding": "identity"}}
    with web.Session(headers) as session:
        try:
            answer = session.head(file.url, **asked)
            if answer.status_code >= 400:  # some hosts answer GET alone, as do addresses signed for it
                answer = session.get(file.url, stream=True, **asked)
            with answer:
                web.refuse_errors(answer, file.name)
                return _total(answer)
        except web.REQUEST_ERRORS as error:
            raise web.problem_of(error, file.name) from None


def bring(
    file: File, place: Place, headers: dict[str, str], timeout_s: float, meter: Meter, stop: threading.Event
) -> None:
    """Bring the file into its place, from where the last attempt ended. Raises Transient or FetchError."""
    told, offset = place.was_told(), place.arrived()
    resumed = offset > 0
    if resumed and not _goes_on(file, told):
        resumed = _start_over(place, meter)
    if not resumed or told.get("total") != offset:  # else a kill came between the last byte and the check
        with web.Session(headers) as session:
            try:
                answer = session.get(
                    file.url,
                    stream=True,
                    timeout=timeout_s,
                    # Compressed on the way, neither the bytes of a range nor the checksum would be the file's.
                    headers={"Accept-Encoding": "identity", **(_range(file, told, offset) if resumed else {})},
                )
                with answer:
                    resumed = _receive(answer, file, place, meter, stop)
            except web.REQUEST_ERRORS as error:
                raise web.problem_of(error, file.name) from None
    _verify(file, place, meter, resumed)
    place.target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(place.part, place.target)
    place.discard()


def _goes_on(file: File, told: dict) -> bool:
    """The part is the beginning of this file, and its rest cannot silently be that of another version."""
    if not same_item(file, told):
        return False
    return file.checksum is not None or "etag" in told or "last_modified" in told


def _range(file: File, told: dict, offset: int) -> dict[str, str]:
    """Headers that ask for the rest of a file, or for all of it if it changed."""
    validator = told.get("etag") or told.get("last_modified")
    same_url = told["url"] == web.address(file.url)  # a mirror has other validators; there the checksum decides
    return {"Range": f"bytes={offset}-", **({"If-Range": validator} if validator and same_url else {})}


def _start_over(place: Place, meter: Meter) -> bool:
    """Forget what has arrived. Gives False: no longer resumed."""
    meter.add(-place.arrived())
    place.discard()
    return False


def _receive(answer, file: File, place: Place, meter: Meter, stop: threading.Event) -> bool:
    """Append the answer's bytes to the part, or replace it by them; True if the part now has an older beginning."""
    offset, told = place.arrived(), place.was_told()
    if answer.status_code == 416:
        _start_over(place, meter)
        raise Transient("the host has no bytes where the rest should begin: the file there changed")
    web.refuse_errors(answer, file.name)
    if _is_web_page(answer) and file.checksum is None:
        raise FetchError(f"{file.name}: the host sent {WEB_PAGE}")
    total = _total(answer)
    if file.bytes is not None and total is not None and total != file.bytes:
        raise FetchError(
            f"{file.name}: the host has {total} bytes, the dataset file says {file.bytes}; the file there changed, or "
            "`bytes` is wrong: correct it together with the checksum"
        )
    goes_on = answer.status_code == 206 and offset > 0
    if goes_on and (_first_byte(answer) != offset or total != told.get("total", total)):
        _start_over(place, meter)
        raise Transient("the host sent another range, or one of another file, than it was asked for")
    place.part.parent.mkdir(parents=True, exist_ok=True)
    if not goes_on:
        _start_over(place, meter)
        now_told = {"url": web.address(file.url), "checksum": file.checksum, "total": total, **_validators(answer)}
        write_text(place.told, json.dumps(now_told))
        if file.bytes is None:
            meter.add(0, (total or 0) - (told.get("total") or 0))
    limit = file.bytes if file.bytes is not None else total
    with open(place.part, "ab") as part:
        # read1 gives what is there: read would hold a piece back until it is full and lose it with the connection.
        while piece := answer.raw.read1(PIECE, decode_content=False):
            part.write(piece)
            part.flush()  # a kill loses what the process holds back
            meter.add(len(piece))
            if limit is not None and part.tell() > limit:
                _start_over(place, meter)
                raise FetchError(f"{file.name}: the host sends more than the {limit} bytes that the file has; stopped")
            if stop.is_set():
                raise Transient("stopped")
    arrived = place.arrived()
    if total is not None and arrived < total:
        raise Transient(f"the connection ended after {arrived} of {total} bytes")
    return goes_on


def _is_web_page(answer) -> bool:
    return answer.headers.get("Content-Type", "").startswith("text/html")


def _validators(answer) -> dict[str, str]:
    """What tells one version of a file from another: a strong ETag, else the date (RFC 9110 13.1.5, 8.8)."""
    etag = answer.headers.get("ETag", "")
    if etag and not etag.startswith("W/"):
        return {"etag": etag}
    date = answer.headers.get("Last-Modified")
    return {"last_modified": date} if date else {}


def _total(answer) -> int | None:
    """Size of the whole file as the answer states it."""
    if answer.status_code == 206:
        size = answer.headers.get("Content-Range", "").rpartition("/")[2]
    else:
        size = answer.headers.get("Content-Length", "")
    return int(size) if size.isdigit() else None


def _first_byte(answer) -> int | None:
    match = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _verify(file: File, place: Place, meter: Meter, resumed: bool) -> None:
    """Compare size and checksum; a file that is not the expected one is removed."""
    arrived = place.arrived()
    if file.checksum is None:
        good, found = file.bytes in (None, arrived), ""
    else:
        algorithm, _, expected = file.checksum.partition(":")
        found = checksum_of(place.part, algorithm).partition(":")[2]
        good = found == expected
        found = f"wrong {algorithm}: expected {expected}, found {found} in "
    if good:
        return
    with open(place.part, "rb") as part:
        page = part.read(64).lstrip().lower().startswith((b"<!doctype html", b"<html"))
    _start_over(place, meter)
    if resumed:
        raise Transient("the resumed file is not the expected one: once more from the start")
    raise FetchError(
        f"{file.name}: {found}{arrived} bytes{f' (of {file.bytes})' if file.bytes is not None else ''} from "
        f"{web.address(file.url)}; the bad file was removed. "
        + (
            f"It is {WEB_PAGE}"
            if page
            else "Either the file at the host changed (compare with the publisher's page, then correct the dataset "
            "file) or something on the way changes it"
        )
    )
