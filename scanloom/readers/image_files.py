"""Image files: PNG, JPEG and TIFF pictures, each its own series; the pages of a TIFF are the slices of one series.

Judged by content, never by name. Transparency is dropped, palettes are looked up, EXIF orientation is honoured, white
is bright (a TIFF whose zero is white is inverted). Of an animated picture the first frame is read.
Colours of 16 bits, which the decoder would cut to 8, are refused.
Reasons for leaving a file out: "not an image file", "truncated", "undecodable", "undecodable: colours of 16 bits",
"pages of different kinds", "values that are not numbers", "unreadable", "not an image (declared)".
"""

import warnings
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import Field

from scanloom.readers._pictures import (
    BITS,
    CHANNELS,
    check_png,
    is_whole,
    picture_unit,
    picture_values,
    png_loses_bits,
    tiff_loses_bits,
)
from scanloom.readers._scan import (
    Grouped,
    ScanResult,
    file_frame,
    image_frame,
    one_image_per_series,
    private_errors,
    read_files,
)
from scanloom.readers._volume import Volume
from scanloom.strict_models import Strict

FORMATS = ("PNG", "JPEG", "TIFF")
SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
NOT_A_PICTURE = "not an image file"


class Settings(Strict):
    """How pictures become arrays."""

    channels: Literal["grey", "rgb"] = Field("grey", description="grey: one channel (ITU-R 601 luma); rgb: three")
    ignore: list[str] = Field([], description="patterns of files that are no images (masks/*); counted as declared")
    spacing_mm: tuple[float, float] | None = Field(None, description="pixel distance (y, x) in mm where it is known")


def scan(
    root: Path,
    settings: Settings,
    *,
    modality: str | None = None,
    declared: frozenset[str] = frozenset(),
    workers: int = 1,
    unpack_to: Path | None = None,
) -> ScanResult:
    """All files below root; every picture is decoded once, because nothing less finds a truncated one."""
    read = read_files(
        _header,
        root,
        ignore=settings.ignore,
        declared=declared,
        foreign=NOT_A_PICTURE,
        workers=workers,
        unpack_to=unpack_to,
    )
    spacing = settings.spacing_mm or (np.nan, np.nan)
    known = {
        "spacing_y_mm": spacing[0],
        "spacing_x_mm": spacing[1],
        "modality": modality or "",
        "samples": 3 if settings.channels == "rgb" else 1,
    }
    rows = [
        header | known | {"path": path, "sop_uid": path, "frame": page if pages > 1 else -1}
        for path, (reason, found) in read.results.items()
        if not reason
        for header, pages in [found]
        for page in range(pages)
    ]
    reasons = {path: reason for path, (reason, _) in read.results.items()}
    return ScanResult(file_frame(reasons), image_frame(rows), places=read.places)


def _header(path: str) -> tuple[str, tuple[dict, int] | None]:
    """(reason, (what the picture says about itself, number of its pages))."""
    try:
        with (
            open(path, "rb") as file,
            warnings.catch_warnings(action="ignore"),
            Image.open(file, formats=FORMATS) as picture,
        ):
            sixteen = picture.format == "PNG" and png_loses_bits(file)
            pages = getattr(picture, "n_frames", 1) if picture.format == "TIFF" else 1
            kinds = set()
            for page in range(pages):
                picture.seek(page)
                kind = picture.mode
                if sixteen or tiff_loses_bits(picture):
                    return "undecodable: colours of 16 bits", None
                picture.load()
                if kind == "F" and not np.isfinite(np.asarray(picture)).all():
                    return "values that are not numbers", None
                upright = ImageOps.exif_transpose(picture)
                kinds.add((kind, upright.height, upright.width))
            transfer = picture.format
            if transfer == "PNG":
                check_png(file)
    except (PermissionError, FileNotFoundError):
        return "unreadable", None
    except UnidentifiedImageError:
        return _unidentified(path), None
    except Exception as error:
        # Damaged pictures make decoders raise whatever they like; the file is counted, named and left out.
        return "truncated" if "truncated" in str(error).lower() else "undecodable", None
    if len(kinds) > 1:
        return "pages of different kinds", None
    [(mode, height, width)] = kinds
    return "", (
        {
            "rows": height,
            "columns": width,
            "photometric": mode,
            "bits_stored": BITS.get(mode, 8),
            "transfer_syntax": transfer,
        },
        pages,
    )


def _unidentified(path: str) -> str:
    """What is wrong with a file that Pillow does not know: no picture, cut off, or of a kind that it cannot read."""
    with open(path, "rb") as file:
        start = file.read(8)
        if not recognises(start):
            return NOT_A_PICTURE
        return "undecodable" if is_whole(file) else "truncated"


def recognises(start: bytes) -> bool:
    """True for the first bytes of a PNG, JPEG or TIFF file."""
    return start.startswith(SIGNATURES)


def group_series(scan: ScanResult, settings: Settings) -> Grouped:
    """Each file is a series."""
    return one_image_per_series(scan, scan.images.path)


@private_errors
def read_series(root: Path, rows: pd.DataFrame, settings: Settings) -> Volume:
    """The picture as a volume of one slice, a TIFF's pages as its slices.

    unit: "0-255", "0-65535" for 16-bit grey, "arbitrary" for TIFFs of 32-bit integers or floats.
    """
    with Image.open(Path(root) / rows.path.iloc[0], formats=FORMATS) as picture:
        pages = []
        for page in rows.frame.clip(lower=0):
            picture.seek(page)
            unit = picture_unit(picture)
            pages.append(picture_values(picture, settings.channels))
    return Volume(
        values=np.stack(pages),
        unit=unit,
        spacing_mm=(np.nan, *(settings.spacing_mm or (np.nan, np.nan))),
        channels=CHANNELS[settings.channels],
        slice_index=rows.slice_index.to_numpy(dtype=np.int64),
    )
