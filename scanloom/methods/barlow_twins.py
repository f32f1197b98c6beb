"""Barlow Twins: two views of an image should have the same embedding, and no two of its numbers should say the same.

Both views pass encoder and projector; their embeddings are normalised over the batch, and the cross-correlation of the
two is pulled towards the identity: ones on the diagonal (the same in both views), zeros elsewhere (no redundancy).
There are no negative pairs, no momentum network and no stopped gradient; collapse would make the diagonal wrong.

    C = BN(z1)^T BN(z2) / N        L = scale * (sum_i (C_ii - 1)^2 + lambda * sum_{i != j} C_ij^2)

Zbontar et al., Barlow Twins, ICML 2021, arXiv 2103.03230; lambda 0.0051 there, 0.005 in later medical uses.
Differences from the paper: AdamW instead of LARS, smaller batches and projectors by default, the study's own views,
the same for both branches (the paper's second branch blurs less and solarises).
"""

from pydantic import Field

from scanloom.lazy import keras
from scanloom.methods._projector import EPSILON, projector
from scanloom.strict_models import Strict

TRAINS = True
USES_LABELS = False
FRESH_PER_SEED = False
BRANCHES = 2
DECORRELATES = True


class Settings(Strict):
    """Projector and loss."""

    projector: tuple[int, ...] = Field((512, 512), min_length=1, description="layer sizes; the last is the embedding")
    off_diagonal_weight: float = Field(0.005, gt=0, le=1, description="lambda of the loss")
    scale: float = Field(1.0, gt=0, description="factor on the whole loss")


def build(encoder, settings: Settings, views, seed: int, classes: int | None = None):
    """The model to train; its inputs are described in scanloom/pretraining/view_model.py."""
    from scanloom.pretraining.view_model import ViewModel

    def loss(outputs, batch):
        return settings.scale * barlow_loss(*outputs, settings.off_diagonal_weight)

    head = projector(encoder.output.shape[-1], settings.projector, seed)
    return ViewModel(encoder, head, views, BRANCHES, loss)


def barlow_loss(z1, z2, off_diagonal_weight: float):
    """The loss of embeddings float32 [batch, D] of two views; the normalisation has no scale and no offset."""
    ops = keras.ops
    size, dimensions = ops.cast(ops.shape(z1)[0], "float32"), z1.shape[1]
    correlation = ops.matmul(ops.transpose(_normalised(z1)), _normalised(z2)) / size
    identity = ops.eye(dimensions)
    weights = identity + off_diagonal_weight * (1.0 - identity)
    return ops.sum(weights * ops.square(correlation - identity))


def _normalised(z):
    ops = keras.ops
    centred = z - ops.mean(z, axis=0, keepdims=True)
    return centred / ops.sqrt(ops.mean(ops.square(centred), axis=0, keepdims=True) + EPSILON)
