"""Images for the page: small, as WebP data URIs; and whole sheets of cases as one PNG."""

import base64
import io

import cv2
import matplotlib
import numpy as np
from matplotlib.figure import Figure as Canvas
from PIL import Image

from scanloom.report.figure_style import INK, MUTED, STYLE
from scanloom.report.section import Card

THUMBNAIL_PX = 160
SHEET_CARDS = 24  # more would make the PNG for Snakemake's report unreadable; the page shows all


def to_uint8(image: np.ndarray) -> np.ndarray:
    """uint8 [h, w] or [h, w, 3] of any integer or [0, 1] float image; one channel drops its axis."""
    image = np.asarray(image)
    if image.ndim == 3 and image.shape[-1] == 1:
        image = image[..., 0]
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[-1] != 3):
        raise ValueError(f"an image to show is [h, w] or [h, w, 3], not {image.shape}")
    if image.dtype == np.uint8:
        return image
    if image.dtype == np.uint16:
        return (image >> 8).astype(np.uint8)
    return np.round(255 * np.clip(np.nan_to_num(image), 0, 1)).astype(np.uint8)


def thumbnail(image: np.ndarray, longest_px: int = THUMBNAIL_PX) -> np.ndarray:
    """The image with its longer side at most `longest_px`; smaller ones are enlarged without inventing detail."""
    image = to_uint8(image)
    scale = longest_px / max(image.shape[:2])
    if scale >= 1:
        factor = int(scale)
        return image.repeat(factor, axis=0).repeat(factor, axis=1) if factor > 1 else image
    width, height = (max(1, round(side * scale)) for side in (image.shape[1], image.shape[0]))
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def overlay(image: np.ndarray, heat: np.ndarray, strength: float = 0.6) -> np.ndarray:
    """uint8 [h, w, 3]: the image in grey under the heat map.

    heat: float [h, w] >= 0, scaled by its own maximum; where it is zero the image stays as it is.
    """
    grey = to_uint8(image)
    grey = grey.mean(axis=-1) if grey.ndim == 3 else grey.astype(float)
    heat = np.nan_to_num(np.asarray(heat, float))
    if heat.shape != grey.shape:
        raise ValueError(f"heat map {heat.shape} and image {grey.shape} differ in shape")
    share = heat / heat.max() if heat.max() > 0 else np.zeros_like(heat)
    colour = matplotlib.colormaps["inferno"](0.25 + 0.75 * share)[..., :3] * 255
    alpha = (strength * np.sqrt(share))[..., None]
    return np.round((1 - alpha) * grey[..., None] + alpha * colour).astype(np.uint8)


def data_uri(image: np.ndarray) -> str:
    """The image as a WebP data URI."""
    buffer = io.BytesIO()
    Image.fromarray(to_uint8(image)).save(buffer, format="WEBP", quality=82, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def sheet_png(cards: tuple[Card, ...]) -> bytes:
    """PNG of the first cards, one below the other in two columns, for Snakemake's own report."""
    cards = cards[:SHEET_CARDS]
    most = max(len(card.images) for card in cards)
    rows = -(-len(cards) // 2)
    with matplotlib.rc_context(STYLE):
        canvas = Canvas(figsize=(2 * most * 1.25 + 0.4, rows * 1.65))
        grid = canvas.subplots(rows, 2 * most, squeeze=False)
        for axes in grid.flat:
            axes.axis("off")
        for place, card in enumerate(cards):
            for column, (label, image) in enumerate(card.images):
                axes = grid[place // 2, place % 2 * most + column]
                axes.imshow(thumbnail(image), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
                axes.set_title(card.title if column == 0 else "", fontsize=6, color=INK, fontweight="normal", pad=3)
                axes.text(0.5, -0.04, label, fontsize=6, color=MUTED, ha="center", va="top", transform=axes.transAxes)
        canvas.subplots_adjust(0.01, 0.03, 0.99, 0.95, wspace=0.05, hspace=0.3)
        buffer = io.BytesIO()
        canvas.savefig(buffer, format="png", dpi=110, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def side_by_side(pngs: list[bytes], columns: int = 2) -> bytes:
    """PNG of several PNGs in a grid, on white."""
    images = [Image.open(io.BytesIO(png)).convert("RGB") for png in pngs]
    rows = [images[start : start + columns] for start in range(0, len(images), columns)]
    heights = [max(image.height for image in row) for row in rows]
    sheet = Image.new("RGB", (max(sum(image.width for image in row) for row in rows), sum(heights)), "white")
    for row, top in zip(rows, np.cumsum([0, *heights[:-1]]), strict=True):
        left = 0
        for image in row:
            sheet.paste(image, (left, int(top)))
            left += image.width
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
