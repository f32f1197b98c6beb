"""Beta-TCVAE: a variational autoencoder whose latent numbers are kept independent of each other, and only that.

The divergence from the prior has three parts: what the latent says about the image (mutual information), how far the
latent numbers depend on each other (total correlation), and how far each of them is from its prior. Only the second
has to be small for numbers that mean one thing each, so it gets a weight of its own. Reported beside the loss, in nats
per image: reconstruction, kl (exact), mutual_information, total_correlation and dimension_kl (estimates).

    L = - log p(x | z) + w * (alpha * MI + beta * TC + gamma * DW)
    MI = E log q(z | x) - log q(z)    TC = E log q(z) - sum_j log q(z_j)    DW = E sum_j log q(z_j) - log p(z_j)

Chen et al., NeurIPS 2018, arXiv 1802.04942, equations 2 and 4; w as in vae. q(z) is the mixture of the posteriors of
all images; it is estimated from the batch, by weights (equation 5) or stratified (appendix C.2). The three parts add up
to log q(z | x) - log p(z), whatever the estimate. Difference: stratified there gives one other image of the batch the
odd weight, in the authors' code to the wrong columns; here all others share it: the same expectation, less noise, and
exact where the batch is the whole corpus. Downstream uses the features before mean and variance.
"""

import math
from typing import Literal

from pydantic import Field

from scanloom.lazy import keras
from scanloom.methods._latent import LatentSettings, draw, log_normal, networks, ramp
from scanloom.methods._latent_showing import showing

TRAINS = True
USES_LABELS = False
FRESH_PER_SEED = False
BRANCHES = 1

__all__ = ["Settings", "build", "draw", "showing"]


class Settings(LatentSettings):
    """Weights and estimate of the three parts; latent space, likelihood and decoder."""

    alpha: float = Field(1.0, ge=0, description="weight of the mutual information")
    beta: float = Field(6.0, ge=0, description="weight of the total correlation")
    gamma: float = Field(1.0, ge=0, description="weight of the dimension-wise divergence")
    estimate: Literal["weighted", "stratified"] = Field("stratified", description="of q(z) from a batch")
    dataset_size: int | None = Field(None, ge=2, description="images that q(z) is about; null: those of the corpus")


def build(encoder, settings: Settings, views, seed: int, classes: int | None = None):
    """The model to train; its inputs are described in scanloom/methods/_latent_model.py."""
    from scanloom.methods._latent_model import LatentModel, reconstruction_and_kl

    if settings.dataset_size is None:
        raise ValueError("beta_tc_vae needs dataset_size, the number of images of the corpus")

    def objective(outputs, batch):
        reconstruction, kl = reconstruction_and_kl(outputs, settings)
        latent = (outputs["z"], outputs["mean"], outputs["log_variance"])
        information, correlation, dimension_kl = parts(*latent, settings.dataset_size, settings.estimate)
        terms = settings.alpha * information + settings.beta * correlation + settings.gamma * dimension_kl
        scalars = (reconstruction, kl, information, correlation, dimension_kl)
        loss = reconstruction + ramp(batch["progress"][0], settings.kl_warmup) * terms
        return loss, dict(zip(reports, scalars, strict=True))

    reports = ("reconstruction", "kl", "mutual_information", "total_correlation", "dimension_kl")
    nets = networks(encoder, settings, views.image_shape, seed)
    return LatentModel(encoder, nets, views if settings.use_views else None, objective, reports)


def parts(z, mean, log_variance, dataset_size: int, estimate: str):
    """Mutual information, total correlation and dimension-wise divergence, scalars in nats.

    z, mean, log_variance: float32 [batch, latent]; z[i] is a sample of posterior i.
    """
    ops = keras.ops
    own = ops.sum(log_normal(z, mean, log_variance), axis=1)
    prior = ops.sum(log_normal(z, 0.0, ops.zeros_like(z)), axis=1)
    joint, product = log_aggregate(z, mean, log_variance, dataset_size, estimate)
    return ops.mean(own - joint), ops.mean(joint - product), ops.mean(product - prior)


def log_aggregate(z, mean, log_variance, dataset_size: int, estimate: str):
    """Estimates of log q(z) and of sum_j log q(z_j), [batch] each, from the posteriors of the batch.

    weighted: every posterior of the batch counts 1 / (batch * dataset_size). stratified: a sample's own posterior
    counts 1 / dataset_size, the others share the rest. Raises ValueError where the batch is larger than the data set.
    """
    ops = keras.ops
    batch = z.shape[0] or ops.shape(z)[0]
    if isinstance(batch, int) and batch > dataset_size:
        raise ValueError(f"a batch of {batch} images is larger than dataset_size ({dataset_size})")
    each = log_normal(ops.expand_dims(z, 1), ops.expand_dims(mean, 0), ops.expand_dims(log_variance, 0))
    if estimate == "weighted":
        weights = -ops.log(ops.cast(batch, "float32")) - math.log(dataset_size)
    else:
        share = (dataset_size - 1.0) / dataset_size
        others = math.log(share) - ops.log(ops.cast(ops.maximum(batch - 1, 1), "float32"))
        weights = ops.expand_dims(others + ops.eye(batch) * (-math.log(dataset_size) - others), -1)
    joint = ops.logsumexp(ops.sum(each, axis=2, keepdims=True) + weights, axis=1)[:, 0]
    return joint, ops.sum(ops.logsumexp(each + weights, axis=1), axis=1)
