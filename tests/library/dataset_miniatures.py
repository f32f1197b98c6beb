"""For every file of datasets/ a few made-up images in the layout its publisher describes, and the labels they have.

A function is called like the dataset, or is chosen by `miniature_of`. It fills a folder (what the reader scans) and
returns a Miniature. Values are made up; names, folders, columns and codes are the published ones.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import SimpleITK as sitk
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from scanloom.dataset_config import DatasetFile


@dataclass
class Miniature:
    """labels: part of an image's path (`path#frame` for readers of many) -> {label: class index or None}.
    excluded: {reason: files}. groups: split units of the used images; splits: {part of a path: official split}.
    masks: parts of paths that have a mask.
    """

    labels: dict[str, dict[str, int | None]]
    excluded: dict[str, int] = field(default_factory=dict)
    groups: int | None = None
    splits: dict[str, str] = field(default_factory=dict)
    masks: list[str] = field(default_factory=list)


def miniature_of(dataset: DatasetFile):
    """The function that makes the dataset's miniature: by its name, else by its form."""
    if dataset.name in globals():
        return globals()[dataset.name]
    if "zenodo.org/records/10519652" in str(dataset.source.settings):
        return _medmnist
    if dataset.name.startswith("msd_"):
        return _decathlon
    raise LookupError(f"add a function {dataset.name} to tests/library/dataset_miniatures.py")


def _picture(path: Path, colour: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (6, 8, 3) if colour else (6, 8)
    pixels = np.random.default_rng(sum(path.name.encode())).integers(0, 256, shape, np.uint8)
    Image.fromarray(pixels).save(path)


def _volume(path: Path, dtype=np.int16) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(sum(path.name.encode())).integers(0, 3, (4, 6, 5)).astype(dtype)
    sitk.WriteImage(sitk.GetImageFromArray(values), str(path))


def _text(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def _ct(folder: Path, patient: str, series_uid: str, slices: int = 12, **header) -> None:
    """One series of a CT, `slices` files."""
    folder.mkdir(parents=True, exist_ok=True)
    study = generate_uid(entropy_srcs=[patient])
    for number in range(slices):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[series_uid, str(number)])
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        image.PatientID, image.StudyInstanceUID, image.SeriesInstanceUID = patient, study, series_uid
        image.Modality, image.InstanceNumber = "CT", number + 1
        image.ImageOrientationPatient, image.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 5.0 * number]
        image.PixelSpacing, image.SliceThickness = [0.5, 0.5], 5
        image.Rows, image.Columns, image.SamplesPerPixel = 8, 8, 1
        image.PhotometricInterpretation = "MONOCHROME2"
        image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 1
        image.RescaleSlope, image.RescaleIntercept = 1, -1024
        image.PixelData = np.full((8, 8), 1024 + number, np.int16).tobytes()
        for name, value in header.items():
            setattr(image, name, value)
        pydicom.dcmwrite(folder / f"CT{number:06d}.dcm", image, enforce_file_format=True)


def _medmnist(root: Path, dataset: DatasetFile) -> Miniature:
    """The arrays of a MedMNIST file: 3 + 2 + 2 entries."""
    settings, name = dataset.reader.settings, dataset.name
    columns = settings["label_columns"]
    shape = (28, 28, 28) if name.endswith("3d") else (28, 28)
    colour = name in ("pathmnist", "dermamnist", "retinamnist", "bloodmnist")
    arrays, labels, splits, frame = {}, {}, {}, 0
    by_column = {label.column or key: key for key, label in dataset.labels.columns.items() if not label.values}
    for split, said, count in (("train", "train", 3), ("val", "validation", 2), ("test", "test", 2)):
        arrays[f"{split}_images"] = np.zeros((count, *shape, *((3,) if colour else ())), np.uint8)
        given = np.arange(count)[:, None] % 2 + np.zeros((1, len(columns)), np.uint8)
        arrays[f"{split}_labels"] = given.astype(np.uint8)
        for row in given:
            labels[f"#{frame}"] = {by_column[c]: int(v) for c, v in zip(columns, row, strict=True)}
            splits[f"#{frame}"] = said
            frame += 1
    np.savez(root / f"{name}.npz", **arrays)
    return Miniature(labels, splits=splits, groups=7)


def _decathlon(root: Path, dataset: DatasetFile) -> Miniature:
    """Two volumes with masks and one without, as the archives hold them; resource forks of macOS among them."""
    task, case = dataset.title.split(", ")[1].split(" (")[0].replace(" ", "_"), dataset.name.split("_")[-1]
    for name in (f"imagesTr/{case}_001", f"labelsTr/{case}_001", f"imagesTr/{case}_004", f"imagesTs/{case}_002"):
        _volume(root / task / f"{name}.nii.gz")
    _volume(root / task / f"labelsTr/{case}_010.nii.gz")  # a mask whose image is absent
    _text(root / task / f"imagesTr/._{case}_001.nii.gz", "resource fork")
    _text(root / task / "dataset.json", "{}")
    excluded = {"not an image (declared)": 3, "not a NIfTI file": 1}
    return Miniature({f"imagesTs/{case}": {}}, excluded, groups=3, masks=[f"imagesTr/{case}_001"])


