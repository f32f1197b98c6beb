"""From DICOM files to stored images: a few slices at a time as all at once, and as the float64 formula says."""

from types import SimpleNamespace

import cv2
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from scanloom.images.preprocessing import early_step, preprocess_chunk
from scanloom.readers import dicom
from scanloom.steps.hu_window import bounds_hu

WINDOWS = ["brain", "subdural", "bone"]
RESIZE = {"name": "resize", "settings": {"size_px": [16, 12]}}
WINDOW = {"name": "hu_window", "settings": {"windows": WINDOWS}}


@pytest.fixture
def head(tmp_path):
    """19 slices of one series with padding below and at tissue values, and rows as the catalogue hands them over."""
    rng = np.random.default_rng(0)
    for z in range(19):
        cells = rng.integers(-1200, 2500, (32, 24)).astype(np.int16)
        cells[:, :3] = -2000 if z % 2 else 50
        header = Dataset()
        header.SOPClassUID, header.SOPInstanceUID = CTImageStorage, f"1.2.3.{z + 1}"
        header.SeriesInstanceUID, header.StudyInstanceUID, header.PatientID = "1.2.3", "1.2", "Quince"
        header.Modality, header.InstanceNumber, header.SliceThickness = "CT", z + 1, 5
        header.ImagePositionPatient, header.ImageOrientationPatient = [0, 0, 5 * z], [1, 0, 0, 0, 1, 0]
        header.Rows, header.Columns, header.PixelSpacing = 32, 24, [0.5, 0.5]
        header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
        header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 16, 15, 1
        header.RescaleSlope, header.RescaleIntercept = 1, 0
        header.add_new("PixelPaddingValue", "SS", -2000 if z % 2 else 50)
        header.PixelData = cells.tobytes()
        meta = FileMetaDataset()
        meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, CTImageStorage
        meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
        file = FileDataset(str(tmp_path), header, preamble=b"\0" * 128, file_meta=meta)
        pydicom.dcmwrite(tmp_path / f"{z:02d}.dcm", file, enforce_file_format=True)
    settings = dicom.Settings()
    rows = dicom.group_series(dicom.scan(tmp_path, settings), settings).images.assign(series_id="0123456789abcdef")
    return SimpleNamespace(root=tmp_path, rows=rows, settings=settings)


def images(head, steps, dtype, in_blocks=True):
    return preprocess_chunk(
        lambda rows: dicom.read_series(head.root, rows, head.settings),
        head.rows,
        steps,
        2,
        dtype,
        (lambda rows, *how: dicom.read_blocks(head.root, rows, head.settings, *how)) if in_blocks else None,
    )


def test_blocks_hold_the_values_of_the_whole_series(head):
    whole = dicom.read_series(head.root, head.rows, head.settings)
    blocks = list(dicom.read_blocks(head.root, head.rows, head.settings))
    assert len(blocks) > 1
    np.testing.assert_array_equal(np.concatenate([block.values for block in blocks]), whole.values)
    assert np.concatenate([block.slice_index for block in blocks]).tolist() == whole.slice_index.tolist()
    assert {block.unit for block in blocks} == {whole.unit}


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("steps", [[RESIZE, WINDOW], [WINDOW, RESIZE], [WINDOW]])
def test_a_few_slices_at_a_time_make_the_same_images(head, steps, dtype):
    blocks, whole = images(head, steps, dtype), images(head, steps, dtype, in_blocks=False)
    assert len(blocks["images"]) == 19
    for name, array in whole.items():
        np.testing.assert_array_equal(blocks[name], array)


def test_a_step_done_while_reading_leaves_what_it_cannot_do_to_apply(head):
    """Neither shrinking nor growing: the step has no way for single slices, `apply` does the blocks."""
    odd = {"name": "resize", "settings": {"size_px": [40, 12]}}
    blocks, whole = images(head, [odd, WINDOW], "uint8"), images(head, [odd, WINDOW], "uint8", in_blocks=False)
    np.testing.assert_array_equal(blocks["images"], whole["images"])


def test_a_step_while_reading_goes_without_padding_masks_and_parts(head):
    step = early_step(RESIZE)
    (block, *_) = dicom.read_blocks(head.root, head.rows, head.settings, False, None, step)
    assert block.values.shape[1:] == (16, 12)
    for choices in ((True, None), (False, lambda volume: pytest.fail("asked for a part"))):
        with pytest.raises(ValueError, match="neither with padding masks nor with parts"):
            next(dicom.read_blocks(head.root, head.rows, head.settings, *choices, step))


def formula(head, windows_first: bool, largest: int) -> np.ndarray:
    """float64: HU, air where padding is, mean over areas and windows in the given order."""
    made = []
    for path in head.rows.path:
        header = pydicom.dcmread(head.root / path)
        hu = np.maximum(header.pixel_array.astype(np.float64), -1024)
        hu[header.pixel_array == header.PixelPaddingValue] = -1024

        def small(plane):
            return cv2.resize(plane, (12, 16), interpolation=cv2.INTER_AREA)

        def window(plane, low, high):
            return np.clip((plane - low) / (high - low), 0, 1)

        bounds = [bounds_hu(name) for name in WINDOWS]
        channels = [small(window(hu, *b)) if windows_first else window(small(hu), *b) for b in bounds]
        made.append(np.stack(channels, axis=-1) * largest)
    return np.stack(made)


@pytest.mark.parametrize(("dtype", "tolerance"), [("uint8", 0.5 + 1e-3), ("uint16", 0.5 + 0.1)])
@pytest.mark.parametrize("windows_first", [False, True])
def test_images_are_within_half_a_grey_level_of_the_formula_in_either_order(head, dtype, tolerance, windows_first):
    steps = [WINDOW, RESIZE] if windows_first else [RESIZE, WINDOW]
    exact = formula(head, windows_first, np.iinfo(dtype).max)
    assert np.abs(images(head, steps, dtype)["images"] - exact).max() <= tolerance
