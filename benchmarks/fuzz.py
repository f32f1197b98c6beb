"""10,000 damaged DICOM, NIfTI, PNG, JPEG, NPZ and TFRecord files: no crash, no hang, bounded memory, balanced books.

Real files are damaged by a number alone (seed, file, kind of damage), one at a time put into a folder, catalogued and,
where the catalogue uses them, read as preprocessing would. That happens in processes with a limit on their memory and
on the time for each file, killed when they exceed it. Every problem's goal is 0.

"silent": a damage that could have been seen, and was used with other pixels than the file had, or with fewer images
than it had while the catalogue gives no reason for as many as are missing. Damage can be seen where bytes are missing
at the end (any format), and anywhere in formats with checksums (PNG, NPZ, TFRecord, .nii.gz). It cannot be seen in
pixels of uncompressed DICOM and NIfTI, in JPEG's, or in a number of a header that is still a possible number.
"read later": the catalogue used the file, but reading it failed; a study would stop there with a message.
"""

import gzip
import hashlib
import multiprocessing
import multiprocessing.connection
import os
import random
import resource
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _measure import ROOT, limited, run

TIME_LIMIT_S = 20  # for one file; the slowest undamaged one takes a tenth of a second
MEMORY_LIMIT = 1 << 30  # bytes of address space above what the process has before its first file
LARGEST = 700_000  # bytes of a file to damage
CHECKSUMMED = (".png", ".npz", ".tfrecord", ".nii.gz")
SHARED = Path(os.environ.get("SCANLOOM_SHARED_DATA", ROOT.parent / "shared" / "data"))
NOT_HERE = ("dicom_cases/broken", "dicom_cases/not_a_slice")  # damaged already


@dataclass(frozen=True)
class Original:
    """A whole file: name of its reader, place, ending."""

    reader: str
    path: Path
    ending: str


def rows(folder: Path, files: int = 10_000, workers: int = 0, seed: int = 0, shared: Path = SHARED) -> list[dict]:
    """The table; workers 0: one per core; shared: folder of real images; without it invented ones are taken."""
    originals = originals_of(folder / "whole", shared)
    outcomes, seconds = fuzz(folder, files, workers or len(os.sched_getaffinity(0)), seed, originals)
    for outcome in outcomes:
        if outcome["problem"]:
            print(outcome["what"], outcome["problem"], outcome["detail"])
    problems = Counter(outcome["problem"] for outcome in outcomes)
    table = [
        limited(f"{problem}, of {files} files", "files", [problems[problem]], 0)
        for problem in ("crash", "hang", "error", "books", "silent", "read later")
    ]
    verdicts = Counter(outcome["verdict"] for outcome in outcomes)
    peak = max(outcome["peak_mb"] for outcome in outcomes)
    return [
        *table,
        *(limited(f"verdict: {verdict}", "files", [verdicts[verdict]]) for verdict in ("used", "excluded")),
        limited("memory of a process above its start, at most", "MB", [peak], MEMORY_LIMIT / 1e6),
        limited("time for a file, the longest", "s", [max(o["seconds"] for o in outcomes)], TIME_LIMIT_S),
        limited("all files", "minutes", [seconds / 60]),
    ]


def fuzz(folder: Path, files: int, workers: int, seed: int, originals: list[Original]) -> tuple[list[dict], float]:
    """(an outcome per damaged file, seconds)."""
    start = time.perf_counter()
    outcomes, queue = [], iter(range(files))
    running = {}
    for number in range(min(workers, files)):
        worker = _Worker(folder / f"worker{number}", originals, seed)
        worker.give(next(queue))
        running[worker.connection] = worker
    while running:
        waits = [worker.deadline - time.monotonic() for worker in running.values()]
        ready = multiprocessing.connection.wait(list(running), timeout=max(min(waits), 0))
        for worker in [running[connection] for connection in ready] or list(running.values()):
            outcome = worker.outcome()
            if outcome is None:
                continue
            outcomes.append(outcome)
            del running[worker.connection]
            number = next(queue, None)
            if number is None:
                worker.stop()
                continue
            worker = worker if worker.process.is_alive() else _Worker(worker.folder, originals, seed)
            worker.give(number)
            running[worker.connection] = worker
    return outcomes, time.perf_counter() - start


