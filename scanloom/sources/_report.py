"""What every source says before a fetch and hands back after it."""

from dataclasses import dataclass
from pathlib import Path


class FetchError(ValueError):
    """One item that the source cannot or must not give; the message names it and what to do. Others may still come."""


@dataclass(frozen=True)
class FetchPlan:
    """What a fetch would do; found out without fetching anything.

    root: folder that the reader would scan. files, bytes: of the whole, None where nobody says before the fetch.
    files_here, bytes_here: the part of it that is here already. notes: what else is worth knowing, one sentence each.
    """

    root: Path
    files: int | None
    bytes: int | None
    files_here: int = 0
    bytes_here: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class FetchReport:
    """Where the images are and how much of them was new.

    root: folder that the reader scans; files, bytes: what is there now; fetched: files written by this call; reused:
    files kept from an earlier one; withdrawn: files of an earlier one that the source no longer has, set aside.
    """

    root: Path
    files: int
    bytes: int
    fetched: int
    reused: int
    withdrawn: int = 0
