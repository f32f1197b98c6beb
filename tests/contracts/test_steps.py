"""Every file of scanloom/steps keeps the contract of a preprocessing step."""

import inspect
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from scanloom import plugins
from scanloom.readers._volume import Volume
from scanloom.steps import _masks
from scanloom.steps._scale import is_scaled
from scanloom.strict_models import Strict

NAMES = plugins.names("steps")
# Settings without a default, needed to run a step at all.
NEEDED = {
    "hu_window": {"windows": ["brain", "bone"]},
    "resample": {"spacing_mm": [None, 0.7, 1.3]},
    "resize": {"size_px": [9, 14]},
    "crop_or_pad": {"size_px": [50, 38]},
    "clip": {"low": -200, "high": 700},
}
AFFINE = np.array([[0, 0, 0.9, -20], [0, 0.9, 0, 30], [5, 0, 0, 100], [0, 0, 0, 1.0]])


def ct() -> Volume:
    """Noise with padding, in a stack that is a part of a longer one."""
    rng = np.random.default_rng(0)
    values = rng.uniform(-1000, 1500, (6, 11, 12)).astype(np.float32)
    padding = np.zeros(values.shape, bool)
    padding[:, :1] = True
    return Volume(values, "HU", (5.0, 0.9, 0.9), padding, slice_index=np.arange(10, 16), affine_lps=AFFINE)


def head() -> Volume:
    """A bright ellipsoid in a darker shell, off centre, in air: what foregrounds, heads and skulls are found in."""
    z, y, x = np.meshgrid(np.arange(8), np.arange(48), np.arange(40), indexing="ij")
    radius = np.sqrt(((z - 3.5) / 5) ** 2 + ((y - 22) / 16) ** 2 + ((x - 22) / 13) ** 2)
    values = np.select([radius < 0.8, radius < 1], [40.0, 900.0], -1000.0).astype(np.float32)
    affine = np.array([[0, 0, 1.0, -20], [0, 1.0, 0, 30], [2, 0, 0, 100], [0, 0, 0, 1.0]])
    return Volume(values, "HU", (2.0, 1.0, 1.0), slice_index=np.arange(8), affine_lps=affine)


def scaled(volume: Volume) -> Volume:
    """The same with two channels in [0, 1]."""
    window = plugins.load("steps", "hu_window")
    return window.apply(volume, window.Settings(windows=["brain", "bone"]))


def picture() -> Volume:
    """A colour picture as read: one slice, no spacing."""
    levels = np.random.default_rng(1).integers(0, 256, (1, 14, 16, 3)).astype(np.float32)
    return Volume(levels, "0-255", (np.nan,) * 3, channels=("red", "green", "blue"))


def mr() -> Volume:
    volume = head()
    return replace(volume, values=volume.values * 0.3 + 310, unit="arbitrary")


def constant() -> Volume:
    return Volume(np.full((2, 9, 9), 40, np.float32), "HU", (5.0, 0.9, 0.9))


GIVEN = {
    "ct": ct(),
    "head": head(),
    "one slice": replace(head(), values=head().values[4:5], slice_index=np.array([4])),
    "mr": mr(),
    "windows": scaled(ct()),
    "normalised mr": plugins.load("steps", "percentile").apply(mr(), plugins.settings("steps", "percentile", {})),
    "picture": picture(),
    "constant": constant(),
}


@pytest.fixture(params=NAMES)
def step(request):
    return plugins.load("steps", request.param), plugins.settings("steps", request.param, NEEDED.get(request.param))


def accepted(step) -> dict[str, tuple[Volume, Volume]]:
    """kind -> (given, made) of every volume that the step takes; what it refuses, it refuses by its name."""
    module, settings = step
    name = module.__name__.rpartition(".")[2]
    found, refusals = {}, {}
    for kind, given in GIVEN.items():
        try:
            found[kind] = given, module.apply(given, settings)
        except ValueError as refusal:
            refusals[kind] = str(refusal)
    assert all(name in refusal for refusal in refusals.values()), refusals
    assert found, f"{name} takes none of {list(GIVEN)}"
    return found


def moved_mask(module, mask: Volume, settings, volume: Volume) -> Volume:
    return module.apply_to_mask(mask, settings, *([volume] if _masks.follows_image(module) else []))


def test_a_step_documents_itself_and_its_settings(step):
    module, settings = step
    assert len(module.__doc__) > 80
    assert isinstance(settings, Strict)
    assert all(field.description for field in type(settings).model_fields.values())


def test_settings_survive_the_way_through_the_configuration(step):
    module, settings = step
    name = module.__name__.rpartition(".")[2]
    written = json.loads(json.dumps(settings.model_dump(mode="json")))
    assert plugins.settings("steps", name, written) == settings


def test_a_step_gives_a_consistent_volume_of_finite_values(step):
    for kind, (_, out) in accepted(step).items():
        assert isinstance(out, Volume)  # its own checks: float32, channels, padding, slice numbers
        assert np.isfinite(out.values).all(), kind
        assert out.values.size
        if is_scaled(out):
            assert 0 <= out.values.min() <= out.values.max() <= 1, kind


def test_a_step_writes_into_nothing_it_was_given(step):
    module, settings = step
    for kind, (given, out) in accepted(step).items():
        arrays = [array for array in (given.values, given.padding_mask, given.slice_index, given.affine_lps)
                  if array is not None]  # fmt: skip
        before = [array.copy() for array in arrays]
        for array in arrays:
            array.flags.writeable = False
        try:
            again = module.apply(given, settings)
        finally:
            for array in arrays:
                array.flags.writeable = True
        for was, array in zip(before, arrays, strict=True):
            np.testing.assert_array_equal(was, array, kind)
        np.testing.assert_array_equal(out.values, again.values)  # the same each time
        assert (out.slope, out.intercept) == (again.slope, again.intercept)


