"""The volume's own checks."""

import numpy as np
import pytest

from scanloom.readers._volume import Volume

VALUES = np.zeros((2, 3, 4), np.float32)


def test_defaults_say_that_values_are_physical_and_slices_are_all():
    volume = Volume(VALUES, "HU", (5.0, 1.0, 1.0))
    assert (volume.slope, volume.intercept, volume.slices) == ((1.0,), (0.0,), 2)
    assert volume.slice_index.tolist() == [0, 1]
    assert volume.with_channels().shape == (2, 3, 4, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"values": np.zeros((3, 4), np.float32)}, "got shape"),
        ({"values": VALUES.astype(np.float64)}, "float32"),
        ({"channels": ("a", "b")}, "2 channel names"),
        ({"spacing_mm": (1.0, 1.0)}, "3 numbers"),
        ({"padding_mask": np.zeros((2, 3), bool)}, "padding mask"),
        ({"slope": (1.0, 2.0)}, "2 slopes"),
        ({"slice_index": np.arange(3)}, "3 slice indices"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Volume(**({"values": VALUES, "unit": "HU", "spacing_mm": (5.0, 1.0, 1.0)} | changes))
