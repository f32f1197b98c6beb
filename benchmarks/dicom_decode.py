"""From a DICOM file to its stored pixels, per transfer syntax, against pydicom on the same files.

Real 512 x 512 CT slices of 16 bits where there are some (SCANLOOM_SHARED_DATA), transcoded without loss; both sides
read the file, its header and its pixels, and must give equal arrays. pydicom uses the first of its decoders that is
installed, which are pylibjpeg's plug-ins, and its own for RLE. CPU time per slice, one process. Rows "codec" compare
bare decoders on the frame's bytes: what `_dicom_decode.py` uses (ours) and the other one in imagecodecs (peer).
"""

from pathlib import Path

from _dicom import ct_slices, encoders, transcoded
from _measure import compared, interleaved, run

GOALS = {"uncompressed": 6.0, "RLE": 2.0, "JPEG lossless": 1.7, "JPEG-LS": 1.4, "HTJ2K": 2.4}


def rows(folder: Path, slices: int = 8, rounds: int = 7) -> list[dict]:
    """The table."""
    import pydicom

    files = ct_slices(folder, slices)
    copies = {
        name: transcoded(files, syntax, encode, folder / name.replace(" ", "_"))
        for name, (syntax, encode) in encoders().items()
    }
    ways = {}
    for name, paths in copies.items():
        check(paths)
        ways[name, "ours"] = each(our_cells, paths)
        ways[name, "peer"] = each(lambda path: pydicom.dcmread(path).pixel_array, paths)
    timings = interleaved(ways, rounds)
    table = []
    for clock in ("CPU", "wall"):
        ms = {
            way: [1000 * s for s in (timing.cpu_s if clock == "CPU" else timing.wall_s)]
            for way, timing in timings.items()
        }
        table += [
            compared(f"{name}, {clock}", "ms/slice", ms[name, "ours"], ms[name, "peer"], GOALS.get(name))
            for name in copies
        ]
    return table + codec_rows(copies, rounds)


def our_cells(path: Path):
    """The stored cells, int or uint `[y, x]`."""
    from scanloom.readers._dicom_decode import stored_cells
    from scanloom.readers._dicom_description import describe, whole_file

    return next(stored_cells(describe(whole_file(path)), [-1]))


def check(paths: list[Path]) -> None:
    """Raise ValueError unless both sides give the same pixels."""
    import numpy as np
    import pydicom

    for path in paths:
        if not np.array_equal(our_cells(path), pydicom.dcmread(path).pixel_array):
            raise ValueError(f"{path.parent.name}: not the pixels that pydicom gives")


def each(function, items: list):
    """A way for `interleaved`: the function of every item."""

    def way() -> int:
        for item in items:
            function(item)
        return len(items)

    return way


def codec_rows(copies: dict[str, list[Path]], rounds: int) -> list[dict]:
    """Bare decoders where imagecodecs has several."""
    import imagecodecs
    import pydicom
    from pydicom.encaps import get_frame

    others = {
        "JPEG lossless": [
            ("jpeg8 (libjpeg-turbo) and ljpeg (liblj92)", imagecodecs.jpeg8_decode, imagecodecs.ljpeg_decode),
            ("jpeg8 (libjpeg-turbo) and jpegsof3", imagecodecs.jpeg8_decode, imagecodecs.jpegsof3_decode),
        ],
        "HTJ2K": [("htj2k (OpenJPH) and jpeg2k (OpenJPEG)", imagecodecs.htj2k_decode, imagecodecs.jpeg2k_decode)],
    }
    table = []
    for name, pairs in others.items():
        frames = [get_frame(pydicom.dcmread(path).PixelData, 0, number_of_frames=1) for path in copies[name]]
        for label, ours, peer in pairs:
            timings = interleaved({"ours": each(ours, frames), "peer": each(peer, frames)}, rounds)
            ours, peer = ([1000 * s for s in timings[side].cpu_s] for side in ("ours", "peer"))
            table.append(compared(f"codec, {name}: {label}", "ms/slice", ours, peer))
    return table


if __name__ == "__main__":
    run(__file__, __doc__, rows)
