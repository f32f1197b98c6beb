"""What a generator makes during its training, and how good it is at the end.

A method whose model generates images has `generator_of(model)`, a Keras model from standard normal noise
[batch, latent] to images [batch, *spatial, channels] in [0, 1], and may have `pictures(settings, model, real, made) ->
{name: images}` for what else is worth a look. The noise is a function of the seed and the image's number alone.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from scanloom.atomic_files import whole_file
from scanloom.board import add_image
from scanloom.generative_metrics import NEIGHBOURS, fid, kid, memorised, precision_recall
from scanloom.intensity import to_unit
from scanloom.methods._latent import normals
from scanloom.model_files import save_model
from scanloom.png import png_of
from scanloom.stateless_random import uniform

SHOWN = 36
NEAREST_SHOWN = 8
LARGEST_GRID_PX = 768
BINS = 64
GAP_PX = 2


def generated(generator, count: int, seed: int, first: int = 0) -> np.ndarray:
    """float32 images number first, ..., first + count - 1 of this seed."""
    latent = generator.input.shape[-1]
    noise = normals(uniform(seed, "samples", np.arange(first, first + count), size=(latent,)))
    return np.asarray(generator.predict_on_batch(noise), np.float32)


class SampleSheets:
    """Called at each interval: samples/<step>.png, samples/latest.npz, images and histograms in TensorBoard.

    real: stored integers [n, *spatial, channels], one batch, shown beside as many that are generated.
    """

    def __init__(self, method, settings, model, real: np.ndarray, seed: int, folder: Path):
        self._method, self._settings, self._model = method, settings, model
        self._real, self._seed, self._folder = to_unit(real[:SHOWN]), seed, Path(folder) / "samples"

    def __call__(self, board, step: int) -> None:
        """Write everything for the state after `step` updates. board: a tensorboardX SummaryWriter."""
        made = generated(self._method.generator_of(self._model), len(self._real), self._seed)
        shown = {"real": self._real, "generated": made}
        if hasattr(self._method, "pictures"):
            shown |= self._method.pictures(self._settings, self._model, self._real, made)
        grids = {name: grid(images) for name, images in shown.items()}
        sheet = side_by_side(list(grids.values()))
        with whole_file(self._folder / f"{step:08d}.png") as file:
            file.write(png_of(sheet))
        arrays = {name: _bytes(images) for name, images in shown.items()}
        arrays |= {f"{name}_histogram": grey_histogram(images) for name, images in shown.items()}
        with whole_file(self._folder / "latest.npz") as file:
            np.savez_compressed(file, step=np.int64(step), **arrays)
        for name, images in shown.items():
            add_image(board, f"samples/{name}", grids[name], step)
            board.add_histogram(f"grey/{name}", images.ravel(), step)


def scored(
    method,
    model,
    encoder,
    images: list[np.ndarray],
    origins: pd.DataFrame,
    seed: int,
    folder: Path,
) -> dict:
    """Scores of the trained generator in the encoder's features; writes generator.keras and samples/nearest.png.

    images: stored integers, batches of one size, in random order; origins: patient_id and item_id of each. Half as many
    images are generated and compared with the first half of the real ones: {"images": of each kind compared, "fid",
    "kid", "precision", "recall", "fid_of_real", "kid_of_real": of the second half of the real images instead, what a
    perfect generator would have; "copies_share", "copies_threshold": see generative_metrics.memorised, over all real
    images; "nearest": [number of the generated image, item_id, distance] of the nearest few}. The picture has these,
    generated ones on top. Of too few images, or of one patient, nothing but their number is told.
    """
    generator = method.generator_of(model)
    save_model(generator, Path(folder) / "generator.keras")
    size = len(images[0])
    if size * len(images) // 2 <= NEIGHBOURS or origins["patient_id"].nunique() < 2:
        return {"images": size * len(images) // 2}
    features = np.concatenate([np.asarray(encoder.predict_on_batch(to_unit(part))) for part in images])
    half = len(features) // 2
    made = []
    for first in range(0, half, size):
        part = generated(generator, size, seed, first)
        made.append(np.asarray(encoder.predict_on_batch(part)))
    made = np.concatenate(made)[:half]
    real, others = features[:half], features[half : 2 * half]
    precision, recall = precision_recall(real, made)
    copies = memorised(features, made, origins["patient_id"])
    few = [(int(row), int(copies["nearest"][row])) for row in np.argsort(copies["distances"])[:NEAREST_SHOWN]]
    _show_nearest(generator, images, few, seed, folder)
    return {
        "images": half,
        "fid": fid(real, made),
        "fid_of_real": fid(real, others),
        "kid": kid(real, made),
        "kid_of_real": kid(real, others),
        "precision": precision,
        "recall": recall,
        "copies_share": copies["share"],
        "copies_threshold": copies["threshold"],
        "nearest": [[row, origins["item_id"].iloc[item], float(copies["distances"][row])] for row, item in few],
    }


def grid(images: np.ndarray, columns: int | None = None) -> np.ndarray:
    """uint8 pixels of images float [n, *spatial, channels] in [0, 1] as tiles, of a square unless columns are given.

    Of volumes the middle slice is shown; three channels are colours, of another number the first is shown. Images too
    large for the sheet are thinned out.
    """
    pixels = _bytes(images)
    if pixels.ndim == 5:
        pixels = pixels[:, pixels.shape[1] // 2]
    pixels = pixels if pixels.shape[-1] == 3 else pixels[..., :1]
    columns = columns or int(np.ceil(np.sqrt(len(pixels))))
    every = max(1, -(-columns * max(pixels.shape[1:3]) // LARGEST_GRID_PX))
    pixels = pixels[:, ::every, ::every]
    rows = -(-len(pixels) // columns)
    pixels = np.pad(pixels, ((0, rows * columns - len(pixels)), (0, GAP_PX), (0, GAP_PX), (0, 0)), constant_values=255)
    height, width, channels = pixels.shape[1:]
    tiles = pixels.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    sheet = tiles.reshape(rows * height, columns * width, channels)[:-GAP_PX, :-GAP_PX]
    return sheet if channels == 3 else sheet[..., 0]


def side_by_side(grids: list[np.ndarray]) -> np.ndarray:
    """Sheets of one height in a row, a gap between them."""
    gap = ((0, 0), (0, 4 * GAP_PX))
    padded = [np.pad(sheet, (*gap, (0, 0))[: sheet.ndim], constant_values=255) for sheet in grids]
    return np.concatenate(padded, axis=1)[:, : -4 * GAP_PX]


def grey_histogram(images: np.ndarray) -> np.ndarray:
    """float32 [channels, BINS]: shares of the pixels from grey 0 to 1."""
    channels = np.moveaxis(np.asarray(images), -1, 0).reshape(images.shape[-1], -1)
    counts = [np.histogram(values, BINS, (0.0, 1.0))[0] for values in channels]
    return (np.array(counts) / channels.shape[1]).astype(np.float32)


def _bytes(images: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(np.asarray(images, np.float32), 0.0, 1.0) * 255).astype(np.uint8)


def _show_nearest(generator, images: list[np.ndarray], pairs: list, seed: int, folder: Path) -> None:
    """Generated images above the real ones nearest to them."""
    size = len(images[0])
    above = np.concatenate([generated(generator, size, seed, row // size * size)[[row % size]] for row, _ in pairs])
    below = np.concatenate([to_unit(images[row // size][[row % size]]) for _, row in pairs])
    sheets = [grid(np.stack(pair), columns=1) for pair in zip(above, below, strict=True)]
    with whole_file(Path(folder) / "samples" / "nearest.png") as file:
        file.write(png_of(side_by_side(sheets)))
