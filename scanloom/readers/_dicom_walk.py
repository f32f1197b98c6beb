"""The elements of one DICOM header that a scan needs, as raw bytes, found without converting the other hundred.

Only what leaves no doubt is read: a file in DICOM's own format (PS3.10 7.1), little endian, not deflated, tags in
ascending order, lengths even, each attribute written with the value representation of the dictionary (PS3.6). For
anything else `walk` gives None and the caller asks pydicom, so that a file is never understood in two ways.

The headers of a series differ in a few values and fewer lengths. A stretch of elements that was walked once is
therefore kept as a run: two struct formats, one for the heads (tag, VR, length), one for the wanted values. Where the
heads of the next file's bytes are equal, so are all positions, and a hundred elements are passed by one comparison.
Where they differ, the run is cut there for the files to come: after a few files, runs end at the elements whose length
changes. `benchmarks/header_scan.py` measures what that saves.
"""

import os
import struct
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from pydicom.charset import python_encoding
from pydicom.datadict import dictionary_VR

PIXELS = (b"\xe0\x7f\x08\x00", b"\xe0\x7f\x09\x00", b"\xe0\x7f\x10\x00")  # float, double float, integers
UNDEFINED = 0xFFFFFFFF

# PS3.5 table 7.1-1 and 7.1-2: heads of 12 bytes with a length of 32 bits, and heads of 8 bytes with one of 16 bits.
LONG_VR = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
SHORT_VR = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())

ITEM, ITEM_END, SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0", b"\xfe\xff\xdd\xe0"
CHARACTER_SET = 0x00080005
START = b"DICM\x02\x00\x00\x00UL\x04\x00"  # behind the preamble, and the length of group 2

WINDOW = 8192  # bytes read at once; most headers are shorter
LONGEST_VALUE = 4096  # bytes of a wanted value, and of an unwanted one inside a run
DEEPEST = 8  # sequences in sequences
MOST_RUNS = 5_000  # kept in memory, some KB each; then learning starts again

_EXPLICIT_HEAD = struct.Struct("<HH2sH").unpack_from
_IMPLICIT_HEAD = struct.Struct("<HHL").unpack_from
_LENGTH = struct.Struct("<L").unpack_from
_COUNT = (1 << 32) - 1  # the number of private elements in `_tally`
_PLANES = (1 << 128) - 1  # one bit for each overlay group, 6000 to 60FE
_FILLED, _DATA, _DESCRIBED = 32, 160, 288  # where those bits begin


class Wanted(NamedTuple):
    """An attribute to find: the name it gets, its value representation; `reads` False: its mere presence is a doubt.

    Where `vr` lists several ("US SS"), the one that is written stands behind the name ("PixelPaddingValue SS").
    """

    name: str
    vr: bytes
    reads: bool = True


class Walked(NamedTuple):
    """values: raw bytes by name, group 2 among them. syntax: transfer syntax UID. size: of the file in bytes.

    pixels: (offset, declared length), None without pixels. private: elements of odd groups, overlays: planes with data,
    both before the pixels.
    """

    values: dict[str, bytes]
    syntax: str
    pixels: tuple[int, int] | None
    size: int
    private: int
    overlays: int


class _Doubt(Exception):
    """The file is for pydicom."""


class _Element(NamedTuple):
    """One element. name: None where it is not wanted. Of a sequence of undefined length all is its head."""

    tag: int
    head: bytes
    length: int
    name: str | None


class _Check(NamedTuple):
    """How a run of several elements is known again: `heads` unpacks them, `expected` is what then comes out."""

    heads: Callable[[bytes, int], tuple]
    expected: tuple[bytes, ...]
    elements: list[_Element]


class _Run(NamedTuple):
    """Elements that followed each other in some file.

    values: unpacks those that `names` names. check: None for one element the head of which is the run's key.
    """

    size: int
    first: int
    last: int
    tally: int
    names: tuple[str, ...]
    values: Callable[[bytes, int], tuple]
    check: _Check | None


class Runs(NamedTuple):
    """Runs by the first eight bytes of their first element, of group 2, of files with and without written VR."""

    meta: dict[bytes, _Run]
    explicit: dict[bytes, _Run]
    implicit: dict[bytes, _Run]


# Of `walk`.
_meta_runs: dict[bytes, _Run] = {}
_explicit_runs: dict[bytes, _Run] = {}
_implicit_runs: dict[bytes, _Run] = {}


