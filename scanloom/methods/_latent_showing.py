"""What the latent-variable methods show: the decoder as a generator, the posterior, reconstructions of its means."""

from scanloom.lazy import keras
from scanloom.methods._latent import LOG_VARIANCE_BOUND, LatentSettings
from scanloom.pretraining.showing import Showing


def showing(settings: LatentSettings, model) -> Showing:
    """Networks "decoder" (codes to images in [0, 1]) and "posterior" (what `latent_from` names to "mean" and
    "log_variance", [batch, latent] each; of a feature map, flattened)."""
    networks = getattr(model, "networks", None) or model.players[0].networks
    body, decoder = networks["encoder"], _decoder(networks["decoder"], settings.likelihood)
    posterior = _posterior(networks["posterior"])

    def codes(real):
        found = posterior.predict_on_batch(body.predict_on_batch(real))
        return found["mean"], found["log_variance"]

    return Showing(decoder, {"decoder": decoder, "posterior": posterior}, codes=codes)


def _decoder(decoder, likelihood: str):
    """The decoder with the activation that makes its outputs images, as `_likelihood.as_images` does."""
    if likelihood == "bernoulli":
        last = keras.layers.Activation("sigmoid", dtype="float32", name="images")
    else:
        last = keras.layers.ReLU(max_value=1.0, dtype="float32", name="images")
    return keras.Model(decoder.input, last(decoder.output), name="decoder")


def _posterior(posterior):
    """The posterior with its bound on log variances, as `_latent.bounded` sets it."""
    mean, log_variance = posterior.outputs
    x = keras.layers.Rescaling(1.0 / LOG_VARIANCE_BOUND, dtype="float32", name="scaled")(log_variance)
    x = keras.layers.Activation("tanh", dtype="float32", name="bounded")(x)
    x = keras.layers.Rescaling(LOG_VARIANCE_BOUND, dtype="float32", name="bounded_log_variance")(x)
    mean = keras.layers.Activation("linear", dtype="float32", name="float_mean")(mean)
    return keras.Model(posterior.input, {"mean": mean, "log_variance": x}, name="posterior")
