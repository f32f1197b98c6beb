"""CT slices as DICOM files: real ones where the folder of shared images is, else made ones; and transcoded copies."""

import os
from pathlib import Path

import numpy as np
from _measure import ROOT


def ct_slices(folder: Path, most: int) -> list[Path]:
    """At most `most` 512 x 512 slices of one head CT; made in `folder` where there are no real ones."""
    shared = Path(os.environ.get("SCANLOOM_SHARED_DATA", ROOT.parent / "shared" / "data"))
    found = sorted((shared / "ct_head_tilt_dicom").rglob("*.dcm"))
    if not found:
        found = _made(folder / "made", most)
    # From the middle of the head rather than from its end.
    first = max(0, (len(found) - most) // 2)
    return found[first : first + most]


def _made(folder: Path, number: int) -> list[Path]:
    """Slices of an ellipse of soft tissue in a skull, with noise; 16 bits, signed, padding outside the circle."""
    from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    y, x = (np.mgrid[:512, :512] - 255.5) / 256
    inside = np.hypot(y / 0.8, x / 0.6)
    files = []
    for z in range(number):
        hu = np.select([inside < 0.9, inside < 1], [35, 1200], -1000) + rng.normal(0, 8, (512, 512))
        cells = np.where(np.hypot(y, x) > 1, -1500, np.rint(hu)).astype(np.int16)
        header = Dataset()
        header.SOPClassUID, header.SOPInstanceUID = CTImageStorage, f"1.2.3.{z + 1}"
        header.SeriesInstanceUID, header.StudyInstanceUID, header.PatientID = "1.2.3", "1.2", "made"
        header.Modality, header.InstanceNumber, header.SliceThickness = "CT", z + 1, 5
        header.ImagePositionPatient, header.ImageOrientationPatient = [-128, -128, 5 * z], [1, 0, 0, 0, 1, 0]
        header.Rows = header.Columns = 512
        header.PixelSpacing, header.SamplesPerPixel, header.PhotometricInterpretation = [0.5, 0.5], 1, "MONOCHROME2"
        header.BitsAllocated = header.BitsStored = 16
        header.HighBit, header.PixelRepresentation = 15, 1
        header.RescaleSlope, header.RescaleIntercept = 1, 0
        header.PixelPaddingValue = -1500
        header.PixelData = cells.tobytes()
        meta = FileMetaDataset()
        meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, CTImageStorage
        meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
        files.append(folder / f"{z:03d}.dcm")
        FileDataset(str(files[-1]), header, preamble=b"\0" * 128, file_meta=meta).save_as(files[-1])
    return files


def _unsigned(plane: np.ndarray) -> np.ndarray:
    return plane.view(np.uint16)


def transcoded(files: list[Path], syntax: str, encode, folder: Path) -> list[Path]:
    """Copies of 16-bit slices in another transfer syntax. encode: int16 or uint16 `[y, x]` -> bytes; None: native."""
    import pydicom
    from pydicom.encaps import encapsulate

    folder.mkdir(parents=True, exist_ok=True)
    copies = []
    for file in files:
        header = pydicom.dcmread(file)
        if encode is not None:
            header.PixelData = encapsulate([encode(header.pixel_array)])
            header["PixelData"].VR, header["PixelData"].is_undefined_length = "OB", True
        header.file_meta.TransferSyntaxUID = syntax
        copies.append(folder / file.name)
        header.save_as(copies[-1])
    return copies


def encoders() -> dict:
    """Name -> (transfer syntax, lossless encoder of one slice of 16 bits)."""
    import imagecodecs
    from pydicom import uid
    from pydicom.pixels.encoders import RLELosslessEncoder

    def rle(plane: np.ndarray) -> bytes:
        return RLELosslessEncoder.encode(
            plane.tobytes(),
            rows=plane.shape[0],
            columns=plane.shape[1],
            samples_per_pixel=1,
            bits_allocated=16,
            bits_stored=16,
            pixel_representation=int(plane.dtype.kind == "i"),
            photometric_interpretation="MONOCHROME2",
            number_of_frames=1,
        )

    return {
        "uncompressed": (uid.ExplicitVRLittleEndian, None),
        "uncompressed, implicit VR": (uid.ImplicitVRLittleEndian, None),
        "deflated": (uid.DeflatedExplicitVRLittleEndian, None),
        "RLE": (uid.RLELossless, rle),
        "JPEG lossless": (
            uid.JPEGLosslessSV1,
            lambda plane: imagecodecs.ljpeg_encode(_unsigned(plane), bitspersample=16),
        ),
        "JPEG-LS": (uid.JPEGLSLossless, lambda plane: imagecodecs.jpegls_encode(_unsigned(plane))),
        "JPEG 2000": (
            uid.JPEG2000Lossless,
            lambda plane: imagecodecs.jpeg2k_encode(plane, level=0, codecformat="j2k", reversible=True),
        ),
        "HTJ2K": (uid.HTJ2KLossless, lambda plane: imagecodecs.htj2k_encode(plane, reversible=True)),
    }
