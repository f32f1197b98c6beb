"""Pretraining: an encoder trained by one method on a corpus, watched for collapse, resumable to the same bits."""

import json
import logging
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from scanloom import plugins
from scanloom.generation import SampleSheets, scored
from scanloom.intensity import to_unit
from scanloom.lazy import keras
from scanloom.method_batches import batches
from scanloom.model_files import save_model
from scanloom.monitors import embedding_std, rankme
from scanloom.optimizers import adamw, players_of
from scanloom.schedules import cosine
from scanloom.stateless_random import keys_of, permutation
from scanloom.training import make_deterministic, remembered_jit, train_steps
from scanloom.view_pipeline import Pipeline

MONITOR_IMAGES = 512
COLLAPSED_STD = 0.05
"""A standard deviation below this share of 1 / sqrt(D), the value of embeddings spread evenly, counts as collapsing."""
COLLAPSED_RANKME = 2.0
COLLAPSED_INTERVALS = 3

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Budget:
    """The same for every method."""

    updates: int
    batch: int
    learning_rate: float
    warmup_updates: int = 0
    weight_decay: float = 0.0
    interval: int = 50


def pretrain(
    shards,
    allowed_patients: set[str],
    *,
    method: str,
    method_settings: dict,
    encoder: str,
    encoder_settings: dict,
    views: list[tuple[str, dict]] | dict[str, list[tuple[str, dict]]],
    budget: Budget,
    seed: int,
    folder: Path,
) -> dict:
    """What is to know about the run (also in run.json); the encoder is in `folder`/encoder.keras.

    shards: the corpus, see scanloom/records.py. Every image must be of an allowed patient: the assertion guards
    against pretraining on validation or test patients. Also written: history.parquet, one row per interval with
    embedding_std, rankme and collapsing beside the columns of `train_steps`; tensorboard/, the same as it grows;
    checkpoints/, from which a second call with the same arguments goes on. Raises ValueError.
    """
    _assert_allowed(shards.table, allowed_patients)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    plugin = plugins.load("methods", method)
    checked = plugins.settings("methods", method, method_settings)
    encoder_plugin = plugins.load("encoders", encoder)
    encoder_checked = plugins.settings("encoders", encoder, encoder_settings)
    image_shape = tuple(shards.image_spec["shape"])
    rows, labels = _usable_rows(shards.table, checked.label if plugin.USES_LABELS else None)
    keys = keys_of(shards.table["item_id"].iloc[rows])
    if getattr(checked, "dataset_size", 0) is None:
        checked = checked.model_copy(update={"dataset_size": len(rows)})
    if len(rows) < budget.batch:
        raise ValueError(f"a batch of {budget.batch} images is larger than the corpus ({len(rows)} usable images)")

    def make_encoder(shape: tuple[int, ...] = image_shape):
        if hasattr(plugin, "own_encoder"):
            return plugin.own_encoder(checked, shape, seed)
        return encoder_plugin.build(encoder_checked, shape, seed)

    monitored = _monitored_images(shards, rows, keys, seed, budget.batch)
    if hasattr(plugin, "settle"):
        checked = plugin.settle(checked, np.concatenate(monitored), shards.image_spec)
    choice, generation = {"jit_compile": None, "graph_s": None, "xla_s": None}, None
    if plugin.TRAINS:
        pipeline = Pipeline(views, image_shape)
        classes = None if labels is None else int(labels.max()) + 1
        amounts = {"batch": budget.batch, "updates": budget.updates, "seed": seed}
        batch_at = batches(shards, rows, keys, labels, plugin, checked, pipeline, **amounts)
        # Methods that look at parts of an image train the encoder at the parts' size.
        trained_shape = plugin.encoder_shape(checked, image_shape) if hasattr(plugin, "encoder_shape") else image_shape

        def make_model(jit_compile: bool):
            model = plugin.build(make_encoder(trained_shape), checked, pipeline, seed, classes)
            for player in players_of(model):
                player.compile(optimizer=adamw(player, budget.weight_decay), jit_compile=jit_compile)
            return model

        choice = remembered_jit(folder / "checkpoints", make_model, batch_at, budget.updates)
        if not choice["jit_compile"]:
            make_deterministic()
        model = make_model(choice["jit_compile"])
        trained = model.encoder if trained_shape == image_shape else make_encoder()
        label = f"{method} on {len(rows)} images"
        generates = hasattr(plugin, "generator_of")
        sheets = SampleSheets(plugin, checked, model, monitored[0], seed, folder) if generates else None
        history = _train(model, trained, batch_at, budget, monitored, folder, label, sheets)
        if generates:
            chosen = rows[permutation(seed, -1, keys)][: sum(map(len, monitored))]
            origins = shards.table[["patient_id", "item_id"]].iloc[chosen]
            generation = scored(plugin, model, trained, monitored, origins, seed, folder)
    else:
        trained = make_encoder()
        if hasattr(plugin, "prepare"):
            plugin.prepare(trained, checked)
        row = {"step": 0, "loss": math.nan, "learning_rate": 0.0, "images_per_s": math.nan, "wait_share": 0.0}
        history = pd.DataFrame([row | monitor(trained, monitored) | {"collapsing": False}])
    return _save(
        folder,
        trained,
        history,
        {
            "method": method,
            "uses_labels": plugin.USES_LABELS,
            "trains": plugin.TRAINS,
            "seed": seed,
            "budget": asdict(budget),
            "images": len(rows),
            "patients": int(shards.table["patient_id"].iloc[rows].nunique()),
            "epochs": budget.updates * budget.batch / len(rows) if plugin.TRAINS else 0.0,
            "parameters": int(sum(np.prod(v.shape) for v in trained.trainable_variables)),
            "jit": choice,
        }
        | ({"generation": generation} if generation else {}),
    )


