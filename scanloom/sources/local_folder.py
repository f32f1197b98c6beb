"""A folder of images that is already here: it is read where it lies, never copied and never written to."""

import os
from collections.abc import Callable
from pathlib import Path

from pydantic import Field

from scanloom.files.file_search import find_files
from scanloom.sources._report import FetchError, FetchPlan, FetchReport
from scanloom.strict_models import Strict

PROGRESS_UNIT = "files"


class Settings(Strict):
    """Where the folder is."""

    path: str = Field(min_length=1, description="folder of images; relative to where snakemake runs")


def LABEL_COLUMNS(settings: Settings) -> None:
    """None: the columns are those of the table that lies in the folder."""
    return None


def root(settings: Settings, destination: Path) -> Path:
    """Folder that the reader scans: the given one, wherever downloads go."""
    return Path(settings.path).expanduser()


def check(settings: Settings) -> list[str]:
    """What is wrong with the folder, one sentence each; nothing if it can be read."""
    folder = Path(settings.path).expanduser()
    meant = f"source local_folder: path '{settings.path}'" + (
        "" if folder.is_absolute() else f" (that is, {folder.absolute()})"
    )
    if not folder.exists():
        above = next(parent for parent in folder.absolute().parents if parent.exists())
        return [f"{meant} does not exist; the nearest folder that does is {above}. Correct `path` in the dataset file."]
    if not folder.is_dir():
        return [f"{meant} is a file; give the folder that holds the images."]
    if not os.access(folder, os.R_OK | os.X_OK):
        return [f"{meant} cannot be read by this user; ask for read permission on it."]
    if not any(folder.iterdir()):
        return [f"{meant} is empty; give the folder that holds the images."]
    return []


def plan(settings: Settings, destination: Path) -> FetchPlan:
    """What is there; nothing is ever fetched. Raises FetchError if the folder cannot be read."""
    problems = check(settings)
    if problems:
        raise FetchError(problems[0])
    sizes = _sizes(root(settings, destination))
    note = "read where it lies; nothing is copied"
    return FetchPlan(root(settings, destination), len(sizes), sum(sizes), len(sizes), sum(sizes), (note,))


def fetch(
    settings: Settings,
    destination: Path,
    *,
    seed: int | None,
    progress: Callable[[int, int], None] | None = None,
) -> FetchReport:
    """Count what is there. `destination` and `seed` are not used: nothing is copied, nothing is random."""
    problems = check(settings)
    if problems:
        raise FileNotFoundError(problems[0])
    folder = root(settings, destination)
    sizes = _sizes(folder)
    if progress is not None:
        progress(len(sizes), len(sizes))
    return FetchReport(folder, files=len(sizes), bytes=sum(sizes), fetched=0, reused=len(sizes))


def _sizes(folder: Path) -> list[int]:
    """Bytes of every file that the catalogue will find below the folder; 0 for one that is gone, a link to nowhere."""
    return [_size(folder / path) for path in find_files(folder)]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
