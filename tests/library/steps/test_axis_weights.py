import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanloom.steps import _axis_weights


@given(st.integers(1, 40), st.integers(1, 40))
def test_rows_sum_to_one_and_a_constant_stays(n_in, n_out):
    weights = _axis_weights.smooth(n_in, n_out, n_in / n_out).toarray()
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    assert (weights >= 0).all()


@pytest.mark.parametrize(("n_in", "n_out"), [(64, 32), (64, 48), (100, 33), (7, 3)])
def test_shrinking_is_opencvs_area(n_in, n_out):
    image = np.random.default_rng(0).random((n_in, n_in + 5), dtype=np.float32)
    ours = image
    for axis in (0, 1):
        size = n_out + 2 * axis
        weights = _axis_weights.smooth(image.shape[axis], size, image.shape[axis] / size)
        ours = _axis_weights.along(ours, weights, axis)
    theirs = cv2.resize(image, (n_out + 2, n_out), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(ours, theirs, atol=2e-5)


@pytest.mark.parametrize(("n_in", "n_out"), [(16, 32), (16, 37), (5, 5)])
def test_growing_is_opencvs_linear(n_in, n_out):
    image = np.random.default_rng(0).random((n_in, n_in), dtype=np.float32)
    weights = _axis_weights.smooth(n_in, n_out, n_in / n_out)
    ours = _axis_weights.along(_axis_weights.along(image, weights, 0), weights, 1)
    theirs = cv2.resize(image, (n_out, n_out), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_nearest_picks_the_pixel_under_the_centre():
    # A centre half way between two pixels goes to the upper one, everywhere.
    assert _axis_weights.nearest(6, 3, 2.0).tolist() == [1, 3, 5]
    assert _axis_weights.nearest(9, 3, 3.0).tolist() == [1, 4, 7]
    assert _axis_weights.nearest(3, 6, 0.5).tolist() == [0, 0, 1, 1, 2, 2]


@given(st.integers(1, 60), st.integers(1, 60), st.floats(0.2, 5), st.data())
def test_some_rows_are_those_of_the_whole_matrix(n_in, n_out, step, data):
    first = data.draw(st.integers(0, n_out - 1))
    last = data.draw(st.integers(first + 1, n_out))
    part = _axis_weights.smooth(n_in, n_out, step, first, last)
    whole = _axis_weights.smooth(n_in, n_out, step).toarray()
    np.testing.assert_allclose(part.toarray(), whole[first:last], atol=1e-6)
    assert not np.delete(part.toarray(), np.r_[part.used], axis=1).any()


@given(st.integers(1, 40), st.integers(1, 40), st.floats(0.3, 4), st.integers(0, 2), st.booleans())
def test_blocks_give_the_product_with_the_whole_matrix(n_in, n_out, step, axis, cut):
    shape = [3, 5, 4]
    shape[axis] = n_in
    values = np.random.default_rng(n_in).random(shape, dtype=np.float32)
    weights = _axis_weights.smooth(n_in, n_out, step)
    expected = np.moveaxis(np.tensordot(weights.toarray().astype(np.float64), values, (1, axis)), 0, axis)
    given_ = np.take(values, np.r_[weights.used], axis) if cut else values
    np.testing.assert_allclose(_axis_weights.along(given_, weights, axis), expected, atol=1e-5)
