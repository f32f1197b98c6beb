"""Models of the latent-variable methods: images through encoder, posterior, one sample and decoder, in one step.

Importing this imports Keras, so methods do it inside `build`.
"""

from collections.abc import Callable

import keras

from scanloom.images.intensity import to_unit
from scanloom.methods._latent import bounded, kl_to_prior, sample
from scanloom.methods._likelihood import log_likelihood
from scanloom.training.alternating import Player
from scanloom.training.branches import of_branch, of_method


def passed(networks: dict, batch: dict, views, training: bool) -> dict:
    """float32 tensors: images (what is to be reconstructed), mean, log_variance, z [batch, latent] and decoded.

    views: a Pipeline, or None for the images as they are. In inference z is the mean.
    """
    ops = keras.ops
    images = to_unit(batch["images"])
    if views is not None:
        images = views.apply(images, of_branch(batch, 0))
    parameters = networks["posterior"](networks["encoder"](images, training=training), training=training)
    mean, log_variance = (ops.cast(parameter, "float32") for parameter in parameters)
    log_variance = bounded(log_variance)
    z = sample(mean, log_variance, of_method(batch)["epsilon"]) if training else mean
    decoded = ops.cast(networks["decoder"](z, training=training), "float32")
    return {"images": images, "mean": mean, "log_variance": log_variance, "z": z, "decoded": decoded}


def reconstruction_and_kl(outputs: dict, settings):
    """Scalars in nats: minus the log-likelihood, and the KL divergence of the posteriors from the prior."""
    images, decoded = outputs["images"], outputs["decoded"]
    reconstruction = -keras.ops.mean(log_likelihood(images, decoded, settings.likelihood, settings.scale))
    kl = keras.ops.mean(keras.ops.sum(kl_to_prior(outputs["mean"], outputs["log_variance"]), axis=1))
    return reconstruction, kl


class LatentModel(keras.Model):
    """`objective(outputs of passed, batch)` -> (loss, {name: scalar}); scalars named in `reports` become metrics."""

    def __init__(self, encoder, networks: dict, views, objective: Callable, reports: tuple[str, ...]):
        # Under a mixed policy Keras would round what enters, random numbers too. The networks cast for themselves.
        super().__init__(name="latent_model", dtype="float32")
        self.encoder, self.networks = encoder, networks
        self._pipeline, self._objective = views, objective
        self._reports = [keras.metrics.Mean(name=name) for name in reports]
        self.built = True

    def call(self, inputs, training=False):
        return passed(self.networks, inputs, self._pipeline, training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return _reported(self._reports, *self._objective(y_pred, x))


class LatentPlayer(Player):
    """A player whose `loss(outputs, batch)` gives (loss, {name: scalar}), as the objective of a LatentModel."""

    def __init__(self, name, networks, trains, forward, loss, reports: tuple[str, ...]):
        super().__init__(name, networks, trains, forward, loss)
        self._reports = [keras.metrics.Mean(name=report) for report in reports]

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return _reported(self._reports, *super().compute_loss(x, y, y_pred, sample_weight, training))


def _reported(reports: list, loss, scalars: dict):
    for metric in reports:
        metric.update_state(scalars[metric.name])
    return loss
