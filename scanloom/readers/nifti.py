"""NIfTI: volumes in .nii, .nii.gz and .hdr/.img pairs, NIfTI-1 and NIfTI-2, told by their content.

Slices are planes of the third axis, in the order of the file; the affine is the sform's, else the qform's, in LPS
millimetres (NIfTI's own are RAS). Several volumes in one file (time points, echoes) are a series each.
Reasons for leaving a file out: "not a NIfTI file", "truncated" (damaged gzip streams too), "undecodable: <why>",
"not an image (vector field)", "several volumes in one file", "values that are not numbers", "unreadable",
"too few slices", "not an image (declared)".
"""

import io
from pathlib import Path

import numpy as np
import pandas as pd
from nibabel.nifti1 import Nifti1Header, Nifti1PairHeader
from nibabel.nifti2 import Nifti2Header, Nifti2PairHeader

from scanloom.readers._scan import Grouped, ScanResult, private_errors
from scanloom.readers._stored_volume import (
    Refused,
    Settings,
    Stored,
    first_bytes,
    group_volumes,
    read_files_of,
    scan_volumes,
)
from scanloom.readers._volume import Volume

__all__ = ["Settings", "group_series", "read_series", "scan"]

NOT_NIFTI = "not a NIfTI file"
VECTOR_INTENTS = {1006, 1007}  # displacement field, vector
MM = {"meter": 1000.0, "micron": 0.001}
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
# Magic of the header and where it stands: NIfTI-1 file and pair, NIfTI-2 file and pair.
KINDS = [
    (slice(344, 348), b"n+1\0", Nifti1Header),
    (slice(344, 348), b"ni1\0", Nifti1PairHeader),
    (slice(4, 8), b"n+2\0", Nifti2Header),
    (slice(4, 8), b"ni2\0", Nifti2PairHeader),
]


def scan(
    root: Path,
    settings: Settings,
    *,
    modality: str | None = None,
    declared: frozenset[str] = frozenset(),
    workers: int = 1,
    unpack_to: Path | None = None,
) -> ScanResult:
    """All files below root; every number is read once, because nothing less finds a damaged file."""
    return scan_volumes(
        _header,
        NOT_NIFTI,
        root,
        settings,
        modality=modality,
        declared=declared,
        workers=workers,
        unpack_to=unpack_to,
    )


def recognises(start: bytes) -> bool:
    """True for the first 348 bytes of a NIfTI header."""
    return _kind(start) is not None


def group_series(scan: ScanResult, settings: Settings) -> Grouped:
    """Each volume is a series."""
    return group_volumes(scan, settings)


@private_errors
def read_series(root: Path, rows: pd.DataFrame, settings: Settings) -> Volume:
    """The volume in physical units; unit by the setting."""
    return read_files_of(_header, root, rows, settings)


def _header(path: str | Path) -> Stored:
    """What the file says. Raises Refused."""
    path = Path(path)
    start, packing = _start(path)
    kind = _kind(start)
    if kind is None:
        raise Refused(NOT_NIFTI)
    single = kind in (Nifti1Header, Nifti2Header)
    try:
        header = kind.from_fileobj(io.BytesIO(start), check=False)
        shape, colours, dtype = _layout(header)
        slope, intercept = header.get_slope_inter()
        # Below the header's own size an offset can only be a leftover of the pair form.
        offset = max(int(header["vox_offset"]), kind.single_vox_offset if single else 0)
        affine = _affine(header)
        zooms = [abs(float(size)) * MM.get(header.get_xyzt_units()[0], 1.0) for size in header["pixdim"][3:0:-1]]
    except Refused:
        raise
    except Exception:
        # A damaged header makes the library raise anything from HeaderDataError to OverflowError.
        raise Refused("undecodable: impossible header") from None
    if affine is not None:
        zooms = np.linalg.norm(affine[:3, :3], axis=0)
    zooms = [
        np.nan if size == 0 and count == 1 else float(size) for size, count in zip(zooms, shape[2::-1], strict=True)
    ]
    if min(zooms) <= 0:
        raise Refused("undecodable: impossible geometry")
    data, data_packing = (path, packing) if single else _data_file(path)
    return Stored(
        data=data,
        at=0,
        skip=offset,
        packing=data_packing,
        shape=(shape[3], shape[2], shape[1], shape[0], colours),
        dtype=dtype,
        spacing_mm=tuple(zooms),
        affine_lps=affine,
        slope=1.0 if slope is None else float(slope),
        intercept=0.0 if intercept is None else float(intercept),
    )


def _kind(start: bytes) -> type[Nifti1Header] | None:
    return next((kind for place, magic, kind in KINDS if start[place] == magic), None)


def _start(path: Path) -> tuple[bytes, str]:
    """The header's bytes and the packing; a gzip file that cannot be unpacked is NIfTI by its name only."""
    try:
        return first_bytes(path, Nifti2Header.sizeof_hdr)
    except Refused:
        raise Refused("truncated" if path.name.lower().endswith((".nii.gz", ".hdr.gz")) else NOT_NIFTI) from None


def _layout(header) -> tuple[list[int], int, np.dtype]:
    """([x, y, z, volumes], colours, dtype of a number); axes of length 1 beyond the fourth are dropped."""
    shape = [int(size) for size in header["dim"][1 : int(header["dim"][0]) + 1]]
    if not 1 <= int(header["dim"][0]) <= 7 or min(shape) < 1:
        raise Refused("undecodable: impossible size")
    shape += [1] * (7 - len(shape))
    if int(header["intent_code"]) in VECTOR_INTENTS or max(shape[4:]) > 1:
        raise Refused("not an image (vector field)")
    dtype = header.get_data_dtype()
    if dtype.fields:  # RGB24, RGBA32
        return shape[:4], len(dtype.fields), np.dtype("u1")
    return shape[:4], 1, dtype


def _affine(header) -> np.ndarray | None:
    """Voxel (z, y, x, 1) to LPS millimetres; None where the file does not say how it lies."""
    if int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
        return None
    scale = MM.get(header.get_xyzt_units()[0], 1.0)
    return RAS_TO_LPS @ np.diag([scale] * 3 + [1.0]) @ header.get_best_affine().astype(np.float64)[:, [2, 1, 0, 3]]


def _data_file(path: Path) -> tuple[Path, str]:
    """The .img beside a .hdr, and its packing."""
    name = path.name
    for ending, other in ((".hdr", ".img"), (".HDR", ".IMG"), (".hdr.gz", ".img.gz")):
        data = path.with_name(name.removesuffix(ending) + other)
        if name.endswith(ending) and data.is_file():
            with data.open("rb") as file:
                return data, "zlib" if file.read(2) == b"\x1f\x8b" else ""
    raise Refused("data file is missing")