class _Worker:
    """A process that damages and reads one file after the other."""

    def __init__(self, folder: Path, originals: list[Original], seed: int):
        self.folder, self.originals, self.seed = folder, originals, seed
        context = multiprocessing.get_context("fork")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other, folder, originals, seed), daemon=True)
        self.process.start()
        other.close()

    def give(self, number: int) -> None:
        """Damage and read the file of that number."""
        self.number, self.started = number, time.monotonic()
        self.deadline = self.started + TIME_LIMIT_S
        self.connection.send(number)

    def outcome(self) -> dict | None:
        """What came of it; None as long as it may still come. A process that ended or takes too long is killed."""
        if self.connection.poll():
            try:
                return self.connection.recv()
            except (EOFError, ConnectionResetError):
                return self._failure("crash", f"exit code {self._end()}")
        if time.monotonic() < self.deadline:
            return None
        self.process.kill()
        self._end()
        return self._failure("hang", f"more than {TIME_LIMIT_S} s")

    def stop(self) -> None:
        """End the process."""
        self.connection.send(None)
        self._end()

    def _end(self) -> int:
        self.process.join()
        self.connection.close()
        return self.process.exitcode

    def _failure(self, problem: str, detail: str) -> dict:
        original, kind, _ = damage_of(self.number, self.originals, self.seed)
        what = f"number {self.number}: {original.path.name}, {kind}"
        passed = time.monotonic() - self.started
        return {
            "what": what,
            "verdict": "",
            "problem": problem,
            "detail": detail,
            "seconds": passed,
            "peak_mb": 0.0,
        }


