"""What a method that makes images makes of them during its training, and how good that is at the end.

What there is to see comes from the method, see scanloom/pretraining/showing.py. The noise that images are made of is a
function of the seed and the image's number alone.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from scanloom.atomic_files import whole_file
from scanloom.files.png import png_of
from scanloom.images.intensity import to_unit
from scanloom.methods._latent import normals
from scanloom.pretraining.generative_metrics import NEIGHBOURS, fid, kid, memorised, precision_recall
from scanloom.pretraining.latent_space import TRAVERSAL, active_units, dearest, described, kl_per_dimension, traversal
from scanloom.pretraining.showing import Showing
from scanloom.stateless_random import uniform
from scanloom.training.board import add_image
from scanloom.training.model_files import save_model

SHOWN = 36
REPORTED, REPORTED_PX = 8, 128
"""Pictures of a kind, and traversed latent numbers, that the report shows; their longest side."""
TRAVERSED_PX = 256
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

    real: stored integers [n, *spatial, channels], one batch; some are shown beside as many that are generated.
    """

    def __init__(self, showing: Showing, real: np.ndarray, seed: int, folder: Path):
        self._showing, self._real, self._seed = showing, to_unit(real), seed
        self._folder = Path(folder) / "samples"

    def __call__(self, board, step: int) -> dict[str, float]:
        """Write everything for the state after `step` updates; columns for the history.

        board: a tensorboardX SummaryWriter. active_units: latent numbers that depend on the image, in this batch.
        """
        shown, codes = self.pictures()
        if not all(np.isfinite(images).all() for images in shown.values()):
            # The training finds out next, and goes back to where the weights were finite.
            return {"active_units": np.nan} if codes else {}
        grids = {name: grid(images) for name, images in shown.items()}
        sheet = side_by_side(list(grids.values()))
        with whole_file(self._folder / f"{step:08d}.png") as file:
            file.write(png_of(sheet))
        arrays = {name: _bytes(images) for name, images in shown.items()}
        arrays |= {f"{name}_histogram": grey_histogram(images) for name, images in shown.items()}
        columns = {}
        if codes:
            columns["active_units"] = float(active_units(codes[0]))
            arrays["kl"] = kl_per_dimension(*codes)
            board.add_histogram("latent/kl", arrays["kl"], step)
        with whole_file(self._folder / "latest.npz") as file:
            np.savez_compressed(file, step=np.int64(step), **arrays)
        for name, images in shown.items():
            add_image(board, f"samples/{name}", grids[name], step)
            board.add_histogram(f"grey/{name}", images.ravel(), step)
        return columns

    @property
    def columns(self) -> list[str]:
        """Names of the columns for the history."""
        return ["active_units"] if self._showing.codes else []

    def pictures(self) -> tuple[dict[str, np.ndarray], tuple | None]:
        """({name: images}, mean and log variance of the whole batch where images have codes)."""
        real, showing = self._real[:SHOWN], self._showing
        codes = showing.codes(self._real) if showing.codes else None
        shown = {"real": real}
        if codes:
            shown["reconstructed"] = np.asarray(showing.generator.predict_on_batch(codes[0][:SHOWN]))
        shown["generated"] = made = generated(showing.generator, len(real), self._seed)
        return shown | showing.pictures(real, made), codes

    def explored(self, images: list[np.ndarray], board, step: int) -> tuple[dict, dict]:
        """(what run.json has to say of the images' codes, see `latent_space.described`; the traversal's arrays).

        images: stored integers, batches of one size; the code of the first image is traversed. Written:
        samples/traversal.png and .npz, TensorBoard's samples/traversal. Arrays: "images" [rows, steps, height, width,
        1 or 3], see `flat`, "values" [steps], "numbers" and "kl" [rows], of the latent numbers that cost most first.
        """
        pairs = [self._showing.codes(to_unit(part)) for part in images]
        mean, log_variance = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
        kl = kl_per_dimension(mean, log_variance)
        numbers = dearest(kl)
        # Flat at once: volumes of all rows would be gigabytes.
        rows = [flat(row, TRAVERSED_PX) for row in traversal(self._showing.generator, mean[0], numbers)]
        arrays = {"images": np.stack(rows), "values": TRAVERSAL, "numbers": numbers, "kl": kl[numbers]}
        sheet = grid(np.concatenate(rows), columns=len(TRAVERSAL))
        with whole_file(self._folder / "traversal.png") as file:
            file.write(png_of(sheet))
        with whole_file(self._folder / "traversal.npz") as file:
            np.savez_compressed(file, **arrays)
        add_image(board, "samples/traversal", sheet, step)
        return described(mean, log_variance), arrays


