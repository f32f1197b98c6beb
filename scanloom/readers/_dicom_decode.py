"""Stored cells of DICOM frames: every transfer syntax by the fastest library that is right, pydicom wherever in doubt.

Decoders and how many times less CPU than pydicom they take, file to cells, 512 x 512 CT slices of 16 bits
(benchmarks/dicom_decode.py; pydicom with pylibjpeg's plugins, or its own for RLE):

| transfer syntax | decoder | against pydicom |
| --- | --- | --- |
| uncompressed, little endian | a view of the file's bytes | 7 x |
| deflated | zlib, then a view | 1.6 x |
| RLE | imagecodecs dicomrle | 16 x |
| JPEG lossless | imagecodecs jpeg8 (libjpeg-turbo; liblj92 takes 1.1 times as long, jpegsof3 1.9 times) | 5 x |
| JPEG-LS | imagecodecs jpegls (CharLS) | 4 x |
| JPEG 2000 | imagecodecs jpeg2k (OpenJPEG, as in pydicom's plugin) | 1.1 x |
| HTJ2K | imagecodecs htj2k (OpenJPH; OpenJPEG takes twice as long) | 3 x |
| JPEG baseline and extended | imagecodecs jpeg8; also 12 bits, which pydicom's plugin cannot decode | not measured |

pydicom decodes colour, big endian, 1-bit and float pixels, and whatever makes a decoder here give up: its result or its
error then stands. Only cut JPEG and JPEG-LS streams are refused here although pydicom's plugins accept them.
"""

import sys
from collections.abc import Callable, Iterator
from struct import Struct

import imagecodecs
import numpy as np
from pydicom import uid
from pydicom.encaps import generate_frames
from pydicom.pixels import pixel_array

from scanloom.readers._dicom_description import UNDEFINED, PixelDescription
from scanloom.readers._dicom_open import quiet_pydicom

ITEM, SEQUENCE_END = 0xE000FFFE, 0xE0DDFFFE  # (FFFE,E000) and (FFFE,E0DD) as one little-endian number
_ITEM_HEAD = Struct("<II")
_ONE_SAMPLE = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")


_END_MARKED = frozenset(map(str, (*uid.JPEGTransferSyntaxes, *uid.JPEGLSTransferSyntaxes)))
_WITHOUT_UNUSED_BITS = frozenset(map(str, (*uid.JPEG2000TransferSyntaxes, *uid.JPEGLSTransferSyntaxes)))
_END_WITHIN = 16  # bytes: an end marker of two, and padding to an even length, which writers do in many ways


class _Doubt(Exception):
    """Something here is unusual: let pydicom decide."""


def stored_cells(described: PixelDescription, frames: list[int]) -> Iterator[np.ndarray]:
    """Each frame's cells as they are stored, `[y, x]` or `[y, x, samples]`, not to be written to.

    Integers have the size of BitsAllocated and the sign of PixelRepresentation; bits above BitsStored are as in the
    file unless the codec knows no such bits (JPEG-LS, JPEG 2000). YBR comes as RGB. `frames` counts from 0; -1 is the
    only frame of its file. Raises what pydicom raises for pixels it cannot decode.
    """
    decode, encoded = _decoder(described), _encoded_frames(described)
    dataset = None
    for frame in frames:
        index = max(frame, 0)
        cells = None
        if encoded is not None:
            _assert_has_end(encoded[index], described)
            cells = None if decode is None else _decoded(decode, encoded[index], described)
        if cells is None:
            with quiet_pydicom():
                dataset = described.dataset() if dataset is None else dataset
                cells = pixel_array(dataset, index=index, correct_unused_bits=described.samples > 1)
        yield cells


def _decoded(decode: Callable, encoded, described: PixelDescription) -> np.ndarray | None:
    """The frame's cells, None where the decoder does not get along with it."""
    try:
        cells = decode(encoded, described)
    except Exception:
        # Codecs raise whatever their libraries raise; damaged or just unusual, pydicom has the last word.
        return None
    return cells if cells.shape == (described.rows, described.columns) else None


def keeps_unused_bits(described: PixelDescription) -> bool:
    """Whether `stored_cells` may hold bits above BitsStored that mean nothing (PS3.5 8.1.1)."""
    return described.syntax not in _WITHOUT_UNUSED_BITS


def _decoder(described: PixelDescription) -> Callable | None:
    """The decoder for these pixels, None for pydicom's."""
    usual = (
        described.keyword == "PixelData"
        and described.samples == 1
        and described.photometric in _ONE_SAMPLE
        and described.bits_allocated in (8, 16, 32)
        and described.bits_stored <= described.bits_allocated
    )
    return _DECODERS.get(described.syntax) if usual else None


def _dtype(described: PixelDescription) -> np.dtype:
    return np.dtype(f"<{'i' if described.signed else 'u'}{described.bits_allocated // 8}")


def _encoded_frames(described: PixelDescription) -> list | None:
    """Each frame's bytes: stretches of native pixels, or the joined fragments of encapsulated ones (PS3.5 A.4).

    None where frames cannot be told apart without knowing more.
    """
    pixels, count = described.pixels, described.frames
    if described.syntax not in _DECODERS:
        return None
    if _DECODERS[described.syntax] is _native:
        size = described.rows * described.columns * described.samples * described.bits_allocated // 8
        if described.encapsulated or len(pixels) < size * count:
            return None
        return [pixels[start : start + size] for start in range(0, size * count, size or 1)]
    fragments = _fragments(pixels) if described.encapsulated else []
    if count == 1 and fragments:
        return [fragments[0] if len(fragments) == 1 else b"".join(fragments)]
    if len(fragments) == count:
        return fragments
    try:
        return list(generate_frames(bytes(pixels), number_of_frames=count)) if fragments else None
    except ValueError:
        return None


