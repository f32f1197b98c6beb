"""From a CT series of 140 slices to a cube of 128 voxels of 1 mm, on one thread, against the usual libraries.

All read the same DICOM files (512 x 512 pixels of 0.45 mm, slices 1 mm apart, in shuffled order), resample to 1 mm and
cut the centre out. Ours is what `preprocess_chunk` does for one series: reader, resample, crop_or_pad, integers; where
the grid gets coarser it averages over the area of a new pixel, the others interpolate linearly and alias. SimpleITK
reads, resamples the whole volume and crops, as tutorials do; a second row resamples only the cube. MONAI and TorchIO
run in a Python of their own: make an environment with monai, torchio, itk, pydicom and the CPU build of torch, and say
`--peers PYTHON`; without it their rows are left out. `--slices FOLDER` gives real slices (any CT files) instead of made
ones. Times are per series; wall and CPU time are compared separately.
"""

import os
import subprocess
from pathlib import Path

import numpy as np
from _measure import Timing, compared, interleaved, limited, run
from _synthetic import images_of

GOALS = {"SimpleITK, whole volume": 5.0, "MONAI": 15.0, "TorchIO": 15.0}
SPACING_MM = (1.0, 0.45, 0.45)


def rows(
    folder: Path,
    slices: str | None = None,
    peers: str | None = None,
    count: int = 140,
    size: int = 512,
    cube: int = 128,
    rounds: int = 9,
) -> list[dict]:
    """The table."""
    import cv2
    import SimpleITK

    cv2.setNumThreads(1)
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    series = folder / "series"
    write_series(series, count, size, slices)
    ours, steps = our_way(series, cube), {}
    check(ours(), read_simpleitk(series), cube)
    ways = {
        "ours": counting(ours),
        "SimpleITK, whole volume": counting(lambda: simpleitk_cube(read_simpleitk(series), cube, whole=True)),
        "SimpleITK, only the cube": counting(lambda: simpleitk_cube(read_simpleitk(series), cube, whole=False)),
        "pydicom + scipy.ndimage.zoom": counting(lambda: scipy_cube(*read_pydicom(series), cube)),
    }
    with Peers(peers, series, cube) as others:
        ways |= others.ways()
        timings = interleaved(ways, rounds)
        others.put_cpu_into(timings, rounds)
    ours = timings.pop("ours")
    table = []
    for kind in ("wall", "cpu"):
        mine = milliseconds(getattr(ours, f"{kind}_s"))
        for name, timing in timings.items():
            goal = next((goal for start, goal in GOALS.items() if name.startswith(start)), None)
            table.append(compared(f"{name}, {kind} time", "ms", mine, milliseconds(getattr(timing, f"{kind}_s")), goal))
    for name, way in our_parts(series, cube).items():
        steps[name] = interleaved({name: counting(way)}, rounds)[name]
        table.append(limited(f"ours, {name}, CPU time", "ms", milliseconds(steps[name].cpu_s)))
    return table


def write_series(folder: Path, count: int, size: int, slices: str | None) -> None:
    """CT files in shuffled order; their pixels from the files below `slices`, or made."""
    import pydicom
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    folder.mkdir(parents=True, exist_ok=True)
    pixels = real_pixels(Path(slices)) if slices else [made[..., 0] >> 4 for made in images_of(16, size)]
    for number in range(count):
        cells = np.ascontiguousarray(pixels[number % len(pixels)][:size, :size])
        header = pydicom.Dataset()
        header.file_meta = FileMetaDataset()
        header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = CTImageStorage
        header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number + 1}"
        header.SeriesInstanceUID, header.StudyInstanceUID, header.PatientID = "1.2.3", "1.2", "p"
        header.Modality, header.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
        header.InstanceNumber, header.SliceThickness = number + 1, SPACING_MM[0]
        header.PixelSpacing = list(SPACING_MM[1:])
        header.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        header.ImagePositionPatient = [-115, -115, number * SPACING_MM[0]]
        header.Rows, header.Columns = cells.shape
        header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
        header.BitsAllocated, header.BitsStored, header.HighBit = 16, 16, 15
        header.PixelRepresentation = int(cells.dtype.kind == "i")
        header.RescaleSlope, header.RescaleIntercept = 1, -1024
        header.PixelData = cells.tobytes()
        header.save_as(folder / f"{number * 37 % count:03d}.dcm", enforce_file_format=True)


