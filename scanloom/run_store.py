"""Trainings by content: a run is found by the fingerprint of everything that determines it.

`<store>/<fingerprint>/` holds job.json, checkpoints while training, and finished.json with the SHA-256 of the results.
A finished run is reused, an interrupted one goes on from its last checkpoint; both survive `rm -rf results`.
"""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from scanloom.atomic_files import whole_file, write_text


def fingerprint(job: dict) -> str:
    """20 hex digits of the job description (canonical JSON)."""
    text = json.dumps(job, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Run:
    """One training's folder in the store."""

    folder: Path
    fingerprint: str

    def finished(self) -> dict[str, str] | None:
        """Result file names with their SHA-256, or None where the run is unfinished or a result was damaged."""
        try:
            files = json.loads((self.folder / "finished.json").read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        intact = all((self.folder / n).is_file() and sha256_of(self.folder / n) == s for n, s in files.items())
        return files if intact else None

    def finish(self, names: list[str]) -> None:
        """Declare the results complete. Checkpoints are no longer needed and go."""
        files = {name: sha256_of(self.folder / name) for name in names}
        write_text(self.folder / "finished.json", json.dumps(files, indent=1, sort_keys=True))
        shutil.rmtree(self.folder / "checkpoints", ignore_errors=True)

    def publish(self, name: str, destination: Path) -> None:
        """Copy one result to where the workflow wants it."""
        with open(self.folder / name, "rb") as source, whole_file(destination) as copy:
            shutil.copyfileobj(source, copy)


def open_run(store: Path, job: dict) -> Run:
    """The run of this job, its folder made and described if it is new."""
    run = Run(Path(store) / fingerprint(job), fingerprint(job))
    run.folder.mkdir(parents=True, exist_ok=True)
    if not (run.folder / "job.json").exists():
        write_text(run.folder / "job.json", json.dumps(job, indent=1, sort_keys=True))
    return run
