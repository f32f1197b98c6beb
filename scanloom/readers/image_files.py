"""Image files: PNG and JPEG pictures, each its own series of one slice.

Judged by content, never by name. Transparency is dropped, palettes are looked up, EXIF orientation is honoured.
Reasons for leaving a file out: "not an image file", "truncated", "undecodable", "unreadable",
"not an image (declared)".
"""

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict, Field

from scanloom.readers._scan import (
    DECLARED,
    Grouped,
    ScanResult,
    file_frame,
    find_files,
    image_frame,
    map_files,
    one_image_per_series,
    private_errors,
    split_declared,
)
from scanloom.readers._volume import Volume

FORMATS = ("PNG", "JPEG")
WIDE_MODES = ("I;16", "I;16B", "I;16L", "I")  # 16-bit grey, as Pillow names it for PNG


class Settings(BaseModel):
    """How pictures become arrays."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    channels: Literal["grey", "rgb"] = Field("grey", description="grey: one channel (ITU-R 601 luma); rgb: three")
    ignore: list[str] = Field([], description="patterns of files that are no images (masks/*); counted as declared")
    spacing_mm: tuple[float, float] | None = Field(None, description="pixel distance (y, x) in mm where it is known")


def scan(
    root: Path, settings: Settings, *, modality: str | None = None, declared: frozenset[str] = frozenset(), workers=1
) -> ScanResult:
    """All files below root; every picture is decoded once, because nothing less finds a truncated one."""
    candidates, apart = split_declared(find_files(root), settings.ignore, declared)
    headers = map_files(_header, root, candidates, workers=workers)
    reasons = dict.fromkeys(apart, DECLARED)
    spacing = settings.spacing_mm or (np.nan, np.nan)
    rows = []
    for path, (reason, header) in zip(candidates, headers, strict=True):
        reasons[path] = reason
        if not reason:
            place = {"path": path, "sop_uid": path, "spacing_y_mm": spacing[0], "spacing_x_mm": spacing[1]}
            rows.append(
                header | place | {"modality": modality or "", "samples": 3 if settings.channels == "rgb" else 1}
            )
    return ScanResult(file_frame(reasons), image_frame(rows))


def _header(path: str) -> tuple[str, dict]:
    """(reason, what the picture says about itself)."""
    try:
        with Image.open(path, formats=FORMATS) as picture:
            transfer = picture.format
            mode = picture.mode
            picture.load()
            upright = ImageOps.exif_transpose(picture)
    except PermissionError:
        return "unreadable", {}
    except UnidentifiedImageError:
        return _unidentified(path), {}
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return "truncated" if "truncated" in str(error).lower() else "undecodable", {}
    bits = 16 if mode in WIDE_MODES else 8
    return "", {
        "rows": upright.height,
        "columns": upright.width,
        "photometric": mode,
        "bits_stored": bits,
        "transfer_syntax": transfer,
    }


def _unidentified(path: str) -> str:
    """A file with a picture's signature whose header Pillow cannot read is a broken picture, not another file."""
    with open(path, "rb") as file:
        start = file.read(8)
    return "truncated" if start.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")) else "not an image file"


def group_series(scan: ScanResult, settings: Settings) -> Grouped:
    """Each picture is a series."""
    return one_image_per_series(scan, scan.images.path)


@private_errors
def read_series(root: Path, rows: pd.DataFrame, settings: Settings) -> Volume:
    """The picture as a volume of one slice; unit "0-255" ("0-65535" for 16-bit grey)."""
    with Image.open(Path(root) / rows.path.iloc[0], formats=FORMATS) as picture:
        upright = ImageOps.exif_transpose(picture)
        wide = upright.mode in WIDE_MODES
        if settings.channels == "grey":
            values = np.asarray(upright if wide else _flat(upright).convert("L"), dtype=np.float32)
        elif wide:
            values = np.repeat(np.asarray(upright, dtype=np.float32)[..., None], 3, axis=2)
        else:
            values = np.asarray(_flat(upright), dtype=np.float32)
    return Volume(
        values=values[None],
        unit="0-65535" if wide else "0-255",
        spacing_mm=(np.nan, *(settings.spacing_mm or (np.nan, np.nan))),
        channels=("image",) if settings.channels == "grey" else ("red", "green", "blue"),
        slice_index=rows.slice_index.to_numpy(dtype=np.int64),
    )


def _flat(picture: Image.Image) -> Image.Image:
    """RGB without transparency. Palettes go through RGBA: Pillow would warn about transparent entries."""
    if picture.mode == "P":
        picture = picture.convert("RGBA")
    return picture.convert("RGB")
