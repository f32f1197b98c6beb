"""Real images with copies planted among them: cropped by 5 %, mirrored, noisy, re-windowed, compressed.

Public sets have copies of their own. Those that are known stand here, so that finding them is not counted as a mistake.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

# Pictures of one lesion under two lesion ids (HAM10000): equal diagnosis, age, sex and site in the table, and by eye.
ONE_LESION = (("ISIC_0027636", "ISIC_0027994"), ("ISIC_0027820", "ISIC_0030835"))
# Slices of one person (Head CT - hemorrhage), by eye: copies in another size or window, and slices next to each other.
ONE_HEAD = ((4, 57), (5, 22), (5, 58), (9, 65), (10, 66), (11, 61), (12, 30), (22, 58), (73, 95), (87, 88), (104, 186))
ONE_HEAD += ((105, 187), (107, 108), (109, 110), (110, 111), (116, 117), (117, 118), (118, 119), (119, 120), (120, 121))
ONE_HEAD += ((124, 125), (126, 127), (133, 134), (142, 143), (143, 144), (145, 148), (146, 149), (147, 150), (156, 157))
ONE_HEAD += ((172, 173), (173, 174), (188, 189), (198, 199))


@dataclass
class ImageSet:
    """Images as they come (integers [h, w] or [h, w, 3]; Hounsfield units for CT), and who is who.

    person: int per image; a pair of one person is no mistake. size_px: what a study would resize them to.
    """

    images: list[np.ndarray]
    person: np.ndarray
    size_px: int
    hounsfield: bool = False


def chest(data: Path) -> ImageSet:
    """PneumoniaMNIST: 5,856 chest radiographs of 28 px; equal ones count as one person."""
    with np.load(next((data / "pneumoniamnist28").glob("*.npz"))) as arrays:
        images = np.concatenate([arrays[f"{split}_images"] for split in ("train", "val", "test")])
    person = np.unique(images.reshape(len(images), -1), axis=0, return_inverse=True)[1]
    return ImageSet(list(images), person, 28)


def moles(data: Path) -> ImageSet:
    """HAM10000, shared part: 1,913 dermatoscopic pictures of 1,457 lesions."""
    lesion = pd.read_csv(data / "ham10000_part" / "metadata.csv").set_index("image_id")["lesion_id"].to_dict()
    for one, other in ONE_LESION:
        lesion[other] = lesion[one]
    files = sorted(path for path in (data / "ham10000_part").rglob("*.jpg") if path.stem in lesion)
    images = [cv2.imread(str(path))[..., ::-1] for path in files]
    return ImageSet(images, pd.factorize(pd.Series([lesion[path.stem] for path in files]))[0], 64)


def heads(data: Path) -> ImageSet:
    """Head CT - hemorrhage: 200 slices as pictures; persons are not given."""
    files = sorted((data / "head_ct_hemorrhage").rglob("*.png"))
    images = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in files]
    one, other = np.array(ONE_HEAD).T
    links = coo_array((np.ones(len(one)), (one, other)), shape=(len(files),) * 2)
    return ImageSet(images, connected_components(links, directed=False)[1], 64)


def phantom(folder: Path, patients: int = 60) -> ImageSet:
    """Built-in cohort, made in `folder`: its CT slices in Hounsfield units."""
    import pydicom

    from scanloom import plugins

    source = plugins.load("sources", "phantom")
    root = source.fetch(plugins.settings("sources", "phantom", {"patients": patients}), folder, seed=5).root
    images, person = [], []
    for path in sorted(root.rglob("*.dcm")):
        try:
            dataset = pydicom.dcmread(path)
            stored = dataset.pixel_array
        except (pydicom.errors.InvalidDicomError, AttributeError, ValueError):
            continue  # one of the deliberately bad files
        if dataset.Modality == "CT" and "LOCALIZER" not in dataset.ImageType:
            images.append(stored.astype(np.float32) * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept))
            person.append(dataset.PatientID)
    return ImageSet(images, pd.factorize(pd.Series(person))[0], 64, hounsfield=True)


def cropped(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """95 % of each axis, anywhere, in the old size."""
    height, width = image.shape[:2]
    high, wide = round(0.95 * height), round(0.95 * width)
    top, left = rng.integers(0, height - high + 1), rng.integers(0, width - wide + 1)
    return cv2.resize(image[top : top + high, left : left + wide], (width, height), interpolation=cv2.INTER_LINEAR)


def mirrored(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Left and right, or top and bottom, change places."""
    return np.ascontiguousarray(image[:, ::-1] if rng.random() < 0.5 else image[::-1])


