import cv2
import numpy as np
import pandas as pd
import pytest

from scanloom import leakage
from scanloom.splits import SPLITS


def blobs(n, size=32, channels=1, seed=0):
    """Smooth random images that look nothing like each other."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((n, size // 4, size // 4, channels), dtype=np.float32)
    images = np.stack([cv2.resize(image, (size, size), interpolation=cv2.INTER_CUBIC) for image in coarse])
    return np.clip(images.reshape(n, size, size, channels) * 200 + 20, 0, 255).astype(np.uint8)


def rows(n):
    return pd.DataFrame(
        {
            "item_id": [f"s{i:03d}-0000" for i in range(n)],
            "series_id": [f"s{i:03d}" for i in range(n)],
            "patient_id": [f"p{i:03d}" for i in range(n)],
            "split": [SPLITS[i % 3] for i in range(n)],
        }
    )


def pairs(found, kind):
    return set(map(tuple, found.loc[found["kind"] == kind, ["item_a", "item_b"]].to_numpy()))


def noisy(image):
    return np.clip(image + np.random.default_rng(1).normal(0, 3, image.shape), 0, 255).astype(np.uint8)


def rewindowed(image):
    return np.clip((image.astype(np.float32) - 20) * 0.8 + 40, 0, 255).astype(np.uint8)


def compressed(image):
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 60])
    return cv2.imdecode(data, cv2.IMREAD_GRAYSCALE).reshape(image.shape)


def test_a_clean_set_has_no_pairs():
    found = leakage.audit(blobs(200), rows(200))
    assert len(found) == 0
    assert list(found.columns) == leakage.COLUMNS


@pytest.mark.parametrize("n", [6, 90])
def test_planted_copies_are_found(n):
    images = blobs(n)
    images[4] = images[0]  # validation, train: item a is the training image
    table = rows(n)
    table.loc[[2, 5], "patient_id"] = "p2"
    images[5] = images[2]
    found = leakage.audit(images, table)
    assert pairs(found, "exact") == {("s000-0000", "s004-0000"), ("s002-0000", "s005-0000")}
    assert pairs(found, "near") == set()
    found = found.set_index("item_a")
    assert found.loc["s000-0000", ["split_a", "split_b", "same_patient"]].tolist() == ["train", "validation", False]
    assert found.loc["s002-0000", ["split_a", "split_b", "same_patient"]].tolist() == ["test", "test", True]


@pytest.mark.parametrize("change", [noisy, rewindowed, compressed])
def test_planted_near_copies_are_found(change):
    images = blobs(90)
    images[7] = change(images[0])
    found = leakage.audit(images, rows(90))
    assert pairs(found, "near") == {("s000-0000", "s007-0000")}
    assert pairs(found, "exact") == set()
    assert 0.99 <= found["correlation"].iloc[0] < 1


def test_noise_on_a_flat_background_does_not_hide_a_copy():
    images = blobs(60)
    images[:, :8] = images[:, 24:] = images[:, :, :8] = images[:, :, 24:] = 0
    images[3] = noisy(images[0])
    assert pairs(leakage.audit(images, rows(60)), "near") == {("s000-0000", "s003-0000")}


def test_shared_anatomy_is_no_copy():
    """Forty heads that are alike up to what differs between patients correlate, but are not copies."""
    shared = blobs(1, seed=9).astype(float)
    images = np.clip(0.9 * shared + 0.1 * blobs(40), 0, 255).astype(np.uint8)
    plain = np.corrcoef(images.reshape(40, -1))[np.triu_indices(40, 1)]
    assert (plain > leakage.NEAR).any()
    assert len(leakage.audit(images, rows(40))) == 0


def test_images_without_content_are_counted_not_paired():
    images = blobs(30)
    images[[1, 5, 9]] = 0
    images[12] = np.random.default_rng(0).integers(0, 2, images[12].shape)
    found = leakage.audit(images, rows(30))
    assert len(found) == 0
    assert found.attrs["without_content"] == 4


def test_neighbouring_slices_of_one_series_are_no_near_copies():
    images, table = blobs(40), rows(40)
    images[1] = noisy(images[0])
    table.loc[1, "series_id"] = "s000"
    assert len(leakage.audit(images, table)) == 0


def test_volumes_and_uint16_work():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 4000, (40, 6, 20, 20, 2)).astype(np.uint16)
    images[3] = images[0]
    images[4] = np.clip(images[1] + rng.normal(0, 30, images[1].shape), 0, 65535).astype(np.uint16)
    found = leakage.audit(images, rows(40))
    assert pairs(found, "exact") == {("s000-0000", "s003-0000")}
    # Item a stands in the earlier split of the two: item 1 is in validation, item 4 too.
    assert pairs(found, "near") == {("s001-0000", "s004-0000")}


def test_the_summary_counts_pairs():
    images = blobs(9)
    images[[4, 7]] = images[0]
    found = leakage.summary(leakage.audit(images, rows(9)))
    assert found.to_dict("records") == [
        {"kind": "exact", "split_a": "train", "split_b": "validation", "same_patient": False, "pairs": 2}
    ]


def test_published_duplicates_of_pneumoniamnist_are_found(shared_data):
    """27 groups, 29 surplus copies, 8 of them in train and validation: the published audit of MedMNIST's duplicates."""
    with np.load(next((shared_data / "pneumoniamnist28").glob("*.npz"))) as archive:
        arrays = {split: archive[f"{key}_images"] for split, key in zip(SPLITS, ("train", "val", "test"), strict=True)}
    images = np.concatenate(list(arrays.values()))[..., np.newaxis]
    table = rows(len(images)).assign(split=np.repeat(SPLITS, [len(part) for part in arrays.values()]))
    table["series_id"] = table["item_id"] = [f"{i:06d}" for i in range(len(images))]
    found = leakage.audit(images, table)
    exact = found[found["kind"] == "exact"]
    assert len(exact) == 29
    assert exact["item_a"].nunique() == 27
    crossing = exact[exact["split_a"] != exact["split_b"]]
    assert crossing[["split_a", "split_b"]].value_counts().to_dict() == {("train", "validation"): 8}
    assert len(found) == len(exact)
