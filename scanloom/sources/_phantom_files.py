"""The phantom as files: DICOM CT instances (PS3.3 A.3), NIfTI masks, and the deliberately bad files."""

import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedSRStorage, ExplicitVRLittleEndian, MRImageStorage

from scanloom.sources._phantom_scanner import BITS_STORED, FIELD_OF_VIEW_MM, Protocol, Scanner

UID_NAMESPACE = uuid.UUID("7d1c2f0e-5b0a-4c39-9d53-6a0f3c9e8a11")


def uid(*keys: object) -> str:
    """A valid UID that depends on the keys only (PS3.5 B.2: 2.25 and the decimal UUID)."""
    return f"2.25.{uuid.uuid5(UID_NAMESPACE, '|'.join(map(str, keys))).int}"


@dataclass(frozen=True)
class Person:
    """Invented; it stands in headers so that privacy can be tested."""

    patient_id: str
    name: str
    birth_date: str
    study_date: str
    sex: str
    age: int


def draw_person(rng: np.random.Generator, number: int) -> Person:
    """Patient `number`; every text has a distinctive part that no log or result may contain."""
    first = rng.choice(("Aldis", "Brenna", "Corvin", "Delphe", "Edric", "Fenna", "Gawain", "Hesper"))
    age = int(np.clip(rng.normal(58, 18), 18, 95))
    year = int(rng.integers(2011, 2021))
    month, day = int(rng.integers(1, 13)), int(rng.integers(1, 29))
    return Person(
        patient_id=f"QLN-{number:05d}",
        name=f"Phantom^Quillon-{first}",
        birth_date=f"{year - age - 1}{int(rng.integers(1, 13)):02d}{int(rng.integers(1, 29)):02d}",
        study_date=f"{year}{month:02d}{day:02d}",
        sex=str(rng.choice(("F", "M"))),
        age=age,
    )


@dataclass(frozen=True)
class Placement:
    """Where the stack lies in the patient coordinate system (PS3.3 C.7.6.2).

    tilt_deg: rotation of the whole stack about the x axis; it is stacked along the slices' normal, not sheared.
    """

    origin_mm: tuple[float, float, float]
    tilt_deg: float

    def axes(self) -> np.ndarray:
        """Unit vectors of columns (x), rows (y) and stack (z) as the rows of `[3, 3]`."""
        cos, sin = float(np.cos(np.deg2rad(self.tilt_deg))), float(np.sin(np.deg2rad(self.tilt_deg)))
        return np.array([[1, 0, 0], [0, cos, sin], [0, -sin, cos]])

    def position(self, protocol: Protocol, z_mm: float) -> np.ndarray:
        """Centre of the first pixel of the slice at `z_mm`."""
        corner = protocol.pixel_axis_mm()[0]
        return np.asarray(self.origin_mm) + np.array([corner, corner, z_mm]) @ self.axes()


@dataclass(frozen=True)
class SeriesNames:
    """What tells a series from all others."""

    study_uid: str
    series_uid: str
    number: int


def series_header(
    person: Person, scanner: Scanner, protocol: Protocol, placement: Placement, names: SeriesNames
) -> Dataset:
    """Everything that the instances of one series share."""
    header = Dataset()
    header.SpecificCharacterSet = "ISO_IR 192"
    header.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    header.SOPClassUID = CTImageStorage
    header.StudyDate = header.SeriesDate = header.ContentDate = person.study_date
    header.StudyTime = header.SeriesTime = header.ContentTime = "091500"
    header.AccessionNumber = f"ACC{person.patient_id[4:]}"
    header.Modality = "CT"
    header.Manufacturer = scanner.manufacturer
    header.InstitutionName = scanner.institution
    header.ReferringPhysicianName = "Referrer^Quillon"
    header.StudyDescription = "CT HEAD WITHOUT CONTRAST"
    header.SeriesDescription = f"HEAD {protocol.thickness_mm:g} {protocol.kernel}"
    header.ManufacturerModelName = scanner.model
    header.PatientName = person.name
    header.PatientID = person.patient_id
    header.PatientBirthDate = person.birth_date
    header.PatientSex = person.sex
    header.PatientAge = f"{person.age:03d}Y"
    header.BodyPartExamined = "HEAD"
    header.SliceThickness = f"{protocol.thickness_mm:g}"
    header.KVP = str(scanner.kvp)
    if len(protocol.centres_mm) > 1:
        header.SpacingBetweenSlices = _decimal(protocol.centres_mm[1] - protocol.centres_mm[0])
    header.ReconstructionDiameter = _decimal(FIELD_OF_VIEW_MM)
    header.XRayTubeCurrent = str(scanner.tube_current_ma)
    header.ConvolutionKernel = protocol.kernel
    header.PatientPosition = "HFS"
    header.StudyInstanceUID = names.study_uid
    header.SeriesInstanceUID = names.series_uid
    header.StudyID = "1"
    header.SeriesNumber = str(names.number)
    header.ImageOrientationPatient = [_decimal(v) for v in placement.axes()[:2].ravel()]
    header.FrameOfReferenceUID = uid("frame", names.study_uid)
    header.PositionReferenceIndicator = ""
    header.SamplesPerPixel = 1
    header.PhotometricInterpretation = "MONOCHROME2"
    header.Rows = header.Columns = protocol.matrix
    header.PixelSpacing = [_decimal(protocol.pixel_mm)] * 2
    header.BitsAllocated = 16
    header.BitsStored = BITS_STORED
    header.HighBit = BITS_STORED - 1
    header.PixelRepresentation = int(scanner.signed)
    header.add_new("PixelPaddingValue", "SS" if scanner.signed else "US", scanner.padding)
    header.WindowCenter = "40"
    header.WindowWidth = "80"
    header.RescaleIntercept = str(scanner.intercept)
    header.RescaleSlope = "1"
    header.RescaleType = "HU"
    return header


