import numpy as np
import pytest
import SimpleITK as sitk
from pydantic import ValidationError

from scanloom.readers._volume import Volume
from scanloom.steps import resample


def ramp(shape=(4, 20, 24), spacing=(5.0, 0.5, 1.0)) -> Volume:
    return Volume(np.random.default_rng(0).random(shape, dtype=np.float32), "HU", spacing)


def test_null_keeps_an_axis_and_its_spacing():
    out = resample.apply(ramp(), resample.Settings(spacing_mm=[None, 1.0, 1.0]))
    assert out.values.shape == (4, 10, 24)
    assert out.spacing_mm == (5.0, 1.0, 1.0)
    assert out.slice_index.tolist() == [0, 1, 2, 3]


def test_a_finer_grid_is_simpleitks_linear_interpolation_on_the_same_centre():
    volume = ramp()
    wanted = (2.0, 0.3, 0.8)
    out = resample.apply(volume, resample.Settings(spacing_mm=wanted))
    image = sitk.GetImageFromArray(volume.values)
    image.SetSpacing(volume.spacing_mm[::-1])
    size = out.values.shape
    origin = [
        ((n_in - 1) * old - (n_out - 1) * new) / 2
        for n_in, old, n_out, new in zip(volume.values.shape, volume.spacing_mm, size, wanted, strict=True)
    ]
    theirs = sitk.Resample(
        image, size[::-1], sitk.Transform(), sitk.sitkLinear, origin[::-1], wanted[::-1], image.GetDirection(), -1.0
    )
    theirs = sitk.GetArrayFromImage(theirs)
    inside = theirs != -1
    assert inside.mean() > 0.5
    np.testing.assert_allclose(out.values[inside], theirs[inside], atol=1e-5)
    np.testing.assert_allclose(out.spacing_mm, wanted)


def test_a_coarser_grid_averages():
    volume = Volume(np.tile(np.array([0, 1], np.float32), 12).reshape(1, 1, 24), "HU", (np.nan, 1.0, 0.5))
    out = resample.apply(volume, resample.Settings(spacing_mm=[None, None, 1.0]))
    np.testing.assert_allclose(out.values, 0.5)


def test_slices_between_slices_are_none_of_the_stack():
    out = resample.apply(ramp(), resample.Settings(spacing_mm=[2.5, None, None]))
    assert out.slices == 8
    assert set(out.slice_index.tolist()) == {-1}


def test_a_mask_stays_a_mask_on_the_same_grid():
    volume = ramp()
    mask = Volume((volume.values > 0.5).astype(np.float32), "mask", volume.spacing_mm)
    chosen = resample.Settings(spacing_mm=[None, 0.8, 0.8])
    moved = resample.apply_to_mask(mask, chosen)
    assert moved.values.shape == resample.apply(volume, chosen).values.shape
    assert set(np.unique(moved.values)) <= {0.0, 1.0}
    assert moved.values.mean() == pytest.approx(mask.values.mean(), abs=0.05)


def test_an_unknown_spacing_is_an_error_that_says_what_to_do():
    volume = ramp((1, 8, 8), (np.nan, 1.0, 1.0))
    with pytest.raises(ValueError, match=r"spacing along z is not known.*set it to null"):
        resample.apply(volume, resample.Settings(spacing_mm=[1.0, 1.0, 1.0]))


def test_a_spacing_of_zero_is_an_error():
    with pytest.raises(ValidationError, match="spacing must be > 0 mm"):
        resample.Settings(spacing_mm=[None, 0, 1])


def test_the_new_grid_lies_in_space_where_its_affine_says():
    """SimpleITK samples an oblique volume at the places that the new affine gives, and finds the same values."""
    turn = np.linalg.qr(np.array([[0.9, 0.2, 0.1], [-0.3, 0.8, 0.2], [0.1, -0.2, 0.95]]))[0]
    turn *= np.sign(np.linalg.det(turn))
    spacing = np.array([3.0, 0.9, 1.2])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn[:, ::-1] * spacing, [10, -20, 30]
    volume = Volume(np.random.default_rng(1).random((6, 11, 12), np.float32), "HU", tuple(spacing), affine_lps=affine)
    wanted = [1.1, 0.7, 0.9]
    out = resample.apply(volume, resample.Settings(spacing_mm=wanted))
    image = sitk.GetImageFromArray(volume.values)
    image.SetSpacing(spacing[::-1].tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetDirection(turn.flatten().tolist())
    origin = out.affine_lps[:3, 3].tolist()
    theirs = sitk.GetArrayFromImage(
        sitk.Resample(
            image, out.values.shape[::-1], sitk.Transform(), sitk.sitkLinear, origin, wanted[::-1], turn.flatten(), -1.0
        )
    )
    inside = theirs != -1
    assert inside.mean() > 0.5
    np.testing.assert_allclose(out.values[inside], theirs[inside], atol=1e-4)
