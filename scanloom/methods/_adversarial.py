"""What the adversarial methods share: settings, networks, the two players' passes, the terms beside their game.

A generator makes images of noise; a discriminator, by default a linear layer on the study's encoder, judges real and
generated ones. A regressor may tell the noise from the image it became (InfoGAN, Chen et al., arXiv 1606.03657, with a
normal code of fixed variance): a second head of the discriminator ("attached"), a network of its own ("independent"),
or the study's encoder, with a discriminator of its own kind ("encoder"). A window makes a second game, on real and on
generated images whose grey values are cut to it, judged by another head on the same trunk.

    L_E = mean over codes of (z - E(G(z)))^2        L_R = mean over pixels of (x - G(E(x)))^2

L_R is a mean, as every loss here: a sum over pixels, as some write it, is this with their number times the weight. Both
players learn with the study's optimizer, unless the generator has one of its own; it has a share of the rate. z = sigma
* noise; E estimates the noise, so L_E weighs an error in noise with sigma^2. Discriminator, its heads and the regressor
are one player's, the generator is the other's; both lower L_E and L_R, each by its own weights.
"""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from scanloom.lazy import keras
from scanloom.methods._generator import Kind
from scanloom.methods._prior import pca_exponent, prior_sigmas
from scanloom.plugin_fields import plugin_of
from scanloom.pretraining.showing import Showing
from scanloom.strict_models import Strict


class AdversarialSettings(Strict):
    """Networks, prior, and terms beside the game."""

    latent: int = Field(64, ge=1, description="numbers of noise per image")
    prior: Literal["identity", "power"] = Field(
        "identity", description="of the codes: all alike, or sigma_i = c * i^alpha"
    )
    alpha: Annotated[float, Field(le=0)] | Literal["pca"] = Field(
        "pca", description="exponent of prior: power; pca: that of the images' principal components"
    )
    prior_scale: Annotated[float, Field(gt=0)] | None = Field(
        None, description="c of prior: power; null: the mean of sigma^2 is 1"
    )
    networks: Kind = Field("dcgan", description="kind of the generator, and of a trunk that is not the study's encoder")
    network_width: int = Field(32, ge=1, description="their channels at full size, doubled per halving")
    head_from: Literal["features", "feature_map"] = Field(
        "features", description="what is judged; feature_map keeps where things are"
    )
    regressor: Literal["none", "attached", "independent", "encoder"] = Field(
        "attached", description="what tells the noise from the image; encoder: the study's, which then judges nothing"
    )
    regressor_weight: float = Field(1.0, ge=0, description="weight of L_E for both players")
    reconstruction_weight: float = Field(0.0, ge=0, description="weight of L_R for both players; needs a regressor")
    window: tuple[float, float] | None = Field(
        None, description="grey values of the second game, low and high; of window_in: grey within 0 and 1"
    )
    window_in: Literal["grey", "unit"] = Field(
        "grey", description="how window is given: shares of the stored range, or the images' unit, such as HU"
    )
    window_weight: float = Field(1.0, ge=0, description="weight of the second game")
    generator_rate: float = Field(1.0, gt=0, description="the generator's share of the study's learning rate")
    generator_optimizer: plugin_of("optimizers") | None = Field(
        None, description="a file of scanloom/optimizers, with its own momenta; null: the study's"
    )
    use_views: bool = Field(False, description="learn the study's views of the images; false: the images as they are")

    @model_validator(mode="after")
    def _consistent(self):
        if self.window is not None and self.window[0] >= self.window[1]:
            raise ValueError(f"window low ({self.window[0]:g}) must be below high ({self.window[1]:g})")
        if self.window is not None and self.window_in == "grey" and not 0 <= self.window[0] < self.window[1] <= 1:
            raise ValueError(
                f"window ({self.window[0]:g}, {self.window[1]:g}) is in shares of the stored range, 0 to 1; for HU, or "
                "another unit of the images, set window_in: unit"
            )
        ignored = {"alpha": None if self.alpha == "pca" else self.alpha, "prior_scale": self.prior_scale}
        for name, value in ignored.items():
            if self.prior == "identity" and value is not None:
                raise ValueError(f"{name} ({value:g}) is of prior: power, but prior is identity; set prior: power")
        if self.reconstruction_weight and self.regressor == "none":
            raise ValueError("reconstruction_weight needs a regressor: attached, independent or encoder")
        return self


