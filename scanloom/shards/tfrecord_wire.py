"""TFRecord files and tf.train.Example messages as bytes, without TensorFlow and without protobuf.

A record is `uint64 length | uint32 masked CRC-32C of the length | payload | uint32 masked CRC-32C of the payload`,
little endian (tensorflow/core/lib/io/record_writer.h). The payload is a tf.train.Example: a map from feature name to a
list of bytes, float32 (packed) or int64 (packed varints), in protobuf's wire format (core/example/example.proto).
Importing TensorFlow costs about ten CPU seconds per job; writing these two formats needs a page of code.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO

import google_crc32c
import numpy as np

HEADER = 12  # bytes before a record's payload
FOOTER = 4  # bytes after it
BYTES, FLOAT, INT64 = 1, 2, 3  # field numbers of tf.train.Feature's three lists


class DamagedRecord(ValueError):
    """Bytes that are not what was written; the message says which record."""


def masked(crc: int) -> int:
    """A CRC-32C as TFRecord stores it: rotated right by 15 bits, plus a constant (so that a CRC of CRCs is no trap)."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def checksum(data) -> int:
    """The masked CRC-32C of bytes or of a contiguous array."""
    return masked(google_crc32c.value(data))


def varint(number: int) -> bytes:
    """A non-negative integer below 2^64, seven bits per byte, lowest first."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def _field(number: int, payload: bytes) -> bytes:
    return bytes([number << 3 | 2]) + varint(len(payload)) + payload


@lru_cache(maxsize=4096)
def _entry_head(name: str, kind: int, wrapped: bool, length: int) -> bytes:
    """Everything of a feature's map entry that stands before its `length` bytes of values."""
    head = b"\x0a" + varint(length)  # field 1 of BytesList, FloatList or Int64List: one value, or the packed values
    feature = bytes([kind << 3 | 2]) + varint(len(head) + length) + head if wrapped else bytes([kind << 3 | 2, 0])
    entry = _field(1, name.encode()) + b"\x12" + varint(len(feature) + length) + feature
    return b"\x0a" + varint(len(entry) + length) + entry


def _floats(values: np.ndarray) -> np.ndarray:
    """As float32, with one NaN among the many bit patterns: the same bytes on every run."""
    floats = values.astype("<f4")
    floats[np.isnan(floats)] = np.float32(np.nan)
    return floats


def _entry(name: str, value) -> tuple[bytes, bytes]:
    """Head and values of one feature: bytes and str -> one bytes value, floats -> float32, integers -> int64."""
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return _entry_head(name, BYTES, True, len(value)), value
    array = np.atleast_1d(value)
    if array.dtype.kind == "f":
        kind, payload = FLOAT, _floats(array).tobytes()
    elif array.dtype.kind in "iu":
        kind, payload = INT64, b"".join(varint(int(number) % (1 << 64)) for number in array)
    else:
        raise TypeError(f"feature '{name}' is {array.dtype}; an Example holds bytes, floats and integers")
    return _entry_head(name, kind, bool(payload), len(payload)), payload


def entry(name: str, value) -> bytes:
    """One feature as it stands in an Example; value: as for `encode_example`."""
    return b"".join(_entry(name, value))


def entries(name: str, values) -> list[bytes]:
    """`entry` of one feature for many Examples; values: a float array [n, k], or a list of n texts or integers."""
    if not isinstance(values, np.ndarray):
        known = {value: entry(name, value) for value in set(values)}
        return [known[value] for value in values]
    payload, size = _floats(values).tobytes(), 4 * values.shape[1]
    head = _entry_head(name, FLOAT, size > 0, size)
    return [head + payload[at * size : (at + 1) * size] for at in range(len(values))]


def encode_example(features: dict) -> bytes:
    """A serialized tf.train.Example; bytes, str, floats or integers by name, in the order of the mapping."""
    parts = [part for name, value in features.items() for part in _entry(name, value)]
    return b"".join([b"\x0a" + varint(sum(map(len, parts))), *parts])


def encode_record(payload: bytes) -> bytes:
    """One framed record."""
    return _frame_head(len(payload)) + payload + struct.pack("<I", checksum(payload))


def framed(name: str, value: np.ndarray, others: bytes) -> tuple[bytes, np.ndarray, bytes]:
    """A framed record in three pieces: what stands before the bytes of the value, the value itself, and the rest.

    Its Example holds feature `name` with the value's bytes (a contiguous array, which is not copied), then `others`,
    entries one after the other.
    """
    head, check = _record_head(name, value.nbytes, len(others))
    check = google_crc32c.extend(google_crc32c.extend(check, value), others)
    return head, value, others + struct.pack("<I", masked(check))


@lru_cache(maxsize=4096)
def _frame_head(length: int) -> bytes:
    """What stands before a payload of so many bytes: the length and its checksum."""
    packed = struct.pack("<Q", length)
    return packed + struct.pack("<I", checksum(packed))


@lru_cache(maxsize=4096)
def _record_head(name: str, size: int, others: int) -> tuple[bytes, int]:
    """What stands before the `size` bytes of the first feature, and the CRC-32C of its part that is payload."""
    head = _entry_head(name, BYTES, True, size)
    payload = b"\x0a" + varint(len(head) + size + others) + head
    return _frame_head(len(payload) + size + others) + payload, google_crc32c.value(payload)


@dataclass(frozen=True)
class Value:
    """Where a feature's values stand in the message: kind (BYTES, FLOAT, INT64) and one (start, stop) per stretch."""

    kind: int
    stretches: tuple[tuple[int, int], ...]


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
        shift += 7
        if shift > 63:  # else a megabyte of continued bytes would be summed up for minutes
            raise DamagedRecord(f"an integer of more than 64 bits at byte {at}")


