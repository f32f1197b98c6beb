"""MetaImage (.mha, .mhd) and NRRD (.nrrd, .nhdr) volumes, with their data inside or in one file beside the header.

Told by their content. Slices are planes of the third axis in space, in the order of the file. Several volumes in one
file are a series each. The data file of a detached header counts as used with it.
Reasons for leaving a file out: "not a MetaImage or NRRD file", "truncated" (damaged streams too), "data file is
missing", "undecodable: <why>", "not an image (vector field)", "several volumes in one file", "values that are not
numbers", "unreadable", "too few slices", "not an image (declared)".
Formats: MetaIO reference (itk.org/Wiki/MetaIO/Documentation), NRRD definition (teem.sourceforge.net/nrrd/format.html).
"""

import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from scanloom.readers._scan import Grouped, ScanResult, private_errors
from scanloom.readers._stored_volume import Refused, Settings, Stored, group_volumes, read_files_of, scan_volumes
from scanloom.readers._volume import Volume

__all__ = ["Settings", "group_series", "read_series", "scan"]

FOREIGN = "not a MetaImage or NRRD file"
MISSING = "data file is missing"
LONGEST_HEADER = 1 << 20  # bytes; key-value pairs of some programs are long

META_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",  # four bytes on every machine, as MetaIO's table of sizes says
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
NRRD_TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
NRRD_PACKINGS = {"raw": "", "gzip": "zlib", "gz": "zlib", "bzip2": "bzip2", "bz2": "bzip2"}
# Signs that turn the space into LPS; spaces that are not listed say nothing about the patient.
NRRD_SPACES = {
    "left-posterior-superior": (1, 1, 1),
    "lps": (1, 1, 1),
    "right-anterior-superior": (-1, -1, 1),
    "ras": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1),
    "las": (1, -1, 1),
}


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
        FOREIGN,
        root,
        settings,
        modality=modality,
        declared=declared,
        workers=workers,
        unpack_to=unpack_to,
    )


def group_series(scan: ScanResult, settings: Settings) -> Grouped:
    """Each volume is a series."""
    return group_volumes(scan, settings)


@private_errors
def read_series(root: Path, rows: pd.DataFrame, settings: Settings) -> Volume:
    """The volume in physical units; unit by the setting."""
    return read_files_of(_header, root, rows, settings)


def recognises(start: bytes) -> bool:
    """True for the first bytes of a MetaImage or NRRD header."""
    return _parser(start) is not None


def _parser(start: bytes) -> Callable[[Path, bytes], Stored] | None:
    if start.startswith(b"NRRD000"):
        return _nrrd
    return _metaimage if re.match(rb"\s*(ObjectType|NDims|Comment|ObjectSubType)\s*=", start) else None


def _header(path: str | Path) -> Stored:
    """What the file says. Raises Refused."""
    path = Path(path)
    with open(path, "rb") as file:
        start = file.read(2048)
        parse = _parser(start)
        if parse is None:
            raise Refused(FOREIGN)
        start += file.read(LONGEST_HEADER)
    try:
        return parse(path, start)
    except Refused:
        raise
    except (ValueError, KeyError, IndexError, OverflowError):
        raise Refused("undecodable: impossible header") from None


def _data_path(header: Path, name: str) -> Path:
    """The data file beside or below the header, nowhere else."""
    if name == "LIST" or name.startswith("LIST ") or "%" in name:
        raise Refused("undecodable: data in several files")
    place = Path(name)
    if place.is_absolute() or ".." in place.parts or not (header.parent / place).is_file():
        raise Refused(MISSING)
    return header.parent / place


def _numbers(text: str, count: int) -> np.ndarray:
    values = np.array([float(part) for part in text.split()])
    if len(values) != count:
        raise ValueError(f"{len(values)} numbers for {count}")
    return values