def walk(path: str, wanted: dict[int, Wanted], syntaxes: dict[bytes, tuple[str, bool]]) -> Walked | None:
    """The wanted elements of the file; None in any doubt.

    wanted: by tag (group << 16 | element). Runs remember names: calls of one process must give the same table.
    syntaxes: raw transfer syntax without padding -> (UID, whether value representations are implicit); others: doubt.
    Raises OSError for a file that cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        reader = _Reader(descriptor, os.fstat(descriptor).st_size, wanted)
        return _walk(reader, Runs(_meta_runs, _explicit_runs, _implicit_runs), syntaxes)
    except (_Doubt, struct.error):
        return None
    finally:
        os.close(descriptor)


def walk_bytes(
    data: bytes, wanted: dict[int, Wanted], syntaxes: dict[bytes, tuple[str, bool]], runs: Runs
) -> Walked | None:
    """`walk` through a file that is in memory. runs: of this table of wanted elements, remembered by the caller."""
    try:
        return _walk(_WholeFile(data, wanted), runs, syntaxes)
    except (_Doubt, struct.error):
        return None


@lru_cache
def is_known_character_set(raw: bytes) -> bool:
    """True where pydicom has a codec for each of the values of (0008,0005)."""
    return all(part in python_encoding for part in raw.decode("latin-1").rstrip(" \0").split("\\"))


class _Reader:
    """A window onto the file, and what was found in it so far."""

    def __init__(self, descriptor: int, size: int, wanted: dict[int, Wanted]):
        self.descriptor, self.size, self.wanted = descriptor, size, wanted
        self.buffer, self.base, self.at = os.pread(descriptor, WINDOW, 0), 0, 0  # the next element: base + at
        self.last = -1  # tag
        self.names: list[str] = []
        self.values: list[bytes] = []
        self.tally = 0  # see _tally

    def move(self, length: int) -> None:
        """Put the next element at the window's start, with `length` bytes of file behind it, or all that is left."""
        self.base += self.at
        self.at = 0
        self.buffer = os.pread(self.descriptor, max(length, WINDOW), self.base)


class _WholeFile(_Reader):
    """The same for a file in memory."""

    def __init__(self, data: bytes, wanted: dict[int, Wanted]):
        self.buffer, self.size, self.wanted = data, len(data), wanted
        self.base, self.at, self.last, self.tally = 0, 0, -1, 0
        self.names, self.values = [], []

    def move(self, length: int) -> None:
        """There is no more to read; `at` begins at 0 again, as everybody expects."""
        self.buffer = self.buffer[self.at :]
        self.base += self.at
        self.at = 0


def _walk(reader: _Reader, runs: Runs, syntaxes) -> Walked | None:
    if not reader.buffer.startswith(START, 128):
        return None
    reader.at = 132
    if not _elements(reader, runs.meta, False, _is_behind_meta) or "TransferSyntaxUID" not in reader.names:
        return None
    raw_syntax = reader.values[reader.names.index("TransferSyntaxUID")].rstrip(b" \0")
    if raw_syntax not in syntaxes:
        return None
    syntax, implicit = syntaxes[raw_syntax]
    vr = reader.buffer[reader.at + 4 : reader.at + 6]
    if implicit and vr.isalpha() and vr.isupper():
        return None  # it looks like a value representation: pydicom decides
    at_pixels = _elements(reader, runs.implicit if implicit else runs.explicit, implicit, _is_pixels)
    pixels = _pixels(reader, implicit) if at_pixels else None
    values = dict(zip(reader.names, reader.values, strict=True))
    return Walked(values, syntax, pixels, reader.size, reader.tally & _COUNT, _overlays(reader.tally))


def _is_behind_meta(head: bytes) -> bool:
    return head[:2] != b"\x02\x00"


def _is_pixels(head: bytes) -> bool:
    return head[:4] in PIXELS


def _tally(tag: int, length: int) -> int:
    """What an element adds to what is kept in one number: private elements, and marks for overlay planes.

    Overlay Data (60xx,3000) and Overlay Rows (60xx,0010), PS3.3 C.9.2. Each stands in a file once at most.
    """
    kind, plane = tag & 0xFF01FFFF, tag >> 17 & 0x7F
    if kind == 0x60003000:
        return 1 << _DATA + plane | (length > 0) << _FILLED + plane
    return tag >> 16 & 1 | (kind == 0x60000010) << _DESCRIBED + plane