def _serve(connection, folder: Path, originals: list[Original], seed: int) -> None:
    """The worker's life: numbers in, outcomes out."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY_LIMIT,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    known = {}
    while (number := connection.recv()) is not None:
        start = time.perf_counter()
        outcome = attempt(folder, number, originals, seed, known)
        peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - started) * 1024 / 1e6
        connection.send(outcome | {"seconds": time.perf_counter() - start, "peak_mb": peak})


def attempt(folder: Path, number: int, originals: list[Original], seed: int, known: dict) -> dict:
    """Damage one file, catalogue and read it. known: original -> what `content` gave, kept from file to file."""
    original, kind, data = damage_of(number, originals, seed)
    outcome = {"what": f"number {number}: {original.path.name}, {kind}", "verdict": "", "problem": "", "detail": ""}
    if original not in known:
        known[original] = content(original, _alone(folder, original, original.path.read_bytes()))
    place = _alone(folder, original, data)
    try:
        found = content(original, place)
    except _ReadLater as error:
        return outcome | {"verdict": "used", "problem": "read later", "detail": str(error)}
    except _Unbalanced as error:
        return outcome | {"problem": "books", "detail": str(error)}
    except Exception as error:
        return outcome | {"problem": "error", "detail": f"{type(error).__name__}: {error}"}
    outcome["verdict"] = "used" if found.pixels else "excluded"
    if outcome["verdict"] == "used" and _visible(kind, original):
        whole = known[original].pixels
        changed, missing = (found.pixels - whole).total(), whole.total() - found.pixels.total()
        if changed or missing > found.left_out:
            detail = f"of {whole.total()} series {changed} changed, {missing} missing, {found.left_out} with a reason"
            outcome |= {"problem": "silent", "detail": detail}
    return outcome


class _ReadLater(Exception):
    """Catalogued, but not readable."""


class _Unbalanced(Exception):
    """The catalogue lost or invented a file."""


def _visible(kind: str, original: Original) -> bool:
    """Whether a damage of that kind can be seen wherever it lies in the file."""
    return original.ending in CHECKSUMMED or kind.startswith("cut")


def _alone(folder: Path, original: Original, data: bytes) -> Path:
    """A folder with nothing but that file."""
    shutil.rmtree(folder, ignore_errors=True)
    root = folder / "root"
    root.mkdir(parents=True)
    (root / f"file{original.ending}").write_bytes(data)
    return root


@dataclass(frozen=True)
class Content:
    """pixels: hashes of the series that the catalogue uses, with their numbers. left_out: series with a reason."""

    pixels: Counter
    left_out: int


def content(original: Original, root: Path) -> Content:
    """What the catalogue makes of a folder, read as preprocessing would. Raises _ReadLater, _Unbalanced."""
    from scanloom import plugins
    from scanloom.cataloguing.catalogue import build_catalogue
    from scanloom.cataloguing.catalogue_series import CatalogueError

    reader, settings = plugins.load("readers", original.reader), plugins.settings("readers", original.reader, {})
    try:
        made = build_catalogue(
            original.reader,
            settings,
            root,
            dataset="fuzz",
            salt="fuzz",
            chunks=1,
            group=None,
            unpack_to=root.parent / "unpacked",
        )
    except CatalogueError as error:
        if "none of" not in str(error):
            raise _Unbalanced(str(error)) from None
        return Content(Counter(), 0)
    pixels = Counter()
    for _, rows in made.chunk_rows[0].groupby("series_id"):
        try:
            volume = reader.read_series(root, rows, settings)
        except Exception as error:
            raise _ReadLater(f"{type(error).__name__}: {error}") from error
        if not np.isfinite(volume.values).all():
            raise _ReadLater("values that are not finite")
        shape = f"{volume.values.shape} {volume.unit}".encode()
        pixels[hashlib.sha256(shape + volume.values.tobytes()).hexdigest()] += 1
    return Content(pixels, int((made.series.reason != "").sum()))


def damage_of(number: int, originals: list[Original], seed: int) -> tuple[Original, str, bytes]:
    """The original, the kind of damage and the damaged bytes of that number: always the same."""
    draw = random.Random(f"{seed} {number}")
    ending = draw.choice(sorted({original.ending for original in originals}))
    original = draw.choice([original for original in originals if original.ending == ending])
    kind = draw.choice(list(DAMAGE))
    return original, kind, DAMAGE[kind](original.path.read_bytes(), draw)


def _cut(data: bytes, draw: random.Random) -> bytes:
    return data[: draw.randrange(len(data))]


def _cut_end(data: bytes, draw: random.Random) -> bytes:
    return data[: -draw.randint(1, min(64, len(data)))]


def _bits(data: bytes, draw: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(draw.randint(1, 8)):
        out[draw.randrange(len(out))] ^= 1 << draw.randrange(8)
    return bytes(out)


def _header_bytes(data: bytes, draw: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(draw.randint(1, 8)):
        out[draw.randrange(min(len(out), 2048))] = draw.randrange(256)
    return bytes(out)


def _header_number(data: bytes, draw: random.Random) -> bytes:
    """A number at its limits, in two or four bytes."""
    width = draw.choice([2, 4])
    at = draw.randrange(0, max(min(len(data), 2048) - width, 1))
    value = draw.choice([b"\xff" * width, b"\xff" * (width - 1) + b"\x7f", bytes(width), b"\x01" + bytes(width - 1)])
    return data[:at] + value + data[at + width :]


def _zeros(data: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(data))
    return data[:at] + bytes(len(data[at : at + 512])) + data[at + 512 :]


def _inserted(data: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(data))
    return data[:at] + draw.randbytes(draw.randint(1, 16)) + data[at:]


def _removed(data: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(data))
    return data[:at] + data[at + draw.randint(1, 16) :]


def _repeated(data: bytes, draw: random.Random) -> bytes:
    at, size = draw.randrange(len(data)), draw.randint(1, 4096)
    return data[: at + size] + data[at:]


def _swapped(data: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(data))
    return data[at:] + data[:at]


DAMAGE = {
    "cut": _cut,
    "cut at its end": _cut_end,
    "bits": _bits,
    "bytes of the header": _header_bytes,
    "a number of the header": _header_number,
    "zeros": _zeros,
    "inserted": _inserted,
    "removed": _removed,
    "repeated": _repeated,
    "swapped": _swapped,
}


def originals_of(folder: Path, shared: Path) -> list[Original]:
    """Whole files that their readers use: real ones, else invented ones; TFRecords are made of the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    found = list(_real(shared) if shared.is_dir() else _invented(folder))
    pictures = [original.path for original in found if original.ending == ".png"][:8]
    found.append(Original("foreign_tfrecords", _tfrecord(folder / "pictures.tfrecord", pictures), ".tfrecord"))
    return [original for original in found if _used(folder / "try", original)]