def noisy(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise of 2 % of the range (5 of 255)."""
    return np.clip(np.rint(image + rng.normal(0, 5, image.shape)), 0, 255).astype(np.uint8)


def rewindowed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Up to 10 % cut off at the dark and up to 20 % at the bright end, and a gamma between 0.7 and 1.4."""
    low, high, gamma = 255 * rng.uniform(0, 0.1), 255 * rng.uniform(0.8, 1), rng.uniform(0.7, 1.4)
    return np.rint(255 * np.clip((image - low) / (high - low), 0, 1) ** gamma).astype(np.uint8)


def compressed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """JPEG of a quality between 30 and 60."""
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 60))])
    return cv2.imdecode(data, cv2.IMREAD_UNCHANGED)


CHANGES = {"crop": cropped, "flip": mirrored, "noise": noisy, "re-window": rewindowed, "JPEG": compressed}


def windowed(hounsfield: np.ndarray, level: float = 40, width: float = 80) -> np.ndarray:
    """uint8: the brain window, unless told otherwise."""
    return np.rint(255 * np.clip((hounsfield - level) / width + 0.5, 0, 1)).astype(np.uint8)


def plant(images: ImageSet, each: int, seed: int = 0) -> tuple[np.ndarray, pd.DataFrame]:
    """uint8 [n + copies, size, size, channels], and per image: person, original (its number; -1: no copy), change.

    `each` copies of every kind of change, made before the images are resized. CT is re-windowed from Hounsfield units:
    another level (by up to 10 HU) and width (56 to 112 HU).
    """
    rng = np.random.default_rng(seed)
    pictures = [windowed(image) for image in images.images] if images.hounsfield else list(images.images)
    n, person = len(pictures), list(images.person)
    original, change = [-1] * n, [""] * n
    for name, function in CHANGES.items():
        for number in rng.choice(n, each, replace=False):
            if images.hounsfield and name == "re-window":
                copy = windowed(images.images[number], 40 + rng.uniform(-10, 10), 80 * rng.uniform(0.7, 1.4))
            else:
                copy = function(pictures[number], rng)
            pictures.append(copy)
            person.append(images.person[number])
            original.append(number)
            change.append(name)
    side = images.size_px
    small = [
        picture
        if picture.shape[:2] == (side, side)
        else cv2.resize(
            picture, (side, side), interpolation=cv2.INTER_AREA if max(picture.shape) > side else cv2.INTER_LINEAR
        )
        for picture in pictures
    ]
    table = pd.DataFrame({"person": person, "original": original, "change": change})
    return np.stack(small).reshape(len(small), side, side, -1), table


def score(pairs: np.ndarray, table: pd.DataFrame) -> tuple[dict[str, float], float, int]:
    """Recall per change, precision, and how many pairs of different persons were found.

    pairs: int [found, 2]. A planted copy is found with its original. Precision: planted copies found, of these and all
    pairs of different persons.
    """
    found = set(map(tuple, np.sort(pairs, axis=1).tolist()))
    copies = table[table["original"] >= 0]
    hit = pd.Series([(o, c) in found for o, c in zip(copies["original"], copies.index, strict=True)], copies.index)
    person = table["person"].to_numpy()
    mistakes = int((person[pairs[:, 0]] != person[pairs[:, 1]]).sum())
    return hit.groupby(copies["change"]).mean().to_dict(), hit.sum() / max(1, hit.sum() + mistakes), mistakes