def adrenalmnist3d(root: Path, dataset: DatasetFile) -> Miniature:
    """As the other volumes of MedMNIST."""
    return _medmnist(root, dataset)


def aptos2019(root: Path, dataset: DatasetFile) -> Miniature:
    """Graded training images and test images without grades."""
    for name in ("train_images/0a.png", "train_images/0b.png", "test_images/0c.png"):
        _picture(root / name, colour=True)
    _text(root / "train.csv", "id_code,diagnosis", "0a,4", "0b,1")
    _text(root / "test.csv", "id_code", "0c")
    return Miniature(
        {
            "0a": {"grade": 4, "referable": 1},
            "0b": {"grade": 1, "referable": 0},
            "0c": {"grade": None, "referable": None},
        },
        {"not an image (declared)": 1, "not an image file": 1},
        groups=3,
    )


def brats2018(root: Path, dataset: DatasetFile) -> Miniature:
    """Two cases of four sequences and a mask; the second without."""
    for grade, case in (("HGG", "Brats18_2013_2_1"), ("LGG", "Brats18_TCIA09_141_1")):
        for sequence in ("flair", "t1", "t1ce", "t2", "seg"):
            if (grade, sequence) != ("LGG", "seg"):
                _volume(root / grade / case / f"{case}_{sequence}.nii.gz")
    _text(root / "survival_data.csv", "Brats18ID,Age,Survival,ResectionStatus")
    return Miniature(
        {
            "2_1_flair": {"high_grade": 1, "sequence": 0},
            "2_1_t1.": {"high_grade": 1, "sequence": 1},
            "2_1_t1ce": {"high_grade": 1, "sequence": 2},
            "141_1_t2": {"high_grade": 0, "sequence": 3},
        },
        {"not an image (declared)": 1, "not a NIfTI file": 1},
        groups=2,
        masks=["2_1_flair", "2_1_t1.", "2_1_t1ce", "2_1_t2"],
    )


def celeba(root: Path, dataset: DatasetFile) -> Miniature:
    """The official text files; 000001 and 000003 are one person."""
    names = [column for column in dataset.labels.format.header if column != "image_id"]
    lines, identity, partition = [], [], []
    for number, split, person in ((1, 0, 2880), (2, 1, 2937), (3, 0, 2880), (4, 2, 17)):
        image = f"{number:06d}.jpg"
        _picture(root / "img_align_celeba" / image, colour=True)
        lines.append(f"{image} " + " ".join(" 1" if number % 2 else "-1" for _ in names))
        identity.append(f"{image} {person}")
        partition.append(f"{image} {split}")
    _text(root / "list_attr_celeba.txt", "4", " ".join(names) + " ", *lines)
    _text(root / "identity_CelebA.txt", *identity)
    _text(root / "list_eval_partition.txt", *partition)
    return Miniature(
        {"000001": {"smiling": 1, "five_o_clock_shadow": 1}, "000002": {"male": 0, "young": 0}},
        {"not an image (declared)": 3},
        groups=3,
        splits={"000001": "train", "000002": "validation", "000004": "test"},
    )


def chexpert(root: Path, dataset: DatasetFile) -> Miniature:
    """Two patients of training, one of validation; one lateral view."""
    header = "Path,Sex,Age,Frontal/Lateral,AP/PA," + ",".join(dataset.labels.multilabel["findings"].columns.values())
    train, valid = [header], [header]
    rows = [
        (train, "train/patient00001/study1/view1_frontal.jpg", "Frontal", "AP", {0: "1.0"}),
        (train, "train/patient00002/study1/view1_frontal.jpg", "Frontal", "PA", {2: "-1.0", 5: "0.0", 13: "1.0"}),
        (train, "train/patient00002/study1/view2_lateral.jpg", "Lateral", "", {2: "-1.0", 5: "0.0", 13: "1.0"}),
        (valid, "valid/patient64541/study1/view1_frontal.jpg", "Frontal", "AP", dict.fromkeys(range(14), "0.0")),
    ]
    for table, path, view, direction, found in rows:
        _picture(root / path)
        cells = ",".join(found.get(place, "") for place in range(14))
        table.append(f"CheXpert-v1.0-small/{path},Female,68,{view},{direction},{cells}")
    _text(root / "train.csv", *train)
    _text(root / "valid.csv", *valid)
    return Miniature(
        {
            "patient00001": {"no_finding": 1, "cardiomegaly": 0},
            "patient00002": {"no_finding": 0, "cardiomegaly": None, "edema": 0, "support_devices": 1},
            "patient64541": {"no_finding": 0, "cardiomegaly": 0},
        },
        {"lateral view": 1, "not an image (declared)": 2},
        groups=3,
        splits={"patient00001": "train", "patient64541": "test"},
    )


