"""What a source has fetched so far: a second run does nothing, a killed one goes on, and nothing stale stays."""

import json
import os
import shutil
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from scanloom.sources._report import FetchError

try:
    import fcntl
except ImportError:  # a system without file locks: two downloads at once are not noticed there
    fcntl = None


class Ledger:
    """Facts about every finished item by name, kept as one JSON line each; the last line of a name counts.

    A line is appended when its item is complete, or with null for its facts when it is gone. A line that a kill cut
    short is an item not done. The first line names the source: another one would not know what this one put there.
    """

    def __init__(self, folder: Path, source: str):
        """The ledger of a download folder. Raises FetchError if another source filled it."""
        self.path = Path(folder) / "fetched.jsonl"
        self._facts: dict[str, dict | None] = {}
        self._lock = threading.Lock()
        text = self.path.read_text() if self.path.is_file() else ""
        for line in text.splitlines():
            try:
                entry = json.loads(line)
                self._facts[entry["name"]] = entry["facts"]
            except (ValueError, KeyError, TypeError):
                continue
        self._cut = bool(text) and not text.endswith("\n")
        self._source = {"source": source}
        filled_by = self._facts.pop("", self._source)
        if filled_by != self._source:
            raise FetchError(
                f"source {source}: its download folder was filled by source {filled_by['source']}; delete or move "
                f"{os.fspath(folder)}, or give the dataset another name"
            )

    def names(self) -> list[str]:
        """All finished items."""
        return [name for name, facts in self._facts.items() if facts is not None]

    def get(self, name: str) -> dict | None:
        """The facts of a finished item, None for any other."""
        return self._facts.get(name)

    def drop(self, name: str) -> None:
        """The item is no longer there."""
        self.add(name, None)

    def add(self, name: str, facts: dict | None) -> None:
        """The item is complete on the disk. Callable from several threads."""
        line = json.dumps({"name": name, "facts": facts}) + "\n"
        with self._lock:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if not self.path.is_file():
                line = json.dumps({"name": "", "facts": self._source}) + "\n" + line
            with open(self.path, "a") as file:
                file.write("\n" + line if self._cut else line)
            self._cut = False
            self._facts[name] = facts


def stamp(path: Path) -> dict:
    """Size in bytes and time of change of a file that was just checked, to know it again by `unchanged`."""
    found = path.stat()
    return {"bytes": found.st_size, "mtime_ns": found.st_mtime_ns}


def unchanged(path: Path, facts: dict) -> bool:
    """The file is there with the size and time it had when it was checked."""
    try:
        return stamp(path) == {key: facts.get(key) for key in ("bytes", "mtime_ns")}
    except OSError:
        return False


def set_aside(destination: Path, paths: Iterable[str]) -> int:
    """Move files or folders of the download folder to `withdrawn/`, where no reader looks; how many files these were.

    What the source no longer has must not stay among the images: it may be an older version of one that is there under
    another name, or a patient who withdrew. It is moved, not deleted, because a server may also have had a bad day.
    """
    moved = 0
    for path in paths:
        found, aside = destination / path, destination / "withdrawn" / path
        if found.exists():
            moved += sum(inner.is_file() for inner in found.rglob("*")) if found.is_dir() else 1
            if aside.is_dir():
                shutil.rmtree(aside)
            aside.parent.mkdir(parents=True, exist_ok=True)
            os.replace(found, aside)
    return moved


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Nobody else fetches into `folder` meanwhile. Raises BlockingIOError; a killed process holds nothing up."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                message = (
                    f"another download into {os.fspath(folder)} is running; wait for it, or stop it, and run again"
                )
                raise BlockingIOError(message) from None
        yield