def write_for_report(path: Path, step: int, shown: dict[str, np.ndarray], traversed: dict[str, np.ndarray]) -> None:
    """The first few pictures of each name, small, and of the traversal the first rows; `step` alone where none is made.

    uint8 [n, height, width, 1 or 3] under their names, see `flat`; traversal [n, steps, height, width, 1 or 3],
    traversal_values [steps], traversal_numbers and traversal_kl [n].
    """
    arrays = {name: flat(images[:REPORTED], REPORTED_PX) for name, images in shown.items()}
    if traversed:
        images = traversed["images"][:REPORTED]
        tiles = flat(images.reshape(-1, *images.shape[2:]), REPORTED_PX)
        arrays["traversal"] = tiles.reshape(*images.shape[:2], *tiles.shape[1:])
        arrays["traversal_values"] = traversed["values"]
        arrays |= {f"traversal_{name}": traversed[name][:REPORTED] for name in ("numbers", "kl")}
    with whole_file(Path(path)) as file:
        np.savez_compressed(file, step=np.int64(step), **arrays)


def scored(
    showing: Showing,
    encoder,
    images_at: Callable[[np.ndarray], np.ndarray],
    origins: pd.DataFrame,
    compared: np.ndarray,
    batch: int,
    seed: int,
    folder: Path,
) -> dict:
    """Scores of the trained generator in the encoder's features; writes what is kept, and samples/nearest.png.

    images_at(places): stored integers of training images, `batch` at most are asked for; origins: patient_id and
    item_id of each; compared: places of a sample in random order. Half as many images are generated and compared with
    its first half: {"images": of each kind compared, "fid", "kid", "precision", "recall", "fid_of_real", "kid_of_real":
    of its second half instead, what a perfect generator would have; "copies_share", "copies_threshold": see
    generative_metrics.memorised, over all training images; "memorised_against": their number; "nearest": [number of the
    generated image, item_id, distance] of the nearest few}. The picture has these, generated ones on top. Of too small
    a sample, or of one patient, nothing but its size is told.
    """
    generator, half = showing.generator, len(compared) // 2
    for stem, network in showing.networks.items():
        save_model(network, Path(folder) / f"{stem}.keras")
    if half <= NEIGHBOURS or origins["patient_id"].nunique() < 2:
        return {"images": half}
    features = _features(encoder, images_at, len(origins), batch)
    made = []
    for first in range(0, half, batch):
        part = generated(generator, batch, seed, first)
        made.append(np.asarray(encoder.predict_on_batch(part)))
    made = np.concatenate(made)[:half]
    real, others = features[compared[:half]], features[compared[half : 2 * half]]
    precision, recall = precision_recall(real, made)
    copies = memorised(features, made, origins["patient_id"])
    few = [(int(row), int(copies["nearest"][row])) for row in np.argsort(copies["distances"])[:NEAREST_SHOWN]]
    _show_nearest(generator, images_at, few, batch, seed, folder)
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
        "memorised_against": len(features),
        "nearest": [[row, origins["item_id"].iloc[item], float(copies["distances"][row])] for row, item in few],
    }


def grid(images: np.ndarray, columns: int | None = None) -> np.ndarray:
    """uint8 pixels of images [n, *spatial, channels], see `flat`, as tiles, of a square unless columns are given."""
    columns = columns or int(np.ceil(np.sqrt(len(images))))
    pixels = flat(images, LARGEST_GRID_PX // columns)
    rows = -(-len(pixels) // columns)
    pixels = np.pad(pixels, ((0, rows * columns - len(pixels)), (0, GAP_PX), (0, GAP_PX), (0, 0)), constant_values=255)
    height, width, channels = pixels.shape[1:]
    tiles = pixels.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    sheet = tiles.reshape(rows * height, columns * width, channels)[:-GAP_PX, :-GAP_PX]
    return sheet if channels == 3 else sheet[..., 0]


def flat(images: np.ndarray, largest_px: int) -> np.ndarray:
    """uint8 [n, height, width, 1 or 3] of images [n, *spatial, channels], float in [0, 1] or uint8.

    Of volumes the middle slice; three channels are colours, of another number the first. Every so many pixels are
    taken, so that the longest side is `largest_px` at most.
    """
    pixels = images if images.dtype == np.uint8 else _bytes(images)
    if pixels.ndim == 5:
        pixels = pixels[:, pixels.shape[1] // 2]
    pixels = pixels if pixels.shape[-1] == 3 else pixels[..., :1]
    every = max(1, -(-max(pixels.shape[1:3]) // largest_px))
    return pixels[:, ::every, ::every]


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


def _features(encoder, images_at: Callable, count: int, batch: int) -> np.ndarray:
    """float32 [count, D] of all training images; of the images themselves one batch is in memory."""
    features = []
    for first in range(0, count, batch):
        # The last batch is filled up: the encoder is compiled for one size.
        places = np.arange(first, first + batch) % count
        features.append(np.asarray(encoder.predict_on_batch(to_unit(images_at(places))), np.float32))
    return np.concatenate(features)[:count]


def _show_nearest(generator, images_at: Callable, pairs: list, batch: int, seed: int, folder: Path) -> None:
    """Generated images above the real ones nearest to them."""
    above = np.concatenate([generated(generator, batch, seed, row // batch * batch)[[row % batch]] for row, _ in pairs])
    below = np.concatenate([to_unit(images_at(np.array([row]))) for _, row in pairs])
    sheets = [grid(np.stack(pair), columns=1) for pair in zip(above, below, strict=True)]
    with whole_file(Path(folder) / "samples" / "nearest.png") as file:
        file.write(png_of(side_by_side(sheets)))
