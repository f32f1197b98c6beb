"""AdamW decays kernels and nothing else."""

import keras
import numpy as np

from scanloom.optimizers import adamw


def test_only_kernels_decay():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.BatchNormalization()])
    for variable in model.trainable_variables:
        variable.assign(np.full(variable.shape, 2.0, np.float32))
    optimizer = adamw(model, weight_decay=0.5)
    optimizer.learning_rate = 0.1
    optimizer.apply([keras.ops.zeros(v.shape) for v in model.trainable_variables], model.trainable_variables)
    values = {v.path.split("/")[-1]: keras.ops.convert_to_numpy(v.value) for v in model.trainable_variables}
    assert np.allclose(values["kernel"], 2.0 * (1 - 0.1 * 0.5))
    assert all((values[name] == 2.0).all() for name in ("bias", "gamma", "beta"))
