"""A training small enough for tests: one dense layer on random bytes, batches a pure function of the step."""

import keras
import numpy as np

from scanloom.training.backend import compiles


class TinyModel(keras.Model):
    """Mean squared error of one dense layer."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(3)

    def call(self, inputs, training=False):
        return self.dense(keras.ops.cast(inputs["images"], "float32") / 255.0)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return keras.ops.mean(keras.ops.square(y_pred - x["target"]))


def make_model(micro_batches: int = 1) -> TinyModel:
    """Compiled with AdamW, the same weights each time."""
    model = TinyModel()
    model(batch_at(0))
    kernel = np.random.default_rng(3).normal(size=(5, 3)).astype(np.float32)
    model.dense.kernel.assign(kernel)
    parts = micro_batches if micro_batches > 1 else None
    optimizer = keras.optimizers.AdamW(1e-3, gradient_accumulation_steps=parts)
    model.compile(optimizer=optimizer, jit_compile=compiles())
    return model


def batch_at(step: int) -> dict[str, np.ndarray]:
    """Eight examples."""
    rng = np.random.default_rng([1, step])
    target = rng.normal(size=(8, 3)).astype(np.float32)
    return {"images": rng.integers(0, 256, (8, 5), np.uint8), "target": target}


def same_weights(a, b) -> bool:
    """Whether every weight of the two models is equal to the bit."""
    return all(np.array_equal(x, y) for x, y in zip(a.get_weights(), b.get_weights(), strict=True))
