"""Which reader a file is for, judged by its first bytes: a hint for files that another reader did not know."""

import gzip
import re
from collections.abc import Callable
from pathlib import Path

HEAD = 352  # bytes: NIfTI-1's header and its magic
_TESTS: dict[str, Callable[[bytes], bool]] = {
    "dicom": lambda head: head[128:132] == b"DICM",
    "image_files": lambda head: head.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*")),
    "nifti": lambda head: head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0"),
    "volume_files": lambda head: head.startswith(b"NRRD000") or bool(re.match(rb"\s*(ObjectType|NDims)\s*=", head)),
    "npz": lambda head: head.startswith(b"PK\x03\x04") and b".npy" in head,
}


def reader_of(path: Path) -> str | None:
    """Name of the reader plug-in; None for files that none of them knows, or that cannot be read."""
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD)
        if head.startswith(b"\x1f\x8b"):
            with gzip.open(path) as file:
                head = file.read(HEAD)
    except (OSError, EOFError):
        return None
    return next((name for name, fits in _TESTS.items() if fits(head)), None)
