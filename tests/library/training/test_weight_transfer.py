"""Weights by name and shape."""

import numpy as np
import pytest

from scanloom.lazy import keras
from scanloom.training.weight_transfer import transfer


def model(widths, seed, head="head"):
    inputs = keras.Input((4,))
    flow = inputs
    for index, width in enumerate(widths):
        init = keras.initializers.GlorotUniform(seed + index)
        flow = keras.layers.Dense(width, kernel_initializer=init, name=f"dense_{index}")(flow)
        flow = keras.layers.BatchNormalization(name=f"norm_{index}")(flow)
    return keras.Model(inputs, keras.layers.Dense(2, name=head)(flow))


def test_all_variables_move_including_batch_norm_statistics(tmp_path):
    source, target = model([3, 5], 0), model([3, 5], 7)
    source.get_layer("norm_0").moving_mean.assign([1.0, 2.0, 3.0])
    source.save(tmp_path / "source.keras")
    loaded = keras.saving.load_model(tmp_path / "source.keras", compile=False)
    account = transfer(loaded, target)
    assert str(account) == "14 variables matched, 0 missed, 0 unused"
    for a, b in zip(source.get_weights(), target.get_weights(), strict=True):
        assert np.array_equal(a, b)


def test_other_shapes_and_names_are_reported_and_left_alone():
    source, target = model([3, 6], 0, "old"), model([3, 5], 7, "new")
    before = np.array(target.get_layer("dense_1").kernel)
    account = transfer(source, target)
    assert account.matched == tuple(f"dense_0/{n}" for n in ("kernel", "bias")) + tuple(
        f"norm_0/{n}" for n in ("gamma", "beta", "moving_mean", "moving_variance")
    )
    assert {"dense_1/kernel", "new/kernel", "new/bias"} <= set(account.missed)
    assert {"dense_1/kernel", "old/kernel", "old/bias"} <= set(account.unused)
    assert np.array_equal(before, target.get_layer("dense_1").kernel)


def test_no_match_at_all_is_an_error_that_shows_both_sides():
    inputs = keras.Input((4,))
    other = keras.Model(inputs, keras.layers.Dense(9, name="alien")(inputs))
    with pytest.raises(ValueError, match=r"first are alien/kernel \(4, 9\).*wanted are dense_0/kernel \(4, 3\)"):
        transfer(other, model([3], 0))
