"""An open picture as an array: upright, without transparency, palettes looked up, white bright."""

import zlib
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N")  # grey, as Pillow names it
BITS = {"1": 1, "I": 32, "F": 32} | dict.fromkeys(SIXTEEN_BITS, 16)
TIFF_PHOTOMETRIC, WHITE_IS_ZERO = 262, 0
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
