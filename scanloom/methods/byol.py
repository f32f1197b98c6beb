"""BYOL: the embedding of one view predicts what a slowly following copy of the network makes of the other view.

A predictor on top of the trained (online) network breaks the symmetry; the copy (target) gets no gradient, its weights
follow the online ones as a moving average whose momentum rises to one. No negatives; nothing in the loss forbids
collapse, so the collapse monitor matters here.

    L = sum over both orders of 2 - 2 * <q(z1), t2> / (|q(z1)| |t2|)        target = m * target + (1 - m) * online
    m = 1 - (1 - m0) * (cos(pi * progress) + 1) / 2

Grill et al., NeurIPS 2020, arXiv 2006.07733, equations 1 to 3 and appendix J; m0 = 0.996 there for very long
trainings, lower by default here because a short training must let the target move.
"""

import math

from pydantic import Field

from scanloom.lazy import keras
from scanloom.methods._projector import projector, unit_length
from scanloom.strict_models import Strict

TRAINS = True
USES_LABELS = False
FRESH_PER_SEED = False
BRANCHES = 2


class Settings(Strict):
    """Heads and momentum."""

    projector: tuple[int, ...] = Field((512, 128), min_length=1, description="layer sizes; the last is the embedding")
    predictor: tuple[int, ...] = Field((512,), description="hidden layer sizes of the predictor")
    momentum: float = Field(0.98, ge=0, lt=1, description="m0: the target's momentum at the start")


def build(encoder, settings: Settings, views, seed: int, classes: int | None = None):
    """The model to train; its inputs are described in scanloom/pretraining/view_model.py."""
    from scanloom.methods._momentum import MomentumModel

    head = projector(encoder.output.shape[-1], settings.projector, seed)
    size = settings.projector[-1]
    predictor = projector(size, (*settings.predictor, size), seed, name="predictor")
    return MomentumModel(encoder, head, predictor, views, lambda progress: momentum(progress, settings.momentum), loss)


def momentum(progress, start: float):
    """The target's momentum at `progress` (share of all updates, in [0, 1])."""
    return 1.0 - (1.0 - start) * (keras.ops.cos(math.pi * progress) + 1.0) / 2.0


def loss(predictions, targets):
    """Mean over the batch of the summed distances; predictions and targets: one [batch, D] per view."""
    ops = keras.ops
    crossed = zip(predictions, reversed(targets), strict=True)
    return sum(ops.mean(2.0 - 2.0 * ops.sum(unit_length(q) * unit_length(t), axis=-1)) for q, t in crossed)