def _overlays(tally: int) -> int:
    """Planes with data, and described ones without the element: their data stand in unused bits of the pixels."""
    filled, data, described = (tally >> at & _PLANES for at in (_FILLED, _DATA, _DESCRIBED))
    return (filled | described & ~data).bit_count()


def _pixels(reader: _Reader, implicit: bool) -> tuple[int, int]:
    """(offset of the pixel bytes, declared length)."""
    at = reader.at
    if implicit:
        return reader.base + at + 8, _LENGTH(reader.buffer, at + 4)[0]
    if reader.buffer[at + 4 : at + 6] not in LONG_VR:
        raise _Doubt
    return reader.base + at + 12, _LENGTH(reader.buffer, at + 8)[0]


def _elements(reader: _Reader, runs: dict[bytes, _Run], implicit: bool, stop: Callable[[bytes], bool]) -> bool:
    """Pass elements up to one whose head makes `stop` true; False: the file ends, after an element, before that."""
    walked: list[_Element] = []  # one by one, since the last run
    while True:
        if _pass_runs(reader, runs):
            _learn(runs, walked)
            walked = []
        if reader.at + 12 > len(reader.buffer):
            if reader.base + reader.at == reader.size:
                return False
            reader.move(WINDOW)
        if stop(reader.buffer[reader.at : reader.at + 8]):
            _learn(runs, walked)
            return True
        element = _pass_element(reader, runs, implicit)
        if element is not None and element.length <= LONGEST_VALUE:
            walked.append(element)
        else:
            _learn(runs, walked)
            walked = []


def _pass_runs(reader: _Reader, runs: dict[bytes, _Run]) -> bool:
    """Pass all elements that stand in runs, as far as there is one for the next; False: there is none.

    This loop is what a scan's time goes into, hence the local names.
    """
    buffer, at, last, tally = reader.buffer, reader.at, reader.last, reader.tally
    all_names, all_values, known, started = reader.names, reader.values, runs.get, False
    while (run := known(buffer[at : at + 8])) is not None:
        size, first, run_last, run_tally, names, values, check = run
        try:
            if check is not None and check[0](buffer, at) != check[1]:
                if not _cut(runs, check.elements, check.heads(buffer, at)):
                    break
                continue
            if names:
                found = values(buffer, at)
        except struct.error:  # the run goes on behind the window
            reader.at = at
            reader.move(size)
            buffer, at = reader.buffer, 0
            if len(buffer) < size:
                break
            continue
        if first <= last:
            raise _Doubt
        if names:
            all_names += names
            all_values += found
        at, last, tally, started = at + size, run_last, tally + run_tally, True
    reader.at, reader.last, reader.tally = at, last, tally
    return started


def _cut(runs: dict[bytes, _Run], elements: list[_Element], heads: tuple[bytes, ...]) -> bool:
    """Keep of a run what stands before the first head that is another one; False: that is its first."""
    same = next(i for i, (head, element) in enumerate(zip(heads, elements, strict=True)) if head != element.head)
    _learn(runs, elements[:same])
    return same > 0


def _learn(runs: dict[bytes, _Run], elements: list[_Element]) -> None:
    """Keep the elements as a run, instead of another that begins like it."""
    if not elements:
        return
    if len(runs) >= MOST_RUNS:
        runs.clear()
    heads = "".join(f"{len(e.head)}s{e.length}x" for e in elements)
    values = "".join(f"{len(e.head)}x{e.length}{'s' if e.name else 'x'}" for e in elements)
    check = _Check(struct.Struct("<" + heads).unpack_from, tuple(e.head for e in elements), elements)
    key = elements[0].head[:8]
    runs[key] = _Run(
        size=sum(len(e.head) + e.length for e in elements),
        first=elements[0].tag,
        last=elements[-1].tag,
        tally=sum(_tally(e.tag, e.length) for e in elements),
        names=tuple(e.name for e in elements if e.name),
        values=struct.Struct("<" + values).unpack_from,
        check=None if check.expected == (key,) else check,
    )


