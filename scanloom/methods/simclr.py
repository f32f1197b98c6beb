"""SimCLR: each view must find the other view of its image among all views of the batch.

    L = mean over all 2N views i of  - log( exp(s(i, j) / t) / sum_{k != i} exp(s(i, k) / t) )

with j the other view of i's image and s the cosine of two embeddings. The other images of the batch are the negatives:
small batches make the task easy. Chen et al., ICML 2020, arXiv 2002.05709, equation 1 (NT-Xent); t = 0.1 to 0.5 there.
"""

from pydantic import Field

from scanloom.lazy import keras
from scanloom.methods._projector import projector, unit_length
from scanloom.strict_models import Strict

TRAINS = True
USES_LABELS = False
FRESH_PER_SEED = False
BRANCHES = 2


class Settings(Strict):
    """Projector and temperature."""

    projector: tuple[int, ...] = Field((512, 128), min_length=1, description="layer sizes; the last is the embedding")
    temperature: float = Field(0.2, gt=0, description="t of the loss")


def build(encoder, settings: Settings, views, seed: int, classes: int | None = None):
    """The model to train; its inputs are described in scanloom/pretraining/view_model.py."""
    from scanloom.pretraining.view_model import ViewModel

    def loss(outputs, batch):
        return nt_xent(*outputs, settings.temperature)

    head = projector(encoder.output.shape[-1], settings.projector, seed)
    return ViewModel(encoder, head, views, BRANCHES, loss)


def nt_xent(z1, z2, temperature: float):
    """The loss of embeddings float32 [batch, D] of two views."""
    ops = keras.ops
    z = unit_length(ops.concatenate([z1, z2], axis=0))
    views, size = z.shape[0] or ops.shape(z)[0], ops.shape(z1)[0]
    similarity = ops.matmul(z, ops.transpose(z)) / temperature
    similarity = similarity - 1e9 * ops.eye(views)
    partner = ops.concatenate([ops.arange(size) + size, ops.arange(size)], axis=0)
    return ops.mean(keras.losses.sparse_categorical_crossentropy(partner, similarity, from_logits=True))
