"""WGAN-GP: a critic on the study's encoder scores images, and its slope, held at one, makes scores a distance.

The critic's mean score of real images minus that of generated ones is the earth mover's distance between the two, as
long as the critic has slope one; a penalty on the slope half-way between a real and a generated image keeps it there.
The critic makes several updates, each on a batch of its own, before each of the generator's. What may be added stands
in scanloom/methods/_adversarial.py.

    critic:    L = mean D(G(z)) - mean D(x) + lambda * mean (|grad D(x^)| - 1)^2      x^ = u x + (1 - u) G(z)
    generator: L = - mean D(G(z))                                                     + w_E * L_E + w_R * L_R in both

Gulrajani et al., arXiv 1704.00028, equation 3 and algorithm 1: lambda 10, 5 critic updates, Adam with 0 and 0.9. The
critic must judge each image by itself (section 4 there), so batch normalisations of an encoder that has them work with
their running statistics here; `encoder: discriminator` without any is what the paper trains.
"""

from pydantic import Field

from scanloom.lazy import keras
from scanloom.methods._adversarial import AdversarialSettings, settle, showing
from scanloom.methods._latent import normals
from scanloom.training.input_gradients import gradient_of_inputs

TRAINS = True
USES_LABELS = False
FRESH_PER_SEED = False
BRANCHES = 1
FLAT = 1e-10
"""Added below the root: where the gradient is 0, the root's own slope would be infinite."""

__all__ = ["Settings", "build", "draw", "settle", "showing"]


class Settings(AdversarialSettings):
    """Penalty and turns; networks, prior, and terms beside the game."""

    penalty_weight: float = Field(10.0, gt=0, description="lambda")
    critic_steps: int = Field(5, ge=1, description="critic's updates before each of the generator's")
    clip: float | None = Field(None, gt=0, description="bound of either game's loss, beyond which nothing is learnt")
    beta_1: float = Field(0.0, ge=0, lt=1, description="momentum of Adam and AdamW")
    beta_2: float = Field(0.9, ge=0, lt=1, description="decay of their mean squares")


def draw(uniform, settings: Settings, image_shape: tuple[int, ...]) -> dict:
    """float32: noise [batch, latent], standard normal; mix [batch] in [0, 1), the share of the real image."""
    u = uniform(settings.latent + 1)
    return {"noise": normals(u[:, :-1]), "mix": u[:, -1]}


def build(encoder, settings: Settings, views, seed: int, classes: int | None = None):
    """Critic and generator, taking turns."""
    from scanloom.methods._game import alternating, networks

    normalisation = "layer" if settings.networks == "dcgan" else "none"
    nets = networks(encoder, settings, views.image_shape, seed, normalisation)
    return alternating(encoder, settings, game(settings, views).players(nets), (settings.critic_steps, 1))


def game(settings: Settings, views):
    """What the players play, whatever their networks."""
    from scanloom.methods._game import Game

    def judging(scores, draws):
        distance = keras.ops.mean(scores["real"]) - keras.ops.mean(scores["fake"])
        loss = bounded(settings.penalty_weight * scores["penalty"] - distance, settings.clip)
        return loss, {"distance": distance, "penalty": scores["penalty"]}

    def fooling(fake, draws):
        return bounded(-keras.ops.mean(fake), settings.clip)

    def penalty(score, real, fake, draws):
        return gradient_penalty(score, between(real, fake, draws["mix"]))

    return Game(settings, views, judging, fooling, ("distance", "penalty"), penalty)


def between(real, fake, mix):
    """mix * real + (1 - mix) * fake, one mix per image."""
    mix = keras.ops.reshape(mix, (-1,) + (1,) * (len(real.shape) - 1))
    return mix * real + (1.0 - mix) * fake


def gradient_penalty(score, images):
    """Mean over images of (|d score / d image| - 1)^2; score: [batch, ...] -> [batch], each of its own image."""
    ops = keras.ops
    gradients = gradient_of_inputs(score, images)
    squares = ops.sum(ops.square(gradients), axis=tuple(range(1, len(images.shape))))
    return ops.mean(ops.square(ops.sqrt(squares + FLAT) - 1.0))


def bounded(loss, bound: float | None):
    """The loss within +- bound."""
    return loss if bound is None else keras.ops.clip(loss, -bound, bound)
