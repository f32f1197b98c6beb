"""Unpack archives that others made: no member leaves the folder, no links, no bombs, all of it or nothing.

zip, tar (plain or gz, bz2, xz) and single gz, bz2 or xz files, told apart by their content, never by their name.
Members are written as ordinary files with this user's default permissions; times, owners and modes are not kept.
Messages name a member by its number, because member names may hold a patient's name.
"""

import bz2
import errno
import gzip
import lzma
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

PIECE = 1 << 20  # bytes copied at a time
LONGEST_HEADER = 1 << 20  # bytes of one tar header record; tarfile reads these into memory whole
OPENERS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
# What the modules above raise for damaged bytes: zipfile also RuntimeError, NotImplementedError (unknown compression),
# struct.error and UnicodeDecodeError (a ValueError).
DAMAGE = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError),
    *(RuntimeError, struct.error, ValueError, OverflowError),
)


class ArchiveError(ValueError):
    """An archive that is damaged, unsafe or of an unknown kind; nothing of it was left on the disk.

    reason: the category in a few words, for tables; the message says more.
    """

    def __init__(self, reason: str, detail: str):
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


@dataclass(frozen=True)
class Limits:
    """What an archive may become.

    total_bytes, files: of all members together. ratio: unpacked bytes per packed byte, asked only above
    `free_bytes`, because small masks and empty slices shrink a thousandfold without any bad intention.
    """

    total_bytes: int = 2 << 40
    files: int = 5_000_000
    ratio: float = 200.0
    free_bytes: int = 1 << 30


