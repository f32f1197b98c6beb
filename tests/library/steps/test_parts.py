import numpy as np
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from scanloom.steps import _parts

MASKS = arrays(bool, array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=7), elements=st.booleans())


@given(MASKS)
def test_the_largest_part_has_simpleitks_largest_size_and_is_connected(mask):
    ours = _parts.largest(mask)
    image = sitk.RelabelComponent(sitk.ConnectedComponent(sitk.GetImageFromArray(mask.astype(np.uint8))))
    assert ours.sum() == (sitk.GetArrayFromImage(image) == 1).sum()
    assert ndimage.label(ours)[1] <= 1
    assert not (ours & ~mask).any()


@given(MASKS)
def test_holes_are_filled_slice_by_slice_as_scipy_does(mask):
    expected = np.stack([ndimage.binary_fill_holes(plane) for plane in mask])
    np.testing.assert_array_equal(_parts.filled(mask), expected)


def test_radii_are_millimetres_along_each_axis():
    point = np.zeros((1, 21, 21), bool)
    point[0, 10, 10] = True
    grown = _parts.dilated(point, (5.0, 1.0, 0.5), 2.0)[0]
    assert np.flatnonzero(grown.any(axis=1)).tolist() == list(range(8, 13))  # 2 mm are 2 rows
    assert np.flatnonzero(grown.any(axis=0)).tolist() == list(range(6, 15))  # and 4 columns
    assert _parts.eroded(grown[None], (5.0, 1.0, 0.5), 2.0).sum() == 1


def test_the_border_of_the_picture_is_no_border_of_the_mask():
    assert _parts.eroded(np.ones((2, 9, 9), bool), (1.0, 1.0, 1.0), 3.0).all()