def _pass_element(reader: _Reader, runs: dict[bytes, _Run], implicit: bool) -> _Element | None:
    """Pass one element; None for a sequence of undefined length."""
    tag, vr, length, value_at = _head(reader.buffer, reader.at, implicit)
    if tag <= reader.last or tag >> 16 > 0x7FE0:
        raise _Doubt
    wanted = reader.wanted.get(tag)
    if length == UNDEFINED:
        if (wanted and not wanted.reads) or not _is_sequence(reader.buffer, value_at, tag, vr):
            raise _Doubt
        _pass_sequence(reader, runs, tag, value_at - reader.at, implicit)
        element = None
    else:
        head = reader.buffer[reader.at : value_at]
        name = wanted.name if wanted else None
        if wanted:
            if not wanted.reads or (vr is not None and vr not in wanted.vr.split()) or length > LONGEST_VALUE:
                raise _Doubt
            if vr is not None and vr != wanted.vr:
                name += " " + vr.decode()
            if value_at + length > len(reader.buffer):
                reader.move(len(head) + length)
                value_at = len(head)
            reader.names.append(name)
            reader.values.append(reader.buffer[value_at : value_at + length])
        element = _Element(tag, head, length, name)
        reader.at = value_at + length
        if reader.base + reader.at > reader.size:
            raise _Doubt
    reader.last = tag
    reader.tally += _tally(tag, length)
    return element


def _head(buffer: bytes, at: int, implicit: bool) -> tuple[int, bytes | None, int, int]:
    """(tag, VR or None, length, where the value begins) of the element at `at`."""
    if implicit:
        group, element, length = _IMPLICIT_HEAD(buffer, at)
        vr, value_at = None, at + 8
    else:
        group, element, vr, length = _EXPLICIT_HEAD(buffer, at)
        value_at = at + 8
        if vr in LONG_VR:
            length, value_at = _LENGTH(buffer, at + 8)[0], at + 12
        elif vr not in SHORT_VR:
            raise _Doubt
    if length & 1 and length != UNDEFINED:
        raise _Doubt
    return group << 16 | element, vr, length, value_at


def _is_sequence(buffer: bytes, value_at: int, tag: int, vr: bytes | None) -> bool:
    """Whether a value of undefined length is one; without VR the dictionary says so, of private ones the first item."""
    if vr is not None:
        return vr == b"SQ"
    try:
        return dictionary_VR(tag) == "SQ"
    except KeyError:
        return buffer[value_at : value_at + 4] == ITEM


def _pass_sequence(reader: _Reader, runs: dict[bytes, _Run], tag: int, head: int, implicit: bool) -> None:
    """Pass a sequence of undefined length, the head of which has `head` bytes; remember it: the next is often equal."""
    while True:
        try:
            end = _sequence_end(reader.buffer, reader.at + head, implicit, DEEPEST)
            break
        except struct.error:  # it goes on behind the window
            if reader.base + len(reader.buffer) >= reader.size:
                raise
            reader.move(8 * len(reader.buffer))
    if end - reader.at <= LONGEST_VALUE:
        whole = reader.buffer[reader.at : end]
        _learn(runs, [_Element(tag, whole, 0, None)])
    reader.at = end


def _sequence_end(buffer: bytes, at: int, implicit: bool, depth: int) -> int:
    """Where the sequence of undefined length ends, the first item of which begins at `at` (PS3.5 7.5.2).

    Raises struct.error where the bytes end before that.
    """
    if depth == 0:
        raise _Doubt
    while True:
        length = _LENGTH(buffer, at + 4)[0]
        tag = buffer[at : at + 4]
        at += 8
        if tag == SEQUENCE_END:
            return at
        if tag != ITEM:
            raise _Doubt
        at = _item_end(buffer, at, None if length == UNDEFINED else at + length, implicit, depth)


def _item_end(buffer: bytes, at: int, end: int | None, implicit: bool, depth: int) -> int:
    """Where the item ends the first element of which begins at `at`; `end`: where it should, None: at a delimiter."""
    while at != end:
        if buffer[at : at + 4] == ITEM_END and end is None:
            return at + 8
        tag, vr, length, value_at = _head(buffer, at, implicit)
        if length != UNDEFINED:
            at = value_at + length
            if tag == CHARACTER_SET and not is_known_character_set(buffer[value_at:at]):
                raise _Doubt
        elif _is_sequence(buffer, value_at, tag, vr):
            at = _sequence_end(buffer, value_at, implicit, depth - 1)
        else:
            raise _Doubt
        if tag >> 16 == 0xFFFE or (end is not None and at > end):
            raise _Doubt
    return at
