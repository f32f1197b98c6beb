"""The finetuned arm: a head is trained on the frozen encoder, then everything, at one label fraction.

Every method goes through the same views, the same batches, the same number of updates (at every fraction) and the same
candidates, the baseline included; the weights that are best on validation are kept, and test is only predicted.
"""

import io
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from scanloom import plugins
from scanloom.atomic_files import whole_file
from scanloom.downstream.arms import Finetuned
from scanloom.downstream.downstream_task import (
    Arm,
    LabelledRows,
    Task,
    balanced_weights,
    labelled_rows,
    labels_at,
    patients_of,
    predictions_table,
    preferred,
    selection_loss,
    selection_score,
)
from scanloom.downstream.embeddings import apply_in_batches, inference
from scanloom.downstream.heads import classifier, head_of, softmax
from scanloom.downstream.labelled_batches import DRAW, labelled_batches
from scanloom.images.intensity import to_unit
from scanloom.lazy import keras
from scanloom.optimizers import adamw, optimizer_of
from scanloom.schedules import cosine, learning_rates
from scanloom.training.backend import compiles, make_deterministic
from scanloom.training.fused_normalisation import fuse_normalisations
from scanloom.training.model_files import save_model
from scanloom.training.training_loop import train_steps
from scanloom.training.weight_transfer import transfer

log = logging.getLogger(__name__)

