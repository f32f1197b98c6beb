"""What every source hands back after a fetch."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FetchReport:
    """Where the images are and how much of them was new.

    root: folder that the reader scans; files, bytes: what is there now; fetched: files written by this call; reused:
    files kept from an earlier one.
    """

    root: Path
    files: int
    bytes: int
    fetched: int
    reused: int