def _decimal(value: float) -> str:
    """A DICOM decimal string: at most 16 characters (PS3.5 6.2)."""
    return f"{value + 0.0:.8g}"


def write_instance(path: Path, header: Dataset, sop_uid: str, number: int, position_mm: np.ndarray, stored: np.ndarray):
    """One DICOM file of the series; `number` is the InstanceNumber."""
    header.SOPInstanceUID = sop_uid
    header.InstanceNumber = str(number)
    header.AcquisitionNumber = "1"
    header.ImagePositionPatient = [_decimal(v) for v in position_mm]
    normal = np.cross(*np.asarray(header.ImageOrientationPatient, float).reshape(2, 3))
    header.SliceLocation = _decimal(float(position_mm @ normal))
    header.add_new("PixelData", "OW", stored.tobytes())
    write_dataset(path, header)


def write_dataset(path: Path, dataset: Dataset) -> None:
    """An explicit little-endian DICOM file with a preamble; the same bytes for the same data set."""
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\0\1"
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = uid("scanloom phantom")
    meta.ImplementationVersionName = "SCANLOOM"
    dataset.file_meta = meta
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


def write_mask(path: Path, mask: np.ndarray, protocol: Protocol, placement: Placement) -> None:
    """The bleed as NIfTI on the grid that SimpleITK gives for the DICOM series; mask: bool `[z, y, x]`."""
    image = SimpleITK.GetImageFromArray(mask.astype(np.uint8))
    spacing = protocol.centres_mm[1] - protocol.centres_mm[0] if len(protocol.centres_mm) > 1 else protocol.thickness_mm
    image.SetSpacing((protocol.pixel_mm, protocol.pixel_mm, spacing))
    image.SetOrigin(tuple(map(float, placement.position(protocol, protocol.centres_mm[0]))))
    image.SetDirection(tuple(placement.axes().T.ravel()))
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(image, str(path), useCompression=True)


def write_report_without_pixels(path: Path, header: Dataset, sop_uid: str) -> None:
    """A structured report (PS3.3 A.35.2): a DICOM file that holds no image."""
    report = Dataset()
    kept = "SpecificCharacterSet StudyDate StudyTime PatientName PatientID PatientBirthDate PatientSex StudyInstanceUID"
    for keyword in kept.split():
        setattr(report, keyword, header[keyword].value)
    report.SOPClassUID = EnhancedSRStorage
    report.SOPInstanceUID = sop_uid
    report.SeriesInstanceUID = uid("series", sop_uid)
    report.Modality = "SR"
    report.ValueType = "CONTAINER"
    report.ContinuityOfContent = "SEPARATE"
    report.CompletionFlag, report.VerificationFlag = "COMPLETE", "UNVERIFIED"
    write_dataset(path, report)


def as_localizer(header: Dataset) -> Dataset:
    """The header of a sagittal localizer of the same study."""
    header.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    header.ImageOrientationPatient = ["0", "1", "0", "0", "0", "-1"]
    return header


def as_mr(header: Dataset) -> Dataset:
    """The header of an MR image; what only CT has is removed."""
    header.SOPClassUID, header.Modality = MRImageStorage, "MR"
    header.SeriesDescription = "T2 TSE TRA"
    for keyword in ("KVP", "XRayTubeCurrent", "ConvolutionKernel", "RescaleType", "ReconstructionDiameter"):
        delattr(header, keyword)
    header.ScanningSequence, header.SequenceVariant = "SE", "SK"
    return header
