"""Patches are NumPy's slices, stay in their cells, and the guards do what their formula says."""

import keras
import numpy as np
import pytest

from scanloom.methods import _patches
from scanloom.methods._patches import CellSettings, PatchSettings, cell_grid, cut, draw_patches, overlapping_grid

RNG = np.random.default_rng(0)
PLAIN = {"normalise": False, "intensity_jitter": 0.0}


def drawn(settings, grid, shape, batch=50):
    cells = np.tile(np.arange(grid.cells), (batch, 1))
    u = RNG.random((batch, _patches.numbers(grid.cells, shape)), np.float32)
    return draw_patches(u, cells, grid, settings, shape)


def as_numpy(patches):
    return keras.ops.convert_to_numpy(patches)


@pytest.mark.parametrize("shape", [(31, 40, 3), (16, 20, 17, 1)])
def test_a_patch_is_the_slice_at_its_corner(shape):
    settings = CellSettings(**PLAIN, jitter=0.3, gap=0.1)
    grid = cell_grid(settings, 3, shape)
    draws = drawn(settings, grid, shape, batch=4)
    images = RNG.random((4, *shape), np.float32)
    patches = as_numpy(cut(images, draws, grid, settings))
    assert patches.shape[2:] == _patches.patch_shape(grid, shape)
    for i, corners in enumerate(draws["corners"]):
        for k, corner in enumerate(corners):
            where = tuple(slice(c, c + edge) for c, edge in zip(corner, grid.patch, strict=True))
            assert np.array_equal(patches[i, k], images[i][where])


