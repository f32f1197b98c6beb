"""What the monitors look at while an encoder trains: the same images, views and labels at every interval.

Labels, where there are any, are those of the images that are trained on; validation and test are never among them.
"""

import logging
import math

import numpy as np
import pandas as pd

from scanloom import plugins
from scanloom.images.intensity import to_unit
from scanloom.lazy import keras
from scanloom.pretraining import monitors
from scanloom.pretraining.view_pipeline import Pipeline
from scanloom.stateless_random import keys_of, permutation, uniform
from scanloom.training.budget import MOST_IMAGES, Budget
from scanloom.training.initial_weights import kernels

FEWEST = 4
"""Images of a class on either side below which a label is not looked at by itself."""
LABELS_BY_THEMSELVES = 3

log = logging.getLogger(__name__)


class Watch:
    """Fixed whole batches of training images, views of some of them, and the labels they have.

    looked_at: images, and images whose views are compared, of a row, see `Budget.looked_at`. once: `images` holds as
    many as an unhurried look takes, for methods that look at images once besides.
    """

    def __init__(
        self,
        shards,
        rows,
        keys,
        pipeline: Pipeline,
        budget: Budget,
        seed: int,
        looked_at: tuple[int, int],
        once: bool = False,
    ):
        settings, batch, chosen = budget.monitors, budget.batch, permutation(seed, -1, keys)
        most = settings.images or MOST_IMAGES if once else looked_at[0]
        count = max(1, min(most, len(chosen)) // batch)
        self.chosen = chosen = chosen[: count * batch]
        """Places in `rows` of the images."""
        self.images = [shards.images(rows[chosen[i * batch : (i + 1) * batch]]) for i in range(count)]
        self._looked = max(1, min(looked_at[0] // batch, count))
        self.monitored = self._looked * batch
        """Images of a row."""
        self._neighbours, self._batch, self._views = settings.neighbours, batch, settings.views
        self._viewed = self._views_of(self.images[: self._looked], pipeline, keys[chosen], looked_at[1], seed)
        self.features = None
        """float32 [n, D] of the monitored images, when a row was made last."""
        self._labels = _labels(shards.table.iloc[rows[chosen[: self.monitored]]], settings.labels, seed)

    def row(self, encoder, head=None) -> dict:
        """The monitors' numbers for `encoder` in inference mode; of `head`'s outputs too where there is one.

        embedding_std, embedding_spread (the same times sqrt(D): 1 is even), rankme, dead_units, uniformity of the
        images' features; alignment, lidar of the views'; projection_spread, projection_rankme, projection_redundancy,
        projection_scale (standard deviation as it is, not of unit vectors) and projection_kept (effective dimensions,
        of those of the features) of the head's outputs; knn_<label> and probe_<label>; weight_gain of the encoder. All
        but the last are NaN where a feature is not finite.
        """
        features = np.concatenate([_predicted(encoder, to_unit(part)) for part in self.images[: self._looked]])
        self.features = features
        images = len(self._viewed) // self._views
        viewed = _in_batches(encoder, self._viewed, self._batch).reshape(images, self._views, -1)
        projected = features[:0] if head is None else _in_batches(head, features, self._batch)
        finite = all(np.isfinite(values).all() for values in (features, viewed, projected))
        # Numbers of zeros have the right names at least.
        used = (features, viewed, projected) if finite else map(np.zeros_like, (features, viewed, projected))
        row = self._numbers(*used)
        return (row if finite else dict.fromkeys(row, math.nan)) | {"weight_gain": weight_gain(encoder)}

    def columns(self, projects: bool) -> list[str]:
        """Names of the numbers of a row; projects: whether there is a head."""
        features = np.zeros((self.monitored, 2))
        viewed = np.zeros((len(self._viewed) // self._views, self._views, 2))
        return [*self._numbers(features, viewed, features if projects else features[:0]), "weight_gain"]

    def _numbers(self, features, viewed, projected) -> dict:
        std = monitors.embedding_std(features)
        row = {
            "embedding_std": std,
            "embedding_spread": std * math.sqrt(features.shape[1]),
            "rankme": monitors.rankme(features),
            "dead_units": monitors.dead_units(features),
            "uniformity": monitors.uniformity(features),
            "alignment": monitors.alignment(viewed),
            "lidar": monitors.lidar(viewed),
        }
        if len(projected):
            row["projection_spread"] = monitors.embedding_std(projected) * math.sqrt(projected.shape[1])
            row["projection_rankme"] = monitors.rankme(projected)
            row["projection_scale"] = float(projected.std(axis=0, dtype=np.float64).mean())
            row["projection_redundancy"] = monitors.redundancy(projected)
            there = monitors.effective_dimensions(features)
            row["projection_kept"] = monitors.effective_dimensions(projected) / there if there else math.nan
        for name, (values, bank, queries) in self._labels.items():
            given = features[bank], values[bank], features[queries], values[queries]
            row[f"knn_{name}"] = monitors.knn_accuracy(*given, self._neighbours)
            row[f"probe_{name}"] = monitors.probe_accuracy(*given)
        return row

    def _views_of(self, images, pipeline: Pipeline, keys, count: int, seed: int) -> np.ndarray:
        """float32 [images * views, *shape]: views of the first images, an image's side by side."""
        images = to_unit(np.concatenate(images)[:count])
        views = []
        for view in range(self._views):
            draws = pipeline.draw(seed, view, -1, keys[: len(images)])
            views.append(keras.ops.convert_to_numpy(pipeline.apply(keras.ops.convert_to_tensor(images), draws)))
        return np.stack(views, axis=1).reshape(-1, *images.shape[1:])

    def pictures(self, images: int) -> tuple[np.ndarray, int]:
        """(float32 views of the first images [images * views, *shape], views of each)."""
        return self._viewed[: images * self._views], self._views


def projection_of(model, method):
    """The part of the model that maps features to what a joint-embedding loss compares; None where there is none."""
    head = getattr(model, "head", None)
    fits = not method.USES_LABELS and getattr(head, "input_shape", None) == model.encoder.output_shape
    return head if fits else None


def weight_gain(encoder) -> float:
    """Median over kernels of root-mean-square weight times sqrt(fan-in): near 1 at the start, whatever the width."""
    gains = []
    for kernel, fan_in in kernels(encoder):
        values = keras.ops.convert_to_numpy(kernel).astype(np.float64)
        gains.append(math.sqrt(np.square(values).mean() * fan_in))
    return float(np.median(gains)) if gains else math.nan


def _in_batches(network, values: np.ndarray, batch: int) -> np.ndarray:
    """Outputs for all values; the last batch is filled up, so that the network is compiled for one size only."""
    filled = np.resize(values, (-(-len(values) // batch) * batch, *values.shape[1:]))
    parts = [_predicted(network, filled[i : i + batch]) for i in range(0, len(filled), batch)]
    return np.concatenate(parts)[: len(values)]


def _predicted(network, values: np.ndarray) -> np.ndarray:
    outputs = network.predict_on_batch(values)
    # SimSiam's head gives the embedding and its prediction.
    return np.asarray(outputs[0] if isinstance(outputs, list | tuple) else outputs).astype(np.float32)


def _labels(table: pd.DataFrame, wished: list[str] | None, seed: int) -> dict[str, tuple]:
    """label -> (class of each image int, positions of the bank, positions of the queries); no patient is in both."""
    known = [column for column in table.columns if pd.api.types.is_float_dtype(table[column])]
    for name in wished or []:
        if name not in known:
            raise ValueError(
                f"monitors: the corpus has no label '{name}'. Known: {', '.join(known)}."
                f"{plugins.suggestion(name, known)}"
            )
    in_bank = uniform(seed, "monitors", keys_of(table["patient_id"])) < 0.5
    found = {}
    for name in known if wished is None else wished:
        values = table[name].to_numpy()
        whole = np.isfinite(values) & (values == np.round(np.nan_to_num(values)))
        sides = [np.flatnonzero(whole & side) for side in (in_bank, ~in_bank)]
        common = set(_frequent(values[sides[0]])) & set(_frequent(values[sides[1]]))
        if len(common) < 2:
            if wished is not None:
                log.warning("monitors: too few images of label '%s' for kNN and linear probe", name)
            continue
        kept = [side[np.isin(values[side], sorted(common))] for side in sides]
        found[name] = (np.nan_to_num(values).astype(np.int64), *kept)
    return found if wished is not None else dict(list(found.items())[:LABELS_BY_THEMSELVES])


def _frequent(values: np.ndarray) -> np.ndarray:
    classes, members = np.unique(values, return_counts=True)
    return classes[members >= FEWEST]
