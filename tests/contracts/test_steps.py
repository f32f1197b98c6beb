"""Every file of scanloom/steps keeps the contract of a preprocessing step."""

import inspect
import subprocess
import sys

import numpy as np
import pytest
from pydantic import BaseModel

from scanloom import plugins
from scanloom.readers._volume import Volume

NAMES = plugins.names("steps")
# Settings without a default, needed to run a step at all.
NEEDED = {
    "hu_window": {"windows": ["brain", "bone"]},
    "resample": {"spacing_mm": [None, 0.7, 1.3]},
    "resize": {"size_px": [9, 14]},
    "crop_or_pad": {"size_px": [9, 14]},
}


def volume() -> Volume:
    rng = np.random.default_rng(0)
    values = rng.uniform(-1000, 1500, (6, 11, 12)).astype(np.float32)
    padding = np.zeros(values.shape, bool)
    padding[:, :1] = True
    return Volume(values, "HU", (5.0, 0.9, 0.9), padding_mask=padding, slice_index=np.arange(10, 16))


@pytest.fixture(params=NAMES)
def step(request):
    return plugins.load("steps", request.param), plugins.settings("steps", request.param, NEEDED.get(request.param))


def test_a_step_documents_itself_and_its_settings(step):
    module, settings = step
    assert len(module.__doc__) > 80
    assert isinstance(settings, BaseModel)
    assert type(settings).model_config == {"extra": "forbid", "frozen": True}
    assert all(field.description for field in type(settings).model_fields.values())


def test_a_step_gives_a_consistent_float32_volume_and_changes_nothing_given(step):
    module, settings = step
    given, same = volume(), volume()
    out = module.apply(given, settings)
    np.testing.assert_array_equal(given.values, same.values)
    assert isinstance(out, Volume)  # its own checks: dtype, channels, padding, slice numbers
    assert np.isfinite(out.values).all()
    np.testing.assert_array_equal(out.values, module.apply(given, settings).values)


def test_the_way_back_to_physical_values_is_kept(step):
    """Scaling steps say what their values mean: physical values that were not clipped come back."""
    module, settings = step
    given = volume()
    out = module.apply(given, settings)
    if out.values.shape[:3] != given.values.shape or hasattr(module, "apply_to_mask"):
        assert out.slope == given.slope
        return
    values = out.with_channels()
    back = values * np.array(out.slope) + np.array(out.intercept)
    kept = (values > 0) & (values < 1)
    assert kept.any()
    np.testing.assert_allclose(back[kept], np.broadcast_to(given.values[..., None], back.shape)[kept], atol=0.01)


def test_a_step_that_changes_the_grid_moves_masks_too(step):
    module, settings = step
    given = volume()
    out = module.apply(given, settings)
    moves = out.values.shape[:3] != given.values.shape or out.spacing_mm != given.spacing_mm
    if not hasattr(module, "apply_to_mask"):
        assert not moves
        return
    mask = Volume((given.values > 0).astype(np.float32), "mask", given.spacing_mm, slice_index=given.slice_index)
    moved = module.apply_to_mask(mask, settings)
    assert moved.values.shape[:3] == out.values.shape[:3]
    assert moved.slice_index.tolist() == out.slice_index.tolist()
    assert set(np.unique(moved.values)) <= {0.0, 1.0}


def test_slices_keep_their_numbers(step):
    module, settings = step
    assert set(module.apply(volume(), settings).slice_index.tolist()) <= set(range(10, 16))


def test_a_step_is_a_function_of_volume_and_settings(step):
    module, _ = step
    assert list(inspect.signature(module.apply).parameters) == ["volume", "settings"]


def test_importing_all_steps_imports_no_tensorflow():
    code = f"import sys; from scanloom import plugins; [plugins.load('steps', n) for n in {NAMES}]; "
    code += "sys.exit(any(m in sys.modules for m in ('tensorflow', 'keras', 'SimpleITK')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
