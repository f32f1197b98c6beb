"""Pictures of what training sees: the views of a few images in its first epochs, and what each view does alone."""

import numpy as np

from scanloom.images.intensity import to_unit
from scanloom.lazy import keras
from scanloom.pretraining.view_choice import branches_of, pairs
from scanloom.pretraining.view_pipeline import Pipeline
from scanloom.splitting.splits import patient_rank
from scanloom.stateless_random import keys_of

VIEWS = 8
ALONE = 4


def view_sheet(shards, views: list | dict[str, list], cases: int, seed: int) -> dict[str, np.ndarray]:
    """Arrays of the sheet, of one training image each of up to `cases` patients, in an order from the seed.

    original uint8 [n, h, w, channels] (the middle slice at rank 3); views uint8 [n, VIEWS, h, w, channels], those that
    pretraining with this seed makes of the image in its first epochs, its two branches in turn; branch int [VIEWS],
    the pipeline behind each, from 1, or 0 where all branches have one; alone uint8 [k, ALONE, h, w, channels], the
    first image after each distinct view of the study by itself, with probability 1; alone_names [k]; item_id [n];
    channels.

    views: of a resolved configuration. Raises ValueError for views that these images cannot have.
    """
    shape = tuple(shards.image_spec["shape"])
    pipeline, own = Pipeline(pairs(views), shape), len(branches_of(views)) if isinstance(views, dict) else 0
    rows = _rows_of_patients(shards.table, cases, seed)
    keys = keys_of(shards.table["item_id"].iloc[rows])
    singles = _distinct(views)
    original, made, alone = [], [], []
    for row, key in zip(rows, keys, strict=True):
        image, item = to_unit(shards.images([row])), np.array([key])
        original.append(_picture(image))
        drawn = [pipeline.draw(seed, number % 2, number // 2, item) for number in range(VIEWS)]
        made.append([_picture(pipeline.apply(image, draws)) for draws in drawn])
        if not alone:
            for name, settings in singles:
                one = Pipeline([(name, settings | {"p": 1.0})], shape)
                drawn = [one.draw(seed, 0, epoch, item) for epoch in range(ALONE)]
                alone.append([_picture(one.apply(image, draws)) for draws in drawn])
    size = (*shape[-3:-1], shape[-1])
    return {
        "original": np.array(original, np.uint8).reshape(-1, *size),
        "views": np.array(made, np.uint8).reshape(-1, VIEWS, *size),
        "branch": np.array([number % 2 % own + 1 if own else 0 for number in range(VIEWS)]),
        "alone": np.array(alone, np.uint8).reshape(-1, ALONE, *size),
        "alone_names": np.array([name for name, _ in singles], dtype="U"),
        "item_id": shards.table["item_id"].iloc[rows].to_numpy("U"),
        "channels": np.array(shards.image_spec["channels"], dtype="U"),
    }


def _rows_of_patients(table, cases: int, seed: int) -> np.ndarray:
    """Positions of one image each of up to `cases` patients."""
    order = table.reset_index(drop=True).assign(_order=patient_rank(seed, "views", table["item_id"]))
    return order.sort_values("_order").drop_duplicates("patient_id").head(cases).index.to_numpy()


def _distinct(views: list | dict[str, list]) -> list[tuple[str, dict]]:
    """(name, settings) of each view once, whatever its probability."""
    found = []
    for branch in branches_of(views):
        for name, settings in pairs(branch):
            if (name, settings | {"p": 1.0}) not in found:
                found.append((name, settings | {"p": 1.0}))
    return found


def _picture(images) -> np.ndarray:
    """uint8 [h, w, channels] of float images [1, *spatial, channels], the middle slice at rank 3."""
    image = keras.ops.convert_to_numpy(images)[0]
    image = image[len(image) // 2] if image.ndim == 4 else image
    return np.round(255 * image).astype(np.uint8)
