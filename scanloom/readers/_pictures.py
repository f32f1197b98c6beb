"""An open picture as an array: upright, without transparency, palettes looked up, white bright."""

import os
import warnings
import zlib
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin

SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N")  # grey, as Pillow names it
BITS = {"1": 1, "I": 32, "F": 32} | dict.fromkeys(SIXTEEN_BITS, 16)
TIFF_PHOTOMETRIC, WHITE_IS_ZERO = 262, 0
TIFF_BITS = 258
TIFF_DATA = ((273, 279), (324, 325))  # offsets and byte counts of strips, of tiles
CHANNELS = {"grey": ("image",), "rgb": ("red", "green", "blue")}


def check_png(file: BinaryIO) -> None:
    """Compare the CRC-32 of every chunk of a PNG up to its end (PNG specification, 5.3); the decoder does not.

    Raises ValueError "truncated" or "damaged".
    """
    file.seek(8)
    kind = b""
    while kind != b"IEND":
        head = file.read(8)
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        check, left = zlib.crc32(kind), length
        while left and (piece := file.read(min(left, 1 << 20))):
            check, left = zlib.crc32(piece, check), left - len(piece)
        stored = file.read(4)
        if left or len(head) + len(stored) < 12:
            raise ValueError("truncated")
        if int.from_bytes(stored, "big") != check:
            raise ValueError("damaged")


def is_whole(file: BinaryIO) -> bool:
    """Whether a PNG, JPEG or TIFF that cannot be decoded is all there: its end marker, or all of its TIFF's data."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    start = file.read(16)
    if not start.startswith((b"II", b"MM")):
        file.seek(max(0, size - 16))
        return (b"IEND" if start.startswith(b"\x89PNG") else b"\xff\xd9") in file.read()
    try:
        directory = TiffImagePlugin.ImageFileDirectory_v2(start if start[2:4] in (b"+\0", b"\0+") else start[:8])
        file.seek(directory.next)
        with warnings.catch_warnings(action="ignore"):  # they quote what the file says
            directory.load(file)
        parts = [
            offset + count
            for offsets, counts in TIFF_DATA
            for offset, count in zip(directory.get(offsets, ()), directory.get(counts, ()), strict=True)
        ]
    except Exception:
        # A directory that is cut off makes Pillow raise what its parts raise.
        return False
    return bool(parts) and max(parts) <= size


def png_loses_bits(file: BinaryIO) -> bool:
    """Whether Pillow would cut a PNG's values to 8 bits: colours, or grey with transparency, of 16. Its place stays."""
    place = file.tell()
    file.seek(24)  # IHDR's depth and type of colour (PNG specification, 11.2.2)
    depth, colour_type = file.read(2)
    file.seek(place)
    return depth == 16 and colour_type != 0


def tiff_loses_bits(picture: Image.Image) -> bool:
    """The same of the page at which an open TIFF is."""
    depths = getattr(picture, "tag_v2", {}).get(TIFF_BITS, (8,))
    return max(depths) > 8 and picture.mode not in (*SIXTEEN_BITS, "I", "F")


def picture_unit(picture: Image.Image) -> str:
    """What its values mean: "0-255", "0-65535" for 16-bit grey, "arbitrary" for 32-bit integers and floats."""
    if picture.mode in SIXTEEN_BITS or (picture.mode == "I" and picture.format == "PNG"):
        return "0-65535"
    return "arbitrary" if picture.mode in ("I", "F") else "0-255"


def picture_values(picture: Image.Image, channels: str) -> np.ndarray:
    """float32 [y, x] for channels "grey" (ITU-R 601 luma), [y, x, 3] for "rgb"."""
    # Pillow inverts pictures of 1 and 8 bits itself.
    inverted = getattr(picture, "tag_v2", {}).get(TIFF_PHOTOMETRIC) == WHITE_IS_ZERO and picture.mode in SIXTEEN_BITS
    upright = ImageOps.exif_transpose(picture)
    if upright.mode in (*SIXTEEN_BITS, "I", "F"):
        values = np.asarray(upright, dtype=np.float32)
        values = 65535 - values if inverted else values
        return values if channels == "grey" else np.repeat(values[..., None], 3, axis=2)
    flat = _flat(upright)
    return np.asarray(flat.convert("L") if channels == "grey" else flat, dtype=np.float32)


def _flat(picture: Image.Image) -> Image.Image:
    """RGB without transparency. Palettes go through RGBA: Pillow would warn about transparent entries."""
    if picture.mode == "P":
        picture = picture.convert("RGBA")
    return picture.convert("RGB")
