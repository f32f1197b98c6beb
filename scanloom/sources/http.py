"""Files from web servers: fetched side by side, resumed where they broke off, checked, archives unpacked safely.

A file arrives as `partial/<path>.part` and is renamed to its place when its checksum is right. `images/` is what the
reader scans; packed archives lie beside it in `archives/`.
"""

import math
import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from pydantic import Field, model_validator

from scanloom.files.archives import ArchiveError, unpack
from scanloom.sources import _web as web
from scanloom.sources._http_file import File, Place, bring, checksum_of, same_item, size_at_host
from scanloom.sources._ledger import Ledger, only_one, set_aside, stamp, unchanged
from scanloom.sources._report import FetchError, FetchPlan, FetchReport
from scanloom.sources._transfer import Meter, Transient, in_parallel, with_retries
from scanloom.strict_models import Strict

PROGRESS_UNIT = "B"


class Settings(Strict):
    """What is fetched, and how patiently."""

    files: list[File] = Field(min_length=1, description="files, each with its checksum")
    parallel: int = Field(4, ge=1, le=32, description="files fetched at the same time")
    retries: int = Field(8, ge=0, le=100, description="attempts in a row that bring nothing new, after the first")
    backoff_s: float = Field(1.0, ge=0, le=60, description="wait before the first new attempt; doubles with each")
    timeout_s: float = Field(60.0, gt=0, description="silence of a host after which the connection is given up")
    keep_archives: bool = Field(True, description="false: an archive is deleted once it is unpacked")
    headers_from: str | None = Field(
        None, description="environment variable with headers to send, one `Name: value` a line; ~/.netrc works too"
    )

    @model_validator(mode="after")
    def _each_name_once(self):
        [(key, count)] = Counter(_key(file) for file in self.files).most_common(1)
        if count > 1:
            raise ValueError(f"{count} files would be called '{key.partition('/')[2]}'; give each its own `path`")
        return self


def LABEL_COLUMNS(settings: Settings) -> None:
    """None: the columns are those of the table among the files."""
    return None


def root(settings: Settings, destination: Path) -> Path:
    """Folder that the reader scans."""
    return Path(destination) / "images"


def check(settings: Settings) -> list[str]:
    """What can be known to be wrong before anything is asked of a host."""
    try:
        web.secret_headers(settings.headers_from)
    except ValueError as error:
        return [f"source http: {error}"]
    return []


def plan(settings: Settings, destination: Path) -> FetchPlan:
    """Files and bytes, from the dataset file or else from the hosts (HEAD); nothing is fetched."""
    destination = Path(destination)
    ledger = Ledger(destination, "http")
    headers = web.secret_headers(settings.headers_from)

    def look(file: File, stop: threading.Event) -> tuple[int | None, bool, str | None]:
        if _is_here(file, destination, ledger):
            return ledger.get(_key(file))["bytes"], True, None
        if file.bytes is not None:
            return file.bytes, False, None
        try:
            return size_at_host(file, headers, settings.timeout_s), False, None
        except (FetchError, Transient) as problem:
            return None, False, f"size of {file.name} unknown: {problem}"

    looks = in_parallel(look, settings.files, max(settings.parallel, 8))
    sizes = [size for size, _, _ in looks]
    here = [size for size, is_here, _ in looks if is_here]
    begun = [place.arrived() for file in settings.files if (place := _place(file, destination)).arrived()]
    notes = [problem for _, _, problem in looks if problem]
    notes += [f"begun earlier: {len(begun)}, of which {sum(begun) / 1e6:.1f} MB are here"] if begun else []
    unchecked = [f"{file.name} has no checksum: {file.no_checksum}" for file in settings.files if file.no_checksum]
    total = None if None in sizes else sum(sizes)
    return FetchPlan(root(settings, destination), len(sizes), total, len(here), sum(here), (*notes, *unchecked))


