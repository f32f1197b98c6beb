"""Rotation: by which of a few right-angled turns has the image been turned?

Whoever can tell knows which way up the objects of the image are, so must know the objects. Right angles leave no empty
corners and need no interpolation, so nothing but the content gives the answer away.

    L = - mean over images and drawn turns of log softmax(head(encoder(turn_k(image))))_k

Turns, as source[index] with np.rot90's sense. Rank 2: 0, 90, 180, 270 degrees (Gidaris, Singh & Komodakis, ICLR 2018,
arXiv 1803.07728). Rank 3, "axes": none, then 90, 180 and 270 degrees in the plane of axes (0, 1), of (0, 2), of (1, 2):
10 classes (Taleb et al., NeurIPS 2020, arXiv 2006.03829); "group": these, then the other 14 of the 24
rotations of a cube. Difference from the first paper: one turn of each image per update unless `turns_per_image` says
more (there all four, which it found better), so that an update costs what it costs other methods.

Views that flip along two axes or turn images far are such turns themselves and make the question unanswerable:
`use_views: false`, or views without them, are asked for before the first job.
"""

import functools
import itertools
import math
from typing import Literal

import numpy as np
from pydantic import Field

from scanloom import plugins
from scanloom.lazy import keras
from scanloom.methods._patches import boxes
from scanloom.strict_models import Strict

TRAINS = True
USES_LABELS = False
FRESH_PER_SEED = False
BRANCHES = 1
LARGEST_VIEW_TURN = 45.0  # degrees of a view up to which right angles can be told apart


class Settings(Strict):
    """Which turns, how often, and the head."""

    rotations: Literal["axes", "group"] = Field(
        "axes", description="rank 3: axes are the 10 published turns, group all 24 of a cube; rank 2 has 4 either way"
    )
    turns_per_image: int = Field(1, ge=1, le=24, description="different turns of each image in one update")
    not_cubic: Literal["error", "keep_shape", "crop"] = Field(
        "error",
        description="images with unequal edges: error; keep_shape: only turns after which they have the same "
        "shape; crop: to the centred square or cube",
    )
    use_views: bool = Field(True, description="turn the study's views; false: the images as they are")
    head: tuple[int, ...] = Field((256,), description="hidden layer sizes of the classifier")