def _metaimage(path: Path, start: bytes) -> Stored:
    """A MetaImage: lines `Key = value`; ElementDataFile is the last one."""
    found = re.search(rb"^[ \t]*ElementDataFile[ \t]*=[ \t]*([^\r\n]*)\r?\n?", start, re.MULTILINE)
    if found is None:
        raise Refused("truncated")
    lines = start[: found.start()].decode("latin-1").splitlines()
    fields = {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}

    def field(*names: str) -> str | None:
        return next((fields[name] for name in names if name in fields), None)

    def yes(*names: str) -> bool:
        return (field(*names) or "false").lower() in ("true", "1", "t")

    dimensions = int(fields["NDims"])
    size = [int(part) for part in fields["DimSize"].split()]
    if not 2 <= dimensions <= 4 or len(size) != dimensions or fields["ElementType"] not in META_TYPES:
        raise Refused("undecodable: impossible size or type")
    if field("BinaryData") is not None and not yes("BinaryData"):
        raise Refused("undecodable: numbers as text")
    order = ">" if yes("ElementByteOrderMSB", "BinaryDataByteOrderMSB") else "<"
    dtype = np.dtype(order + META_TYPES[fields["ElementType"]])
    channels = int(field("ElementNumberOfChannels") or 1)
    shape = (*size[::-1][: max(dimensions - 3, 0)], *([1] if dimensions == 2 else []), *size[2::-1])
    shape = (*([1] if dimensions < 4 else []), *shape, channels)
    spacing = _numbers(field("ElementSpacing", "ElementSize") or "1 " * dimensions, dimensions)
    affine = _meta_affine(field, dimensions, spacing)
    name = found.group(1).decode("utf-8", "surrogateescape").strip()
    data, at = (path, found.end()) if name.upper() == "LOCAL" else (_data_path(path, name), 0)
    packing = "zlib" if yes("CompressedData") else ""
    at = _skipped(int(field("HeaderSize") or 0), at, data, packing, math.prod(shape) * dtype.itemsize)
    return Stored(data, at, 0, packing, shape, dtype, _spacings(spacing), affine)


def _meta_affine(field, dimensions: int, spacing: np.ndarray) -> np.ndarray | None:
    """Row i of the transform is the direction of axis i; None for pictures and where it is not given."""
    transform, offset = field("TransformMatrix", "Rotation", "Orientation"), field("Offset", "Position", "Origin")
    if dimensions < 3 or transform is None or offset is None:
        return None
    axes = _numbers(transform, dimensions**2).reshape(dimensions, dimensions)[:3, :3] * spacing[:3, None]
    return _affine(axes, _numbers(offset, dimensions)[:3])


def _nrrd(path: Path, start: bytes) -> Stored:
    """An NRRD: lines `field: value`, key-value pairs `key:=value`, and a blank line before attached data."""
    end = re.search(rb"\r?\n\r?\n", start)
    text = (start[: end.start()] if end else start).decode("latin-1")
    pairs = [line.partition(": ") for line in text.splitlines()[1:] if not line.startswith("#") and ":=" not in line]
    fields = {name.strip().lower(): value.strip() for name, _, value in pairs}
    data_name = fields.get("data file", fields.get("datafile"))
    if end is None and data_name is None:
        raise Refused("truncated")
    if fields["encoding"].lower() not in NRRD_PACKINGS:
        raise Refused("undecodable: numbers as text")
    kind = next((code for code, names in NRRD_TYPES.items() if fields["type"].lower() in names), None)
    if kind is None:
        raise Refused("undecodable: impossible size or type")
    size = [int(part) for part in fields["sizes"].split()]
    axes = _nrrd_axes(fields, len(size))
    shape = _nrrd_shape(size, axes)
    dtype = np.dtype((">" if fields.get("endian", "little").lower() == "big" else "<") + kind)
    packing = NRRD_PACKINGS[fields["encoding"].lower()]
    data, at = (path, end.end()) if data_name is None else (_data_path(path, data_name), 0)
    at = _after_lines(data, at, int(fields.get("line skip", fields.get("lineskip", 0))))
    skip = int(fields.get("byte skip", fields.get("byteskip", 0)))
    at = _skipped(skip, at, data, packing, math.prod(shape) * dtype.itemsize)
    vectors = np.array([axis for axis in axes if axis is not None])
    spacing = np.linalg.norm(vectors, axis=1)
    signs = NRRD_SPACES.get(re.sub(r"(-time|t)$", "", fields.get("space", "").lower()))
    affine = None
    if signs is not None and vectors.shape == (3, 3):
        origin = np.array(_vector(fields.get("space origin", "(0,0,0)")))
        affine = _affine(vectors * signs, origin * signs)
    return Stored(data, at, 0, packing, shape, dtype, _spacings(spacing), affine)


