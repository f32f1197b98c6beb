"""Stack geometry against formulas and SimpleITK."""

import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st

from scanloom.geometry import affine_lps, normals, sort_stacks, spacing_along

AXIAL = [1.0, 0, 0, 0, 1, 0]


def stack_of(positions, orientation=AXIAL, number=0):
    positions = np.asarray(positions, dtype=float)
    if positions.ndim == 1:
        positions = np.stack([0 * positions, 0 * positions, positions], axis=1)
    return np.full(len(positions), number), np.tile(orientation, (len(positions), 1)), positions


def sort_one(positions, orientation=AXIAL):
    stack, orientation, positions = stack_of(positions, orientation)
    result = sort_stacks(stack, orientation, positions, np.arange(len(positions)))
    return result, result.table.iloc[0]


def rotation(a, b, c):
    def turn(angle, i, j):
        matrix = np.eye(3)
        matrix[[i, j, i, j], [i, j, j, i]] = [np.cos(angle), np.cos(angle), -np.sin(angle), np.sin(angle)]
        return matrix

    return turn(a, 0, 1) @ turn(b, 0, 2) @ turn(c, 1, 2)


angles = st.floats(-3.0, 3.0)


def test_normal_of_axial_plane_points_to_the_head():
    assert normals(np.array([AXIAL])).tolist() == [[0, 0, 1]]


@settings(deadline=None, max_examples=60)
@given(angles, angles, angles, st.integers(2, 30), st.floats(0.3, 10), st.randoms(use_true_random=False), st.booleans())
def test_any_file_order_and_any_direction_give_the_same_stack(a, b, c, slices, gap, shuffle, reverse):
    turned = rotation(a, b, c)
    orientation = np.concatenate([turned[:, 0], turned[:, 1]])
    where = np.array([3.0, -200, 70]) + np.arange(slices)[:, None] * gap * turned[:, 2]
    order = list(range(slices))
    shuffle.shuffle(order)
    if reverse:
        order = order[::-1]
    result, table = sort_one(where[order], orientation)
    assert [order[i] for i in result.order] == list(range(slices))
    assert table.spacing_mm == pytest.approx(gap, rel=1e-6)
    assert table.tilt_deg == pytest.approx(0, abs=1e-3)
    assert not table[["mixed_orientation", "repeated_positions", "missing_slices", "unequal_spacing"]].any()


@settings(deadline=None, max_examples=40)
@given(st.floats(-30, 30), st.floats(1, 8), st.integers(2, 20))
def test_gantry_tilt_is_the_angle_between_normal_and_table(tilt, gap, slices):
    # The gantry turns about x; the table still moves along z.
    radians = np.radians(tilt)
    orientation = [1, 0, 0, 0, np.cos(radians), np.sin(radians)]
    _, table = sort_one(np.arange(slices) * gap, orientation)
    assert table.tilt_deg == pytest.approx(abs(tilt), abs=1e-4)
    assert table.spacing_mm == pytest.approx(gap * np.cos(radians))


@settings(deadline=None, max_examples=40)
@given(st.integers(5, 40), st.floats(0.5, 10), st.data())
def test_one_removed_slice_inside_is_a_missing_slice(slices, gap, data):
    removed = data.draw(st.integers(1, slices - 2))
    _, table = sort_one(np.delete(np.arange(slices) * gap, removed))
    assert table.missing_slices
    assert table.spacing_mm == pytest.approx(gap)
    _, whole = sort_one(np.arange(slices) * gap)
    assert not whole.missing_slices


def test_thin_below_and_thick_above_is_unequal_spacing_not_missing_slices():
    _, table = sort_one([0, 2.5, 5, 7.5, 10, 15, 20, 25])
    assert table.unequal_spacing
    assert not table.missing_slices


def test_positions_rounded_to_tenths_of_a_millimetre_are_equal_spacing():
    _, table = sort_one(np.round(np.arange(30) * 1.25, 1))
    assert not table.unequal_spacing
    assert table.spacing_mm == pytest.approx(1.25, rel=0.01)


def test_two_slices_at_one_place_are_repeated_positions():
    result, table = sort_one([10, 5, 5, 0])
    assert table.repeated_positions
    assert table.spacing_mm == 5
    assert result.order.tolist() == [3, 1, 2, 0]


def test_ties_are_broken_by_the_given_key_not_by_file_order():
    stack, orientation, position = stack_of([5, 5, 0])
    result = sort_stacks(stack, orientation, position, np.array(["b", "a", "c"]))
    assert result.order.tolist() == [2, 1, 0]


def test_one_slice_has_no_spacing_and_no_tilt():
    _, table = sort_one([7.0])
    assert np.isnan(table.spacing_mm)
    assert np.isnan(table.tilt_deg)


def test_sagittal_among_axial_slices_is_mixed_orientation():
    stack, orientation, position = stack_of([0, 1, 2])
    orientation[1] = [0, 1, 0, 0, 0, -1]
    table = sort_stacks(stack, orientation, position, np.arange(3)).table
    assert table.mixed_orientation.tolist() == [True]


def test_many_stacks_at_once_equal_one_by_one():
    places = [[0, 4, 2], [9.0], [0, 1, 3, 4], [5, 5]]
    parts = [stack_of(place, number=number) for number, place in enumerate(places)]
    together = sort_stacks(*(np.concatenate(part) for part in zip(*parts, strict=True)), np.arange(10))
    assert together.order.tolist() == [0, 2, 1, 3, 4, 5, 6, 7, 8, 9]
    for number, part in enumerate(parts):
        alone = sort_stacks(np.zeros(len(part[0]), int), part[1], part[2], np.arange(len(part[0]))).table.iloc[0]
        assert together.table.iloc[number].equals(alone)


def test_no_stacks_give_empty_answers():
    result = sort_stacks(np.zeros(0, int), np.zeros((0, 6)), np.zeros((0, 3)), np.zeros(0))
    assert len(result.order) == 0
    assert len(result.table) == 0


def test_positions_that_are_not_numbers_are_refused():
    with pytest.raises(ValueError, match="finite"):
        sort_one([0, np.nan])


def test_spacing_of_sorted_positions():
    assert spacing_along(np.array([-10.0, -7.5, -5.0])) == 2.5
    assert np.isnan(spacing_along(np.array([3.0])))


def test_affine_maps_voxels_as_simpleitk_does():
    turned = rotation(0.2, -0.1, 0.3)
    image = SimpleITK.Image(5, 6, 7, SimpleITK.sitkInt16)
    image.SetSpacing((0.5, 0.75, 4.0))
    image.SetOrigin((-100.0, 20.0, 5.0))
    image.SetDirection(turned.flatten())
    first, last = image.TransformIndexToPhysicalPoint((0, 0, 0)), image.TransformIndexToPhysicalPoint((0, 0, 6))
    affine = affine_lps(np.concatenate([turned[:, 0], turned[:, 1]]), first, last, 7, (0.75, 0.5))
    expected = image.TransformIndexToPhysicalPoint((4, 3, 2))
    np.testing.assert_allclose(affine @ [2, 3, 4, 1], [*expected, 1], atol=1e-9)
