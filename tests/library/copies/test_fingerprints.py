import cv2
import numpy as np
import pandas as pd
import pytest
from scipy.fft import dctn

from scanloom.copies import fingerprints as fp


def pictures(n, size=32, channels=1, seed=0, dtype=np.uint8):
    rng = np.random.default_rng(seed)
    return rng.integers(0, np.iinfo(dtype).max, (n, size, size, channels)).astype(dtype)


@pytest.mark.parametrize("shape", [(40, 56, 2), (20, 28, 18, 1)])
def test_coefficients_are_those_of_scipy_faded_out(shape):
    image = np.random.default_rng(0).integers(0, 4000, (1, *shape)).astype(np.uint16)
    grey = image[0].mean(axis=-1)
    grey = (grey - grey.mean()) / grey.std()
    count = fp.COEFFICIENTS[grey.ndim]
    expected = dctn(grey, norm="ortho")[(slice(count),) * grey.ndim] / np.sqrt(grey.size)
    fade = np.exp(-fp.FADE * (np.arange(count) / count) ** 2)
    for axis in range(grey.ndim):
        expected *= fade.reshape([-1 if i == axis else 1 for i in range(grey.ndim)])
    np.testing.assert_allclose(fp.fingerprints(image)[0], expected, atol=2e-3)


def test_size_type_and_linear_windows_change_little():
    """The fingerprint of a smooth picture is a property of the picture, not of its pixels."""
    small = np.random.default_rng(0).random((6, 6))
    large = cv2.resize(small, (96, 96), interpolation=cv2.INTER_CUBIC)
    half = cv2.resize(large, (48, 48), interpolation=cv2.INTER_AREA)
    as_uint16 = np.rint(20000 + 30000 * large).astype(np.uint16)[None, ..., None]
    as_uint8 = np.rint(40 + 100 * half).astype(np.uint8)[None, ..., None]
    np.testing.assert_allclose(fp.fingerprints(as_uint16), fp.fingerprints(as_uint8), atol=0.02)


def test_a_small_image_has_no_high_frequencies():
    found = fp.fingerprints(pictures(2, size=16))
    assert (found[:, 16:] == 0).all()
    assert (found[:, :, 16:] == 0).all()


def test_images_are_described_in_blocks_as_at_once():
    images = pictures(fp.BLOCK + 30, size=20)
    images[[3, 70]] = 9
    described = fp.describe(lambda numbers: images[numbers], len(images))
    np.testing.assert_array_equal(described["coefficients"], fp.fingerprints(images))
    assert np.flatnonzero(~described["has_content"]).tolist() == [3, 70]
    assert (described["digest"] == described["digest"][3]).sum() == 2


def test_what_is_written_is_read(tmp_path):
    files = []
    for name in ("heads", "chests"):
        images = pictures(4, seed=len(name))
        rows = {column: [f"{name}-{column}-{i}" for i in range(4)] for column in fp.ITEM_COLUMNS}
        files.append(tmp_path / f"{name}.npz")
        fp.write_fingerprints(files[-1], fp.describe(lambda numbers, i=images: i[numbers], 4), pd.DataFrame(rows))
    table, coefficients = fp.read_fingerprints(files)
    assert table["item_id"].tolist() == [f"{name}-item_id-{i}" for name in ("heads", "chests") for i in range(4)]
    np.testing.assert_array_equal(coefficients[4:], fp.fingerprints(pictures(4, seed=6)))


def test_a_rank_without_fingerprints_is_an_error():
    with pytest.raises(ValueError, match="rank 1"):
        fp.fingerprints(np.zeros((2, 8, 1), np.uint8))
