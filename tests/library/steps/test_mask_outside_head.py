import numpy as np
import pytest
from scipy import ndimage

from scanloom.readers._volume import Volume
from scanloom.steps import mask_outside_head, percentile


def scan() -> tuple[Volume, np.ndarray]:
    """A head with air inside, on a couch that touches it by a bridge of 2 pixels; and the head alone."""
    _, y, x = np.meshgrid(np.arange(4), np.arange(80), np.arange(90), indexing="ij")
    head = np.hypot((y - 35) / 25, (x - 45) / 20) < 1
    sinus = np.hypot(y - 25, x - 45) < 5
    couch = (y >= 66) & (y < 72)
    bridge = (y >= 58) & (y < 66) & (np.abs(x - 45) < 1)
    values = np.where(head & ~sinus, 40.0, -1000.0)
    values[couch | (bridge & ~head)] = 200
    return Volume(values.astype(np.float32), "HU", (5.0, 1.0, 1.0)), head


def test_the_couch_goes_and_the_head_stays_with_the_air_in_it():
    volume, head = scan()
    out = mask_outside_head.apply(volume, mask_outside_head.Settings())
    np.testing.assert_array_equal(out.values[head], volume.values[head])
    outside = out.values[~head]
    assert (outside == -1024).mean() > 0.999  # where the bridge meets the head a pixel or two stay
    assert ((out.values == 200).sum(axis=(1, 2)) <= 4).all()


def test_without_opening_the_bridge_keeps_the_couch():
    volume, _ = scan()
    out = mask_outside_head.apply(volume, mask_outside_head.Settings(opening_mm=0))
    assert (out.values == 200).sum() > 1000


def test_what_is_masked_is_padding_for_the_steps_that_follow():
    volume, _ = scan()
    out = mask_outside_head.apply(volume, mask_outside_head.Settings())
    assert (out.padding_mask == (out.values == -1024)).all()
    bounds = percentile.apply(out, percentile.Settings(low_percent=50, high_percent=99))
    assert bounds.intercept == (40.0,)


def test_of_mr_and_scaled_values_air_is_the_lowest():
    volume, head = scan()
    mr = Volume((volume.values * 0.1 + 150).astype(np.float32), "arbitrary", volume.spacing_mm)
    out = mask_outside_head.apply(mr, mask_outside_head.Settings())
    assert (out.values[~ndimage.binary_dilation(head, iterations=2)] == mr.values.min()).all()


def test_a_picture_without_scale_says_what_to_set():
    picture = Volume(np.eye(9, dtype=np.float32)[None] * 255, "0-255", (np.nan,) * 3)
    with pytest.raises(ValueError, match="set opening_mm to 0"):
        mask_outside_head.apply(picture, mask_outside_head.Settings())
    mask_outside_head.apply(picture, mask_outside_head.Settings(opening_mm=0))


def test_nothing_but_air_stays_as_it_is():
    air = Volume(np.full((2, 9, 9), -1000, np.float32), "HU", (5.0, 1.0, 1.0))
    assert mask_outside_head.apply(air, mask_outside_head.Settings()) is air