class _Header(tarfile.TarInfo):
    """A tar header that refuses extended records too large to be honest (they would be read into memory).

    One that is cut or changed is damage: tarfile takes it for the end, and all members behind it would be lost.
    """

    @classmethod
    def frombuf(cls, buf, encoding, errors):
        try:
            header = super().frombuf(buf, encoding, errors)
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError, tarfile.EmptyHeaderError):
            raise ArchiveError("damaged archive", "a tar header is cut, changed or missing") from None
        extended = header.type in (*tarfile.GNU_TYPES, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
        if extended and header.type != tarfile.GNUTYPE_SPARSE and header.size > LONGEST_HEADER:
            raise ArchiveError("unsafe archive", f"a tar header of {header.size} bytes (at most {LONGEST_HEADER})")
        return header


def kind_of(path: Path) -> str | None:
    """`zip`, `tar` (compressed or not), `gz` (one file compressed with gz, bz2 or xz), or None for anything else.

    An NPZ is a zip and a .nii.gz is a gz: whether to unpack those is the caller's business.
    """
    with open(path, "rb") as file:
        magic = file.read(6)
    if magic[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return "zip"
    try:
        with _decompressed(path) as file:
            tarfile.TarInfo.frombuf(file.read(tarfile.BLOCKSIZE), "utf-8", "surrogateescape")
        return "tar"
    except (*DAMAGE, OSError):
        return "gz" if _opener(magic) is not None else None


def safe_path(name: str) -> PurePosixPath:
    """A member's or object's name as a relative path below any folder. Raises ValueError for a name that leaves it.

    Refused: absolute paths, drive letters, `..`, backslashes, control characters, overlong names.
    """
    path = PurePosixPath(name)
    if not name or name.startswith("/") or (len(name) > 1 and name[1] == ":"):
        raise ValueError("an absolute or empty path")
    if "\\" in name or any(ord(character) < 32 or ord(character) == 127 for character in name):
        raise ValueError("a backslash or control character in its path")
    if ".." in path.parts:
        raise ValueError("a path with '..'")
    if len(name) > 2048 or any(len(part.encode(errors="surrogatepass")) > 255 for part in path.parts):
        raise ValueError("a name too long for a disk (255 bytes, 2048 characters with its folders)")
    return path


def unpack(
    archive: Path,
    into: Path,
    *,
    limits: Limits | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[Path]:
    """Unpack `archive` as the new folder `into`; give the files written, sorted.

    The members are written beside `into` first and renamed once all are there, so that `into` exists only complete.
    progress: called with the number of bytes written since the last call.
    Raises ArchiveError (nothing is left behind), FileExistsError if `into` exists, OSError of the disk.
    """
    archive, into, limits = Path(archive), Path(into), limits or Limits()
    if into.exists():
        raise FileExistsError(f"{into} exists already; unpack into a new folder")
    kind = kind_of(archive)
    if kind is None:
        raise ArchiveError("unknown archive", "expected zip, tar, gz, bz2 or xz; unpack other kinds by hand")
    part = into.with_name(f".{into.name}.unpacking")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        write = _Writer(part, archive.stat().st_size, limits, progress or (lambda size: None))
        for number, (name, folder, size, content) in enumerate(_members(archive, kind), start=1):
            write.member(number, name, folder, size, content)
        part.rename(into)
    except ArchiveError:
        raise
    except (*DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise  # the disk's; a damaged gz or bz2 has no number, a seek to nowhere has EINVAL
        # Not the error's text: that of zipfile holds the member's name.
        raise ArchiveError("damaged archive", f"truncated or changed ({type(error).__name__})") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return sorted(into / path for path in write.written)


class _Writer:
    """Writes members below a folder, counting what they become against the limits."""

    def __init__(self, folder: Path, packed: int, limits: Limits, progress: Callable[[int], None]):
        self.folder, self.packed, self.limits, self.progress = folder, packed, limits, progress
        self.bytes = 0
        self.written: list[PurePosixPath] = []

    def member(self, number: int, name: str, folder: bool, size: int, content: Callable[[], BinaryIO]) -> None:
        """Write one member. Raises ArchiveError for unsafe paths, two members of one name, and bombs."""
        try:
            path = safe_path(name)
        except ValueError as error:
            raise ArchiveError("unsafe archive", f"member {number} has {error}") from None
        if number > self.limits.files:
            raise ArchiveError("too large archive", f"more than {self.limits.files} members")
        self._allow(self.bytes + size)
        target = self.folder / path
        try:
            if folder:
                target.mkdir(parents=True, exist_ok=True)
                return
            target.parent.mkdir(parents=True, exist_ok=True)
            # "x": a second member of the same name (on this disk: letter case may not count) is refused, not merged.
            with open(target, "xb") as file, content() as source:
                while piece := source.read(PIECE):
                    self.bytes += len(piece)
                    self._allow(self.bytes)
                    file.write(piece)
                    self.progress(len(piece))
        except (FileExistsError, IsADirectoryError, NotADirectoryError):
            raise ArchiveError("unsafe archive", f"member {number} has the path of an earlier one") from None
        self.written.append(path)

    def _allow(self, total: int) -> None:
        if total > self.limits.total_bytes:
            raise ArchiveError("too large archive", f"more than {self.limits.total_bytes} bytes when unpacked")
        if total > max(self.limits.free_bytes, self.limits.ratio * self.packed):
            raise ArchiveError(
                "archive bomb", f"{total} bytes out of {self.packed}: more than {self.limits.ratio:g} times as many"
            )


Member = tuple[str, bool, int, Callable[[], BinaryIO]]  # name, is it a folder, declared bytes, opener of its content


def _members(archive: Path, kind: str) -> Iterator[Member]:
    if kind == "zip":
        return _zip_members(archive)
    return _tar_members(archive) if kind == "tar" else _single_member(archive)


def _zip_members(archive: Path) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as file:
        for number, member in enumerate(file.infolist(), start=1):
            if member.flag_bits & 1:
                raise ArchiveError("encrypted archive", f"member {number} needs a password; unpack it by hand")
            if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise ArchiveError("unsafe archive", f"member {number} is a link or device")
            # The name as stored (zipfile cuts it at a NUL); old Windows programs separate folders with backslashes.
            name = member.orig_filename.replace("\\", "/")
            yield name, name.endswith("/"), member.file_size, lambda m=member: file.open(m)


def _tar_members(archive: Path) -> Iterator[Member]:
    with (
        _decompressed(archive) as stream,
        tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header, errorlevel=2) as file,
    ):
        for number, member in enumerate(file, start=1):
            if not (member.isreg() or member.isdir()):
                raise ArchiveError("unsafe archive", f"member {number} is a link or device")
            yield member.name, member.isdir(), member.size, lambda m=member: file.extractfile(m)
        # tarfile ends quietly where a compressed stream is cut between members; reading on shows the cut.
        while stream.read(PIECE):
            pass


def _single_member(archive: Path) -> Iterator[Member]:
    name = archive.name.removesuffix(".gz").removesuffix(".bz2").removesuffix(".xz") or "content"
    yield name, False, 0, lambda: _decompressed(archive)


def _opener(magic: bytes):
    return next((opener for start, opener in OPENERS.items() if magic.startswith(start)), None)


@contextmanager
def _decompressed(path: Path) -> Iterator[BinaryIO]:
    with open(path, "rb") as file:
        opener = _opener(file.read(6))
    with (opener or open)(path, "rb") as file:
        yield file
