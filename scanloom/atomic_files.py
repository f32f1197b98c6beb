"""Files that appear whole or not at all, whatever kills the process that writes them."""

import contextlib
import errno
import fcntl
import glob
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes the place of `path` when the block ends without an error.

    Raises OSError that says so where the disk is full. What a killed process left unfinished is removed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            _lock(file)
            yield file
        os.replace(part, path)
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise OSError(
            error.errno,
            f"no room for {path.name} ({os.strerror(error.errno)}): make room and run again; what is finished stays",
        ) from None
    finally:
        part.unlink(missing_ok=True)


def _lock(file: BinaryIO) -> bool:
    """Whether this process now holds the file's lock, which the kernel gives back when the holder dies."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held by another process, or a file system without locks
        return False
    return True


def _remove_abandoned(path: Path) -> None:
    """Remove unfinished files for `path` that nobody writes any more: every killed job would leave one."""
    for part in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        try:
            with open(part, "rb") as file:
                if _lock(file):
                    part.unlink(missing_ok=True)
        except OSError:
            continue


def write_text(path: Path, text: str) -> None:
    """The file holds `text` (UTF-8), or what it held before."""
    with whole_file(path) as file:
        file.write(text.encode())