def fetch(
    settings: Settings,
    destination: Path,
    *,
    seed: int | None,
    progress: Callable[[int, int], None] | None = None,
) -> FetchReport:
    """Fetch into `destination`/images what is not there yet. `seed` is not used: nothing is random.

    progress: called with bytes done and bytes known in all; unpacking counts the archive's members too.
    Raises FetchError naming every file that could not be had (the others are fetched), OSError of the disk.
    """
    destination = Path(destination)
    headers = web.secret_headers(settings.headers_from)
    with only_one(destination):
        ledger = Ledger(destination, "http")
        missing = [file for file in settings.files if not _is_here(file, destination, ledger)]
        absent = {_key(file) for file in missing}
        here = [file for file in settings.files if _key(file) not in absent]
        places = [_place(file, destination) for file in missing]
        done = sum(ledger.get(_key(file))["bytes"] for file in here)
        known = [file.bytes or place.was_told().get("total") or 0 for file, place in zip(missing, places, strict=True)]
        meter = Meter(progress, done + sum(place.arrived() for place in places), done + sum(known))
        owners = {file.name: file.name for file in settings.files if not file.unpack}
        owners |= {path: file.name for file in here for path in _contents(file, ledger)}
        placing = threading.Lock()

        def get(file: File, stop: threading.Event) -> None:
            place = _place(file, destination)
            if _adopted(file, place, ledger):
                size = place.target.stat().st_size
                meter.add(size, size - (file.bytes or 0))
            else:
                with_retries(
                    lambda: bring(file, place, headers, settings.timeout_s, meter, stop),
                    **{"what": file.name, "retries": settings.retries, "backoff_s": settings.backoff_s},
                    **{"stop": stop, "gained": place.arrived},
                )
            facts = {"url": web.address(file.url), "checksum": file.checksum, **stamp(place.target)}
            if file.unpack:
                before = ledger.get(_key(file)) or {"members": {}, "former": []}
                former = sorted({*before["members"], *before["former"]})
                members = _unpacked(file, place, destination, owners, placing, meter, stop)
                newest = max((_state(destination / "images" / path)[1] for path in members), default=0)
                facts |= {"into": file.into, "members": members, "newest_ns": newest, "former": former}
            ledger.add(_key(file), facts)
            if file.unpack and not settings.keep_archives:
                place.target.unlink()

        in_parallel(get, missing, settings.parallel)
        withdrawn = _withdraw(settings, destination, ledger, owners)
        for leftover in ("partial", "unpacked"):
            shutil.rmtree(destination / leftover, ignore_errors=True)
    sizes = [size for file in settings.files for size in _contents(file, ledger).values()]
    new = sum(len(_contents(file, ledger)) for file in missing)
    return FetchReport(root(settings, destination), len(sizes), sum(sizes), new, len(sizes) - new, withdrawn)


def _key(file: File) -> str:
    return f"archives/{file.name}" if file.unpack else f"images/{file.name}"


def _place(file: File, destination: Path) -> Place:
    return Place(destination / "partial" / f"{_key(file)}.part", destination / _key(file))


def _contents(file: File, ledger: Ledger) -> dict[str, int]:
    """Bytes of every file that a finished item put below images/, by its path there."""
    facts = ledger.get(_key(file))
    return facts["members"] if file.unpack else {file.name: facts["bytes"]}


def _withdraw(settings: Settings, destination: Path, ledger: Ledger, owners: dict[str, str]) -> int:
    """Set aside what earlier dataset files, or earlier versions of an archive, brought and this one does not."""
    named, withdrawn = {_key(file) for file in settings.files}, 0
    for name in ledger.names():
        facts = ledger.get(name)
        if name in named and not facts.get("former"):
            continue
        paths = [*facts["former"], *facts["members"]] if "members" in facts else [name.removeprefix("images/")]
        withdrawn += set_aside(destination, (f"images/{path}" for path in paths if path not in owners))
        if name in named:
            ledger.add(name, {**facts, "former": []})
        else:
            set_aside(destination, [name] if "members" in facts else [])
            ledger.drop(name)
    return withdrawn


def _is_here(file: File, destination: Path, ledger: Ledger) -> bool:
    """The file, or every member of the archive, lies where it was put and is the one that the dataset file means."""
    facts = ledger.get(_key(file))
    if facts is None or not same_item(file, facts):
        return False
    if not file.unpack:
        return unchanged(destination / _key(file), facts)
    found = {path: _state(destination / "images" / path) for path in facts["members"]}
    return (
        facts["into"] == file.into
        and all(found[path][0] == size for path, size in facts["members"].items())
        and all(changed <= facts.get("newest_ns", math.inf) for _, changed in found.values())
    )


def _state(path: Path) -> tuple[int, int]:
    """(bytes, when it was last written in nanoseconds); (-1, 0) where there is no such file."""
    try:
        state = path.stat()
    except OSError:
        return -1, 0
    return state.st_size, state.st_mtime_ns


def _adopted(file: File, place: Place, ledger: Ledger) -> bool:
    """The file lies in its place already: put there by hand, or by a run that was killed before it could say so."""
    if not place.target.is_file():
        return False
    facts = ledger.get(_key(file))
    if facts is not None and same_item(file, facts) and unchanged(place.target, facts):
        return True
    return file.checksum is not None and checksum_of(place.target, file.checksum.partition(":")[0]) == file.checksum


def _unpacked(
    file: File,
    place: Place,
    destination: Path,
    owners: dict[str, str],
    placing: threading.Lock,
    meter: Meter,
    stop: threading.Event,
) -> dict[str, int]:
    """Unpack an archive and move its members to their places; bytes of each by its path below images/."""

    def count(size: int) -> None:
        if stop.is_set():
            raise Transient("stopped")
        meter.add(size, size)

    folder = destination / "unpacked" / file.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        members = unpack(place.target, folder, progress=count)
    except ArchiveError as error:
        raise FetchError(f"{file.name}: {error}; the archive is kept in archives/") from None
    sizes = {(Path(file.into) / path.relative_to(folder)).as_posix(): path.stat().st_size for path in members}
    with placing:
        rival = next((owners[path] for path in sizes if path in owners), None)
        if rival:
            raise FetchError(
                f"{file.name} and {rival} bring files of the same path; give one of them a folder with `into`"
            )
        owners.update(dict.fromkeys(sizes, file.name))
        for path, member in zip(sizes, members, strict=True):
            target = destination / "images" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(member, target)
    return sizes