def cifar10(root: Path, dataset: DatasetFile) -> Miniature:
    """Records of 3,073 bytes: two in a training file, one in the test file."""
    record = np.zeros((3, 3073), np.uint8)
    record[:, 0] = [6, 9, 3]
    folder = root / "cifar-10-batches-bin"
    folder.mkdir()
    (folder / "data_batch_1.bin").write_bytes(record[:2].tobytes())
    (folder / "test_batch.bin").write_bytes(record[2:].tobytes())
    _text(folder / "batches.meta.txt", "airplane")
    return Miniature(
        {"data_batch_1.bin#0": {"object": 6}, "data_batch_1.bin#1": {"object": 9}, "test_batch.bin#0": {"object": 3}},
        {"not a record file": 1},
        groups=3,
        splits={"data_batch_1.bin#0": "train", "test_batch": "test"},
    )


def contrast_ct(root: Path, dataset: DatasetFile) -> Miniature:
    """Two slices of two patients."""
    for number, patient in enumerate(("TCGA-1", "TCGA-2")):
        _ct(root / patient, patient, generate_uid(entropy_srcs=[patient]), slices=1, Manufacturer="SIEMENS")
        (root / patient / "CT000000.dcm").rename(root / f"ID_{number}_CT.dcm")
        (root / patient).rmdir()
    _text(root / "labels.csv", "file,patient_id,contrast", "ID_0_CT.dcm,TCGA-1,1", "ID_1_CT.dcm,TCGA-2,0")
    return Miniature({"ID_0": {"contrast": 1}, "ID_1": {"contrast": 0}}, {"not an image (declared)": 1}, groups=2)


def covid19_radiography(root: Path, dataset: DatasetFile) -> Miniature:
    """An image and a lung mask in every class; table and readme beside the folders."""
    for folder in ("COVID", "Lung_Opacity", "Normal", "Viral Pneumonia"):
        for kind in ("images", "masks"):
            _picture(root / folder / kind / f"{folder}-1.png")
        _text(root / f"{folder}.metadata.xlsx", "PK")
    return Miniature(
        {
            "COVID/": {"diagnosis": 0, "covid": 1},
            "Lung_Opacity/": {"diagnosis": 1, "covid": 0},
            "Normal/": {"diagnosis": 2, "covid": 0},
            "Viral Pneumonia/": {"diagnosis": 3, "covid": 0},
        },
        {"not an image (declared)": 4, "not an image file": 4},
        groups=4,
    )


def cq500(root: Path, dataset: DatasetFile) -> Miniature:
    """Two patients; one with a bone reconstruction beside the plain series."""
    findings = list(dataset.labels.multilabel["findings"].columns.values())
    columns = ["name", "Category", *(f"R{reader}:{finding}" for reader in (1, 2, 3) for finding in findings)]
    reads = {"CQ500-CT-7": {"R1:ICH": "1", "R3:ICH": "1", "R2:Fracture": "1"}, "CQ500-CT-12": {}}
    lines = [",".join(columns)]
    for name, positive in reads.items():
        cells = [positive.get(column, "0") for column in columns[2:]]
        lines.append(",".join([name, "B1" if name.endswith("7") else "B2", *cells]))
    _text(root / "reads.csv", *lines)
    for patient, folder in (("CQ500-CT-7", "CT Plain"), ("CQ500-CT-7", "CT BONE"), ("CQ500-CT-12", "CT 5mm")):
        name = patient.replace("-", "")
        _ct(root / f"{name} {name}" / "Unknown Study" / folder, patient, generate_uid(entropy_srcs=[name, folder]))
    return Miniature(
        {"CQ500CT7/": {"ich": 1, "fracture": 0}, "CQ500CT12/": {"ich": 0, "fracture": 0}},
        {"not an image (declared)": 1, "bone kernel, by the series' name": 12},
        groups=2,
    )


def digits(root: Path, dataset: DatasetFile) -> Miniature:
    """As the source writes them."""
    for number in range(3):
        _picture(root / f"digits/{number:04d}.png")
    _text(root / "labels.csv", "file,digit", *(f"digits/{number:04d}.png,{number}" for number in range(3)))
    return Miniature({"0002": {"digit": 2}}, {"not an image (declared)": 1}, groups=3)