def _nrrd_axes(fields: dict[str, str], dimensions: int) -> list[np.ndarray | None]:
    """The vector of each axis, None for one that is not in space (colours, time)."""
    directions = fields.get("space directions")
    if directions is not None:
        parts = re.findall(r"none|\([^)]*\)", directions)
        axes = [None if part == "none" else np.array(_vector(part)) for part in parts]
    else:
        kinds = fields.get("kinds", "").lower().split() or ["domain"] * dimensions
        spacing = fields.get("spacings", "").lower().split() or ["nan"] * dimensions
        inside = [kind in ("domain", "space", "???", "none") for kind in kinds]
        axes = [np.array([float(step)]) if here else None for here, step in zip(inside, spacing, strict=True)]
    if len(axes) == 4 and all(axis is not None for axis in axes):
        axes = [*(axis[:3] for axis in axes[:3]), None]  # a fourth axis in space is time
    if len(axes) != dimensions or dimensions > 5:
        raise ValueError("axes")
    return axes


def _nrrd_shape(size: list[int], axes: list[np.ndarray | None]) -> tuple[int, int, int, int, int]:
    """(volumes, z, y, x, channels): an axis outside space is one of channels if it comes first, of volumes if last."""
    space = [number for number, axis in enumerate(axes) if axis is not None]
    if not 2 <= len(space) <= 3 or space != list(range(space[0], space[0] + len(space))) or space[0] > 1:
        raise Refused("undecodable: order of axes")
    channels = size[0] if space[0] == 1 else 1
    volumes = math.prod(size[space[-1] + 1 :])
    z, y, x = [*(size[number] for number in space), 1][2::-1]
    return volumes, z, y, x, channels


def _vector(text: str) -> list[float]:
    return [float(part) for part in text.strip("()").split(",")]


def _affine(axes: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """From the vectors of x, y and z (rows, mm) and the place of the first voxel: (z, y, x, 1) to LPS millimetres."""
    affine = np.eye(4)
    affine[:3, :3] = axes[::-1].T
    affine[:3, 3] = origin
    return affine


def _spacings(spacing: np.ndarray) -> tuple[float, float, float]:
    """z, y, x from x, y, z; NaN where not known. Raises Refused for distances that are none."""
    known = [float(step) for step in [*spacing, math.nan][:3]]
    if any(step <= 0 or math.isinf(step) for step in known):
        raise Refused("undecodable: impossible geometry")
    return tuple(known[::-1])


def _after_lines(data: Path, at: int, lines: int) -> int:
    with open(data, "rb") as file:
        file.seek(at)
        for _ in range(min(lines, 10_000)):
            file.readline(LONGEST_HEADER)
        return file.tell()


def _skipped(skip: int, at: int, data: Path, packing: str, size: int) -> int:
    """Where the numbers begin; -1: they end with the file."""
    if skip == 0:
        return at
    if packing:
        raise Refused("undecodable: bytes before packed numbers")
    return data.stat().st_size - size if skip == -1 and data.stat().st_size >= at + size else at + max(skip, 0)
