"""VICReg: two views should have the same embedding, its numbers should vary, and they should not repeat each other.

Invariance is the distance of the two embeddings; variance keeps each number's standard deviation over the batch at one
or more, so nothing can collapse to a point; covariance keeps them from saying the same.

    L = a * mean (z1 - z2)^2 + b * sum_v mean_d max(0, 1 - std_d(z_v)) / 2 + c * sum_v sum_{i != j} C_ij(z_v)^2 / D

with C the covariance (N - 1) over the batch. Bardes, Ponce & LeCun, ICLR 2022, arXiv 2105.04906, equations 1 to 6;
a, b, c = 25, 25, 1 there, and the halves of the variance term are those of the authors' code.
"""

from pydantic import Field

from scanloom.lazy import keras
from scanloom.methods._projector import projector
from scanloom.strict_models import Strict

TRAINS = True
USES_LABELS = False
FRESH_PER_SEED = False
BRANCHES = 2
DECORRELATES = True
EPSILON = 1e-4


class Settings(Strict):
    """Projector and weights of the terms."""

    projector: tuple[int, ...] = Field((512, 512), min_length=1, description="layer sizes; the last is the embedding")
    invariance: float = Field(25.0, ge=0, description="a of the loss")
    variance: float = Field(25.0, ge=0, description="b of the loss")
    covariance: float = Field(1.0, ge=0, description="c of the loss")


def build(encoder, settings: Settings, views, seed: int, classes: int | None = None):
    """The model to train; its inputs are described in scanloom/pretraining/view_model.py."""
    from scanloom.pretraining.view_model import ViewModel

    def loss(outputs, batch):
        return vicreg_loss(*outputs, settings.invariance, settings.variance, settings.covariance)

    head = projector(encoder.output.shape[-1], settings.projector, seed)
    return ViewModel(encoder, head, views, BRANCHES, loss)


def vicreg_loss(z1, z2, invariance: float, variance: float, covariance: float):
    """The loss of embeddings float32 [batch, D] of two views."""
    ops = keras.ops
    total = invariance * ops.mean(ops.square(z1 - z2))
    for z in (z1, z2):
        size, dimensions = ops.cast(ops.shape(z)[0], "float32"), z.shape[1]
        centred = z - ops.mean(z, axis=0, keepdims=True)
        cov = ops.matmul(ops.transpose(centred), centred) / (size - 1.0)
        spread = ops.sqrt(ops.sum(ops.square(centred), axis=0) / (size - 1.0) + EPSILON)
        off_diagonal = ops.sum(ops.square(cov)) - ops.sum(ops.square(ops.diagonal(cov)))
        total = total + variance * ops.mean(ops.relu(1.0 - spread)) / 2.0 + covariance * off_diagonal / dimensions
    return total
