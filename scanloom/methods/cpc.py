"""Contrastive predictive coding: from the patches above, recognise the patch that comes some rows below.

The image is cut into a grid of patches and each passes the encoder. A context network sums up, for each place, the
patch there and those above it in a pyramid that widens by one patch per row (upside down, in volumes by one in both
directions per plane). From the context at row r, one linear predictor per step k names the code of the patch k rows
further down, and must recognise it among the patches of all other places and images of the batch.

    L = mean over steps k of  - mean_i log( exp(y_ik . z_ik / sqrt(T)) / sum_j exp(y_ik . z_jk / sqrt(T)) )

with y_ik the prediction at place i, z_jk the code of size T of the patch that is the answer at place j of any image.
Van den Oord, Li & Vinyals, arXiv 1807.03748, equation 4 (InfoNCE); grid, row-wise convolutions and all other patches as
negatives: Henaff et al., ICML 2020, arXiv 1905.09272; volumes: Taleb et al., NeurIPS 2020, arXiv 2006.03829.

`loss: binary` is the form of the last one's code: one negative per answer, s = sigmoid(mean_k mean_t y_k z_k),
    L = - mean log(s) / 2 - mean log(1 - s') / 2, with s' the score of the answers of another place or image,
there with `context: gru`. Differences: outside the grid are zeros at both ranks (there the grid's mirror image in 3D),
and the pyramid has three rows by default (there two for grids of 4 or 5 patches per side, `context_rows: 2`).
The batch normalisation of an encoder sees the patches of an image together and can tell them apart from others by it
(Henaff et al. use layer normalisation): with a batch of few images prefer an encoder without.
"""

from typing import Literal

import numpy as np
from pydantic import Field

from scanloom.lazy import keras
from scanloom.methods._patches import PatchSettings, cut, draw_patches, numbers, overlapping_grid, patch_shape
from scanloom.training.branches import of_method

TRAINS = True
USES_LABELS = False
FRESH_PER_SEED = False
BRANCHES = 1


class Settings(PatchSettings):
    """Grid, context, predictions and guards."""

    per_side: int | None = Field(None, ge=2, description="patches along each axis; null: 5 in 2D, 4 in 3D")
    overlap: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="share of its edge that a patch has in common with the next; null: 0.5 in 2D, 0 in 3D",
    )
    skip: int | None = Field(
        None,
        ge=0,
        description="rows between context and first prediction, at least so many that they share no pixel; "
        "null: just that",
    )
    steps: int = Field(2, ge=1, description="rows (planes) predicted, one after the other")
    context: Literal["convolution", "gru"] = Field(
        "convolution", description="network over the pyramid of patches: residual convolutions, or a recurrent one"
    )
    context_rows: int = Field(3, ge=1, description="rows of the pyramid, with that of its tip")
    code: int = Field(128, ge=1, description="size of a patch's code in the context")
    target: int = Field(64, ge=1, description="T: size of predictions and answers")
    loss: Literal["infonce", "binary"] = Field("infonce", description="all other patches as negatives, or one each")


