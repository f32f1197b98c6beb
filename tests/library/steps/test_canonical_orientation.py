"""Canonical orientation against nibabel and SimpleITK, which reorient by their own rules."""

from itertools import permutations, product

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from scanloom.readers._volume import Volume
from scanloom.steps import canonical_orientation
from scanloom.steps.canonical_orientation import Settings

RAS_OF_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
ALL_CODES = ["".join(code) for code in product("LR", "PA", "IS")]


def volume(axes, spacing=(4.0, 0.5, 0.8)) -> Volume:
    """Random voxels [3, 4, 5]; axes: 3 x 3, directions of slices, rows, columns as columns."""
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(axes, float) * spacing
    affine[:3, 3] = [11, -22, 33]
    values = np.random.default_rng(0).random((3, 4, 5), dtype=np.float32)
    return Volume(values, "HU", spacing, affine_lps=affine, slice_index=np.arange(7, 10))


def axes_of(order, signs):
    return np.eye(3)[:, list(order)] * signs


AXES = [axes_of(order, signs) for order in permutations(range(3)) for signs in product((1, -1), repeat=3)]


@pytest.mark.parametrize("to", ALL_CODES)
def test_every_way_a_stack_can_lie_is_turned_as_nibabel_does(to):
    for axes in AXES:
        given = volume(axes)
        out = canonical_orientation.apply(given, Settings(to=to))
        affine = RAS_OF_LPS @ given.affine_lps[:, [2, 1, 0, 3]]
        image = nibabel.Nifti1Image(given.values.transpose(2, 1, 0), affine)
        codes = nibabel.orientations.axcodes2ornt(to)
        theirs = image.as_reoriented(nibabel.orientations.ornt_transform(nibabel.io_orientation(affine), codes))
        np.testing.assert_array_equal(out.values, theirs.get_fdata(dtype=np.float32).transpose(2, 1, 0))
        np.testing.assert_allclose(RAS_OF_LPS @ out.affine_lps[:, [2, 1, 0, 3]], theirs.affine)
        assert "".join(nibabel.aff2axcodes(theirs.affine)) == to


@settings(deadline=None, max_examples=30)
@given(st.floats(-0.6, 0.6), st.floats(-0.6, 0.6), st.sampled_from(AXES), st.sampled_from(ALL_CODES))
def test_oblique_stacks_are_turned_as_simpleitk_does(a, b, axes, to):
    def turn(angle, i, j):
        matrix = np.eye(3)
        matrix[[i, j, i, j], [i, j, j, i]] = [np.cos(angle), np.cos(angle), -np.sin(angle), np.sin(angle)]
        return matrix

    given_ = volume(turn(a, 0, 1) @ turn(b, 1, 2) @ axes)
    out = canonical_orientation.apply(given_, Settings(to=to))
    image = SimpleITK.GetImageFromArray(given_.values)
    image.SetSpacing(given_.spacing_mm[::-1])
    image.SetOrigin(given_.affine_lps[:3, 3])
    image.SetDirection((given_.affine_lps[:3, [2, 1, 0]] / given_.spacing_mm[::-1]).flatten())
    theirs = SimpleITK.DICOMOrient(image, to)
    np.testing.assert_array_equal(out.values, SimpleITK.GetArrayFromImage(theirs))
    np.testing.assert_allclose(out.affine_lps[:3, 3], theirs.GetOrigin(), atol=1e-9)
    np.testing.assert_allclose(out.spacing_mm, theirs.GetSpacing()[::-1])


def test_in_plane_slices_stay_slices():
    for axes in AXES:
        given = volume(axes)
        out = canonical_orientation.apply(given, Settings(to="LPS", in_plane_only=True))
        assert out.slice_index.tolist() == [7, 8, 9]
        assert out.spacing_mm[0] == given.spacing_mm[0]
        normal = np.abs(axes[:, 0]).argmax()
        columns, rows = (axis for axis in range(3) if axis != normal)
        assert out.affine_lps[columns, 2] > 0  # columns lead to L, or to P in sagittal slices
        assert out.affine_lps[rows, 1] > 0  # rows lead to P, or to S


def test_turned_twice_is_turned_once_and_back_is_back():
    given = volume(AXES[13])
    start = "".join(nibabel.aff2axcodes(RAS_OF_LPS @ given.affine_lps[:, [2, 1, 0, 3]]))
    once = canonical_orientation.apply(given, Settings(to="RAS"))
    np.testing.assert_array_equal(canonical_orientation.apply(once, Settings(to="RAS")).values, once.values)
    back = canonical_orientation.apply(once, Settings(to=start))
    np.testing.assert_array_equal(back.values, given.values)
    np.testing.assert_allclose(back.affine_lps, given.affine_lps)


def test_flipped_stacks_keep_slice_numbers_and_new_slices_have_none():
    assert canonical_orientation.apply(volume(AXES[0]), Settings()).slice_index.tolist() == [-1] * 5
    upside_down = volume(np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]]))
    assert canonical_orientation.apply(upside_down, Settings()).slice_index.tolist() == [9, 8, 7]


@pytest.mark.parametrize("to", ["LP", "LLS", "lps", "LPX", "LRS"])
def test_no_orientation_is_an_error(to):
    with pytest.raises(ValidationError, match="three letters"):
        Settings(to=to)
