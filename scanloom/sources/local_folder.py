"""A folder of images that is already here: it is read where it lies, never copied and never written to."""

import os
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from scanloom.sources._report import FetchReport


class Settings(BaseModel):
    """Where the folder is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(min_length=1, description="folder of images; relative to where snakemake runs")


def LABEL_COLUMNS(settings: Settings) -> None:
    """None: the columns are those of the table that lies in the folder."""
    return None


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
    root = Path(settings.path).expanduser()
    sizes = [path.stat().st_size for path in root.rglob("*") if path.is_file()]
    if progress is not None:
        progress(len(sizes), len(sizes))
    return FetchReport(root, files=len(sizes), bytes=sum(sizes), fetched=0, reused=len(sizes))