def encoder_shape(settings: Settings, image_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of a patch."""
    return patch_shape(grid_of(settings, image_shape)[0], image_shape)


def parts_per_image(settings: Settings, image_shape: tuple[int, ...]) -> int:
    """Patches that one image of an update is to the encoder."""
    return grid_of(settings, image_shape)[0].cells


def draw(uniform, settings: Settings, image_shape: tuple[int, ...]) -> dict:
    """How the patches are cut; for the binary loss other float32 [batch, places] in [0, 1), see `binary_loss`."""
    grid, per_side, skip = grid_of(settings, image_shape)
    count = numbers(grid.cells, image_shape)
    places = (per_side - skip - settings.steps) * grid.cells // per_side
    u = uniform(count + places)
    cells = np.tile(np.arange(grid.cells), (len(u), 1))
    made = draw_patches(u[:, :count], cells, grid, settings, image_shape)
    return made | ({"other": u[:, count:]} if settings.loss == "binary" else {})


def build(encoder, settings: Settings, views, seed: int, classes: int | None = None):
    """The model to train; its inputs are described in scanloom/methods/_pretext.py."""
    from scanloom.methods._context import context_head
    from scanloom.methods._pretext import PretextModel

    grid, per_side, skip = grid_of(settings, views.image_shape)
    shape = (per_side,) * len(grid.patch)
    head = context_head(settings, shape, skip, encoder.output.shape[-1], seed)

    def parts(images, draws):
        return cut(images, draws, grid, settings)

    def loss(outputs, batch):
        if settings.loss == "binary":
            return binary_loss(**outputs, other=of_method(batch)["other"])
        return infonce(**outputs)

    return PretextModel(encoder, head, views, parts, loss, lambda outputs, batch: recognised(**outputs))


def grid_of(settings: Settings, image_shape: tuple[int, ...]):
    """(grid, patches per side, rows skipped), with the defaults of the images' rank. Raises ValueError."""
    flat = len(image_shape) == 3
    per_side = settings.per_side or (5 if flat else 4)
    overlap = (0.5 if flat else 0.0) if settings.overlap is None else settings.overlap
    sharing = int(np.ceil(1 / (1 - overlap) - 1e-9)) - 1
    skip = sharing if settings.skip is None else settings.skip
    if skip < sharing:
        raise ValueError(
            f"patches that share {overlap:g} of their edge have pixels in common with the {sharing} next rows, so a "
            f"skip of {skip} would ask for what is already seen: set skip to {sharing} or more, or lower overlap"
        )
    if skip + settings.steps >= per_side:
        raise ValueError(
            f"{per_side} rows of patches are too few to skip {skip} and predict {settings.steps}: "
            f"per_side must be at least {skip + settings.steps + 1}, or steps lower"
        )
    return overlapping_grid(settings, per_side, overlap, image_shape), per_side, skip


def infonce(predictions: list, answers: list):
    """The loss; predictions and answers: one float32 [batch, *places, T] per step."""
    losses = []
    for logits in _logits(predictions, answers):
        answer = keras.ops.arange(keras.ops.shape(logits)[0])
        losses.append(keras.losses.sparse_categorical_crossentropy(answer, logits, from_logits=True))
    return sum(keras.ops.mean(loss) for loss in losses) / len(losses)


def binary_loss(predictions: list, answers: list, other):
    """The ancestors' loss; predictions and answers as in `infonce`, but only at the places that all steps have.

    other: float32 [batch, places] in [0, 1): which of all other places of the batch lends its answers as negatives.
    """
    ops = keras.ops
    rows = predictions[-1].shape[1]
    predictions, answers = (
        ops.stack([_flat(values[:, :rows]) for values in steps], axis=1) for steps in (predictions, answers)
    )
    size = ops.shape(predictions)[0]
    step = 1 + ops.cast(ops.floor(ops.reshape(other, (-1,)) * ops.cast(size - 1, "float32")), "int32")
    negative = ops.take(answers, (ops.arange(size, dtype="int32") + step) % ops.cast(size, "int32"), axis=0)
    right, wrong = (ops.mean(predictions * found, axis=(1, 2)) for found in (answers, negative))
    return (ops.mean(ops.softplus(-right)) + ops.mean(ops.softplus(wrong))) / 2.0


def recognised(predictions: list, answers: list):
    """float32 [steps * places]: 1 where the answer has the highest score of all patches."""
    ops = keras.ops
    found = []
    for logits in _logits(predictions, answers):
        answer = ops.arange(ops.shape(logits)[0], dtype="int32")
        found.append(ops.cast(ops.equal(ops.cast(ops.argmax(logits, axis=1), "int32"), answer), "float32"))
    return ops.concatenate(found, axis=0)


def _logits(predictions: list, answers: list) -> list:
    """Per step [places, places]: each prediction with each answer of the batch."""
    ops = keras.ops
    scale = answers[0].shape[-1] ** -0.5
    return [ops.matmul(_flat(y), ops.transpose(_flat(z))) * scale for y, z in zip(predictions, answers, strict=True)]


def _flat(values):
    return keras.ops.reshape(values, (-1, values.shape[-1]))
