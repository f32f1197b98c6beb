"""Stack geometry against formulas and SimpleITK."""

import numpy as np
import pytest
import SimpleITK
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from scanloom.geometry import (
    affine_lps,
    affine_on_grid,
    missing_numbers,
    normals,
    shear_of,
    sort_stacks,
    spacing_along,
    stack_affine,
)

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


@settings(deadline=None, max_examples=60)
@given(st.integers(8, 40), st.floats(0.5, 10), st.data())
def test_any_slices_removed_inside_are_missing_slices(slices, gap, data):
    """Also every other one of a stretch. At both ends, and most often, neighbours keep the usual distance."""
    inside = st.lists(st.integers(2, slices - 3), min_size=1, max_size=max(1, (slices - 4) // 3), unique=True)
    removed = data.draw(inside)
    place = np.delete(np.arange(slices), removed)
    assume((np.diff(place) == 1).sum() > len(place) // 2)  # else the usual gap is another one
    result, table = sort_one(place * gap)
    assert table.missing_slices
    assert table.n_missing == len(removed)
    assert missing_numbers(result.missing_after[result.order]).tolist() == sorted(number + 1 for number in removed)


def test_every_other_slice_lost_inside_is_named():
    result, table = sort_one(np.delete(np.arange(20) * 2.5, [5, 7, 9]))
    assert table.missing_slices
    assert missing_numbers(result.missing_after[result.order]).tolist() == [6, 8, 10]


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


@settings(deadline=None, max_examples=60)
@given(st.integers(6, 30), st.floats(0.5, 8), st.data())
def test_the_missing_slices_are_named(slices, gap, data):
    """Holes of one or more slices, no two of one size in a row, with most of the gaps left whole."""
    first = data.draw(st.integers(2, slices - 3))
    removed = list(range(first, data.draw(st.integers(first, min(first + 2, slices - 3))) + 1))
    result, table = sort_one(np.delete(np.arange(slices) * gap, removed)[::-1])
    if (slices - len(removed) - 1) < 3:
        return
    assert table.n_missing == len(removed)
    assert missing_numbers(result.missing_after[result.order]).tolist() == [number + 1 for number in removed]


def test_nothing_is_missing_of_a_whole_stack():
    assert missing_numbers(np.zeros(5, int)).tolist() == []
    assert missing_numbers(np.array([0, 2, 0, 1, 0])).tolist() == [3, 4, 7]


@settings(deadline=None, max_examples=40)
@given(st.floats(-30, 30), st.floats(1, 8), st.integers(2, 20), angles)
def test_shear_is_the_tangent_of_the_gantrys_angle_with_its_sign(tilt, gap, slices, turn):
    """The gantry turns about x by `tilt`, the table moves along z: a step leans by -sin(tilt) along the columns."""
    radians = np.radians(tilt)
    orientation = np.array([1, 0, 0, 0, np.cos(radians), np.sin(radians)])
    position = np.stack([np.zeros(slices), np.zeros(slices), np.arange(slices) * gap], axis=1)
    turned = rotation(turn, 0.3, -turn)  # the patient may lie anyhow
    orientation = np.concatenate([turned @ orientation[:3], turned @ orientation[3:]])
    along_rows, along_columns = shear_of(orientation, position @ turned.T)
    assert along_rows == pytest.approx(0, abs=1e-6)
    assert along_columns == pytest.approx(np.tan(radians), abs=1e-6)


def test_a_stack_of_one_place_leans_nowhere():
    assert shear_of(np.array(AXIAL), np.zeros((3, 3))) == (0.0, 0.0)


def test_stack_affine_steps_by_the_spacing_where_gaps_differ_and_is_unknown_where_places_are():
    orientation, place = np.tile(AXIAL, (3, 1)), np.array([[-5.0, -6, 10], [-5, -6, 12], [-5, -6, 19]])
    affine = stack_affine(orientation, place, (2.0, 0.5, 0.25))
    np.testing.assert_allclose(affine @ [1, 2, 4, 1], [-5 + 1, -6 + 1, 12, 1])
    assert stack_affine(orientation, place * np.nan, (2.0, 0.5, 0.25)) is None
    assert stack_affine(orientation, place, (2.0, np.nan, 0.25)) is None
    assert stack_affine(orientation, np.zeros((3, 3)), (2.0, 0.5, 0.25)) is None
    single = stack_affine(orientation[:1], place[:1], (np.nan, 0.5, 0.25))
    np.testing.assert_allclose(single[:3, 0], [0, 0, 1])


def test_affine_on_a_grid_with_a_step_of_minus_one_is_a_flip():
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    flipped = affine_on_grid(affine, (6, 0, 1), (-1, 1, 2))
    np.testing.assert_allclose(flipped @ [0, 0, 0, 1], affine @ [6, 0, 1, 1])
    np.testing.assert_allclose(flipped @ [6, 1, 1, 1], affine @ [0, 1, 3, 1])
    assert affine_on_grid(None, (0, 0, 0), (1, 1, 1)) is None
