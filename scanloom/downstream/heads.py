"""Classification heads: an encoder and a linear layer on its pooled features, as one flat Keras model."""

import numpy as np

from scanloom.lazy import keras


def classifier(encoder, classes: int):
    """A keras.Model from images `[batch, *spatial, channels]` in [0, 1] to logits `[batch, classes]`.

    The encoder's layers become the model's own (they are shared, not copied), so `get_layer("feature_map")` works on
    the saved file and an explanation needs nothing but the file. The head starts at zero: every image then gets the
    same probability for every class, no repetition depends on how a head was drawn, and with two classes the two rows
    of weights stay each other's negative, so the gradient of either logit is the gradient of the decision.
    """
    if classes < 2:
        raise ValueError(f"a classifier needs at least 2 classes, not {classes} (binary tasks have two: p0 and p1)")
    head = keras.layers.Dense(classes, kernel_initializer="zeros", name="logits", dtype="float32")
    return keras.Model(encoder.input, head(encoder.output), name="classifier")


def head_of(model):
    """The linear layer of a model made by `classifier`."""
    return model.get_layer("logits")


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities float64 `[n, classes]` of logits `[n, classes]`; large logits do not overflow."""
    shifted = np.asarray(logits, np.float64)
    shifted = np.exp(shifted - shifted.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)
