"""Two Barlow Twins updates on given weights and images, on whatever backend runs: parity_steps.py IN.npz OUT.npz.

Small on purpose: with 250,000 activations about every fifth draw of images has a ReLU input so near to 0 that rounding
decides its sign, and its whole gradient then differs between backends; with 8 pixels and 16 images hardly one does.
"""

import sys

import keras
import numpy as np

from scanloom.encoders import resnet
from scanloom.methods import barlow_twins
from scanloom.pretraining.view_pipeline import Pipeline
from scanloom.stateless_random import keys_of
from scanloom.training.branches import branch_prefix

RATE = 0.01


def make(shape=(8, 8, 3)):
    """The pipeline and the model, not compiled."""
    names = ["random_resized_crop", "flip", "brightness_contrast", "gaussian_blur", "gaussian_noise", "cutout"]
    pipeline = Pipeline([(name, {}) for name in names], shape)
    encoder = resnet.build(resnet.Settings(depth=10, width=4, zero_init_residual=False), shape, 0)
    return pipeline, barlow_twins.build(encoder, barlow_twins.Settings(projector=(16, 16)), pipeline, 0)


def run(given: dict) -> dict[str, np.ndarray]:
    """Losses, the views of the first batch and the weights after each update."""
    pipeline, model = make()
    model.set_weights([given[f"weight{i:03d}"] for i in range(len(model.get_weights()))])
    model.compile(optimizer=keras.optimizers.SGD(RATE))
    found = {}
    for step in range(2):
        batch = {"images": given["images"][step]}
        for branch in range(2):
            draws = pipeline.draw(1, branch, step, keys_of(range(len(batch["images"]))))
            batch |= {branch_prefix(branch) + name: values for name, values in draws.items()}
            if step == 0:
                view = pipeline.apply(batch["images"].astype(np.float32) / 255, draws)
                found[f"view{branch}"] = keras.ops.convert_to_numpy(view)
        found[f"loss{step}"] = np.float64(model.train_on_batch(batch, return_dict=True)["loss"])
        found |= {f"step{step}_{i:03d}": np.asarray(w) for i, w in enumerate(model.get_weights())}
    return found


def given_inputs() -> dict[str, np.ndarray]:
    """Weights and images for `run`."""
    _, model = make()
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 8, 8, 3), np.uint8)
    return {"images": images} | {f"weight{i:03d}": w for i, w in enumerate(model.get_weights())}


if __name__ == "__main__":
    np.savez(sys.argv[2], **run(dict(np.load(sys.argv[1]))))
