"""Masks on the grid of the stored images."""

import nibabel
import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk

from scanloom import plugins
from scanloom.cataloguing.catalogue import build_catalogue
from scanloom.labelling.masks import masks_for, masks_of_series
from scanloom.readers._stack_correction import StackChoices
from scanloom.readers._volume import Volume
from scanloom.steps import select_slices

ORIENTATION = np.array([1, 0, 0, 0, 1, 0], float)
POSITIONS = np.array([-20.0, -15, -10, -5])


def write(path, values, origin=(-30.0, -40.0, -20.0), direction=(1, 0, 0, 0, 1, 0, 0, 0, 1), spacing=(0.5, 0.5, 5.0)):
    image = sitk.GetImageFromArray(values.astype(np.uint8))
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(np.asarray(direction, float).ravel().tolist())
    sitk.WriteImage(image, str(path))
    return path


@pytest.fixture
def lesion():
    values = np.zeros((4, 12, 16), bool)
    values[1, 2:6, 3:10] = True
    values[2, 8:11, 0:4] = True
    return values


def found(path, steps=(), rank=2, shape=(12, 16)):
    return masks_for(path, "abc", ORIENTATION, POSITIONS, shape, list(steps), rank)


def test_without_steps_every_slice_gets_its_mask(tmp_path, lesion):
    masks = found(write(tmp_path / "m.nii.gz", lesion))
    assert list(masks) == ["abc-0000", "abc-0001", "abc-0002", "abc-0003"]
    assert np.array_equal(list(masks.values()), lesion)
    assert np.array_equal(found(write(tmp_path / "m.nii.gz", lesion), rank=3)["abc-0000"], lesion)


@pytest.mark.parametrize("flipped", [(0,), (1,), (2,), (0, 1, 2)])
def test_a_mask_stored_the_other_way_round_is_turned(tmp_path, lesion, flipped):
    axis_vectors = np.eye(3)[::-1] * np.array([5.0, 0.5, 0.5])[:, None]  # z, y, x steps in mm as rows
    origin, direction = np.array([-30.0, -40.0, -20.0]), np.eye(3)
    for axis in flipped:
        origin = origin + (lesion.shape[axis] - 1) * axis_vectors[axis]
        direction[:, 2 - axis] *= -1
    masks = found(write(tmp_path / "m.nii.gz", np.flip(lesion, flipped), tuple(origin), direction))
    assert np.array_equal(list(masks.values()), lesion)


def test_a_mask_of_more_slices_gives_those_of_the_series(tmp_path, lesion):
    longer = np.concatenate([lesion[:1] * 0 + 1, lesion])
    masks = found(write(tmp_path / "m.nii.gz", longer, origin=(-30.0, -40.0, -25.0)))
    assert np.array_equal(list(masks.values()), lesion)


def test_a_mask_off_the_grid_is_an_error_that_does_not_name_the_file(tmp_path, lesion):
    with pytest.raises(ValueError, match="mask of series abc: 4 of 4 slices have no slice of the mask") as error:
        found(write(tmp_path / "Secret^Name.nii.gz", lesion, origin=(0, 0, -22.5)))
    assert "Secret" not in str(error.value)
    (tmp_path / "Secret^Other.nii.gz").write_bytes(b"no image")
    with pytest.raises(ValueError, match="mask of series abc cannot be read") as error:
        found(tmp_path / "Secret^Other.nii.gz")
    assert "Secret" not in str(error.value)
    with pytest.raises(ValueError, match=r"mask of series abc has \(12, 16\) rows and columns, the series \(16, 16\)"):
        found(write(tmp_path / "m.nii.gz", lesion), shape=(16, 16))
    turned = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]])
    with pytest.raises(ValueError, match="its columns run along"):
        found(write(tmp_path / "m.nii.gz", lesion, direction=turned))


def test_geometric_steps_move_the_mask_and_value_steps_do_not(tmp_path, lesion):
    steps = [
        ("hu_window", plugins.settings("steps", "hu_window", {"windows": ["brain"]})),
        ("crop_or_pad", plugins.settings("steps", "crop_or_pad", {"size_px": [16, 12]})),
        ("resize", plugins.settings("steps", "resize", {"size_px": [32, 24]})),
    ]
    masks = np.stack(list(found(write(tmp_path / "m.nii.gz", lesion), steps).values()))
    cropped = np.pad(lesion[:, :, 2:14], ((0, 0), (2, 2), (0, 0)))
    assert masks.dtype == bool
    assert np.array_equal(masks, cropped.repeat(2, axis=1).repeat(2, axis=2))