def _fragments(pixels: memoryview) -> list[memoryview]:
    """The values of all items behind the basic offset table, up to the delimiter; [] where items do not follow."""
    found, at = [], 0
    while at + 8 <= len(pixels):
        tag, length = _ITEM_HEAD.unpack_from(pixels, at)
        at += 8
        if tag == SEQUENCE_END:
            return found[1:]
        if tag != ITEM or length == UNDEFINED or at + length > len(pixels):
            return []
        found.append(pixels[at : at + length])
        at += length
    return []


def _assert_has_end(encoded, described: PixelDescription) -> None:
    """Raise ValueError for a JPEG or JPEG-LS stream that was cut off, which decoders fill up with grey and accept."""
    if described.syntax in _END_MARKED and not _has_end(encoded):
        raise ValueError("the compressed picture is cut off: it has no end marker (EOI)")


def _has_end(encoded) -> bool:
    """Whether EOI or EOC, which are FFD9 both, is near the end; compressed data never hold these bytes."""
    return b"\xff\xd9" in bytes(encoded[-_END_WITHIN:])


def _native(encoded, described: PixelDescription) -> np.ndarray:
    return np.frombuffer(encoded, _dtype(described)).reshape(described.rows, described.columns)


def _rle(encoded, described: PixelDescription) -> np.ndarray:
    dtype = _dtype(described)
    return np.frombuffer(imagecodecs.dicomrle_decode(encoded, dtype=dtype), dtype).reshape(
        described.rows, described.columns
    )


def _jpeg(encoded, described: PixelDescription) -> np.ndarray:
    """Baseline, extended and lossless. A signed value's sign stands in its unused bits, where `_clear` looks for it."""
    return _resized(imagecodecs.jpeg8_decode(encoded), described)


def _jpegls(encoded, described: PixelDescription) -> np.ndarray:
    """JPEG-LS knows no sign (ISO 14495-1): signed pixels come unsigned, with it in their highest stored bit.

    Streams of fewer bits than BitsStored have it in their own highest bit.
    """
    cells = _resized(imagecodecs.jpegls_decode(encoded), described)
    return _signed_at(cells, min(_jpegls_precision(encoded), described.bits_stored)) if described.signed else cells


def _jpeg2000(encoded, described: PixelDescription) -> np.ndarray:
    return _like_pixel_representation(imagecodecs.jpeg2k_decode(encoded, numthreads=1), encoded, described)


def _htj2k(encoded, described: PixelDescription) -> np.ndarray:
    """imagecodecs prints OpenJPH's errors as "ignored" and gives what there is: here they are errors."""
    failed: list[bool] = []
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: failed.append(True)
    try:
        decoded = imagecodecs.htj2k_decode(encoded)
    finally:
        sys.unraisablehook = hook
    if failed:
        raise _Doubt("OpenJPH gave up")
    return _like_pixel_representation(decoded, encoded, described)


def _resized(decoded: np.ndarray, described: PixelDescription) -> np.ndarray:
    """Decoded cells with the size and sign that the header tells, bits kept."""
    dtype = _dtype(described)
    if decoded.dtype.kind not in "iu" or decoded.dtype.itemsize > dtype.itemsize:
        raise _Doubt(f"{decoded.dtype} for {dtype}")
    return decoded.view(f"{dtype.kind}{decoded.dtype.itemsize}").astype(dtype, copy=False)


def _like_pixel_representation(decoded: np.ndarray, encoded, described: PixelDescription) -> np.ndarray:
    """JPEG 2000 cells; where stream and header differ about the sign, the header is believed, as pydicom does."""
    if bytes(encoded[:4]) != b"\xff\x4f\xff\x51":
        raise _Doubt("no codestream that starts with SOC and SIZ")
    if not _has_end(encoded):
        raise _Doubt("no end of codestream; OpenJPH fills up what is missing")
    size = encoded[42]  # Ssiz, ISO 15444-1 A.5.1: sign and number of bits less one
    cells = _resized(decoded, described)
    return cells if bool(size & 0x80) == described.signed else _signed_at(cells, (size & 0x7F) + 1)


def _signed_at(cells: np.ndarray, bits: int) -> np.ndarray:
    """Cells whose value is in the lowest `bits` only: the bits above become the sign, or zero in unsigned cells."""
    shift = 8 * cells.dtype.itemsize - bits
    return np.right_shift(np.left_shift(cells, shift), shift) if shift else cells


def _jpegls_precision(encoded) -> int:
    """Bits per sample from the frame header SOF55 (ISO 14495-1 C.2.2)."""
    at = 2
    while bytes(encoded[at : at + 2]) != b"\xff\xf7":
        if encoded[at] != 0xFF:
            raise _Doubt("no frame header")
        at += 2 + int.from_bytes(encoded[at + 2 : at + 4], "big")
    return encoded[at + 4]


_DECODERS = {
    uid.ExplicitVRLittleEndian: _native,
    uid.ImplicitVRLittleEndian: _native,
    uid.DeflatedExplicitVRLittleEndian: _native,
    uid.RLELossless: _rle,
    uid.JPEGBaseline8Bit: _jpeg,
    uid.JPEGExtended12Bit: _jpeg,
    uid.JPEGLossless: _jpeg,
    uid.JPEGLosslessSV1: _jpeg,
    uid.JPEGLSLossless: _jpegls,
    uid.JPEGLSNearLossless: _jpegls,
    uid.JPEG2000Lossless: _jpeg2000,
    uid.JPEG2000: _jpeg2000,
    uid.HTJ2KLossless: _htj2k,
    uid.HTJ2KLosslessRPCL: _htj2k,
    uid.HTJ2K: _htj2k,
}
