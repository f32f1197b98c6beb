"""Archives among a dataset's files are opened, so that what is in them counts file by file.

An archive is told by its content. Its members are unpacked once into a private folder, under the key of the archive's
name, size and time of change, and are known as `<archive>/<member>` wherever a path is asked for. Not opened, because
they are files of their own: NPZ, office documents, and single compressed files unless a picture is in them.
"""

import gzip
import hashlib
import shutil
import zipfile
import zlib
from pathlib import Path

from scanloom.files import archives

OPENED = "archive (opened)"
NOT_OPENED = "archive (not opened)"
TOO_DEEP = "archive in archives (too deep)"
DEPTH = 3  # archives in archives in archives; deeper ones are counted and left closed
KEY_LENGTH = 16
SPARE_BYTES = 1 << 30  # of the disk, left free


def members(file: Path, name: str, into: Path | None) -> tuple[str, dict[str, str]] | None:
    """(reason for the archive itself, {`name/member`: place of the unpacked copy}); None for what is no archive.

    into: folder of the unpacked copies; None: archives are named and stay closed.
    """
    try:
        if not _is_archive(file):
            return None
        if into is None:
            return NOT_OPENED, {}
        state = file.stat()
    except OSError:
        return None
    key = f"{name}|{state.st_size}|{state.st_mtime_ns}".encode(errors="surrogatepass")
    folder = Path(into).absolute() / hashlib.sha256(key).hexdigest()[:KEY_LENGTH]
    if not folder.is_dir():
        into.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(into).free - SPARE_BYTES
        try:
            archives.unpack(file, folder, limits=archives.Limits(total_bytes=max(free, 0)))
        except archives.ArchiveError as error:
            return error.reason, {}
    inside = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return OPENED, {f"{name}/{member}": str(folder / member) for member in inside}


def forget_others(into: Path, places: dict[str, str]) -> None:
    """Remove unpacked copies of archives that are no longer there or have changed."""
    if not Path(into).is_dir():
        return
    above = len(str(Path(into).absolute())) + 1
    kept = {place[above : above + KEY_LENGTH] for place in places.values()}
    for folder in Path(into).iterdir():
        if folder.name not in kept:
            shutil.rmtree(folder, ignore_errors=True)


def _is_archive(file: Path) -> bool:
    kind = archives.kind_of(file)
    if kind == "zip":
        return not _is_document(file)
    return kind == "tar" or (kind == "gz" and _holds_a_picture(file))


def _is_document(file: Path) -> bool:
    """True for an NPZ and for an office document (Open Packaging Conventions, OpenDocument)."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, NotImplementedError):
        return False
    return bool(names) and (
        all(name.endswith(".npy") for name in names) or names[0] in ("[Content_Types].xml", "mimetype")
    )


def _holds_a_picture(file: Path) -> bool:
    try:
        with gzip.open(file) as content:
            start = content.read(132)
    except (OSError, EOFError, zlib.error):
        return False
    return start[128:132] == b"DICM" or start.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"PK\x03\x04"))
