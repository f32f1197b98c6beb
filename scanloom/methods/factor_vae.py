"""FactorVAE: a variational autoencoder against a network that tells its codes from codes with shuffled dimensions.

Shuffling each latent dimension over the images gives codes with independent dimensions. As long as a discriminator can
tell them from real codes, the dimensions depend on each other, and the ratio that it has learnt measures how much. The
two players take turns, so each has half of the updates. Reported per player, in nats per image: reconstruction, kl,
total_correlation; and accuracy of the discriminator (one half: it can tell nothing).

    autoencoder:   L = - log p(x | z) + w * KL(q(z | x) || N(0, I)) + gamma * mean (D_0(z) - D_1(z))
    discriminator: L = - mean log softmax(D(z))_0 / 2 - mean log softmax(D(permuted z'))_1 / 2

Kim & Mnih, ICML 2018, arXiv 1802.05983, equations 2 and 3, algorithms 1 and 2; z and z' are codes of two halves of the
batch, so that no image is in both. Differences: each player's update has a batch of its own, and the discriminator's
learning rate is a share of the study's. Downstream uses the features before mean and variance.
"""

from pydantic import Field

from scanloom.lazy import keras
from scanloom.methods._latent import LatentSettings, networks, normals, ramp
from scanloom.methods._latent_showing import showing

TRAINS = True
USES_LABELS = False
FRESH_PER_SEED = False
BRANCHES = 1
SMALLEST_PART = 4  # images that pass together: codes are shuffled among half of them, and one alone stays what it is
LEAK = 0.2
MOMENTA = (0.5, 0.9)  # of the discriminator's Adam, as in the paper; the autoencoder has the study's

__all__ = ["Settings", "build", "draw", "showing"]


class Settings(LatentSettings):
    """Discriminator and its weight; latent space, likelihood and decoder."""

    gamma: float = Field(6.4, ge=0, description="weight of the total correlation")
    discriminator: tuple[int, ...] = Field((256, 256, 256), description="its layer sizes; six of 1000 in the paper")
    discriminator_rate: float = Field(1.0, gt=0, description="its share of the study's learning rate")


def draw(uniform, settings: Settings, image_shape: tuple[int, ...]) -> dict:
    """float32 [batch, latent] each: epsilon, standard normal; order, whose ranks shuffle the codes."""
    u = uniform(2, settings.latent)
    return {"epsilon": normals(u[:, 0]), "order": u[:, 1]}


def build(encoder, settings: Settings, views, seed: int, classes: int | None = None):
    """Autoencoder and discriminator, taking turns."""
    from scanloom.methods._latent_model import LatentPlayer, passed, reconstruction_and_kl
    from scanloom.training.alternating import Alternating
    from scanloom.training.branches import of_method

    pipeline = views if settings.use_views else None
    nets = networks(encoder, settings, views.image_shape, seed)
    nets["discriminator"] = _discriminator(settings, seed)

    def forward_autoencoder(nets, batch, training):
        outputs = passed(nets, batch, pipeline, training)
        # The discriminator has nothing that training changes in passing, and its weights belong to the other player.
        return outputs | {"logits": keras.ops.cast(nets["discriminator"](outputs["z"]), "float32")}

    def forward_discriminator(nets, batch, training):
        outputs = passed({**nets, "decoder": lambda z, training: z}, batch, pipeline, training)
        z = keras.ops.stop_gradient(outputs["z"])
        half = (z.shape[0] or keras.ops.shape(z)[0]) // 2
        real, shuffled = z[:half], permuted(z[half:], of_method(batch)["order"][half:])
        return [keras.ops.cast(nets["discriminator"](codes), "float32") for codes in (real, shuffled)]

    def autoencoder_loss(outputs, batch):
        reconstruction, kl = reconstruction_and_kl(outputs, settings)
        correlation = total_correlation(outputs["logits"])
        loss = reconstruction + ramp(batch["progress"][0], settings.kl_warmup) * kl + settings.gamma * correlation
        return loss, {"reconstruction": reconstruction, "kl": kl, "total_correlation": correlation}

    def told_apart(outputs, batch):
        return discriminator_loss(*outputs), {"accuracy": _accuracy(*outputs)}

    own = ["encoder", "posterior", "decoder"]
    reports = ("reconstruction", "kl", "total_correlation")
    players = [
        LatentPlayer("autoencoder", nets, own, forward_autoencoder, autoencoder_loss, reports),
        LatentPlayer("discriminator", nets, ["discriminator"], forward_discriminator, told_apart, ("accuracy",)),
    ]
    players[1].adam_betas = MOMENTA
    return Alternating(encoder, players, learning_rate_factors=(1.0, settings.discriminator_rate))


def permuted(z, order):
    """Codes [n, latent] with every dimension shuffled over the n by the ranks of `order`, of the same shape."""
    return keras.ops.take_along_axis(z, keras.ops.argsort(order, axis=0), axis=0)


def total_correlation(logits):
    """Mean over the batch of log D(z) / (1 - D(z)); logits [n, 2]: real, shuffled."""
    return keras.ops.mean(logits[:, 0] - logits[:, 1])


def discriminator_loss(real, shuffled):
    """Cross-entropy of logits [n, 2] of real codes (class 0) and of shuffled codes (class 1), half each."""
    log_real, log_shuffled = keras.ops.log_softmax(real), keras.ops.log_softmax(shuffled)
    return -0.5 * (keras.ops.mean(log_real[:, 0]) + keras.ops.mean(log_shuffled[:, 1]))


def _accuracy(real, shuffled):
    right = [keras.ops.greater(real[:, 0], real[:, 1]), keras.ops.greater(shuffled[:, 1], shuffled[:, 0])]
    return sum(keras.ops.mean(keras.ops.cast(told, "float32")) for told in right) / 2.0


def _discriminator(settings: Settings, seed: int):
    """Model [batch, latent] -> logits [batch, 2]."""
    from scanloom.training.initial_weights import initialise

    inputs = x = keras.Input((settings.latent,), name="codes")
    for i, size in enumerate(settings.discriminator, start=1):
        x = keras.layers.Dense(size, name=f"dense{i}")(x)
        x = keras.layers.LeakyReLU(negative_slope=LEAK, name=f"leaky{i}")(x)
    return initialise(keras.Model(inputs, keras.layers.Dense(2, name="logits")(x), name="discriminator"), seed)
