"""Models that see a damaged image and are asked for the whole one.

Importing this imports Keras, so methods do it inside `build`.
"""

from collections.abc import Callable

import keras

from scanloom.images.intensity import to_unit
from scanloom.methods._decoder import decoder_of_maps, feature_map_of, skips_of
from scanloom.training.branches import of_branch, of_method


class ReconstructionModel(keras.Model):
    """Batch dict -> (the image that is wanted, the decoder's), both float32 [batch, *spatial, channels].

    views: a Pipeline, whose result is what is wanted, or None for the images as they are. damage(images, draws) ->
    images, a function or a Keras layer with weights of its own. Training lowers `loss(wanted, decoded, draws)`; draws
    are the method's own.
    """

    def __init__(
        self, encoder, width: int, seed: int, views, image_shape, damage: Callable, loss: Callable, skips=False
    ):
        # Under a mixed policy Keras would round what enters, random numbers too. The networks cast for themselves.
        super().__init__(name="reconstruction_model", dtype="float32")
        joined = skips_of(encoder, image_shape) if skips else []
        maps = [feature_map_of(encoder), *joined]
        shapes = [tuple(tensor.shape[1:]) for tensor in maps]
        self.encoder = encoder
        self.maps = keras.Model(encoder.inputs, maps if skips else maps[0], name="maps")
        self.decoder = decoder_of_maps(shapes[0], image_shape, width, seed, shapes[1:])
        self.damage = damage
        self._pipeline, self._loss_of = views, loss
        self.built = True

    def call(self, inputs, training=False):
        wanted = to_unit(inputs["images"])
        if self._pipeline is not None:
            wanted = self._pipeline.apply(wanted, of_branch(inputs, 0))
        damaged = self.damage(wanted, of_method(inputs))
        return wanted, self.decoder(self.maps(damaged, training=training), training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        wanted, decoded = (keras.ops.cast(images, "float32") for images in y_pred)
        return self._loss_of(wanted, decoded, of_method(x))


class MaskToken(keras.layers.Layer):
    """Hidden blocks replaced by one learnt block. call(images, {"hidden": bool [batch, *blocks]})."""

    def __init__(self, block: tuple[int, ...], channels: int):
        super().__init__(name="mask_token", dtype="float32")
        self._block = block
        self.token = self.add_weight(shape=(*block, channels), initializer="zeros", name="token")
        self.built = True

    def call(self, images, draws):
        spatial = images.shape[1:-1]
        hidden = hidden_pixels(draws["hidden"], self._block, spatial)
        counts = [-(-size // block) for size, block in zip(spatial, self._block, strict=True)]
        token = keras.ops.tile(keras.ops.cast(self.token, images.dtype), (*counts, 1))
        token = token[tuple(slice(0, size) for size in spatial)]
        return images * (1.0 - hidden) + keras.ops.expand_dims(token, 0) * hidden


def hidden_pixels(hidden, block: tuple[int, ...], spatial: tuple[int, ...]):
    """bool [batch, *blocks] -> float32 [batch, *spatial, 1], 1 where a pixel is hidden."""
    pixels = keras.ops.cast(hidden, "float32")
    for axis, size in enumerate(block, start=1):
        pixels = keras.ops.repeat(pixels, size, axis=axis)
    return keras.ops.expand_dims(pixels[(slice(None), *(slice(0, size) for size in spatial))], -1)