def test_a_mask_of_a_tilted_series_is_corrected_like_its_images(tmp_path, lesion):
    """The gantry leans by 20 degrees; both go through the same shear, the mask to the nearest pixel."""
    tilt = np.radians(20)
    orientation = np.array([1, 0, 0, 0, np.cos(tilt), np.sin(tilt)])
    normal = np.cross(orientation[:3], orientation[3:])
    place = np.array([-30.0, -40, -20]) + np.arange(4)[:, None] * [0, 0, 5.0]
    direction = np.stack([orientation[:3], orientation[3:], normal], axis=1)
    spacing = (0.5, 0.5, 5 * np.cos(tilt))
    path = write(tmp_path / "m.nii.gz", lesion, tuple(place[0]), direction, spacing)
    position_mm = place @ normal
    kept = masks_for(path, "abc", orientation, position_mm, (12, 16), [], 3, place)["abc-0000"]
    assert np.array_equal(kept, lesion)
    corrected = StackChoices(gantry_tilt="correct")
    mask = masks_for(path, "abc", orientation, position_mm, (12, 16), [], 3, place, corrected)["abc-0000"]
    shift_px = 5 * np.arange(4) * np.sin(tilt) / 0.5  # along the rows, seen from slice 0
    assert mask.shape == (4, 12 + int(np.ceil(shift_px[-1])), 16)
    for k in (1, 2):
        rows, moved = (np.flatnonzero(part.any(axis=1)) for part in (lesion[k], mask[k]))
        assert abs(moved.mean() - rows.mean() - shift_px[k]) <= 0.5
        assert mask[k].sum() == lesion[k].sum()


def test_a_mask_follows_its_images_to_another_orientation(tmp_path, lesion):
    place = np.array([-30.0, -40, 0]) + POSITIONS[:, None] * [0, 0, 1]
    turned = ("canonical_orientation", plugins.settings("steps", "canonical_orientation", {"to": "RAS"}))
    path = write(tmp_path / "m.nii.gz", lesion)
    mask = masks_for(path, "abc", ORIENTATION, POSITIONS, (12, 16), [turned], 3, place)["abc-0000"]
    assert np.array_equal(mask, lesion[:, ::-1, ::-1])


def test_masks_and_images_keep_the_same_slices_where_these_are_not_equally_far_apart(tmp_path):
    """Slices at 0, 2.5, 5, ... of which only some are the series': half of the height is not half of the slices."""
    positions = np.array([0, 2.5, 5, 7.5, 10, 12.5, 15, 22.5, 30, 37.5])
    path = write(
        tmp_path / "m.nii.gz", np.ones((16, 12, 16), bool), origin=(-30.0, -40.0, 0.0), spacing=(0.5, 0.5, 2.5)
    )
    chosen = plugins.settings("steps", "select_slices", {"z_range": [0, 0.5]})
    masks = masks_for(path, "abc", ORIENTATION, positions, (12, 16), [("select_slices", chosen)], 2)
    volume = Volume(np.zeros((10, 12, 16), np.float32), "HU", (2.5, 1.0, 1.0), stack_mm=positions)
    assert list(masks) == [f"abc-{n:04d}" for n in select_slices.apply(volume, chosen).slice_index]
    assert len(masks) == 7


@pytest.mark.parametrize("to", ["RAS", "LPS", "RAI", "PIR"])
def test_a_mask_beside_a_nifti_volume_fits_it_wherever_the_volume_lies(tmp_path, to):
    """Image and mask have one affine, as in data sets of segmentation; so every voxel has its own mask."""
    rng = np.random.default_rng(0)
    axes = nibabel.orientations.axcodes2ornt(to)
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, axes[:, 0].astype(int)].T * axes[:, 1] @ np.diag([0.9, 0.9, 2.0])
    affine[:3, 3] = [90, -126, 72]
    inside = rng.random((10, 12, 6)) < 0.3
    for name, values in (("image", rng.integers(0, 500, inside.shape).astype(np.int16)), ("mask", inside)):
        nibabel.save(nibabel.Nifti1Image(values.astype(np.int16), affine), tmp_path / f"{name}.nii.gz")
    settings = plugins.settings("readers", "nifti", {"ignore": ["mask*"]})
    made = build_catalogue("nifti", settings, tmp_path, dataset="t", salt="s", chunks=1, group=None)
    rows, reader = made.chunk_rows[0], {"name": "nifti", "settings": settings.model_dump()}
    table = pd.DataFrame({"series_id": rows.series_id.unique(), "mask_path": ["mask.nii.gz"]})
    turn = [{"name": "canonical_orientation", "settings": {"to": "RAS"}}]
    for steps in ([], turn):
        [mask] = masks_of_series(table, rows, made.catalogue, tmp_path, steps, 3, reader).values()
        wanted = nibabel.as_closest_canonical(nibabel.Nifti1Image(inside.astype(np.uint8), affine)).get_fdata()
        np.testing.assert_array_equal(mask, (wanted.T > 0)[..., ::1] if steps else inside.T)
    slices = masks_of_series(table, rows, made.catalogue, tmp_path, [], 2, reader)
    np.testing.assert_array_equal(np.stack([slices[name] for name in sorted(slices)]), inside.T)
