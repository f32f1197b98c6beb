"""Variational autoencoder: a few random numbers per image must be enough to draw the image again.

The encoder's features give a normal distribution in a small latent space; a decoder makes the image from one sample of
it. All these distributions together are held near the standard normal one, so the space has no holes and no number
costs nothing. Reported beside the loss, in nats per image: reconstruction and kl.

    L = - log p(x | z) + w * KL(q(z | x) || N(0, I)),    z ~ q(z | x),    w from 0 to 1 over `kl_warmup`

Kingma & Welling, ICLR 2014, arXiv 1312.6114, equation 7, with one sample per image; the warm-up is that of Bowman et
al., arXiv 1511.06349, and follows the training's progress. The default likelihood, a normal one whose deviation is the
batch's, needs no weight between the two terms (Rybkin et al., arXiv 2006.13202). Downstream uses the features before
mean and variance.
"""

from scanloom.methods._latent import LatentSettings, draw, networks, ramp
from scanloom.methods._latent_showing import showing

TRAINS = True
USES_LABELS = False
FRESH_PER_SEED = False
BRANCHES = 1

__all__ = ["Settings", "build", "draw", "showing"]


class Settings(LatentSettings):
    """Latent space, likelihood and decoder."""


def build(encoder, settings: Settings, views, seed: int, classes: int | None = None):
    """The model to train; its inputs are described in scanloom/methods/_latent_model.py."""
    from scanloom.methods._latent_model import LatentModel, reconstruction_and_kl

    def objective(outputs, batch):
        reconstruction, kl = reconstruction_and_kl(outputs, settings)
        weight = ramp(batch["progress"][0], settings.kl_warmup)
        return reconstruction + weight * kl, {"reconstruction": reconstruction, "kl": kl}

    nets = networks(encoder, settings, views.image_shape, seed)
    return LatentModel(encoder, nets, views if settings.use_views else None, objective, ("reconstruction", "kl"))
