"""Grad-CAM: where the last feature map speaks for a class.

The channels of the last spatial feature map are added up, each weighted by how much the class's logit grows when that
channel grows everywhere; what is left of the sum above zero is the map.

    weight_k = mean over positions of d logit_c / d A_k        map = max(0, sum_k weight_k A_k)        (equations 1, 2)

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV 2017. For an
encoder with global average pooling and a linear head it is the CAM of Zhou et al. 2016 (divided by the number of
positions), and the sum of gradient times activation is exactly the logit without its bias. Differences: any number of
spatial dimensions; the map is not divided by its maximum, so maps of one network can be compared.
"""

from collections.abc import Callable

import numpy as np

from scanloom.explain._feature_gradients import feature_gradients
from scanloom.explain._upsample import upsample
from scanloom.strict_models import Strict

TITLE = "Grad-CAM"


class Settings(Strict):
    """Grad-CAM has nothing to choose."""


def explainer(model, settings: Settings) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A function of images float32 `[batch, *spatial, channels]` in [0, 1] and class indices int `[batch]` that gives
    maps float32 `[batch, *spatial]`, not normalised, never negative.

    model: flat keras.Model to logits with a layer "feature_map" (what finetuning saves).
    """
    gradients_of = feature_gradients(model)

    def explain(images: np.ndarray, class_index: np.ndarray) -> np.ndarray:
        activations, gradients, _ = gradients_of(images, class_index)
        return upsample(coarse_maps(activations, gradients), images.shape[1:-1])

    return explain


def coarse_maps(activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Maps `[batch, *coarse]` of activations and gradients `[batch, *coarse, maps]`."""
    space = tuple(range(1, activations.ndim - 1))
    weights = gradients.mean(axis=space, keepdims=True)
    return np.maximum((weights * activations).sum(axis=-1), 0)
