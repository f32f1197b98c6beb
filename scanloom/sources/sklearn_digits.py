"""The 1,797 handwritten digits of 8 x 8 pixels that come with scikit-learn: a picture data set without any download.

Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository (1998),
doi:10.24432/C50P49, its test part. Intensities 0 to 16 become 0 to 240 (times 15, exactly reversible).
As PNG: `digits/0000.png` ... and `labels.csv` with the columns file and digit. As NPZ: `digits.npz` in the manner of
MedMNIST, everything in `train_images` and `train_labels`.
"""

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from pydantic import Field

from scanloom.sources._ledger import only_one
from scanloom.sources._report import FetchPlan, FetchReport
from scanloom.strict_models import Strict

PROGRESS_UNIT = "digits"
COUNT = 1797
SCALE = 15
COLUMNS = ["file", "digit"]


class Settings(Strict):
    """Form of the files."""

    format: Literal["png", "npz"] = Field("png", description="png: one picture each and labels.csv; npz: one file")


def LABEL_COLUMNS(settings: Settings) -> list[str]:
    """Columns of labels.csv."""
    return list(COLUMNS)


def root(settings: Settings, destination: Path) -> Path:
    """Folder that the reader scans."""
    return Path(destination) / settings.format


def check(settings: Settings) -> list[str]:
    """Problems that can be known before the first job: none."""
    return []


def plan(settings: Settings, destination: Path) -> FetchPlan:
    """Files that would be written; their size is known afterwards."""
    folder = root(settings, destination)
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    files = COUNT + 1 if settings.format == "png" else 1
    note = "made on this machine from the installed scikit-learn; nothing is downloaded"
    return FetchPlan(folder, files, sum(sizes) if sizes else None, len(sizes), sum(sizes), (note,))


def fetch(
    settings: Settings,
    destination: Path,
    *,
    seed: int | None,
    progress: Callable[[int, int], None] | None = None,
) -> FetchReport:
    """Write the files, or reuse them if they are all there with the same bytes. `seed` is not used."""
    folder = root(settings, destination)
    files = _png_files() if settings.format == "png" else _npz_files()
    with only_one(Path(destination)):
        same = all((folder / name).is_file() and (folder / name).read_bytes() == data for name, data in files.items())
        if not same:
            partial = folder.with_name(f"{folder.name}.partial")
            for stale in (partial, folder):
                shutil.rmtree(stale, ignore_errors=True)
            for done, (name, data) in enumerate(files.items(), start=1):
                (partial / name).parent.mkdir(parents=True, exist_ok=True)
                (partial / name).write_bytes(data)
                if progress is not None:
                    progress(done, len(files))
            partial.rename(folder)
    new = 0 if same else len(files)
    return FetchReport(folder, len(files), sum(map(len, files.values())), fetched=new, reused=len(files) - new)


def _digits() -> tuple[np.ndarray, np.ndarray]:
    """Pictures uint8 [1797, 8, 8] and the digits they show, int64 [1797]."""
    from sklearn.datasets import load_digits  # a second to import: only where digits are made

    digits = load_digits()
    return (digits.images * SCALE).astype(np.uint8), digits.target


def _png_files() -> dict[str, bytes]:
    images, labels = _digits()
    files, rows = {}, [",".join(COLUMNS)]
    for number, (image, digit) in enumerate(zip(images, labels, strict=True)):
        name = f"digits/{number:04d}.png"
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        files[name] = buffer.getvalue()
        rows.append(f"{name},{digit}")
    return {**files, "labels.csv": ("\n".join(rows) + "\n").encode()}


def _npz_files() -> dict[str, bytes]:
    images, labels = _digits()
    buffer = io.BytesIO()
    np.savez(buffer, train_images=images, train_labels=labels[:, None].astype(np.uint8))
    return {"digits.npz": buffer.getvalue()}
