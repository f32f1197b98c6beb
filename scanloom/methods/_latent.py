"""What the latent-variable methods share: settings, the encoder's posterior, its divergence from the prior.

The posterior of an image is a normal distribution with independent dimensions, N(mean, exp(log_variance)); the prior is
N(0, I). Both come from the encoder's features by a small head that is thrown away after pretraining: what is used
downstream are the features before the mean, as everywhere else in a study.
"""

import math
from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from scipy.special import ndtri

from scanloom.lazy import keras
from scanloom.strict_models import Strict

LOG_VARIANCE_BOUND = 10.0
"""Log variances are bounded smoothly to +- this: far outside what is learnt, and exp cannot overflow."""


class LatentSettings(Strict):
    """Latent space, likelihood and decoder."""

    latent: int = Field(32, ge=1, description="dimensions of the latent space")
    latent_from: Literal["features", "feature_map"] = Field(
        "features", description="what mean and variance are computed from; feature_map keeps where things are"
    )
    hidden: int = Field(256, ge=0, description="layer between the encoder and mean and log variance; 0: none")
    likelihood: Literal["bernoulli", "gaussian", "laplace"] = Field(
        "gaussian", description="of a pixel given the latent; bernoulli takes grey values as probabilities"
    )
    scale: Annotated[float, Field(gt=0)] | Literal["fitted"] = Field(
        "fitted", description="gaussian's sigma or laplace's b, images span [0, 1]; fitted: the batch's most likely one"
    )
    kl_warmup: float = Field(0.1, ge=0, le=1, description="share of all updates in which the weight of the KL rises")
    decoder_width: int = Field(32, ge=1, description="channels of the decoder at full size, doubled per level below")
    use_views: bool = Field(False, description="learn the study's views of the images; false: the images as they are")


def draw(uniform, settings: LatentSettings, image_shape: tuple[int, ...]) -> dict:
    """epsilon float32 [batch, latent]: standard normal, what turns a posterior into a sample."""
    return {"epsilon": normals(uniform(settings.latent))}


def normals(u: np.ndarray) -> np.ndarray:
    """float32 standard normal numbers from float32 uniform ones in [0, 1), which are multiples of 2^-24."""
    return ndtri(u.astype(np.float64) + 2.0**-25).astype(np.float32)


def networks(encoder, settings: LatentSettings, image_shape: tuple[int, ...], seed: int) -> dict:
    """Keras models: "encoder" (images to what the posterior comes from), "posterior" (to mean and log variance,
    [batch, latent] each) and "decoder" ([batch, latent] to [batch, *spatial, channels])."""
    from scanloom.methods._decoder import decoder_of_vectors, feature_map_of
    from scanloom.training.initial_weights import initialise

    body = encoder
    if settings.latent_from == "feature_map":
        body = keras.Model(encoder.input, keras.layers.Flatten()(feature_map_of(encoder)), name="encoder_body")
    inputs = x = keras.Input(body.output.shape[1:], name="features")
    if settings.hidden:
        x = keras.layers.Dense(settings.hidden, activation="relu", name="hidden")(x)
    outputs = [keras.layers.Dense(settings.latent, name=name)(x) for name in ("mean", "log_variance")]
    posterior = initialise(keras.Model(inputs, outputs, name="posterior"), seed)
    decoder = decoder_of_vectors(settings.latent, image_shape, settings.decoder_width, seed)
    return {"encoder": body, "posterior": posterior, "decoder": decoder}


def bounded(log_variance):
    """Log variances within the bound."""
    return LOG_VARIANCE_BOUND * keras.ops.tanh(log_variance / LOG_VARIANCE_BOUND)


def sample(mean, log_variance, epsilon):
    """A sample of the posterior, differentiable in its parameters (Kingma & Welling, arXiv 1312.6114, equation 10)."""
    return mean + keras.ops.exp(0.5 * log_variance) * epsilon


def kl_to_prior(mean, log_variance):
    """KL(N(mean, exp(log_variance)) || N(0, 1)) in nats, element by element (arXiv 1312.6114, appendix B)."""
    return 0.5 * (keras.ops.square(mean) + keras.ops.exp(log_variance) - 1.0 - log_variance)


def log_normal(z, mean, log_variance):
    """Log density of N(mean, exp(log_variance)) at z, element by element, by broadcasting."""
    squared = keras.ops.square(z - mean) * keras.ops.exp(-log_variance)
    return -0.5 * (squared + log_variance + math.log(2.0 * math.pi))


def ramp(progress, share: float):
    """From 0 at the first update to 1 after `share` of all updates. progress: share of the updates done."""
    return keras.ops.minimum(1.0, progress / share) if share > 0 else 1.0
