"""Numbers as commands take and say them."""

from argparse import ArgumentTypeError
from collections.abc import Callable


def whole(least: int) -> Callable[[str], int]:
    """A type of argument: whole numbers from `least` on."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise ArgumentTypeError(f"expected a whole number from {least} on, not {text!r}")
        return int(text)

    return read


def files_in_words(count: int | None) -> str:
    """`1 file`, `12 files`, or that nobody knows."""
    return "an unknown number of files" if count is None else f"{count} file{'' if count == 1 else 's'}"


def bytes_in_words(count: int | None) -> str:
    """`812 bytes`, `4.2 MB`, `42.1 GB` (powers of 1000), or that nobody knows."""
    if count is None:
        return "size not known before"
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