def encoder_shape(settings: Settings, image_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of the turned images."""
    return (*_turned_spatial(settings, image_shape), image_shape[-1])


def parts_per_image(settings: Settings, image_shape: tuple[int, ...]) -> int:
    """Turned images that one image of an update is to the encoder."""
    return settings.turns_per_image


def draw(uniform, settings: Settings, image_shape: tuple[int, ...]) -> dict:
    """turn int32 [batch, turns_per_image]: different classes, each as often as every other."""
    classes = len(turns(settings, image_shape))
    if settings.turns_per_image > classes:
        raise ValueError(
            f"turns_per_image ({settings.turns_per_image}) is more than the {classes} turns of images of shape "
            f"{tuple(image_shape)}; lower it, or choose more rotations"
        )
    order = np.argsort(uniform(classes), axis=1, kind="stable")
    return {"turn": order[:, : settings.turns_per_image].astype(np.int32)}


def build(encoder, settings: Settings, views, seed: int, classes: int | None = None):
    """The model to train; its inputs are described in scanloom/methods/_pretext.py."""
    from scanloom.methods._pretext import PretextModel, answer_correct, answer_head, answer_loss

    spatial = views.image_shape[:-1]
    matrices, size = turns(settings, views.image_shape), _turned_spatial(settings, views.image_shape)
    start, step = as_steps(matrices, size, spatial)

    def parts(images, draws):
        ops = keras.ops
        turned = boxes(images, ops.take(start, draws["turn"], axis=0), ops.take(step, draws["turn"], axis=0), size)
        return ops.reshape(turned, (-1, 1, *turned.shape[2:]))

    head = answer_head(1, encoder.output.shape[-1], (), settings.head, len(matrices), seed)
    pipeline = views if settings.use_views else None
    return PretextModel(encoder, head, pipeline, parts, answer_loss("turn"), answer_correct("turn"))


def problem_with_views(settings: Settings, views: list, rank: int) -> str | None:
    """Why the question has no answer in these (view, settings) pairs; None where it has one."""
    used = [(name, plugins.settings("views", name, chosen)) for name, chosen in views]
    used = [(name, chosen) for name, chosen in used if getattr(chosen, "p", 1) > 0]
    flipped = {axis for name, chosen in used if name == "flip" for axis in chosen.axes}
    quarters = any(name == "quarter_turns" or getattr(chosen, "quarter_turns", 0) for name, chosen in used)
    # Turned by two of them, an image is turned by no more than both together.
    turned = quarters or sum(_largest_turn(name, chosen, rank) for name, chosen in used) > LARGEST_VIEW_TURN
    if not settings.use_views or (len(flipped) < 2 and not turned):
        return None
    axes = ", ".join(map(str, sorted(flipped)))
    what = "turn images far" if turned else f"flip along axes {axes}, which is a half turn"
    return (
        f"the views {what}, so nobody can tell by which turn an image was turned; set use_views: false, or other views"
    )


def _largest_turn(name: str, chosen, rank: int) -> float:
    """Degrees by which a view may turn an image, about whatever axis."""
    if name not in ("rotation", "affine"):
        return 0.0
    if rank == 2 or getattr(chosen, "planes", "each") != "each" or chosen.degrees >= 90:
        return chosen.degrees
    # Three turns by one angle about axes at right angles: the farthest that the product of their quaternions gets.
    half = math.radians(chosen.degrees) / 2
    return 2 * math.degrees(math.acos(math.cos(half) ** 3 - math.sin(half) ** 3))


def turns(settings: Settings, image_shape: tuple[int, ...]) -> np.ndarray:
    """int32 [classes, rank, rank]: turned[o] = image[M o], both counted from the centre. Raises ValueError."""
    spatial = tuple(image_shape[:-1])
    if len(spatial) not in (2, 3):
        raise ValueError(f"rotation takes images of rank 2 or 3, not of shape {tuple(image_shape)}")
    every = rotation_matrices(len(spatial), settings.rotations)
    keeps = [matrix for matrix in every if tuple(np.abs(matrix) @ spatial) == spatial]
    if len(set(spatial)) == 1 or settings.not_cubic == "crop":
        return every
    if settings.not_cubic == "error":
        raise ValueError(
            f"images of shape {tuple(image_shape)} have unequal edges and only {len(keeps)} of the {len(every)} turns "
            "keep that shape. Set not_cubic to keep_shape (these only) or crop (to the centre), or crop_or_pad the "
            "images to equal edges in the dataset's steps"
        )
    return np.stack(keeps)


@functools.cache
def rotation_matrices(rank: int, rotations: str) -> np.ndarray:
    """int32 [classes, rank, rank] signed permutations with determinant 1, in the order the module's text gives."""
    identity = np.eye(rank, dtype=np.int32)
    found = [identity]
    for a, b in itertools.combinations(range(rank), 2):
        quarter = identity.copy()
        quarter[[a, b]] = 0
        quarter[a, b], quarter[b, a] = 1, -1
        found += [quarter, quarter @ quarter, quarter @ quarter @ quarter]
    if rotations == "group":
        known = {matrix.tobytes() for matrix in found}
        for order in itertools.permutations(range(rank)):
            for signs in itertools.product((1, -1), repeat=rank):
                matrix = identity[list(order)] * np.array(signs, np.int32)[:, None]
                if round(np.linalg.det(matrix)) == 1 and matrix.tobytes() not in known:
                    found.append(matrix)
    return np.stack(found)


def _turned_spatial(settings: Settings, image_shape: tuple[int, ...]) -> tuple[int, ...]:
    spatial = tuple(image_shape[:-1])
    return (min(spatial),) * len(spatial) if settings.not_cubic == "crop" else spatial


def as_steps(matrices: np.ndarray, size: tuple[int, ...], spatial: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Turns as what `boxes` takes: start int32 [classes], step int32 [classes, rank] in the flattened image.

    A signed permutation is linear in the index, so a whole turned image is one start and one step per axis.
    """
    strides = np.cumprod([1, *spatial[:0:-1]])[::-1].astype(np.int32)
    margin = (np.array(spatial) - np.array(size)) // 2
    last = np.array(size) - 1
    corner = (last - matrices @ last) // 2 + margin
    return (corner @ strides).astype(np.int32), np.einsum("a,kab->kb", strides, matrices).astype(np.int32)