def monitor(encoder, images: list[np.ndarray]) -> dict:
    """embedding_std, rankme and collapsing of the features of `images` (stored integers) in inference mode."""
    features = np.concatenate([np.asarray(encoder.predict_on_batch(to_unit(part))) for part in images])
    std, rank = embedding_std(features), rankme(features)
    collapsing = std < COLLAPSED_STD / math.sqrt(features.shape[1]) or rank < COLLAPSED_RANKME
    return {"embedding_std": std, "rankme": rank, "collapsing": bool(collapsing)}


def _train(model, trained, batch_at, budget: Budget, monitored, folder: Path, label: str, sheets=None) -> pd.DataFrame:
    """The history; scalars go to TensorBoard and a lasting collapse to the log while it runs.

    trained: the encoder at the images' size, which at every interval gets the weights of the model's where that has
    another size. sheets: what is called with the writer and the number of updates at every interval.
    """
    from tensorboardX import SummaryWriter

    in_a_row = 0
    with SummaryWriter(str(folder / "tensorboard")) as board:

        def on_interval(step: int, row: dict) -> dict:
            nonlocal in_a_row
            if trained is not model.encoder:
                trained.set_weights(model.encoder.get_weights())
            extra = monitor(trained, monitored)
            for name, value in (row | extra).items():
                if name not in ("step", "collapsing"):
                    board.add_scalar(name, value, step)
            if sheets:
                sheets(board, step)
            in_a_row = in_a_row + 1 if extra["collapsing"] else 0
            if in_a_row == COLLAPSED_INTERVALS:
                log.warning(
                    "the embedding has collapsed: standard deviation %.2g, effective rank %.2f at update %d; "
                    "try a lower learning rate or weaker views",
                    extra["embedding_std"],
                    extra["rankme"],
                    step,
                )
            return extra

        history = train_steps(
            model,
            batch_at,
            cosine(budget.learning_rate, budget.updates, budget.warmup_updates),
            budget.updates,
            checkpoint_folder=folder / "checkpoints",
            checkpoint_every=budget.interval,
            on_interval=on_interval,
            interval=budget.interval,
            label=label,
        )
    if trained is not model.encoder:
        trained.set_weights(model.encoder.get_weights())
    return history


def _assert_allowed(table: pd.DataFrame, allowed: set[str]) -> None:
    strangers = sorted(set(table["patient_id"]) - set(allowed))
    if strangers:
        raise ValueError(
            f"{len(strangers)} patients of the shards are not in the corpus' list of allowed patients "
            f"(first: {strangers[0]}): pretraining would see validation or test patients"
        )


def _usable_rows(table: pd.DataFrame, label: str | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Positions of the images a method can use, and their labels int32 (None where it uses none)."""
    if label is None:
        return np.arange(len(table)), None
    if label not in table:
        known = [c for c in table.columns if pd.api.types.is_float_dtype(table[c])]
        raise ValueError(
            f"the corpus has no label '{label}'. Known: {', '.join(known)}.{plugins.suggestion(label, known)}"
        )
    rows = np.flatnonzero(table[label].notna().to_numpy())
    if not len(rows):
        raise ValueError(f"no image of the corpus has a value of label '{label}'")
    return rows, table[label].to_numpy()[rows].astype(np.int32)


def _monitored_images(shards, rows, keys, seed: int, batch: int) -> list[np.ndarray]:
    """Fixed whole batches of training images, about MONITOR_IMAGES of them."""
    chosen = rows[permutation(seed, -1, keys)]
    count = max(1, min(MONITOR_IMAGES, len(chosen)) // batch)
    return [shards.images(chosen[i * batch : (i + 1) * batch]) for i in range(count)]


def _save(folder: Path, encoder, history: pd.DataFrame, about: dict) -> dict:
    """Write encoder.keras, history.parquet and, last, run.json; each is complete or absent."""
    last = history.tail(COLLAPSED_INTERVALS)
    about |= {
        "backend": keras.backend.backend(),
        "keras": keras.__version__,
        "collapsed": bool(about["trains"] and len(last) == COLLAPSED_INTERVALS and last["collapsing"].all()),
        "final_loss": None if math.isnan(history["loss"].iloc[-1]) else float(history["loss"].iloc[-1]),
    }
    save_model(encoder, folder / "encoder.keras")
    history.to_parquet(folder / "history.part", index=False)
    os.replace(folder / "history.part", folder / "history.parquet")
    (folder / "run.part").write_text(json.dumps(about, indent=1, sort_keys=True))
    os.replace(folder / "run.part", folder / "run.json")
    return about
