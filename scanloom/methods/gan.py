"""GAN: a generator makes images of noise, and a discriminator on the study's encoder tells them from real ones.

The discriminator is a linear layer on the encoder's features, so the encoder learns what real images have and the
generator's do not yet. Labels are soft: each image's is moved at random by up to s, and kept within [0, 1]. The
generator wants its images to be called real (non-saturating). What may be added, a regressor of the noise,
reconstruction and a second game on windowed images, stands in scanloom/methods/_adversarial.py.

    discriminator: L = BCE(D(x), clip(1 + s u)) + BCE(D(G(z)), clip(0 + s u'))      u, u', u'' uniform in [-1, 1]
    generator:     L = BCE(D(G(z)), clip(1 + s u''))                                 + w_E * L_E + w_R * L_R in both

Goodfellow et al., arXiv 1406.2661, section 3 (non-saturating loss); networks of DCGAN, Radford et al., 1511.06434, or
residual ones; soft labels: Salimans et al., 1606.03498, section 3.4, which moves the labels of real images only.
Differences: one batch per player's update, and a discriminator that sees the encoder's pooled features by default.
"""

from pydantic import Field

from scanloom.lazy import keras
from scanloom.methods._adversarial import AdversarialSettings, settle, showing
from scanloom.methods._latent import normals

TRAINS = True
USES_LABELS = False
FRESH_PER_SEED = False
BRANCHES = 1

__all__ = ["Settings", "build", "draw", "settle", "showing"]


class Settings(AdversarialSettings):
    """Labels and turns; networks, prior, and terms beside the game."""

    label_noise: float = Field(0.2, ge=0, lt=0.5, description="s: labels move by up to this, within [0, 1]")
    discriminator_steps: int = Field(1, ge=1, description="discriminator's updates before each of the generator's")
    beta_1: float = Field(0.5, ge=0, lt=1, description="momentum of Adam and AdamW; 0.5 in DCGAN")
    beta_2: float = Field(0.999, ge=0, lt=1, description="decay of their mean squares")


def draw(uniform, settings: Settings, image_shape: tuple[int, ...]) -> dict:
    """float32: noise [batch, latent], standard normal; label_moves [batch, 2] in [-1, 1): of real and generated."""
    u = uniform(settings.latent + 2)
    return {"noise": normals(u[:, :-2]), "label_moves": 2.0 * u[:, -2:] - 1.0}


def build(encoder, settings: Settings, views, seed: int, classes: int | None = None):
    """Discriminator and generator, taking turns."""
    from scanloom.methods._game import alternating, networks

    nets = networks(encoder, settings, views.image_shape, seed, normalisation=None)
    players = game(settings, views).players(nets)
    return alternating(encoder, settings, players, (settings.discriminator_steps, 1))


def game(settings: Settings, views):
    """What the players play, whatever their networks."""
    from scanloom.methods._game import Game

    def judging(scores, draws):
        real, fake = scores["real"], scores["fake"]
        moves = settings.label_noise * draws["label_moves"]
        loss = cross_entropy(real, 1.0 + moves[:, 0]) + cross_entropy(fake, moves[:, 1])
        return loss, {"soft_accuracy": soft_accuracy(real, fake)}

    def fooling(fake, draws):
        return cross_entropy(fake, 1.0 + settings.label_noise * draws["label_moves"][:, 0])

    return Game(settings, views, judging, fooling, ("soft_accuracy",))


def cross_entropy(logits, labels):
    """Mean binary cross-entropy in nats of logits [batch] with labels clipped to [0, 1]."""
    ops = keras.ops
    return ops.mean(ops.softplus(logits) - ops.clip(labels, 0.0, 1.0) * logits)


def soft_accuracy(real, fake):
    """Mean probability of the right answer; one half: the discriminator can tell nothing."""
    ops = keras.ops
    return 0.5 * (ops.mean(ops.sigmoid(real)) + ops.mean(ops.sigmoid(-fake)))
