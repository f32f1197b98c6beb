"""A network and a copy of it that follows as a moving average: two passes per view, one of them without gradient."""

from collections.abc import Callable

import keras

from scanloom.images.intensity import to_unit
from scanloom.pretraining.view_pipeline import Pipeline
from scanloom.training.branches import UPDATE_SHARE, of_branch


class MomentumModel(keras.Model):
    """Batch dict -> (predictions, targets), lists with one [batch, D] per branch; `loss(predictions, targets)`.

    momentum(progress) -> m: before each training pass, target = m * target + (1 - m) * online for all weights that
    learn; the target's normalisations use the batch and keep their own statistics, as in the reference code. At
    progress 0 the target equals the online network.
    """

    def __init__(
        self, encoder, head, predictor, views: Pipeline, momentum: Callable, loss: Callable, branches: int = 2
    ):
        # Under a mixed policy Keras would round what enters, and the weights of the average, whose steps are small.
        super().__init__(name="momentum_model", dtype="float32")
        self.encoder, self.head, self.predictor = encoder, head, predictor
        self.target_encoder, self.target_head = copy_of(encoder), copy_of(head)
        self._pipeline, self._branches, self._momentum_at, self._loss_of = views, branches, momentum, loss
        self.built = True

    def call(self, inputs, training=False):
        images = to_unit(inputs["images"])
        views = [self._pipeline.apply(images, of_branch(inputs, b)) for b in range(self._branches)]
        if training:
            m = self._momentum_at(inputs["progress"][0])
            # The parts of a batch together move the target once; the online weights stand still meanwhile.
            self._follow(m ** inputs[UPDATE_SHARE][0] if UPDATE_SHARE in inputs else m)
        predictions, targets = [], []
        for view in views:
            embedding = self.head(self.encoder(view, training=training), training=training)
            predictions.append(self.predictor(embedding, training=training))
            target = self.target_head(self.target_encoder(view, training=training), training=training)
            targets.append(keras.ops.stop_gradient(target))
        return predictions, targets

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return self._loss_of(*keras.tree.map_structure(lambda output: keras.ops.cast(output, "float32"), y_pred))

    def _follow(self, m) -> None:
        """Move the target towards the online network."""
        for online, target in ((self.encoder, self.target_encoder), (self.head, self.target_head)):
            for source, copy in zip(learned(online), learned(target), strict=True):
                copy.assign(m * copy + (1.0 - m) * keras.ops.stop_gradient(keras.ops.convert_to_tensor(source)))


def copy_of(network):
    """A new network with the same weights that no optimizer touches.

    Its weights are frozen, not its layers: a frozen batch normalisation of Keras would no longer look at the batch.
    """
    copy = keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    for weight in copy.trainable_variables:
        weight.trainable = False
    return copy


def learned(network) -> list:
    """Weights that learn in a network or in its frozen copy: all but normalisation statistics, in one order."""
    return [weight for weight in network.weights if not weight.path.endswith(("moving_mean", "moving_variance"))]