def settle(settings: AdversarialSettings, images: np.ndarray, image_spec: dict) -> AdversarialSettings:
    """The settings with numbers for what depends on the data: alpha, and the window as shares of the stored range.

    images: stored integers [n, *spatial, channels], a sample of the corpus. image_spec: see scanloom/shards/records.py.
    Raises ValueError where the images do not say what their values mean.
    """
    changed = {}
    if settings.prior == "power" and settings.alpha == "pca":
        changed["alpha"] = pca_exponent(images, settings.latent)
    if settings.window is not None and settings.window_in == "unit":
        changed |= {"window": window_in_grey(settings.window, image_spec), "window_in": "grey"}
    return settings.model_copy(update=changed)


def window_in_grey(window: tuple[float, float], image_spec: dict) -> tuple[float, float]:
    """A window in the images' unit as shares of the stored range. Raises ValueError where channels or images differ."""
    ranges = image_spec.get("range") or _range_of(image_spec)
    if not ranges or any(pair != ranges[0] for pair in ranges):
        raise ValueError(
            f"window {window} is in the images' unit, but channels or images span different ranges ({ranges}); "
            "give it in shares of the stored range, with window_in: grey"
        )
    low, high = ranges[0]
    shares = tuple((bound - low) / (high - low) for bound in window)
    if shares[1] <= 0 or shares[0] >= 1:
        raise ValueError(f"window {window} lies outside of what the images hold, {low:g} to {high:g}")
    return shares


def _range_of(image_spec: dict) -> list:
    slope, intercept = image_spec.get("slope"), image_spec.get("intercept")
    if slope is None or intercept is None:
        return []
    largest = np.iinfo(image_spec["dtype"]).max
    return [[b, a * largest + b] for a, b in zip(slope, intercept, strict=True)]


def sigmas_of(settings: AdversarialSettings) -> tuple[float, ...]:
    """Standard deviations of the codes. Raises ValueError where alpha has not been computed."""
    if settings.prior == "identity":
        return prior_sigmas(settings.latent, 0.0)
    if settings.alpha == "pca":
        raise ValueError("alpha: pca is computed from images: call settle first, or give a number")
    return prior_sigmas(settings.latent, settings.alpha, settings.prior_scale)


def windowed(images, window: tuple[float, float]):
    """Images with grey values below the window 0 and above it 1."""
    low, high = window
    return keras.ops.clip((images - low) / (high - low), 0.0, 1.0)


def showing(settings: AdversarialSettings, model) -> Showing:
    """The generator, reconstructions of real images where there is a regressor, and both as the window shows them."""
    networks = model.players[0].networks
    kept = {"generator": networks["generator"]}
    if settings.regressor != "none":
        kept["regressor"] = regressor_of(networks)

    def further(real, made):
        return pictures(settings, kept, real, made)

    return Showing(networks["generator"], kept, further)


def regressor_of(networks: dict):
    """Model from images [batch, *spatial, channels] to the noise [batch, latent] they were made of, as one."""
    trunk, heads = ("reader", "reader_heads") if "reader" in networks else ("trunk", "heads")
    body, heads = networks[trunk], networks[heads]
    noise = keras.Model(heads.input, heads.output["noise"], name="noise_head")(body.output)
    noise = keras.layers.Activation("linear", dtype="float32", name="noise")(noise)
    return keras.Model(body.input, noise, name="regressor")


def pictures(settings: AdversarialSettings, kept: dict, real: np.ndarray, made: np.ndarray) -> dict[str, np.ndarray]:
    """What else to look at beside `made`, generated images: real ones, reconstructed, and both windowed.

    kept: "generator", and "regressor" where there is one.
    """
    shown = {}
    if "regressor" in kept:
        noise = kept["regressor"].predict_on_batch(real)
        shown["reconstructed"] = kept["generator"].predict_on_batch(noise)
    if settings.window is not None:
        for name, images in (("generated_windowed", made), ("real_windowed", real)):
            shown[name] = keras.ops.convert_to_numpy(windowed(images, settings.window))
    return shown