def ham10000(root: Path, dataset: DatasetFile) -> Miniature:
    """Three pictures of two lesions in two folders, a mask, a test picture of the later challenge."""
    for name in ("part_1/ISIC_0027419.jpg", "part_1/ISIC_0025030.jpg", "part_2/ISIC_0034318.jpg"):
        _picture(root / f"HAM10000_images_{name}", colour=True)
    _picture(root / "HAM10000_segmentations_lesion_tschandl" / "ISIC_0027419_segmentation.png")
    _text(
        root / "HAM10000_metadata.csv",
        "lesion_id,image_id,dx,dx_type,age,sex,localization",
        "HAM_0000118,ISIC_0027419,bkl,histo,80.0,male,scalp",
        "HAM_0000118,ISIC_0025030,bkl,histo,80.0,male,scalp",
        "HAM_0002730,ISIC_0034318,mel,histo,,female,back",
    )
    return Miniature(
        {"0027419": {"dx": 2}, "0025030": {"dx": 2}, "0034318": {"dx": 4}}, {"not an image (declared)": 2}, groups=2
    )


def head_ct_hemorrhage(root: Path, dataset: DatasetFile) -> Miniature:
    """Pictures of one slice each."""
    for number in range(2):
        _picture(root / f"head_ct/{number:03d}.png")
    _text(root / "labels.csv", "image,hemorrhage", "000.png,1", "001.png,0")
    return Miniature(
        {"000.png": {"hemorrhage": 1}, "001.png": {"hemorrhage": 0}}, {"not an image (declared)": 1}, groups=2
    )


def mednist(root: Path, dataset: DatasetFile) -> Miniature:
    """A picture in every folder."""
    kinds = dataset.labels.columns["kind"].classes
    for kind in kinds:
        _picture(root / "MedNIST" / kind / "000000.jpeg")
    _text(root / "MedNIST" / "README.md", "MedNIST")
    return Miniature(
        {f"{kind}/": {"kind": index} for index, kind in enumerate(kinds)}, {"not an image file": 1}, groups=6
    )


def mnist(root: Path, dataset: DatasetFile) -> Miniature:
    """Arrays as Keras names them."""
    images = {"x_train": np.zeros((2, 28, 28), np.uint8), "x_test": np.zeros((1, 28, 28), np.uint8)}
    np.savez(root / "mnist.npz", **images, y_train=np.uint8([5, 0]), y_test=np.uint8([7]))
    return Miniature(
        {"#0": {"digit": 5}, "#1": {"digit": 0}, "#2": {"digit": 7}}, groups=3, splits={"#1": "train", "#2": "test"}
    )


def nih_chest_xray14(root: Path, dataset: DatasetFile) -> Miniature:
    """Four images of three patients in two archives; the header of the real table has commas in brackets."""
    header = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    header += "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
    rows = {
        "00000001_000.png": "Cardiomegaly,0,1",
        "00000001_001.png": "Cardiomegaly|Emphysema,1,1",
        "00000002_000.png": "No Finding,0,2",
        "00000003_000.png": "Hernia|Pleural_Thickening,0,3",
    }
    for number, name in enumerate(rows):
        _picture(root / f"images_00{number % 2 + 1}" / "images" / name)
    lines = [f"{name},{row},57,M,PA,2682,2749,0.143,0.143" for name, row in rows.items()]
    _text(root / "Data_Entry_2017_v2020.csv", header, *lines)
    names = list(rows)
    _text(root / "train_val_list.txt", *names[:3])
    _text(root / "test_list.txt", names[3])
    return Miniature(
        {
            "00000001_001": {"cardiomegaly": 1, "emphysema": 1, "hernia": 0, "healthy": 0},
            "00000002_000": {"cardiomegaly": 0, "healthy": 1},
            "00000003_000": {"pleural_thickening": 1, "hernia": 1, "cardiomegaly": 0},
        },
        {"not an image (declared)": 3},
        groups=3,
        splits={"00000001_001": "train", "00000003_000": "test"},
    )


def your_dicom_folder(root: Path, dataset: DatasetFile) -> Miniature:
    """Two patients; a bone reconstruction and a short series that the template's conditions leave out."""
    uids = [generate_uid(entropy_srcs=[str(number)]) for number in range(4)]
    _ct(root / "a", "P1", uids[0], SeriesDescription="Head plain", InstitutionName="General")
    _ct(root / "b", "P1", uids[1], SeriesDescription="Head Bone", InstitutionName="General")
    _ct(root / "c", "P2", uids[2], SeriesDescription="Head plain", InstitutionName="County")
    _ct(root / "d", "P2", uids[3], slices=3, SeriesDescription="Head plain", InstitutionName="County")
    table = pd.DataFrame({"SeriesInstanceUID": uids, "bleed": ["1", "1", "no bleed", ""]})
    table.to_csv(root / "labels.csv", index=False)
    return Miniature(
        {"a/": {"bleed": 1}, "c/": {"bleed": 0}},
        {"not an image (declared)": 1, "bone kernel": 12, "does not fit: n_images >= 10": 3},
        groups=2,
    )
