"""What judges images: a trunk (the study's encoder, or a network of its own), heads on it, its statistics.

Importing this imports Keras, so methods do it inside `build`.
"""

from contextlib import contextmanager

import keras

from scanloom.encoders import discriminator
from scanloom.methods._decoder import feature_map_of
from scanloom.training.initial_weights import initialise

SMALLEST_MAP = 4


def own_trunk(kind: str, width: int, normalisation: str, image_shape: tuple[int, ...], seed: int):
    """A discriminator trunk that is not the study's encoder: images to features.

    The map is halved until its shortest edge would be below SMALLEST_MAP (once, where it is anyway) or an edge is odd.
    Raises ValueError for images with an odd edge.
    """
    edges = image_shape[:-1]
    halvings = 0
    while not any(edge % 2 ** (halvings + 1) for edge in edges):
        if halvings and min(edges) < SMALLEST_MAP * 2 ** (halvings + 1):
            break
        halvings += 1
    if not halvings:
        raise ValueError(
            f"image shape {tuple(image_shape)}: adversarial methods halve images, so their edges must be even; use the "
            "steps resize or crop_or_pad"
        )
    smallest = min(edges) // 2**halvings
    settings = discriminator.Settings(kind=kind, width=width, smallest=smallest, normalisation=normalisation)
    return discriminator.build(settings, image_shape, seed)


def body_of(encoder, head_from: str):
    """Model from images to what the heads see: the encoder's features, or all places of its last map."""
    if head_from == "features":
        return encoder
    return keras.Model(encoder.inputs, keras.layers.Flatten()(feature_map_of(encoder)), name=f"{encoder.name}_body")


def heads(trunk, sizes: dict[str, int], seed: int, name: str = "heads"):
    """Model from the trunk's outputs to {name: float32 [batch, size]}, one linear layer each."""
    inputs = keras.Input(trunk.output.shape[1:], name="features")
    outputs = {head: keras.layers.Dense(size, name=head)(inputs) for head, size in sizes.items()}
    return initialise(keras.Model(inputs, outputs, name=name), seed)


def has_statistics(network) -> bool:
    """Whether a normalisation of the network remembers what it has seen."""
    return bool(network.non_trainable_weights)


@contextmanager
def statistics_kept(*networks):
    """What passes through the networks in this block leaves the statistics of their normalisations as they were."""
    variables = [variable for network in networks for variable in network.non_trainable_weights]
    before = [keras.ops.copy(variable) for variable in variables]
    yield
    for variable, value in zip(variables, before, strict=True):
        variable.assign(value)
