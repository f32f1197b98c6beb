"""A model with a question about parts of images: one view per image, its parts through the encoder, a head over them.

Importing this imports Keras, so methods do it inside `build`.
"""

from collections.abc import Callable

import keras

from scanloom.images.intensity import to_unit
from scanloom.methods._projector import EPSILON
from scanloom.training.branches import of_branch, of_method
from scanloom.training.initial_weights import initialise


class PretextModel(keras.Model):
    """Batch dict -> head outputs; training lowers `loss(outputs, batch)` and reports the mean of `correct` as accuracy.

    parts(images, draws) -> [batch, parts, *shape, channels] from float32 images (the view of branch 0; without `views`
    the images as they are) and the method's draws. The head takes the parts' features [batch, parts, D].
    correct(outputs, batch) -> float32 of any shape, 1 where the answer is right.
    """

    def __init__(self, encoder, head, views, parts: Callable, loss: Callable, correct: Callable):
        # Under a mixed policy Keras would round what enters, random numbers too. The networks cast for themselves.
        super().__init__(name="pretext_model", dtype="float32")
        self.encoder, self.head = encoder, head
        self._pipeline, self._parts_of, self._loss_of, self._correct = views, parts, loss, correct
        self._accuracy = keras.metrics.Mean(name="accuracy")
        self.built = True

    def call(self, inputs, training=False):
        ops = keras.ops
        images = to_unit(inputs["images"])
        if self._pipeline is not None:
            images = self._pipeline.apply(images, of_branch(inputs, 0))
        parts = self._parts_of(images, of_method(inputs))
        features = self.encoder(ops.reshape(parts, (-1, *parts.shape[2:])), training=training)
        return self.head(ops.reshape(features, (-1, parts.shape[1], features.shape[-1])), training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return self._loss_of(_float32(y_pred), x)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        self._accuracy.update_state(self._correct(_float32(y_pred), x))
        return self.get_metrics_result()


def answer_head(parts: int, features: int, per_part: tuple[int, ...], sizes: tuple[int, ...], classes: int, seed: int):
    """Model [batch, parts, features] -> logits [batch, classes].

    per_part: Dense-BN-ReLU layers that every part passes on its own; sizes: those of all parts side by side.
    """
    inputs = x = keras.Input((parts, features), name="features")
    for size in per_part:
        x = _hidden(x, size)
    x = keras.layers.Flatten()(x)
    for size in sizes:
        x = _hidden(x, size)
    return initialise(keras.Model(inputs, keras.layers.Dense(classes, name="logits")(x), name="head"), seed)


def answer_loss(label: str) -> Callable:
    """Cross-entropy of logits [answers, classes] and the method's draw `label` int32 [batch, ...], as a loss."""

    def loss(logits, batch):
        labels = keras.ops.reshape(of_method(batch)[label], (-1,))
        return keras.ops.mean(keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True))

    return loss


def answer_correct(label: str) -> Callable:
    """1 where the largest logit [answers, classes] is that of the method's draw `label`."""

    def correct(logits, batch):
        labels = keras.ops.reshape(of_method(batch)[label], (-1,))
        found = keras.ops.cast(keras.ops.argmax(logits, axis=-1), "int32")
        return keras.ops.cast(keras.ops.equal(found, labels), "float32")

    return correct


def _hidden(x, size: int):
    x = keras.layers.Dense(size, use_bias=False)(x)
    return keras.layers.Activation("relu")(keras.layers.BatchNormalization(momentum=0.9, epsilon=EPSILON)(x))


def _float32(outputs):
    return keras.tree.map_structure(lambda output: keras.ops.cast(output, "float32"), outputs)