def _used(folder: Path, original: Original) -> bool:
    return bool(content(original, _alone(folder, original, original.path.read_bytes())).pixels)


def _real(shared: Path) -> Iterator[Original]:
    """At most 40 files per format, of all kinds there are."""
    endings = {
        ".nii": "nifti",
        ".nii.gz": "nifti",
        ".png": "image_files",
        ".jpg": "image_files",
        ".npz": "npz",
        ".dcm": "dicom",
    }
    by_ending = {}
    for path in sorted(shared.rglob("*")):
        if path.is_file() and path.stat().st_size <= LARGEST and not any(part in str(path) for part in NOT_HERE):
            name = path.name.lower().replace(".jpeg", ".jpg")
            with open(path, "rb") as file:
                dicom = file.read(132)[128:] == b"DICM"
            ending = ".dcm" if dicom else next((e for e in endings if name.endswith(e)), None)
            if ending:
                by_ending.setdefault(ending, []).append(path)
    for ending, paths in by_ending.items():
        for path in random.Random(0).sample(paths, min(len(paths), 40)):
            yield Original(endings[ending], path, ending)


def _invented(folder: Path) -> Iterator[Original]:
    """Files of the built-in phantom, and arrays of noise in the other formats."""
    import nibabel
    from PIL import Image

    from scanloom.sources import phantom

    root = phantom.fetch(phantom.Settings(patients=4, matrix=32), folder / "phantom", seed=0).root
    scans = [path for path in sorted(root.rglob("*")) if path.is_file() and path.read_bytes()[128:132] == b"DICM"]
    for path in scans[:: len(scans) // 12]:
        yield Original("dicom", path, ".dcm")
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.png", "c.png", "a.jpg"):
        Image.fromarray(rng.integers(0, 256, (40, 50), dtype=np.uint8)).save(folder / name)
        yield Original("image_files", folder / name, name[1:])
    volume = nibabel.Nifti1Image(rng.integers(0, 1000, (12, 11, 10), dtype=np.int16), np.diag([1.0, 1.0, 2.0, 1.0]))
    nibabel.save(volume, folder / "noise.nii")
    yield Original("nifti", folder / "noise.nii", ".nii")
    (folder / "noise.nii.gz").write_bytes(gzip.compress((folder / "noise.nii").read_bytes(), mtime=0))
    yield Original("nifti", folder / "noise.nii.gz", ".nii.gz")
    arrays = {
        "train_images": rng.integers(0, 256, (5, 8, 8), dtype=np.uint8),
        "train_labels": np.zeros((5, 1), np.uint8),
    }
    np.savez_compressed(folder / "noise.npz", **arrays)
    yield Original("npz", folder / "noise.npz", ".npz")


def _tfrecord(path: Path, pictures: list[Path]) -> Path:
    from scanloom.shards import tfrecord_wire as wire

    examples = [{"image/encoded": picture.read_bytes(), "image/class/label": np.array([1])} for picture in pictures]
    path.write_bytes(b"".join(wire.encode_record(wire.encode_example(example)) for example in examples))
    return path


if __name__ == "__main__":
    options = {
        "files": {"type": int, "default": 10_000, "help": "number of damaged files (10,000)"},
        "workers": {"type": int, "default": 0, "help": "processes (one per core)"},
        "seed": {"type": int, "default": 0, "help": "another seed damages in other places"},
    }
    run(__file__, __doc__, rows, options)