def test_a_step_gives_the_same_where_it_may_write_over_its_values(step):
    module, settings = step
    for kind, (given, out) in accepted(step).items():
        owned = module.apply(replace(given, values=given.values.copy(), expendable=True), settings)
        np.testing.assert_array_equal(owned.values, out.values, kind)
        assert (owned.slope, owned.intercept, owned.unit) == (out.slope, out.intercept, out.unit)


def test_a_step_that_says_so_changes_nothing_the_second_time(step):
    module, settings = step
    if not getattr(module, "IDEMPOTENT", False):
        pytest.skip("does not claim it")
    for _, out in accepted(step).values():
        np.testing.assert_allclose(module.apply(out, settings).values, out.values, atol=1e-6 * np.ptp(out.values))


def test_a_step_that_says_so_takes_slices_one_by_one(step):
    module, settings = step
    if not hasattr(module, "slicewise") or not module.slicewise(settings):
        pytest.skip("does not claim it")
    for given, out in accepted(step).values():
        for z in range(given.slices):
            padding = None if given.padding_mask is None else given.padding_mask[z : z + 1]
            one = replace(
                given, values=given.values[z : z + 1], padding_mask=padding, slice_index=given.slice_index[z : z + 1]
            )
            np.testing.assert_allclose(module.apply(one, settings).values, out.values[z : z + 1], atol=1e-6)


def test_the_way_back_to_physical_values_is_kept(step):
    """A step that rescales says so in slope and intercept, and what it did not clip comes back; else they stay."""
    module, _ = step
    compared = []
    for given, out in accepted(step).values():
        if hasattr(module, "apply_to_mask"):
            assert (out.slope, out.intercept) == (given.slope, given.intercept)
        if out.values.shape[:3] != given.values.shape[:3] or set(out.slope) <= set(given.slope):
            continue
        values = out.with_channels()
        back = values * np.array(out.slope) + np.array(out.intercept)
        before = given.with_channels() * np.array(given.slope) + np.array(given.intercept)
        kept = (values > 0) & (values < 1)
        compared.append(kept.sum())
        tolerance = 1e-5 * max(out.slope)
        np.testing.assert_allclose(back[kept], np.broadcast_to(before, back.shape)[kept], atol=tolerance)
    assert not compared or max(compared) > 100


def test_a_step_that_changes_the_grid_moves_masks_too(step):
    module, settings = step
    for given, out in accepted(step).values():
        moves = out.values.shape[:3] != given.values.shape[:3] or out.spacing_mm[1:] != given.spacing_mm[1:]
        if not hasattr(module, "apply_to_mask"):
            assert not moves or np.isnan(given.spacing_mm).all()
            continue
        bright = (given.with_channels()[..., 0] > 0).astype(np.float32)
        mask = Volume(bright, "mask", given.spacing_mm, slice_index=given.slice_index, affine_lps=given.affine_lps)
        moved = moved_mask(module, mask, settings, given)
        assert moved.values.shape[:3] == out.values.shape[:3]
        assert moved.slice_index.tolist() == out.slice_index.tolist()
        assert set(np.unique(moved.values)) <= {0.0, 1.0}


def test_a_mask_stays_on_its_lesion(step):
    """Thresholding the moved image gives the moved mask, but for pixels on its border (Dice above 0.9)."""
    module, settings = step
    for kind in ("head", "mr"):
        if not hasattr(module, "apply_to_mask") or kind not in accepted(step):
            continue
        given, out = accepted(step)[kind]
        middle = float(given.values.min() + given.values.max()) / 2
        mask = replace(given, values=(given.values > middle).astype(np.float32), unit="mask")
        moved = moved_mask(module, mask, settings, given).values > 0.5
        shown = out.values > middle
        assert 2 * (moved & shown).sum() / (moved.sum() + shown.sum()) > 0.9


def test_the_affine_says_where_pixels_went(step):
    """The centre of mass of a body stays where it was in the patient, to half a pixel of the coarser grid."""
    for kind in ("head", "mr"):
        if kind not in accepted(step):
            continue
        given, out = accepted(step)[kind]
        if is_scaled(out) or out.affine_lps is None:
            continue
        middle = float(given.values.min() + given.values.max()) / 2
        masses = [np.abs(v.with_channels()[..., 0] - given.values.min()) * (v.with_channels()[..., 0] > middle)
                  for v in (given, out)]  # fmt: skip
        if not masses[1].any():
            continue
        places = [
            v.affine_lps @ [*ndimage.center_of_mass(mass), 1] for v, mass in zip((given, out), masses, strict=True)
        ]
        assert np.abs(places[0] - places[1]).max() < max(out.spacing_mm) / 2, kind


def test_slices_keep_their_numbers(step):
    for given, out in accepted(step).values():
        assert set(out.slice_index.tolist()) <= set(given.slice_index.tolist())


def test_a_step_is_a_function_of_volume_and_settings(step):
    module, _ = step
    assert list(inspect.signature(module.apply).parameters) == ["volume", "settings"]


def test_importing_all_steps_imports_no_tensorflow():
    heavy = ("tensorflow", "keras", "SimpleITK", "sklearn")
    code = f"import sys; from scanloom import plugins; [plugins.load('steps', n) for n in {NAMES}]; "
    code += f"found = [m for m in {heavy} if m in sys.modules]; print(found); sys.exit(bool(found))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
