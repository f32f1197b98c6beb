"""PNG files from arrays with the standard library alone: machines that only train have no image library."""

import struct
import zlib

import numpy as np


def png_of(pixels: np.ndarray) -> bytes:
    """The PNG file of uint8 pixels [rows, columns] (grey) or [rows, columns, 3] (red, green, blue).

    W3C, PNG specification, third edition: sections 5 (chunks) and 11; no filter, one data chunk. Raises ValueError for
    other arrays.
    """
    pixels = np.asarray(pixels)
    if pixels.dtype != np.uint8 or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)):
        raise ValueError(f"pixels {pixels.dtype} {pixels.shape} must be uint8 [rows, columns] or [rows, columns, 3]")
    rows, columns = pixels.shape[:2]
    header = struct.pack(">IIBBBBB", columns, rows, 8, 0 if pixels.ndim == 2 else 2, 0, 0, 0)
    # Every row begins with the number of its filter; 0 is none.
    lines = np.pad(pixels.reshape(rows, -1), ((0, 0), (1, 0)))
    chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(lines.tobytes())) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