SCHEDULE = "finetuned"
RAMP_SHARE = 0.1  # of the updates after warm-up, in which the learning rate rises linearly
LARGEST_GRADIENT_NORM = 1.0
STATISTICS_MOMENTUM = 0.9
"""Of the running batch-norm statistics. With Keras' default of .99 they would after 200 updates still hold 13 % of
where they began: nothing for a pretrained encoder, a handicap for one from scratch, and so a gain that is none."""
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
    of the first seed is written to `folder/model.keras`: images in [0, 1] to logits, with the layer "feature_map". A
    learning rate that diverges is not chosen: it has no updates, no validation_score and no history.
    Raises ValueError when the encoder's file does not fill the whole encoder, FloatingPointError when all rates of a
    seed diverge.
    """
    folder = Path(folder)
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    trainer = _Trainer(shards, task, arm, views, settings, folder / "checkpoints")
    predictions, selection, history = [], [], []
    for seed in seeds:
        rows = labelled_rows(shards.table, task, patients_of(fraction_table, seed))
        run = {"method": arm.method, "schedule": SCHEDULE, "fraction": float(fraction), "seed": seed}
        fits = [trainer.fit(seed, rate, rows, keep_weights=seed == seeds[0]) for rate in settings.learning_rates]
        finished = [index for index, fit in enumerate(fits) if fit is not None]
        if not finished:
            rates = ", ".join(f"{rate:g}" for rate in settings.learning_rates)
            raise FloatingPointError(
                f"{arm.method}, seed {seed}: training diverges at every learning rate ({rates}); "
                "lower arms.finetuned.learning_rates"
            )
        best = finished[preferred([fits[index] for index in finished])]
        for split in ("validation", "test"):
            probabilities = softmax(fits[best][split])
            predictions.append(predictions_table(shards.table, task, getattr(rows, split), probabilities, run))
        for index, (rate, fit) in enumerate(zip(settings.learning_rates, fits, strict=True)):
            chosen = {"candidate": f"learning_rate={rate:g}", "chosen": index == best}
            selection.append({**run, **chosen, **_selection_of(fit, rate, shards.table, rows)})
            if fit is not None:
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


def _selection_of(fit: dict | None, learning_rate: float, table: pd.DataFrame, rows: LabelledRows) -> dict:
    reached = {"updates": 0, "validation_score": np.nan} if fit is None else fit
    return {
        "learning_rate": learning_rate,
        "l2": np.nan,
        "updates": reached["updates"],
        "validation_score": reached["validation_score"],
        "labelled_patients": table["patient_id"].iloc[rows.train].nunique(),
        "labelled_images": len(rows.train),
    }


def set_frozen(network, frozen: bool) -> None:
    """Fix the encoder of a `classifier`, weights and batch-norm statistics, or set it free; the head always learns."""
    for layer in network.layers:
        layer.trainable = layer is head_of(network) or not frozen


def phase_of(network, views, settings: Finetuned, frozen: bool):
    """A compiled keras.Model that trains `network` on batch dicts of `labelled_batches`, in the phase it is in now.

    Two phases may share a network; each has its own optimizer. `set_frozen` must have been called for this phase
    whenever it trains.
    """

    class Phase(keras.Model):
        def __init__(self):
            super().__init__(name="head" if frozen else "all")
            self.network = network

        def call(self, batch, training=False):
            images = to_unit(batch["images"])
            if training:
                draws = {name.removeprefix(DRAW): value for name, value in batch.items() if name.startswith(DRAW)}
                images = views.apply(images, draws)
            return self.network(images, training=training and not frozen)

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            loss = keras.losses.sparse_categorical_crossentropy(x["labels"], y_pred, from_logits=True)
            return keras.ops.mean(loss * x["weights"])

    phase = Phase()
    optimizer = optimizer_of(phase, adamw, adamw.Settings(), settings.weight_decay, clip_norm=LARGEST_GRADIENT_NORM)
    phase.compile(optimizer=optimizer, jit_compile=compiles())
    fuse_normalisations(phase)
    return phase


class _Trainer:
    """One network with its two compiled phases; the weights are set back before every training."""

    def __init__(self, shards, task: Task, arm: Arm, views, settings: Finetuned, folder: Path):
        self.shards, self.task, self.arm, self.views, self.settings = shards, task, arm, views, settings
        self.folder = folder
        self.image_shape = tuple(shards.images(np.array([0])).shape[1:])
        self.network = None
        self.initial = (None, None)

    def fit(self, seed: int, learning_rate: float, rows: LabelledRows, keep_weights: bool) -> dict | None:
        """Logits of validation and test, validation_score, the updates it was reached at, history (and weights).

        None where the training diverges.
        """
        path = self.folder / f"seed-{seed}-learning_rate-{learning_rate:g}.npz"
        if not path.exists():
            if self.network is None:
                self._make(seed)
            try:
                fit = self._train(seed, learning_rate, rows)
            except FloatingPointError as error:
                label = f"{self.arm.method}, seed {seed}, learning rate {learning_rate:g}"
                log.warning("%s diverges and is not chosen: %s", label, error)
                return None
            _write_fit(path, fit if keep_weights else {**fit, "weights": []})
        return _read_fit(path)

    def save_model(self, weights: list[np.ndarray], path: Path) -> None:
        """The network with these weights."""
        network = self._new_network(0) if self.network is None else self.network
        set_frozen(network, False)
        network.set_weights(weights)
        save_model(network, path)

    def _new_network(self, seed: int):
        """A head at zero on the arm's encoder: built from the seed, then filled from its file where it has one.

        Without the name of an encoder the file's network itself is used.
        """
        if self.arm.encoder is None:
            encoder = keras.saving.load_model(self.arm.encoder_file, compile=False)
        else:
            encoder = plugins.load("encoders", self.arm.encoder).build(
                self.arm.encoder_settings, self.image_shape, seed
            )
        if self.arm.encoder is not None and self.arm.encoder_file is not None:
            source = keras.saving.load_model(self.arm.encoder_file, compile=False)
            account = transfer(source, encoder)
            log.info("%s: %s", self.arm.method, account)
            if account.missed:
                raise ValueError(f"{self.arm.method}: {account}; the encoder lacks {', '.join(account.missed[:5])}")
        for layer in encoder.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = STATISTICS_MOMENTUM
        return classifier(encoder, len(self.task.classes))

    def _make(self, seed: int) -> None:
        make_deterministic()
        self.network = self._new_network(seed)
        self.predict = inference(self.network)
        self.phases, self.new_optimizers = {}, {}
        for frozen in (True, False):
            set_frozen(self.network, frozen)
            phase = phase_of(self.network, self.views, self.settings, frozen)
            phase.optimizer.build(phase.trainable_variables)
            self.phases[frozen] = phase
            self.new_optimizers[frozen] = [keras.ops.convert_to_numpy(v) for v in phase.optimizer.variables]

    def _reset(self, seed: int) -> None:
        """The network as it is before any update of this seed, and optimizers that have seen nothing."""
        if self.initial[0] != seed:
            self.initial = (seed, self._new_network(seed).get_weights())
        self.network.set_weights(self.initial[1])
        for frozen, phase in self.phases.items():
            for variable, value in zip(phase.optimizer.variables, self.new_optimizers[frozen], strict=True):
                variable.assign(value)

    def _train(self, seed: int, learning_rate: float, rows: LabelledRows) -> dict:
        settings, best = self.settings, {}
        labels = labels_at(self.shards.table, self.task, rows.validation)
        label = f"{self.arm.method}, seed {seed}, learning rate {learning_rate:g}"
        batch_at = self._batches(seed, rows)
        self._reset(seed)

        def validate(update: int, row: dict) -> dict:
            logits = self._logits(rows.validation)
            if not np.isfinite(logits).all():
                raise FloatingPointError(f"logits of validation images are not finite after update {update}")
            probabilities = softmax(logits)
            found = {
                "validation_score": selection_score(labels, probabilities),
                "validation_loss": selection_loss(labels, probabilities),
            }
            if not best or preferred([best, found]) == 1:
                best.update(found, updates=update, weights=self.network.get_weights())
            return found

        history = []
        if settings.warmup_updates:
            set_frozen(self.network, True)
            head = train_steps(
                self.phases[True],
                batch_at,
                lambda step: learning_rate,
                settings.warmup_updates,
                on_interval=validate,
                interval=settings.warmup_updates,
                label=f"{label}, head",
            )
            history.append(head.assign(phase="head"))
        set_frozen(self.network, False)
        before, warmup = settings.warmup_updates, round(RAMP_SHARE * settings.updates)
        everything = train_steps(
            self.phases[False],
            lambda step: batch_at(before + step),
            learning_rates(cosine, cosine.Settings(), learning_rate, settings.updates, warmup),
            settings.updates,
            on_interval=lambda update, row: validate(before + update, row),
            interval=settings.validate_every,
            label=label,
        )
        history.append(everything.assign(step=everything["step"] + before, phase="all"))
        self.network.set_weights(best["weights"])
        splits = {split: self._logits(getattr(rows, split)) for split in ("validation", "test")}
        return {**best, **splits, "history": pd.concat(history, ignore_index=True)}

    def _logits(self, rows: np.ndarray) -> np.ndarray:
        if not len(rows):
            return np.empty((0, len(self.task.classes)), np.float32)
        return apply_in_batches(self.predict, lambda i: self.shards.images(rows[i]), len(rows), PREDICTION_BATCH)

    def _batches(self, seed: int, rows: LabelledRows) -> Callable[[int], dict[str, np.ndarray]]:
        labels = labels_at(self.shards.table, self.task, rows.train)
        even = np.ones(len(labels), np.float32)
        weights = balanced_weights(labels, len(self.task.classes)) if self.settings.balanced else even
        return labelled_batches(self.shards, rows.train, labels, weights, self.views, seed, self.settings.batch)


SCALARS = ("validation_score", "validation_loss", "updates")
SPLIT_LOGITS = ("validation", "test")


def _write_fit(path: Path, fit: dict) -> None:
    arrays = {f"weight_{index:04d}": value for index, value in enumerate(fit["weights"])}
    values = {name: fit[name] for name in SCALARS + SPLIT_LOGITS}
    with whole_file(path) as file:
        np.savez(file, history=fit["history"].to_json(double_precision=15), **values, **arrays)


def _read_fit(path: Path) -> dict:
    with np.load(path) as stored:
        return {
            **{name: stored[name].item() for name in SCALARS},
            **{name: stored[name] for name in SPLIT_LOGITS},
            "history": pd.read_json(io.StringIO(str(stored["history"]))),
            "weights": [stored[name] for name in sorted(stored.files) if name.startswith("weight_")],
        }