def real_pixels(folder: Path) -> list[np.ndarray]:
    """Cells of all DICOM files below the folder, in the order of paths."""
    import pydicom

    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.read_bytes()[128:132] == b"DICM")
    if not files:
        raise ValueError(f"no DICOM files below {folder}")
    return [pydicom.dcmread(file).pixel_array for file in files]


def catalogue_rows(series: Path):
    """(reader, settings, rows of the one series) as `preprocess_chunk` gets them."""
    from scanloom.readers import dicom

    settings = dicom.Settings()
    grouped = dicom.group_series(dicom.scan(series, settings), settings)
    return dicom, settings, grouped.images.assign(series_id="0")


def steps_of(cube: int) -> list[dict]:
    """What a study's config.yaml would say."""
    return [
        {"name": "resample", "settings": {"spacing_mm": [1.0, 1.0, 1.0]}},
        {"name": "crop_or_pad", "settings": {"size_px": [cube, cube, cube]}},
    ]


def our_way(series: Path, cube: int):
    """A function that gives the cube, uint16 (HU + 1024)."""
    from scanloom.images.preprocessing import preprocess_chunk

    reader, settings, rows = catalogue_rows(series)
    steps = steps_of(cube)

    def read(part):
        return reader.read_series(series, part, settings)

    def read_blocks(part, *choices):
        return reader.read_blocks(series, part, settings, *choices)

    return lambda: preprocess_chunk(read, rows, steps, 3, "uint16", read_blocks)["images"][0, ..., 0]


def our_parts(series: Path, cube: int) -> dict:
    """What reading a whole volume and resampling it cost by themselves."""
    from scanloom.images.preprocessing import run_steps

    reader, settings, rows = catalogue_rows(series)
    volume = reader.read_series(series, rows, settings)
    return {
        "reading the whole series": lambda: reader.read_series(series, rows, settings),
        "resampling and cutting a volume": lambda: run_steps(volume, steps_of(cube)),
    }


def read_simpleitk(series: Path):
    """The series as SimpleITK reads it."""
    import SimpleITK

    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(series)))
    return reader.Execute()


def simpleitk_cube(image, cube: int, whole: bool) -> np.ndarray:
    """float32 [cube, cube, cube] of 1 mm around the centre: cut from the whole volume at 1 mm, or made alone."""
    import SimpleITK

    sizes = [max(1, round(n * mm)) for n, mm in zip(image.GetSize(), image.GetSpacing(), strict=True)]
    cut = sizes if whole else [min(n, cube) for n in sizes]
    centre = image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in image.GetSize()])
    origin = [c - (n - 1) / 2 for c, n in zip(centre, cut, strict=True)]
    resampled = SimpleITK.Resample(
        image, cut, SimpleITK.Transform(), SimpleITK.sitkLinear, origin, (1.0,) * 3, image.GetDirection(), -1024.0,
        SimpleITK.sitkFloat32,
    )  # fmt: skip
    return centre_of(SimpleITK.GetArrayViewFromImage(resampled), cube)


