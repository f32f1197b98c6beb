"""Every method on every family of encoders, in colour at rank 2 and grey at rank 3: one update, or a clear refusal."""

import keras
import method_trials as trials
import numpy as np
import pytest

from scanloom import plugins
from scanloom.optimizers import players_of
from scanloom.pretraining.method_batches import draws
from scanloom.pretraining.view_pipeline import Pipeline
from scanloom.stateless_random import keys_of

SHAPES = {2: (32, 32, 3), 3: (16, 16, 16, 1)}
ENCODERS = {
    "small_cnn": {"width": 4, "stages": (1, 1)},
    "resnet": {"depth": 10, "width": 4, "stem": "small"},
    "densenet": {"depth": None, "blocks": (1, 1), "growth": 4, "stem": "small"},
    "unet": {"width": 4, "levels": 2},
    "vit": {"patch": 4, "width": 16, "depth": 1, "heads": 2},
    "convnext": {"depths": (1, 1), "width": 8, "patch": 2},
    "discriminator": {"width": 4},
}
FITTING = {("masked_autoencoder", "vit"): {"block": 4}}
"""Settings that a method needs on an encoder."""
OWN_ENCODER = {"imagenet", "frozen_25d"}
TRAINING = [
    name for name in plugins.names("methods") if plugins.load("methods", name).TRAINS and name not in OWN_ENCODER
]
SMALL = trials.SMALL | {"decoder_width": 2, "network_width": 2}
REFUSED = {("cpc", encoder, 2): r"\(9, 9, 3\)" for encoder in ("unet", "vit", "convnext", "discriminator")}
REFUSED |= {("cpc", "discriminator", 3): r"\(4, 4, 4, 1\)"}
REFUSED |= {
    (method, encoder, 3): r"\(5, 5, 5, 1\)"
    for method in ("jigsaw", "relative_patch_location")
    for encoder in ("unet", "vit", "convnext", "discriminator")
}
"""(method, encoder, rank) -> size of the patches, which does not suit the encoder, as the message says it."""


def one_update(name: str, encoder: str, rank: int) -> tuple[dict[str, float], bool]:
    """(loss of each player's first update, run without a graph; whether the encoder has moved)."""
    module, shape = plugins.load("methods", name), SHAPES[rank]
    small = trials.small_settings(module, len(shape) - 1, SMALL)
    settings = plugins.settings("methods", name, small | trials.NEEDED.get(name, {}) | FITTING.get((name, encoder), {}))
    pipeline = Pipeline(trials.VIEWS, shape)
    trained = module.encoder_shape(settings, shape) if hasattr(module, "encoder_shape") else shape
    network = plugins.load("encoders", encoder).build(
        plugins.settings("encoders", encoder, ENCODERS[encoder]), trained, 0
    )
    model = module.build(network, settings, pipeline, 0, trials.KINDS)
    count = 4
    batch = {"images": np.random.default_rng(0).integers(0, 256, (count, *shape), np.uint8)}
    batch |= draws(module, settings, pipeline, 1, 0, keys_of(range(count)))
    batch |= {"step": np.zeros(count, np.int32), "progress": np.full(count, 0.5, np.float32)}
    batch |= {"labels": np.arange(count, dtype=np.int32) % trials.KINDS} if module.USES_LABELS else {}
    before, losses = [np.array(weight) for weight in network.get_weights()], {}
    for player in players_of(model):
        player.compile(optimizer=keras.optimizers.SGD(0.01), run_eagerly=True)
        losses[player.name] = float(player.train_on_batch(batch, return_dict=True)["loss"])
    moved = any(not np.array_equal(a, b) for a, b in zip(before, network.get_weights(), strict=True))
    return losses, moved


def check(name: str, encoder: str, rank: int) -> None:
    """One update, or the refusal that is expected here."""
    if (name, encoder, rank) in REFUSED:
        with pytest.raises(ValueError, match=REFUSED[name, encoder, rank]):
            one_update(name, encoder, rank)
        return
    losses, moved = one_update(name, encoder, rank)
    assert np.isfinite(list(losses.values())).all(), losses
    assert moved


@pytest.mark.parametrize("name", TRAINING)
def test_every_method_learns_from_colour(name):
    check(name, "small_cnn", 2)


@pytest.mark.parametrize(
    ("name", "encoder"), [("masked_autoencoder", "vit"), ("restoration", "unet"), ("cpc", "convnext")]
)
def test_some_methods_on_the_encoders_that_they_were_made_for(name, encoder):
    check(name, encoder, 3)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("name", TRAINING)
def test_every_method_on_every_encoder(name, encoder, rank):
    check(name, encoder, rank)
