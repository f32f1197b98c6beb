from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from pydantic import ValidationError

from scanloom.readers._volume import Volume
from scanloom.steps import hu_window, strip_skull


def head(gap_mm=0.0, noise=6.0) -> tuple[Volume, np.ndarray]:
    """Brain, skull of 6 mm, scalp and neck muscle as large as half the brain; and where the brain is."""
    z, y, x = np.meshgrid(5.0 * np.arange(12) - 30, np.arange(150) - 65.0, np.arange(130) - 65.0, indexing="ij")
    radius = np.sqrt((z / 60) ** 2 + (y / 58) ** 2 + (x / 50) ** 2)
    brain, skull, scalp = radius < 0.85, radius < 0.97, radius < 1.08
    values = np.select([brain, skull, scalp], [35.0, 1000.0, 50.0], -1000.0)
    values[(np.hypot(y - 72, x) < 25) & ~scalp] = 60
    values[brain & (np.hypot(y - 5, x - 3) < 4)] = 180  # calcified
    values[brain & (np.hypot(y + 20, x - 20) < 9)] = 70  # blood
    values[skull & ~brain & (y < 0) & (np.abs(x) < gap_mm / 2)] = 50
    values += np.random.default_rng(0).normal(0, noise, values.shape)
    return Volume(values.astype(np.float32), "HU", (5.0, 1.0, 1.0)), brain


def tilted_head(folder: Path) -> Volume:
    """The longest series of the folder, read by SimpleITK."""
    reader = sitk.ImageSeriesReader()
    names = [
        reader.GetGDCMSeriesFileNames(str(below), series)
        for below in {path.parent for path in folder.rglob("*")}
        for series in reader.GetGDCMSeriesIDs(str(below))
    ]
    reader.SetFileNames(max(names, key=len))
    image = reader.Execute()
    return Volume(sitk.GetArrayFromImage(image).astype(np.float32), "HU", tuple(reversed(image.GetSpacing())))


def dice(a, b) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.mark.parametrize("gap_mm", [0, 6])
def test_the_brain_is_found_whole_with_its_blood_and_calcifications(gap_mm):
    """The truth is the ellipsoid the head was made of; what is lost is the partial volume at the bone."""
    volume, brain = head(gap_mm)
    out = strip_skull.apply(volume, strip_skull.Settings())
    found = out.values != -1024
    assert dice(found, brain) > 0.95
    assert not (found & ~brain).any() or (found & ~brain).sum() < 0.01 * brain.sum()
    np.testing.assert_array_equal(out.values[found], volume.values[found])
    assert (out.padding_mask == ~found).all()


def test_real_heads_lose_their_face_and_keep_their_brain(shared_data):
    """A head CT from nose to vertex (28 slices): about 1.0 to 1.6 litres are brain, whatever is stripped."""
    volume = tilted_head(shared_data / "ct_head_tilt_dicom")
    out = strip_skull.apply(volume, strip_skull.Settings())
    found = out.values != -1024
    litres = found.sum() * np.prod(volume.spacing_mm) * 1e-6
    assert 1.0 < litres < 1.6
    assert np.median(out.values[found]) == pytest.approx(30, abs=10)  # grey and white matter: 20 to 45 HU


def test_other_units_windowed_values_and_crossed_bounds_are_refused():
    volume, _ = head()
    windowed = hu_window.apply(volume, hu_window.Settings(windows=["brain"]))
    for given in (windowed, Volume(volume.values, "arbitrary", volume.spacing_mm)):
        with pytest.raises(ValueError, match="strip_skull needs CT values in HU, before windowing"):
            strip_skull.apply(given, strip_skull.Settings())
    with pytest.raises(ValidationError, match="must be below"):
        strip_skull.Settings(low_hu=80, bone_hu=60)


def test_nothing_but_air_stays_as_it_is():
    air = Volume(np.full((2, 20, 20), -1000, np.float32), "HU", (5.0, 1.0, 1.0))
    assert strip_skull.apply(air, strip_skull.Settings()) is air
