"""The finetuned arm: a head is trained on the frozen encoder, then everything, at one label fraction.

Every method goes through the same views, the same batches, the same number of updates (at every fraction) and the same
candidates, the baseline included; the weights that are best on validation are kept, and test is only predicted.
"""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from scanloom import plugins
from scanloom.config import Finetuned
from scanloom.downstream import (
    Arm,
    LabelledRows,
    Task,
    balanced_weights,
    labelled_rows,
    labels_at,
    patients_of,
    predictions_table,
    selection_score,
)
from scanloom.embeddings import apply_in_batches, inference
from scanloom.heads import classifier, head_of, softmax
from scanloom.intensity import to_unit
from scanloom.lazy import keras
from scanloom.schedules import warmup_cosine
from scanloom.stateless_random import uniform
from scanloom.training import remembered_jit, train_steps
from scanloom.weight_transfer import transfer

SCHEDULE = "finetuned"
RAMP_SHARE = 0.1  # of the updates after warm-up, in which the learning rate rises linearly
LARGEST_GRADIENT_NORM = 1.0
ORDER = 0x0DE5  # keeps the order of images apart from the draws of the views
PREDICTION_BATCH = 256


@dataclass(frozen=True)
class Result:
    """predictions, selection: the tables of the arm; history: of every training; model_path: the first seed's model."""

    predictions: pd.DataFrame
    selection: pd.DataFrame
    history: pd.DataFrame
    model_path: Path


def finetune(
    shards,
    fraction: float,
    fraction_table: pd.DataFrame,
    task: Task,
    arm: Arm,
    views,
    settings: Finetuned,
    seeds: list[int],
    folder: Path,
) -> Result:
    """Train every (seed, learning rate) at one fraction, choose per seed on validation, predict validation and test.

    shards: `.table` and `.images(rows)` of `records.open_shards`. fraction_table: seed, patient_id of the labelled
    training patients. views: a `view_pipeline.Pipeline`. folder: belongs to exactly this job (`run_store` names it by
    content); finished trainings are kept in its `checkpoints/` and used again when the job was killed. The chosen model
    of the first seed is written to `folder/model.keras`: images in [0, 1] to logits, with the layer "feature_map".
    Raises ValueError when the encoder's file does not fill the whole encoder.
    """
    folder = Path(folder)
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    trainer = _Trainer(shards, task, arm, views, settings, folder / "checkpoints", len(seeds))
    predictions, selection, history = [], [], []
    for seed in seeds:
        rows = labelled_rows(shards.table, task, patients_of(fraction_table, seed))
        run = {"method": arm.method, "schedule": SCHEDULE, "fraction": float(fraction), "seed": seed}
        fits = [trainer.fit(seed, rate, rows, keep_weights=seed == seeds[0]) for rate in settings.learning_rates]
        best = max(range(len(fits)), key=lambda index: fits[index]["validation_score"])
        for split in ("validation", "test"):
            probabilities = softmax(fits[best][split])
            predictions.append(predictions_table(shards.table, task, getattr(rows, split), probabilities, run))
        for index, (rate, fit) in enumerate(zip(settings.learning_rates, fits, strict=True)):
            chosen = {"candidate": f"learning_rate={rate:g}", "chosen": index == best}
            selection.append({**run, **chosen, **_selection_of(fit, rate, shards.table, rows)})
            history.append(fit["history"].assign(**run, **chosen))
        if seed == seeds[0]:
            trainer.save_model(fits[best]["weights"], folder / "model.keras")
    return Result(
        pd.concat(predictions, ignore_index=True),
        pd.DataFrame(selection)[_SELECTION_COLUMNS],
        pd.concat(history, ignore_index=True),
        folder / "model.keras",
    )


_SELECTION_COLUMNS = [
    *("method", "schedule", "fraction", "seed", "candidate", "learning_rate", "l2", "updates"),
    *("validation_score", "chosen", "labelled_patients", "labelled_images"),
]


def _selection_of(fit: dict, learning_rate: float, table: pd.DataFrame, rows: LabelledRows) -> dict:
    return {
        "learning_rate": learning_rate,
        "l2": np.nan,
        "updates": fit["updates"],
        "validation_score": fit["validation_score"],
        "labelled_patients": table["patient_id"].iloc[rows.train].nunique(),
        "labelled_images": len(rows.train),
    }