def _fields(data: bytes, at: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
    """(field number, wire type, start, stop) of every field of the message in data[at:stop]."""
    while at < stop:
        tag, at = _read_varint(data, at)
        start, wire = at, tag & 7
        if wire == 2:
            length, start = _read_varint(data, at)
            at = start + length
        elif wire == 0:
            _, at = _read_varint(data, at)
        elif wire == 5:
            at += 4
        elif wire == 1:
            at += 8
        else:
            raise DamagedRecord(f"wire type {wire} at byte {start} is not protobuf")
        if at > stop:
            raise DamagedRecord(f"a field runs over its message's end at byte {start}")
        yield tag >> 3, wire, start, at


def locate(data: bytes) -> dict[str, Value]:
    """Where each feature of a serialized Example stands. Raises DamagedRecord for bytes that are no Example."""
    found = {}
    try:
        for number, _, start, stop in _fields(data, 0, len(data)):
            for part, _, entry_start, entry_stop in _fields(data, start, stop) if number == 1 else ():
                if part == 1:
                    entry = {n: (a, b) for n, _, a, b in _fields(data, entry_start, entry_stop)}
                    name_at, feature_at = entry[1], entry.get(2, (0, 0))
                    name = data[name_at[0] : name_at[1]].decode()
                    for kind, _, list_start, list_stop in _fields(data, *feature_at):
                        stretches = tuple((a, b) for _, _, a, b in _fields(data, list_start, list_stop))
                        found[name] = Value(kind, stretches)
    except (IndexError, KeyError, UnicodeDecodeError):
        raise DamagedRecord("the bytes are not a tf.train.Example") from None
    return found


def _integers(data: bytes, at: int, stop: int) -> Iterator[int]:
    while at < stop:
        number, at = _read_varint(data, at)
        yield number - (1 << 64) if number >> 63 else number


def values_of(data: bytes, value: Value):
    """A feature's values: list of bytes, float32 array, or int64 array. Packed and unpacked lists are both read."""
    parts = [data[start:stop] for start, stop in value.stretches]
    if value.kind == BYTES:
        return parts
    if value.kind == FLOAT:
        return np.frombuffer(b"".join(parts), "<f4").astype(np.float32)
    return np.array([n for start, stop in value.stretches for n in _integers(data, start, stop)], np.int64)


def decode_example(data: bytes) -> dict:
    """All features of a serialized Example, as `values_of` gives them."""
    return {name: values_of(data, value) for name, value in locate(data).items()}


def find_records(file: BinaryIO, where: str) -> list[tuple[int, int]]:
    """Start and length of every payload in an open file, without reading payloads. Raises DamagedRecord."""
    size = file.seek(0, os.SEEK_END)
    found, at = [], 0
    while at < size:
        file.seek(at)
        length = _announced(file.read(HEADER), size - at, where, len(found), at)
        found.append((at + HEADER, length))
        at += HEADER + length + FOOTER
    return found


def read_record(file: BinaryIO, start: int, length: int) -> bytes:
    """The payload at that place. Raises DamagedRecord where it does not match its checksum."""
    file.seek(start)
    record = file.read(length + FOOTER)
    if len(record) < length + FOOTER or struct.pack("<I", checksum(record[:length])) != record[length:]:
        raise DamagedRecord(f"the record at byte {start} does not match its checksum")
    return record[:length]


def _announced(head: bytes, left: int, where: str, record: int, at: int) -> int:
    """Length of the payload after that header, `left` bytes before the end of the file."""
    if len(head) < HEADER:
        raise DamagedRecord(f"{where}: record {record} is cut off: {len(head)} of {HEADER} header bytes")
    length, check = struct.unpack("<QI", head)
    if checksum(head[:8]) != check:
        doubt = "" if record else "; is it a TFRecord file, and not a compressed one?"
        raise DamagedRecord(f"{where}: record {record}: the checksum of its length is wrong (byte {at}){doubt}")
    if HEADER + length + FOOTER > left:
        raise DamagedRecord(f"{where}: record {record} is cut off: {length} bytes announced, {left - HEADER} left")
    return length


def _length_at(data: np.ndarray, at: int, where: str, record: int) -> int:
    return _announced(bytes(data[at : at + HEADER]), len(data) - at, where, record, at)


def index_records(data: np.ndarray, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Start and length (int64 [records]) of every payload in the file's bytes (uint8 [n]).

    Records of one length, the usual case, are found in one vectorised step; else from record to record.
    """
    if not len(data):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    length = _length_at(data, 0, where, 0)
    stride = HEADER + length + FOOTER
    if len(data) % stride == 0:
        rows = data.reshape(-1, stride)
        if (rows[:, :HEADER] == rows[0, :HEADER]).all():
            return np.arange(len(rows)) * stride + HEADER, np.full(len(rows), length)
    starts, lengths, at = [], [], 0
    while at < len(data):
        length = _length_at(data, at, where, len(starts))
        starts.append(at + HEADER)
        lengths.append(length)
        at += HEADER + length + FOOTER
    return np.array(starts, np.int64), np.array(lengths, np.int64)


def is_whole(data: np.ndarray, start: int, length: int) -> bool:
    """Whether the payload at that place of the file's bytes matches its checksum."""
    stored = int.from_bytes(bytes(data[start + length : start + length + FOOTER]), "little")
    return checksum(data[start : start + length]) == stored


def check_records(data: np.ndarray, where: str) -> None:
    """Compare every checksum in the file's bytes. Raises DamagedRecord naming the first record that differs."""
    for record, (start, length) in enumerate(zip(*index_records(data, where), strict=True)):
        if not is_whole(data, start, length):
            raise DamagedRecord(
                f"{where}: record {record} is damaged: bytes {start} to {start + length} do not match their checksum"
            )
