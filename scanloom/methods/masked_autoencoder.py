"""Masked autoencoder: most blocks of an image are hidden, and the network has to paint them from the rest.

Hidden blocks are replaced by one learnt block; the encoder's last feature map goes through a light decoder, and only
the hidden blocks are compared with the image, so copying what is seen earns nothing.

    L = sum over hidden pixels of (decoded - image)^2 / number of hidden pixels

He et al., CVPR 2022, arXiv 2111.06377; hidden blocks replaced by a token instead of left out: Xie et al. (SimMIM), CVPR
2022, arXiv 2111.09886, which suits any encoder. For a ViT whose patches divide the block it is SimMIM exactly (a linear
patch embedding makes one token of the learnt block); for convolutional encoders see Tian et al. (SparK), ICLR 2023,
arXiv 2301.03580, which hides 60 % in blocks of 1/7 of the image, the defaults here; its sparse convolutions are not
needed for the hidden content to be unseen, only for the masks' edges to be.
"""

import math

import numpy as np
from pydantic import Field

from scanloom.lazy import keras
from scanloom.strict_models import Strict

TRAINS = True
USES_LABELS = False
FRESH_PER_SEED = False
BRANCHES = 1
BLOCKS_PER_AXIS = 7
SMALLEST_BLOCK = 2
EPSILON = 1e-4
"""Added to a block's variance: one grey level of 8 bits, squared, is 1.5e-5, and noise of that size is not content."""


class Settings(Strict):
    """What is hidden, and the decoder."""

    hidden_share: float = Field(0.6, gt=0, lt=1, description="share of the blocks that is hidden")
    block: int | None = Field(
        None, ge=1, description="block size in pixels; null: per axis the largest power of two up to 1/7 of the image"
    )
    normalise: bool = Field(
        False,
        description="compare blocks whose channels have mean 0 and variance 1 each (norm_pix_loss; the paper takes "
        "all channels together)",
    )
    decoder_width: int = Field(32, ge=1, description="channels of the decoder at full size, doubled per level below")
    use_views: bool = Field(True, description="hide blocks of the study's views; false: of the images as they are")


def draw(uniform, settings: Settings, image_shape: tuple[int, ...]) -> dict:
    """hidden bool [batch, *blocks]: the same number of blocks in every image."""
    _, counts = blocks(settings, image_shape)
    total = math.prod(counts)
    order = np.argsort(uniform(total), axis=1, kind="stable")
    hidden = np.zeros(order.shape, bool)
    np.put_along_axis(hidden, order[:, : _hidden_count(settings, total)], True, axis=1)
    return {"hidden": hidden.reshape(-1, *counts)}


def build(encoder, settings: Settings, views, seed: int, classes: int | None = None):
    """The model to train; its inputs are described in scanloom/methods/_reconstruction.py."""
    from scanloom.methods._reconstruction import MaskToken, ReconstructionModel, hidden_pixels

    image_shape = views.image_shape
    block, _ = blocks(settings, image_shape)
    _assert_whole_tokens(encoder, block)

    def loss(wanted, decoded, draws):
        if settings.normalise:
            wanted = normalised_blocks(wanted, block)
        return hidden_error(wanted, decoded, hidden_pixels(draws["hidden"], block, image_shape[:-1]))

    return ReconstructionModel(
        encoder,
        settings.decoder_width,
        seed,
        views if settings.use_views else None,
        image_shape,
        MaskToken(block, image_shape[-1]),
        loss,
    )


def blocks(settings: Settings, image_shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Size in pixels and number of the blocks along each axis; the last one of an axis may be cut off by its end.

    Raises ValueError where there are too few blocks to hide some and show some.
    """
    spatial = image_shape[:-1]
    size = tuple(min(settings.block or _automatic(length), length) for length in spatial)
    counts = tuple(-(-length // block) for length, block in zip(spatial, size, strict=True))
    if math.prod(counts) < 2:
        raise ValueError(f"images of {spatial} have one block of {size}: nothing would be seen. Lower `block`.")
    return size, counts


def _assert_whole_tokens(encoder, block: tuple[int, ...]) -> None:
    """Raises ValueError where blocks are no multiples of a ViT's patches: tokens would show part of what is hidden."""
    patch = next((layer.kernel_size for layer in encoder.layers if layer.name == "patch_embedding"), None)
    if patch and any(size % edge for size, edge in zip(block, patch, strict=True)):
        raise ValueError(
            f"blocks of {block} pixels cut through the encoder's patches of {patch}, so that tokens would show part of "
            f"what is hidden; set masked_autoencoder's block to a multiple of the patch, or the encoder's patch to a "
            "divisor of the block"
        )


def _automatic(length: int) -> int:
    return max(SMALLEST_BLOCK, 2 ** int(math.log2(max(1.0, length / BLOCKS_PER_AXIS))))


def _hidden_count(settings: Settings, total: int) -> int:
    return min(total - 1, max(1, round(settings.hidden_share * total)))


def hidden_error(wanted, decoded, hidden):
    """Mean squared error of the hidden pixels; hidden float32 [batch, *spatial, 1], 1 where hidden."""
    ops = keras.ops
    error = ops.mean(ops.square(decoded - wanted), axis=-1, keepdims=True)
    return ops.sum(hidden * error) / ops.sum(hidden)


def normalised_blocks(images, block: tuple[int, ...]):
    """Images [batch, *spatial, channels] with mean 0 and variance 1 (about) in every block of every channel."""
    ops = keras.ops
    mean = _block_means(images, block)
    centred = images - mean
    return centred / ops.sqrt(_block_means(ops.square(centred), block) + EPSILON)


def _block_means(images, block: tuple[int, ...]):
    """Each pixel's block mean, by one averaging matrix per axis, which also fits blocks cut off by the end."""
    for axis, size in enumerate(block, start=1):
        index = np.arange(images.shape[axis]) // size
        same = (index[:, None] == index[None, :]).astype(np.float32)
        moved = keras.ops.moveaxis(images, axis, -1)
        images = keras.ops.moveaxis(keras.ops.matmul(moved, same / same.sum(axis=0)), -1, axis)
    return images
