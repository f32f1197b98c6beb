"""A network of keras.applications: MobileNet, EfficientNet, Inception, Xception, NASNet, VGG and others; rank 2.

The network without its classifier, for any number of channels. It scales images itself, from [0, 1] to what its
published weights were trained on, so those fit as they are (`methods/imagenet`, from a file; nothing is downloaded).
Differences from keras.applications: no dropout inside, because nothing here is random inside a step, and batch
statistics that follow within tens of updates (momentum 0.9, theirs up to 0.9997).
"""

import re
from collections import Counter
from typing import Literal

from pydantic import Field

from scanloom.encoders._layers import MOMENTUM, activation, ending, every_nth, rank_of
from scanloom.lazy import keras
from scanloom.strict_models import Strict
from scanloom.training.initial_weights import initialise

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CAFFE_MEAN_RGB = (123.68, 116.779, 103.939)

RANKS = (2,)

CAFFE = ("ResNet50", "ResNet101", "ResNet152", "VGG16", "VGG19")
"""Trained on blue, green, red in 0 to 255 minus the mean."""
STANDARDISED = (
    *(f"EfficientNetB{size}" for size in range(8)),
    *(f"EfficientNetV2B{size}" for size in range(4)),
    *("DenseNet121", "DenseNet169", "DenseNet201"),
)
"""Trained on (x - mean) / standard deviation of each channel; the others on [-1, 1]."""

SCALING_LAYERS = ("Rescaling", "Normalization")
"""Left out where they are part of a network (EfficientNet): the scaling before it does the same for any channels."""

Name = Literal[
    "MobileNet", "MobileNetV2", "MobileNetV3Small", "MobileNetV3Large",
    "EfficientNetB0", "EfficientNetB1", "EfficientNetB2", "EfficientNetB3", "EfficientNetB4", "EfficientNetB5",
    "EfficientNetB6", "EfficientNetB7", "EfficientNetV2B0", "EfficientNetV2B1", "EfficientNetV2B2", "EfficientNetV2B3",
    "EfficientNetV2S", "EfficientNetV2M", "EfficientNetV2L",
    "InceptionV3", "InceptionResNetV2", "Xception", "NASNetMobile", "NASNetLarge", "VGG16", "VGG19",
    "ResNet50", "ResNet101", "ResNet152", "ResNet50V2", "ResNet101V2", "ResNet152V2",
    "DenseNet121", "DenseNet169", "DenseNet201",
]  # fmt: skip


class Settings(Strict):
    """Which network."""

    name: Name = Field("MobileNetV2", description="as in keras.applications")


def build(settings: Settings, image_shape: tuple[int, ...], seed: int):
    """keras.Model from float32 images [batch, height, width, channels] in [0, 1] to features [batch, D].

    Raises ValueError for rank 3 and for images smaller than the network takes (32, 71 or 75 pixels).
    """
    rank = rank_of(image_shape, "keras_application", RANKS)
    inputs = keras.Input(image_shape, name="images")
    try:
        network = getattr(keras.applications, settings.name)(
            include_top=False,
            weights=None,
            input_shape=tuple(image_shape),
            input_tensor=_scaled(inputs, settings.name),
            **({"include_preprocessing": False} if settings.name.startswith(("MobileNetV3", "EfficientNetV2")) else {}),
        )
    except ValueError as error:
        if "Input size must be at least" not in str(error):
            raise
        needed = re.search(r"at least (\d+)", str(error))[1]
        raise ValueError(
            f"image shape {tuple(image_shape)}: {settings.name} needs edges of at least {needed}; choose another "
            "encoder, or larger images with the steps resize or crop_or_pad"
        ) from None
    clone, call = _cloning()
    network = keras.models.clone_model(network, clone_function=clone, call_function=call)
    x = activation(network.output, "feature_map", "linear")
    return initialise(ending(network.inputs[0], x, rank, "keras_application"), seed)


def _scaled(images, name: str):
    if images.shape[-1] == 1 and name in (*CAFFE, *STANDARDISED):
        # Red, green and blue are scaled differently there, so a grey image is what it was: three equal channels.
        images = keras.layers.Concatenate(name="input_grey")([images] * 3)
    channels, layers = images.shape[-1], keras.layers
    if name in CAFFE:
        x = layers.Rescaling(255.0, name="input_bytes")(images)
        mean = CAFFE_MEAN_RGB[::-1] if channels == 3 else (sum(CAFFE_MEAN_RGB) / 3,) * channels
        x = keras.ops.flip(x, axis=-1) if channels == 3 else x
        return layers.Normalization(mean=mean, variance=(1.0,) * channels, name="input_scale")(x)
    if name in STANDARDISED:
        mean = IMAGENET_MEAN if channels == 3 else (sum(IMAGENET_MEAN) / 3,) * channels
        std = IMAGENET_STD if channels == 3 else (sum(IMAGENET_STD) / 3,) * channels
        return layers.Normalization(mean=mean, variance=[s * s for s in std], name="input_scale")(images)
    if name in ("EfficientNetV2S", "EfficientNetV2M", "EfficientNetV2L"):
        return layers.Rescaling(255 / 128, offset=-1.0, name="input_scale")(images)
    return layers.Rescaling(2.0, offset=-1.0, name="input_scale")(images)


def _cloning():
    """(layer -> the layer as this library wants it, a call of such a layer): arguments of Keras' `clone_model`.

    Layers get names of their own where Keras counts all that has been built.
    """
    counts, strides = Counter(), {}

    def clone(layer):
        config, kind = layer.get_config(), type(layer).__name__
        name = _snake_case(kind)
        if re.fullmatch(rf"{name}(_\d+)?", layer.name):
            counts[name] += 1
            config["name"] = f"{name}_{counts[name]}"
        if kind == "Dropout" or (kind in SCALING_LAYERS and not layer.name.startswith("input_")):
            return keras.layers.Activation("linear", name=config["name"])
        if kind == "BatchNormalization":
            config["momentum"] = MOMENTUM
        if kind == "Conv2D" and layer.kernel_size == (1, 1) and layer.strides != (1, 1):
            strides[config["name"]], config["strides"] = layer.strides, (1, 1)
        return type(layer).from_config(config)

    def call(layer, *inputs, **settings):
        if layer.name in strides:
            inputs = [every_nth(*inputs, strides[layer.name], 2, f"{layer.name}_places")]
        return layer(*inputs, **settings)

    return clone, call


def _snake_case(name: str) -> str:
    """As Keras makes a layer's name of its class: BatchNormalization, ReLU -> batch_normalization, re_lu."""
    return re.sub("([a-z])([A-Z])", r"\1_\2", re.sub("(.)([A-Z][a-z0-9]+)", r"\1_\2", name)).lower()
