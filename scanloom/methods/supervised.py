"""Supervised (uses labels): the encoder learns to predict a label column of the corpus.

A linear layer on the features is trained with the images' own labels; afterwards it is thrown away. Where the label is
the task's, this shows what all labels of the corpus are worth; where it is free (a position, a scanner), it is the
simplest pretext task. Images without that label are not used.

    L = - mean_n log softmax(W f(view(x_n)) + b)[y_n]

Cross-entropy as in any textbook (Goodfellow, Bengio & Courville, Deep Learning, section 6.2.2); one view per image.
"""

from pydantic import Field

from scanloom.lazy import keras
from scanloom.strict_models import Strict

TRAINS = True
USES_LABELS = True
FRESH_PER_SEED = False
BRANCHES = 1


class Settings(Strict):
    """Which label."""

    label: str = Field(min_length=1, description="label column of the corpus; its values are class indices 0, 1, ...")


def build(encoder, settings: Settings, views, seed: int, classes: int | None = None):
    """The model to train; the batch holds "labels" int32 [batch] in 0..classes-1."""
    from scanloom.pretraining.view_model import ViewModel
    from scanloom.training.initial_weights import initialise

    if classes is None or classes < 2:
        raise ValueError(f"label '{settings.label}' has {classes} classes in the corpus; supervised needs at least 2")
    inputs = keras.Input((encoder.output.shape[-1],), name="features")
    head = keras.Model(inputs, keras.layers.Dense(classes, name="logits")(inputs), name="classifier")

    def loss(outputs, batch):
        losses = keras.losses.sparse_categorical_crossentropy(batch["labels"], outputs[0], from_logits=True)
        return keras.ops.mean(losses)

    return ViewModel(encoder, initialise(head, seed), views, BRANCHES, loss)
