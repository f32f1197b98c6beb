"""Expected are the pieces one after the other, which is what plain writes make of them."""

import ctypes
import errno
import os

import numpy as np
import pytest

from scanloom.files import joined_writes
from scanloom.files.joined_writes import write_pieces


def pieces_of(count: int) -> list:
    """Bytes, arrays of several types and shapes, and empty ones."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (7, 5, 3)).astype(np.uint8)
    return [b"head", image, b"", image.astype("<u2"), bytes(range(200))] * count


def joined(pieces: list) -> bytes:
    return b"".join(bytes(piece) if isinstance(piece, bytes) else piece.tobytes() for piece in pieces)


@pytest.mark.parametrize(("most_bytes", "most_pieces"), [(1 << 22, 1000), (300, 1000), (1 << 22, 3), (1, 1)])
def test_all_pieces_arrive_in_their_order(tmp_path, monkeypatch, most_bytes, most_pieces):
    monkeypatch.setattr(joined_writes, "JOINED", most_bytes)
    monkeypatch.setattr(joined_writes, "MOST_PIECES", most_pieces)
    pieces = pieces_of(6)
    with open(tmp_path / "file", "wb") as file:
        file.write(b"before ")
        assert write_pieces(file, iter(pieces)) == len(joined(pieces))
        file.write(b" behind")
    assert (tmp_path / "file").read_bytes() == b"before " + joined(pieces) + b" behind"


def test_nothing_makes_an_empty_file(tmp_path):
    with open(tmp_path / "file", "wb") as file:
        assert write_pieces(file, []) == 0
    assert (tmp_path / "file").stat().st_size == 0


def test_more_pieces_than_the_system_takes_at_once(tmp_path):
    with open(tmp_path / "file", "wb") as file:
        assert write_pieces(file, [b"x"] * 5000) == 5000
    assert (tmp_path / "file").read_bytes() == b"x" * 5000


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_what_the_system_did_not_take_is_written_after(tmp_path, monkeypatch, share):
    def partly(descriptor, pieces):
        whole = b"".join(pieces)
        return os.write(descriptor, whole[: int(share * len(whole))])

    monkeypatch.setattr(joined_writes.os, "writev", partly)
    pieces = pieces_of(2)
    with open(tmp_path / "file", "wb") as file:
        write_pieces(file, pieces)
    assert (tmp_path / "file").read_bytes() == joined(pieces)


def refusing(number: int):
    """fallocate(2) that fails."""

    def fallocate(*_) -> int:
        ctypes.set_errno(number)
        return -1

    return fallocate


@pytest.mark.parametrize("fallocate", [None, refusing(errno.EOPNOTSUPP), refusing(errno.ENOSYS)])
def test_file_systems_that_reserve_nothing_are_written_to_all_the_same(tmp_path, monkeypatch, fallocate):
    monkeypatch.setattr(joined_writes, "_fallocate", fallocate)
    with open(tmp_path / "file", "wb") as file:
        write_pieces(file, pieces_of(2))
    assert (tmp_path / "file").read_bytes() == joined(pieces_of(2))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_an_error_before_anything_is_written(tmp_path, monkeypatch, number):
    monkeypatch.setattr(joined_writes, "_fallocate", refusing(number))
    with open(tmp_path / "file", "wb") as file, pytest.raises(OSError, match=os.strerror(number)) as raised:
        write_pieces(file, pieces_of(1))
    assert raised.value.errno == number
    assert (tmp_path / "file").stat().st_size == 0
