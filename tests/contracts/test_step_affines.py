"""Every step that moves pixels keeps the affine right: the image of a linear function of space stays that function."""

import numpy as np
import pytest

from scanloom import plugins
from scanloom.readers._volume import Volume

# Settings that make a step move pixels along all axes; a step that is not here runs with its defaults.
SETTINGS = {
    "resample": [{"spacing_mm": [2.0, 0.7, 1.3]}, {"spacing_mm": [7.0, 0.9, 2.1]}],
    "resize": [{"size_px": [9, 14, 31]}, {"size_px": [17, 11]}],
    "crop_or_pad": [{"size_px": [5, 18, 15]}, {"size_px": [11, 14, 21]}],
    "select_slices": [{"every": 2, "central_share": 0.7}, {"z_range": [0.3, 0.9]}],
    "canonical_orientation": [{"to": "LPS"}, {"to": "RAI"}, {"to": "SAR"}, {"in_plane_only": True}],
    "crop_to_foreground": [{"threshold": -40.0, "margin_px": [1, 1, 1]}],
}
MOVING = [name for name in plugins.names("steps") if hasattr(plugins.load("steps", name), "apply_to_mask")]
CASES = [(name, settings) for name in MOVING for settings in SETTINGS.get(name, [{}])]


def of_space(affine, shape):
    """3 x - 2 y + z + 5 at each voxel, x, y, z in LPS mm."""
    index = np.stack([*np.indices(shape), np.ones(shape)], axis=-1)
    return index @ affine.T @ [3.0, -2.0, 1.0, 5.0]


def oblique_volume():
    """A sagittal-like stack, turned by some degrees, with values that are a function of space."""
    axes = np.array([[0.97, 0.1, -0.05], [-0.05, 0.98, 0.12], [0.06, -0.11, -0.98]])  # columns: slices, rows, columns
    axes = np.linalg.qr(axes)[0] * np.sign(np.diag(axes))
    affine = np.eye(4)
    affine[:3, :3] = axes * [4.0, 0.9, 1.1]
    affine[:3, 3] = [-30, -8, 25]
    shape = (9, 16, 19)
    return Volume(of_space(affine, shape).astype(np.float32), "arbitrary", (4.0, 0.9, 1.1), affine_lps=affine)


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_values_stay_where_they_are_in_space(name, settings):
    given = oblique_volume()
    checked = plugins.settings("steps", name, settings)
    out = plugins.load("steps", name).apply(given, checked)
    shape = out.values.shape[:3]
    there = np.indices(shape).reshape(3, -1)
    grid = np.linalg.inv(given.affine_lps) @ out.affine_lps
    old = (grid @ np.vstack([there, np.ones(there.shape[1])]))[:3]
    steps = np.abs(grid[:3, :3]).sum(axis=1)
    # Pixels whose whole area lies inside the old picture: border pixels repeat the border, new ones are filled.
    margin = np.maximum(steps[:, None] / 2 - 0.5, 0) - 1e-6
    inside = ((old >= margin) & (old <= np.array(given.values.shape)[:, None] - 1 - margin)).all(0)
    assert inside.mean() > 0.1
    # An average over pixels of which some count in part is that of a place up to 1/8 of an old pixel away.
    slope = np.abs([3.0, -2.0, 1.0] @ given.affine_lps[:3, :3])
    tolerance = 2e-3 + float((slope / 8 / steps)[steps > 1 + 1e-6].sum()) * (name in ("resample", "resize"))
    expected = of_space(out.affine_lps, shape).reshape(-1)
    values = out.with_channels()[..., out.with_channels().shape[-1] // 2].reshape(-1)
    np.testing.assert_allclose(values[inside], expected[inside], rtol=0, atol=tolerance)


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_affine_and_spacing_say_the_same(name, settings):
    out = plugins.load("steps", name).apply(oblique_volume(), plugins.settings("steps", name, settings))
    np.testing.assert_allclose(np.linalg.norm(out.affine_lps[:3, :3], axis=0), out.spacing_mm, rtol=1e-6)


@pytest.mark.parametrize("name", MOVING)
def test_what_does_not_know_where_it_lies_does_not_know_afterwards(name):
    given = Volume(np.random.default_rng(0).uniform(0, 9, (5, 16, 15)).astype(np.float32), "0-255", (2.0, 1.0, 1.0))
    step = plugins.load("steps", name)
    settings = plugins.settings(
        "steps", name, SETTINGS.get(name, [{}])[0] | ({"threshold": 1.0} if "foreground" in name else {})
    )
    if name == "canonical_orientation":
        with pytest.raises(ValueError, match="do not say how they lie"):
            step.apply(given, settings)
        return
    assert step.apply(given, settings).affine_lps is None
