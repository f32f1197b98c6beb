"""Beta-VAE: a variational autoencoder that has to be sparing, so that each latent number means one thing.

Form H weighs the divergence from the prior more than the evidence bound does. Form B lets the divergence grow to a
capacity C that rises with the training, so that factors are learnt one after the other and reconstructions stay sharp.
Reported beside the loss, in nats per image: reconstruction, kl and (form B) capacity.

    H: L = - log p(x | z) + w * beta * KL(q(z | x) || N(0, I))
    B: L = - log p(x | z) + gamma * |KL(q(z | x) || N(0, I)) - C|

H: Higgins et al., ICLR 2017, equation 4, w the warm-up over `kl_warmup`. B: Burgess et al., arXiv 1804.03599,
equation 8, C from 0 to `capacity` over `capacity_growth` (there 25 nats over 100,000 updates, gamma 1000). Published
weights belong to `likelihood: bernoulli`, under which grey images learn slowly and, with a large beta, nothing; a
fitted scale lowers a weight's effect as reconstructions get better. Downstream uses the features before mean and
variance.
"""

from typing import Literal

from pydantic import Field

from scanloom.lazy import keras
from scanloom.methods._latent import LatentSettings, draw, networks, ramp
from scanloom.methods._latent_showing import showing

TRAINS = True
USES_LABELS = False
FRESH_PER_SEED = False
BRANCHES = 1

__all__ = ["Settings", "build", "draw", "showing"]


class Settings(LatentSettings):
    """Form and its weights; latent space, likelihood and decoder."""

    form: Literal["H", "B"] = Field("H", description="H: weighted divergence; B: divergence led to a growing capacity")
    beta: float = Field(4.0, ge=0, description="weight of the divergence (form H)")
    gamma: float = Field(100.0, ge=0, description="weight of the distance from the capacity (form B)")
    capacity: float = Field(25.0, ge=0, description="nats at the end of the growth (form B)")
    capacity_growth: float = Field(0.5, ge=0, le=1, description="share of all updates in which C grows (form B)")


def build(encoder, settings: Settings, views, seed: int, classes: int | None = None):
    """The model to train; its inputs are described in scanloom/methods/_latent_model.py."""
    from scanloom.methods._latent_model import LatentModel, reconstruction_and_kl

    def form_h(outputs, batch):
        reconstruction, kl = reconstruction_and_kl(outputs, settings)
        weight = settings.beta * ramp(batch["progress"][0], settings.kl_warmup)
        return reconstruction + weight * kl, {"reconstruction": reconstruction, "kl": kl}

    def form_b(outputs, batch):
        reconstruction, kl = reconstruction_and_kl(outputs, settings)
        capacity = settings.capacity * ramp(batch["progress"][0], settings.capacity_growth)
        loss = reconstruction + settings.gamma * keras.ops.abs(kl - capacity)
        return loss, {"reconstruction": reconstruction, "kl": kl, "capacity": capacity}

    objective, reports = {"H": (form_h, ()), "B": (form_b, ("capacity",))}[settings.form]
    nets = networks(encoder, settings, views.image_shape, seed)
    pipeline = views if settings.use_views else None
    return LatentModel(encoder, nets, pipeline, objective, ("reconstruction", "kl", *reports))
