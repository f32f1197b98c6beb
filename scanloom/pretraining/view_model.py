"""The model that a method trains: views of a batch through encoder and head, then the method's loss, in one step.

Importing this imports Keras, so methods do it inside `build`.
"""

from collections.abc import Callable

import keras

from scanloom.images.intensity import to_unit
from scanloom.pretraining.view_pipeline import Pipeline
from scanloom.training.branches import of_branch


class ViewModel(keras.Model):
    """Batch dict -> list of head outputs, one per branch; `loss(outputs, batch)` is what training lowers.

    The batch holds "images" (uint8 or uint16), the draws of branch b under `branch_prefix(b)`, and what the loss asks
    for, such as "labels". Branches pass the encoder one after the other, so each has its own batch statistics, as in
    the reference implementations; two passes of B images also keep the caches warmer than one of 2B.
    """

    def __init__(self, encoder, head, views: Pipeline, branches: int, loss: Callable):
        # Under a mixed policy Keras would round what enters: the views' draws. The networks cast for themselves.
        super().__init__(name="view_model", dtype="float32")
        self.encoder = encoder
        self.head = head
        self._pipeline, self._branches, self._loss_of = views, branches, loss
        self.built = True

    def call(self, inputs, training=False):
        images = to_unit(inputs["images"])
        views = [self._pipeline.apply(images, of_branch(inputs, b)) for b in range(self._branches)]
        return [self.head(self.encoder(view, training=training), training=training) for view in views]

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        outputs = keras.tree.map_structure(lambda output: keras.ops.cast(output, "float32"), y_pred)
        return self._loss_of(outputs, x)