@pytest.mark.parametrize(
    ("shape", "per_side"), [((75, 64, 1), 3), ((30, 33, 36, 1), 3), ((28, 28, 1), 3), ((64, 64, 1), 5)]
)
def test_patches_stay_inside_and_neighbours_keep_their_distance(shape, per_side):
    settings = CellSettings(jitter=0.2, gap=0.2)
    grid = cell_grid(settings, per_side, shape)
    corners = drawn(settings, grid, shape, batch=300)["corners"]
    corners = corners.reshape(300, *(per_side,) * (len(shape) - 1), -1)
    for axis, size in enumerate(shape[:-1]):
        first = np.moveaxis(corners[..., axis], 1 + axis, 1)
        assert first.min() >= 0
        assert first.max() + grid.patch[axis] <= size
        gaps = first[:, 1:] - first[:, :-1] - grid.patch[axis]
        assert gaps.min() >= round(0.2 * (size // per_side)), "as far apart as asked for, whatever the jitter"
        assert len(np.unique(first[:, 0])) == grid.room[axis] + 1, "every position in the cell is used"


@pytest.mark.parametrize(
    ("size", "rank", "per_side", "overlap", "patch"), [(224, 2, 5, 0.5, 74), (128, 2, 5, 0.5, 42), (128, 3, 4, 0, 32)]
)
def test_overlapping_grids_have_the_ancestors_sizes(size, rank, per_side, overlap, patch):
    """seed-systems.md 5.2: 224 -> 74 px, 128 -> 42 px at half overlap; 128 -> 32 px without."""
    shape = (*(size,) * rank, 1)
    grid = overlapping_grid(PatchSettings(jitter=0.0), per_side, overlap, shape)
    assert grid.patch == (patch,) * rank
    assert grid.corners.min() >= 0
    assert grid.corners.max() + patch <= size


@pytest.mark.parametrize(
    ("cell", "jitter", "patch"), [(224 // 3, 8 / 74, 66), (128 // 3, 4 / 42, 38), (128 // 3, 3 / 42, 39)]
)
def test_cells_have_the_ancestors_sizes(cell, jitter, patch):
    """seed-systems.md 5.2: 224 -> 66 px with 8 px of jitter, 128 -> 38 and 39 with 4 and 3."""
    grid = cell_grid(CellSettings(jitter=jitter, gap=0.0), 3, (3 * cell, 3 * cell, 1))
    assert grid.patch == (patch, patch)


def test_patch_px_fixes_the_size_and_leaves_the_rest_to_the_jitter():
    grid = cell_grid(CellSettings(patch_px=16, gap=0.1), 3, (60, 66, 1))
    assert grid.patch == (16, 16)
    assert grid.room == (20 - 2 - 16, 22 - 2 - 16)


def test_images_too_small_for_their_cells_are_an_error_with_the_numbers():
    with pytest.raises(ValueError, match=r"\(5, 5, 1\) have 3 cells of 1 px .* a jitter of 1 px .* Use larger images"):
        cell_grid(CellSettings(), 3, (5, 5, 1))
    with pytest.raises(ValueError, match="patch_px 12 there is no patch"):
        cell_grid(CellSettings(patch_px=12), 3, (32, 32, 1))
    with pytest.raises(ValueError, match="smaller per_side"):
        overlapping_grid(PatchSettings(), 5, 0.5, (8, 4, 1))


def test_normalised_patches_all_have_the_batchs_mean_and_deviation():
    settings = CellSettings(intensity_jitter=0.0)
    shape = (24, 24, 3)
    grid = cell_grid(settings, 3, shape)
    images = (RNG.random((5, *shape)) * RNG.random((5, 1, 1, 3))).astype(np.float32)
    draws = drawn(settings, grid, shape, batch=5)
    plain = as_numpy(cut(images, draws, grid, CellSettings(**PLAIN))).astype(np.float64)
    found = as_numpy(cut(images, draws, grid, settings))
    whole = images.astype(np.float64)
    own_mean, own_std = plain.mean((2, 3), keepdims=True), plain.std((2, 3), keepdims=True)
    expected = (plain - own_mean) / (own_std + 0.01) * whole.std((0, 1, 2)) + whole.mean((0, 1, 2))
    assert np.abs(found - expected).max() < 1e-5
    assert np.allclose(found.mean((2, 3)), whole.mean((0, 1, 2)), atol=1e-5)


def test_flat_patches_stay_flat():
    settings = CellSettings(intensity_jitter=0.0)
    grid = cell_grid(settings, 3, (12, 12, 1))
    images = np.zeros((2, 12, 12, 1), np.float32)
    images[0, 0, 0] = 1.0
    patches = as_numpy(cut(images, drawn(settings, grid, (12, 12, 1), batch=2), grid, settings))
    assert np.isfinite(patches).all()
    assert np.ptp(patches[1]) == 0


def test_brightness_contrast_and_channel_follow_their_draws():
    settings = CellSettings(normalise=False, intensity_jitter=0.3, channel_drop=0.5)
    shape = (18, 18, 3)
    grid = cell_grid(settings, 3, shape)
    draws = drawn(settings, grid, shape, batch=20)
    images = RNG.random((20, *shape), np.float32)
    plain = as_numpy(cut(images, {"corners": draws["corners"]}, grid, CellSettings(**PLAIN)))
    found = as_numpy(cut(images, draws, grid, settings))
    kept = draws["kept"]
    assert set(np.unique(kept)) == {-1, 0, 1, 2}
    assert 0.4 < (kept >= 0).mean() < 0.6
    copied = np.take_along_axis(plain, np.maximum(kept, 0)[:, :, None, None, None], axis=-1)
    expected = np.where((kept >= 0)[:, :, None, None, None], copied, plain).astype(np.float64)
    mean = expected.mean((2, 3), keepdims=True)
    expected = (expected - mean) * draws["contrast"][:, :, None, None] + mean + draws["brightness"][:, :, None, None]
    assert np.abs(found - expected).max() < 1e-5
    assert 0.29 < np.abs(draws["brightness"]).max() <= 0.3
    assert 0.29 < np.abs(draws["contrast"] - 1).max() <= 0.3 + 1e-6


@pytest.mark.parametrize("shape", [(15, 15, 1), (48, 48, 16, 1), (96, 96, 15, 1)])
def test_small_cells_keep_their_guards(shape):
    """Volumes often have few slices; patches that touched along them would be put together by their border."""
    grid = cell_grid(CellSettings(), 3, shape)
    assert min(grid.room) >= 1
    corners = grid.corners.reshape(*(3,) * (len(shape) - 1), -1)
    for axis in range(len(shape) - 1):
        steps = np.diff(np.moveaxis(corners[..., axis], axis, 0), axis=0)
        assert (steps - grid.patch[axis] - grid.room[axis]).min() >= 1
    assert min(overlapping_grid(PatchSettings(), 4, 0.0, (16, 20, 12, 1)).room) >= 1
    with pytest.raises(ValueError, match="no patch of at least 2 px"):
        cell_grid(CellSettings(), 3, (9, 9, 1))
