"""Tilt and distances corrected, on stacks whose values are a function of space: corrected, they still are."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanloom.geometry import normals, stack_affine
from scanloom.readers._stack_correction import correct_stack, equally_spaced, untilted
from scanloom.readers._volume import Volume
from scanloom.readers.dicom import Settings


def stack(tilt_deg, along_mm, about="x", shape=(24, 20), spacing=(0.8, 1.1), unit="arbitrary"):
    """(volume, orientation, position, position_mm): the gantry turns about x or y, the table moves along z.

    Values are 2 x - 3 y + z + 50 in LPS mm.
    """
    angle = np.radians(tilt_deg)
    row, column = np.array([1.0, 0, 0]), np.array([0.0, np.cos(angle), np.sin(angle)])
    if about == "y":
        row, column = np.array([np.cos(angle), 0, np.sin(angle)]), np.array([0.0, 1, 0])
    orientation = np.concatenate([row, column])
    normal = normals(orientation[None])[0]
    position = np.array([3.0, -7, 11]) + np.outer(np.asarray(along_mm) / normal[2], [0, 0, 1])
    position_mm = position @ normal
    gaps = np.diff(position_mm)
    spacing_mm = (float(np.sort(gaps)[(len(gaps) - 1) // 2]), *spacing)
    affine = stack_affine(np.tile(orientation, (len(position), 1)), position, spacing_mm)
    y, x = np.indices(shape)
    places = position[:, None, None] + (y * spacing[0])[..., None] * column + (x * spacing[1])[..., None] * row
    volume = Volume(function(places).astype(np.float32), unit, spacing_mm, affine_lps=affine)
    return volume, orientation, position, position_mm


def function(places):
    return places @ [2.0, -3.0, 1.0] + 50


def assert_function_of_space(volume, atol=2e-3):
    shape = volume.values.shape
    index = np.stack([*np.indices(shape), np.ones(shape)], axis=-1)
    expected = function((index @ volume.affine_lps.T)[..., :3])
    inside = np.ones(shape, bool) if volume.padding_mask is None else ~volume.padding_mask
    # At both ends of a slice half a pixel repeats the border.
    inside = inside & np.roll(inside, 1, 1) & np.roll(inside, -1, 1) & np.roll(inside, 1, 2) & np.roll(inside, -1, 2)
    assert inside.mean() > 0.2
    np.testing.assert_allclose(volume.values[inside], expected[inside], atol=atol)


def assert_upright(volume):
    axes = volume.affine_lps[:3, :3] / volume.spacing_mm
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-9)


@settings(deadline=None, max_examples=40)
@given(st.floats(1, 30), st.booleans(), st.integers(2, 9), st.floats(0.5, 4), st.sampled_from("xy"))
def test_a_corrected_stack_is_upright_and_shows_the_same(tilt, negative, slices, gap, about):
    given_ = stack(-tilt if negative else tilt, np.arange(slices) * gap, about)
    out = untilted(*given_)
    assert_upright(out)
    assert_function_of_space(out)
    assert out.slice_index.tolist() == list(range(slices))
    assert out.spacing_mm == given_[0].spacing_mm


@settings(deadline=None, max_examples=20)
@given(st.floats(-30, 30), st.integers(2, 9), st.floats(0.5, 4))
def test_no_pixel_is_cut_off(tilt, slices, gap):
    """A spike in a slice' first and one in its last row are both there, shared out between two rows at most."""
    volume, *where = stack(tilt, np.arange(slices) * gap)
    for row in (0, -1):
        values = np.zeros_like(volume.values)
        values[:, row, 4] = 100
        out = untilted(replace(volume, values=values), *where)
        assert (out.values.sum(axis=(1, 2)) >= 49.9).all()
        assert (out.values.max(axis=(1, 2)) >= 49.9).all()


def test_what_no_slice_covers_is_air():
    volume, *where = stack(20, np.arange(5) * 4.0, unit="HU")
    out = untilted(volume, *where)
    assert out.values.shape[1] == volume.values.shape[1] + int(np.ceil(16 * np.tan(np.radians(20)) / 0.8))
    assert (out.values[out.padding_mask] == -1024).all()
    assert out.padding_mask.any()


def test_an_upright_stack_stays_as_it_is():
    volume, *where = stack(0.3, np.arange(5) * 4.0)
    assert untilted(volume, *where) is volume
    assert equally_spaced(volume, where[-1]) is volume


def test_changing_distances_become_equal_and_show_the_same():
    given_ = stack(0, [0, 2, 4, 6, 10, 14, 18])
    out = equally_spaced(given_[0], given_[-1])
    assert out.values.shape[0] == 10
    assert out.spacing_mm[0] == 2
    assert out.slice_index.tolist() == [0, 1, 2, 3, -1, 4, -1, 5, -1, 6]
    assert_upright(out)
    assert_function_of_space(out)


def test_one_odd_gap_does_not_make_more_than_twice_the_slices():
    given_ = stack(0, [0, 5, 10, 10.5, 15.5, 20.5])
    out = equally_spaced(given_[0], given_[-1])
    assert out.values.shape[0] == 12
    assert out.spacing_mm[0] == pytest.approx(20.5 / 11)
    assert_function_of_space(out)


@pytest.mark.parametrize("nearest", [False, True])
def test_both_corrections_together_take_a_mask_along(nearest):
    volume, *where = stack(15, [0, 3, 6, 9, 15, 21])
    chosen = Settings(gantry_tilt="correct", unequal_spacing="resample")
    if nearest:
        volume = replace(volume, values=(volume.values > volume.values.mean()).astype(np.float32), unit="mask")
    out = correct_stack(volume, *where, chosen, nearest=nearest)
    assert_upright(out)
    if nearest:
        assert set(np.unique(out.values)) == {0.0, 1.0}
        assert out.values.shape == correct_stack(volume, *where, chosen).values.shape
    else:
        assert_function_of_space(out)


def test_kept_stacks_are_not_touched():
    volume, *where = stack(15, [0, 3, 6, 9, 15, 21])
    assert correct_stack(volume, *where, Settings()) is volume


def test_colours_and_padding_move_with_the_slices():
    volume, *where = stack(15, np.arange(4) * 5.0)
    padding = np.zeros(volume.values.shape, bool)
    padding[:, :3] = True
    grey = untilted(replace(volume, padding_mask=padding), *where)
    colours, names = np.stack([volume.values] * 3, axis=-1), ("red", "green", "blue")
    colour = Volume(colours, "0-255", volume.spacing_mm, padding, names, affine_lps=volume.affine_lps)
    out = untilted(colour, *where)
    np.testing.assert_array_equal(out.values[..., 1], grey.values)
    np.testing.assert_array_equal(out.padding_mask, grey.padding_mask)
    assert (grey.padding_mask.sum(axis=1) == 3 + grey.values.shape[1] - volume.values.shape[1]).mean() > 0.9
