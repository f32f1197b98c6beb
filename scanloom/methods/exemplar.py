"""Exemplar: the two views of an image lie closer together than either lies to another image, by a margin.

Every image is its own class and its views are the class's examples. The loss works on triplets: a view (anchor), the
other view of the same image (positive), and the other view of another image of the batch (negative).

    L = mean over anchors and negatives of max(0, |a - p|^2 - |a - n|^2 + margin)        |a| = |p| = |n| = 1

or, without a margin, of log(1 + exp(|a - p|^2 - |a - n|^2)). Idea: Dosovitskiy et al., arXiv 1406.6909 (a classifier of
surrogate classes, which does not scale with the images); as triplets, in volumes too: Taleb et al., NeurIPS 2020, arXiv
2006.03829; hardest negatives and soft margin: Hermans, Beyer & Leibe, arXiv 1703.07737.
Differences from Taleb et al.: embeddings are linear and of unit length, not squashed by a sigmoid, and distances are
sums, up to 4, so that the margin can be met; the negative is never the image itself, whatever the batch.
"""

from typing import Literal

from pydantic import Field

from scanloom.lazy import keras
from scanloom.methods._projector import projector, unit_length
from scanloom.strict_models import Strict
from scanloom.training.branches import of_method

TRAINS = True
USES_LABELS = False
FRESH_PER_SEED = False
BRANCHES = 2


class Settings(Strict):
    """Projector, margin and negatives."""

    projector: tuple[int, ...] = Field((512, 128), min_length=1, description="layer sizes; the last is the embedding")
    margin: float | None = Field(
        0.5,
        gt=0,
        lt=4,
        description="squared distances on the unit sphere go up to 4, between unrelated embeddings "
        "they are about 2; null: soft margin",
    )
    negatives: Literal["all", "hardest", "random"] = Field(
        "all", description="of the other images of the batch: all, the nearest to the anchor, or one drawn for each"
    )


def draw(uniform, settings: Settings, image_shape: tuple[int, ...]) -> dict:
    """other float32 [batch] in [0, 1): which of the other images is the negative, where it is drawn."""
    u = uniform(1)
    if len(u) < 2:
        raise ValueError("exemplar needs a batch of at least 2 images: the negative is another image of the batch")
    return {"other": u[:, 0]}


def build(encoder, settings: Settings, views, seed: int, classes: int | None = None):
    """The model to train; its inputs are described in scanloom/pretraining/view_model.py."""
    from scanloom.pretraining.view_model import ViewModel

    def loss(outputs, batch):
        return triplet_loss(*outputs, of_method(batch)["other"], settings.margin, settings.negatives)

    head = projector(encoder.output.shape[-1], settings.projector, seed)
    return ViewModel(encoder, head, views, BRANCHES, loss)


def triplet_loss(anchor, positive, other, margin: float | None, negatives: str):
    """The loss of embeddings float32 [batch, D] of two views; other: float32 [batch] in [0, 1), see `draw`."""
    ops = keras.ops
    anchor, positive = unit_length(anchor), unit_length(positive)
    size = ops.shape(anchor)[0]
    distance = 2.0 - 2.0 * ops.matmul(anchor, ops.transpose(positive))
    same = ops.eye(size)
    own = ops.expand_dims(ops.diagonal(distance), 1)
    if negatives == "hardest":
        weight = ops.one_hot(ops.argmin(distance + 10.0 * same, axis=1), size)
    elif negatives == "random":
        images, others = ops.arange(size), ops.cast(size - 1, "float32")
        step = 1 + ops.cast(ops.floor(other * others), images.dtype)
        weight = ops.one_hot((images + step) % size, size)
    else:
        weight = (1.0 - same) / ops.cast(size - 1, "float32")
    violation = own - distance
    violation = ops.softplus(violation) if margin is None else ops.relu(violation + margin)
    return ops.mean(ops.sum(weight * violation, axis=1))