class _Trainer:
    """One network with its two compiled phases; the weights are set back before every training."""

    def __init__(self, shards, task: Task, arm: Arm, views, settings: Finetuned, folder: Path, repetitions: int):
        self.shards, self.task, self.arm, self.views, self.settings = shards, task, arm, views, settings
        self.folder, self.repetitions = folder, repetitions
        self.network = None
        self.image_shape = shards.images(np.array([0])).shape[1:]

    def fit(self, seed: int, learning_rate: float, rows: LabelledRows, keep_weights: bool) -> dict:
        """validation and test logits, validation_score, updates at which it was reached, history (and weights)."""
        path = self.folder / f"seed-{seed}-learning_rate-{learning_rate:g}.npz"
        if not path.exists():
            if self.network is None:
                self._make(seed, rows)
            _write_fit(path, self._train(seed, learning_rate, rows), keep_weights)
        return _read_fit(path)

    def save_model(self, weights: list[np.ndarray], path: Path) -> None:
        """The network with these weights."""
        network = classifier(self._encoder(0), len(self.task.classes)) if self.network is None else self.network
        network.set_weights(weights)
        part = path.with_name("part.keras")
        network.save(part)
        os.replace(part, path)

    def _encoder(self, seed: int):
        """The arm's encoder: built from the seed, then filled from its file where it has one."""
        encoder = plugins.load("encoders", self.arm.encoder).build(self.arm.encoder_settings, self.image_shape, seed)
        if self.arm.encoder_file is not None:
            source = keras.saving.load_model(self.arm.encoder_file, compile=False)
            account = transfer(source, encoder)
            if account.missed:
                raise ValueError(f"{self.arm.method}: {account}; the encoder lacks {', '.join(account.missed[:5])}")
        return encoder

    def _make(self, seed: int, rows: LabelledRows) -> None:
        updates = self.settings.updates * self.repetitions * len(self.settings.learning_rates)

        def new(jit_compile: bool):
            network = classifier(self._encoder(seed), len(self.task.classes))
            return _phase(network, self.views, self.settings, jit_compile, frozen=False)

        jit_compile = remembered_jit(self.folder, new, self._batches(seed, rows), updates)["jit_compile"]
        self.network = classifier(self._encoder(seed), len(self.task.classes))
        self.predict = inference(self.network)
        self.phases, self.new_optimizers = {}, {}
        for frozen in (True, False):
            set_frozen(self.network, frozen)
            phase = _phase(self.network, self.views, self.settings, jit_compile, frozen)
            phase.optimizer.build(phase.trainable_variables)
            self.phases[frozen] = phase
            self.new_optimizers[frozen] = [np.array(variable) for variable in phase.optimizer.variables]

    def _reset(self, seed: int) -> None:
        encoder = self._encoder(seed)
        fresh = classifier(encoder, len(self.task.classes))
        account = transfer(fresh, self.network)
        if account.missed or account.unused:
            raise ValueError(f"{self.arm.method}: two encoders of the same settings differ: {account}")
        for frozen, phase in self.phases.items():
            for variable, value in zip(phase.optimizer.variables, self.new_optimizers[frozen], strict=True):
                variable.assign(value)

    def _train(self, seed: int, learning_rate: float, rows: LabelledRows) -> dict:
        settings, best = self.settings, {"validation_score": -np.inf}
        labels = labels_at(self.shards.table, self.task, rows.validation)
        self._reset(seed)
        batch_at = self._batches(seed, rows)
        label = f"{self.arm.method}, seed {seed}, learning rate {learning_rate:g}"

        def validate(step: int, row: dict | None = None) -> dict:
            score = selection_score(labels, self._logits(rows.validation))
            if score > best["validation_score"]:
                best.update(validation_score=score, updates=step, weights=self.network.get_weights())
            return {"validation_score": score}

        history = []
        if settings.warmup_updates:
            set_frozen(self.network, True)
            warmup = train_steps(
                self.phases[True],
                batch_at,
                lambda step: learning_rate,
                settings.warmup_updates,
                interval=settings.validate_every,
                label=f"{label}, head",
            )
            history.append(warmup.assign(phase="head"))
        validate(0)
        set_frozen(self.network, False)
        ramp = round(RAMP_SHARE * settings.updates)
        full = train_steps(
            self.phases[False],
            lambda step: batch_at(settings.warmup_updates + step),
            warmup_cosine(learning_rate, settings.updates, ramp),
            settings.updates,
            on_interval=validate,
            interval=settings.validate_every,
            label=label,
        )
        history.append(full.assign(step=full["step"] + settings.warmup_updates, phase="all"))
        self.network.set_weights(best["weights"])
        splits = {split: self._logits(getattr(rows, split)) for split in ("validation", "test")}
        return {**best, **splits, "history": pd.concat(history, ignore_index=True)}

    def _logits(self, rows: np.ndarray) -> np.ndarray:
        if not len(rows):
            return np.empty((0, len(self.task.classes)), np.float32)
        return apply_in_batches(self.predict, lambda i: self.shards.images(rows[i]), len(rows), PREDICTION_BATCH)

    def _batches(self, seed: int, rows: LabelledRows) -> Callable[[int], dict[str, np.ndarray]]:
        labels = labels_at(self.shards.table, self.task, rows.train)
        weights = balanced_weights(labels, len(self.task.classes)) if self.settings.balanced else np.ones(len(labels))
        return batches(self.shards, rows.train, labels, weights, self.views, seed, self.settings.batch)
