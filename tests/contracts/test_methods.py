"""Every method, whoever adds it: what it declares is true, and its training step changes the encoder."""

import numpy as np
import pytest

from scanloom import plugins
from scanloom.method_batches import draws
from scanloom.optimizers import adamw
from scanloom.stateless_random import keys_of
from scanloom.view_pipeline import Pipeline

METHODS = plugins.names("methods")
TRAINING = [name for name in METHODS if plugins.load("methods", name).TRAINS]
NEEDED = {"supervised": {"label": "level"}}
SHAPE = (16, 16, 1)


def batch_of(module, settings, pipeline):
    batch = {"images": np.random.default_rng(0).integers(0, 256, (8, *SHAPE), np.uint8)}
    batch |= draws(module, settings, pipeline, 1, 0, keys_of(range(8)))
    batch |= {"step": np.zeros(8, np.int32), "progress": np.zeros(8, np.float32)}
    if module.USES_LABELS:
        batch["labels"] = np.arange(8, dtype=np.int32) % 3
    return batch


@pytest.mark.parametrize("name", METHODS)
def test_a_method_says_what_it_is(name):
    module = plugins.load("methods", name)
    assert isinstance(module.TRAINS, bool)
    assert isinstance(module.USES_LABELS, bool)
    assert isinstance(module.FRESH_PER_SEED, bool)
    assert (1 if module.TRAINS else 0) <= module.BRANCHES
    assert module.FRESH_PER_SEED is not module.TRAINS
    assert hasattr(module, "build") is module.TRAINS
    if module.USES_LABELS:
        assert "label" in module.Settings.model_fields
        assert "uses labels" in module.__doc__.splitlines()[0]
    if module.TRAINS:
        assert "L = " in module.__doc__, "the docstring states the loss as a formula"


@pytest.mark.parametrize("name", TRAINING)
def test_one_step_gives_a_finite_loss_and_moves_the_encoder(name):
    module, resnet = plugins.load("methods", name), plugins.load("encoders", "resnet")
    pipeline = Pipeline([("random_resized_crop", {}), ("flip", {})], SHAPE)
    settings = plugins.settings("methods", name, NEEDED.get(name))
    encoder = resnet.build(resnet.Settings(depth=10, width=4), SHAPE, seed=0)
    model = module.build(encoder, settings, pipeline, 0, 3)
    assert model.encoder is encoder
    model.compile(optimizer=adamw(model, 0.0), jit_compile=False)
    model.optimizer.learning_rate = 0.001
    before = encoder.get_weights()
    batch = batch_of(module, settings, pipeline)
    losses = [float(model.train_on_batch(batch, return_dict=True)["loss"]) for _ in range(8)]
    assert np.isfinite(losses).all()
    assert min(losses[1:]) < losses[0]
    assert np.abs(before[0] - encoder.get_weights()[0]).max() > 0