def centre_of(values: np.ndarray, cube: int) -> np.ndarray:
    """The middle of the array."""
    starts = [max(0, (n - cube) // 2) for n in values.shape]
    return values[tuple(slice(start, start + cube) for start in starts)].copy()


def read_pydicom(series: Path) -> tuple[np.ndarray, tuple]:
    """(float32 HU [z, y, x], spacing) the way tutorials do it."""
    import pydicom

    headers = sorted((pydicom.dcmread(path) for path in series.iterdir()), key=lambda d: d.ImagePositionPatient[2])
    values = np.stack([header.pixel_array for header in headers]).astype(np.float32)
    values = values * float(headers[0].RescaleSlope) + float(headers[0].RescaleIntercept)
    between = headers[1].ImagePositionPatient[2] - headers[0].ImagePositionPatient[2]
    return values, (float(between), *map(float, headers[0].PixelSpacing))


def scipy_cube(values: np.ndarray, spacing_mm: tuple, cube: int) -> np.ndarray:
    """Linear zoom of the whole volume, then the middle."""
    from scipy import ndimage

    return centre_of(ndimage.zoom(values, spacing_mm, order=1), cube)


def check(ours: np.ndarray, image, cube: int) -> None:
    """Raise ValueError unless our cube is SimpleITK's of the same places, up to the noise that averaging takes away.

    Both are averaged over 4 x 4 pixels first.
    """
    theirs = simpleitk_cube(image, cube, whole=True)
    if ours.shape != theirs.shape:
        raise ValueError(f"our cube is {ours.shape}, SimpleITK's {theirs.shape}")
    z, y, x = (n // 4 * 4 for n in ours.shape)
    coarse = [
        part[:z, :y, :x].astype(np.float64).reshape(z, y // 4, 4, x // 4, 4).mean(axis=(2, 4))
        for part in (ours, np.maximum(theirs, -1024) + 1024)
    ]
    correlation = np.corrcoef(coarse[0].ravel(), coarse[1].ravel())[0, 1]
    if not correlation > 0.98:
        raise ValueError(f"our cube is not SimpleITK's: correlation {correlation:.3f}")


def counting(way):
    """The way as one that says it made one series."""

    def one() -> int:
        way()
        return 1

    return one


class Peers:
    """MONAI and TorchIO in the process of another Python; nothing where none is given."""

    def __init__(self, python: str | None, series: Path, cube: int):
        self.python, self.arguments, self.process = python, [str(series), str(cube)], None
        self.cpu_s: dict[str, list[float]] = {}

    def __enter__(self):
        if self.python:
            script = Path(__file__).with_name("_volume_peers.py")
            one_thread = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
            self.process = subprocess.Popen(
                [self.python, str(script), *self.arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=os.environ | one_thread,
            )
        return self

    def __exit__(self, *error) -> None:
        if self.process:
            self.process.communicate()

    def ways(self) -> dict:
        """Name -> way; each waits for the other process to have done it."""
        if not self.process:
            return {}
        names = self.process.stdout.readline().split()
        if not names:
            raise ValueError(f"{self.python} has not all of monai, torchio, itk, pydicom, torch")
        self.cpu_s = {name.replace("_", ", "): [] for name in names}
        return {name.replace("_", ", "): lambda name=name: self._ask(name) for name in names}

    def _ask(self, name: str) -> int:
        self.process.stdin.write(name + "\n")
        self.process.stdin.flush()
        seconds, *_ = self.process.stdout.readline().split()
        self.cpu_s[name.replace("_", ", ")].append(float(seconds))
        return 1

    def put_cpu_into(self, timings: dict[str, Timing], rounds: int) -> None:
        """CPU times of the other process in place of this one's; the warming up comes first and is left out."""
        for name, seconds in self.cpu_s.items():
            timings[name].cpu_s = seconds[-rounds:]


def milliseconds(seconds: list[float]) -> list[float]:
    """Of each round."""
    return [1000 * s for s in seconds]


if __name__ == "__main__":
    run(
        __file__,
        __doc__,
        rows,
        {
            "slices": {"metavar": "FOLDER", "help": "folder of CT slices to take the pixels from; default: made ones"},
            "peers": {"metavar": "PYTHON", "help": "a Python with monai, torchio, itk, pydicom and torch"},
        },
    )
