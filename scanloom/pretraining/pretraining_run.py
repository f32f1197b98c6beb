"""Pretraining: an encoder trained by one method on a corpus, watched for collapse, resumable to the same bits."""

import json
import logging
import math
from pathlib import Path

import numpy as np
import pandas as pd

from scanloom import plugins
from scanloom.atomic_files import whole_file, write_text
from scanloom.lazy import keras
from scanloom.optimizers import averages_of, copied
from scanloom.pretraining.generation import SampleSheets, grid, scored, write_for_report
from scanloom.pretraining.method_training import MethodTraining
from scanloom.pretraining.watch import Watch, projection_of
from scanloom.schedules import learning_rates
from scanloom.training.backend import make_deterministic
from scanloom.training.board import Board, add_image
from scanloom.training.budget import Budget, DoesNotFit, better
from scanloom.training.checkpoints import step_of
from scanloom.training.collapse import collapsing, lasting_collapse, settled_after
from scanloom.training.model_files import save_model
from scanloom.training.stopping import slow_to_judge, stop_rule
from scanloom.training.training_loop import train_steps
from scanloom.training.updates import seconds_without_input

__all__ = ["Budget", "assert_allowed", "pretrain"]

NAMED_ITEMS = 8
PICTURED_IMAGES = 4
PICTURES_EVERY = 10
"""Intervals between pictures and histograms for TensorBoard: they cost more than curves."""

log = logging.getLogger(__name__)


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

    shards: the corpus, see scanloom/shards/records.py. Every image must be of an allowed patient: the assertion guards
    against pretraining on validation or test patients. Also written: history.parquet, one row per interval with
    the monitors' numbers and collapsing beside the columns of `train_steps`; tensorboard/, the same as it grows;
    snapshots/, if asked for; what a method that makes images shows, and pictures.npz of it for the report;
    checkpoints/, from which a second call with the same arguments goes on. Raises ValueError, and FloatingPointError
    where a loss is not finite whatever was tried.
    """
    assert_allowed(shards.table, allowed_patients)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    training = MethodTraining(
        shards,
        method=method,
        method_settings=method_settings,
        encoder=encoder,
        encoder_settings=encoder_settings,
        views=views,
        budget=budget,
        seed=seed,
    )
    plugin, rows, image_shape = training.plugin, training.rows, training.image_shape
    once = hasattr(plugin, "settle") or hasattr(plugin, "showing")
    looked_at = budget.looked_at(training.shown)
    watch = Watch(shards, rows, training.keys, training.pipeline, budget, seed, looked_at, once)
    about = {"stopped": None, "kept_update": None}
    training.settle(watch.images)
    sheets = None
    if plugin.TRAINS:
        batch_at = training.batch_at()
        make_deterministic()
        model = training.model()
        # What is watched and saved is another network where it has another size, precision, or averaged weights.
        same = training.trained_shape == image_shape and budget.precision == "float32" and budget.ema_momentum is None
        trained = model.encoder if same else training.encoder_to_keep(model.encoder)
        if budget.synthetic_updates:
            seconds = seconds_without_input(model, batch_at(0), budget.synthetic_updates, budget.accumulate)
            about["images_per_s_without_input"] = budget.batch / seconds
        if advice := slow_to_judge(budget, len(rows)):
            print(advice)
        kept = {"weight": trained}
        if hasattr(plugin, "showing"):
            showing = plugin.showing(training.settings, model)
            sheets = SampleSheets(showing, watch.images[0], seed, folder)
            kept |= showing.networks
        budget.assert_judged_by(_columns(training, model, watch, sheets))
        history = _train(training, model, batch_at, kept, watch, sheets, folder)
        about |= _ending(history, budget, training.decorrelates)
        about["kept_update"] = _keep(model, kept, budget, history, folder)
        if sheets:
            origins = shards.table[["patient_id", "item_id"]].iloc[rows]
            given = lambda places: shards.images(rows[places]), origins, watch.chosen, budget.batch
            about["generation"] = scored(showing, trained, *given, seed, folder)
    else:
        trained = training.encoder()
        if hasattr(plugin, "prepare"):
            plugin.prepare(trained, training.settings)
        row = {"step": 0, "loss": math.nan, "learning_rate": 0.0, "images_per_s": math.nan, "wait_share": 0.0}
        history = pd.DataFrame([row | watch.row(trained) | {"collapsing": False}])
    about |= _last_look(sheets, watch.images, about["kept_update"] or 0, int(history["step"].iloc[-1]), folder)
    about |= {
        "method": method,
        "uses_labels": plugin.USES_LABELS or budget.chooses_by_labels,
        "trains": plugin.TRAINS,
        "seed": seed,
        "budget": budget.model_dump(mode="json"),
        "images": len(rows),
        "monitored_images": watch.monitored,
        "patients": int(shards.table["patient_id"].iloc[rows].nunique()),
        "epochs": int(history["step"].iloc[-1]) * budget.batch / len(rows),
        "parameters": int(sum(np.prod(v.shape) for v in trained.trainable_variables)),
    }
    return _save(folder, trained, history, about)


def _columns(training: MethodTraining, model, watch: Watch, sheets: SampleSheets | None) -> list[str]:
    """Of the history: what the method reports, and what is looked at beside it."""
    reported = getattr(model, "reported_names", None) or [metric.name for metric in model.metrics]
    seen = watch.columns(projection_of(model, training.plugin) is not None)
    return list(dict.fromkeys(["loss", *reported, *seen, *(sheets.columns if sheets else [])]))


def _train(
    training: MethodTraining, model, batch_at, kept: dict, watch: Watch, sheets: SampleSheets | None, folder: Path
) -> pd.DataFrame:
    """The history; curves, pictures and histograms go to TensorBoard while it runs.

    kept: networks whose weights the budget may want of the best row; "weight" is the encoder that is watched and
    saved, which at every interval gets the weights of the model's, or their moving averages, where it is another
    network. sheets: of a method that makes images.
    """
    budget, trained = training.budget, kept["weight"]
    head, decorrelates = projection_of(model, training.plugin), training.decorrelates
    schedule = plugins.load("schedules", budget.schedule.name)
    course = schedule, schedule.Settings(**budget.schedule.settings)
    checkpoints = folder / "checkpoints"
    with Board(folder / "tensorboard", step_of(checkpoints / "state.npz")) as board:

        def on_interval(step: int, row: dict) -> dict:
            _bring_up_to_date(model, trained)
            seen = watch.row(trained, head) | (sheets(board.writer, step) if sheets else {})
            seen["collapsing"] = collapsing(row | seen, decorrelates, settled_after(budget.ema_momentum))
            board.curves(row | seen)
            interval = -(-step // budget.interval)
            if budget.tensorboard_images and (interval - 1) % PICTURES_EVERY == 0:
                pictures, columns = watch.pictures(PICTURED_IMAGES)
                add_image(board.writer, "views", grid(pictures, columns), step)
                board.histograms(trained, watch.features, step)
            if budget.keep == "best":
                _note_best(checkpoints / "best.npz", model, kept, row | seen, budget.best_by)
            if budget.snapshot_every and step % budget.snapshot_every < budget.interval:
                save_model(trained, _made(folder / "snapshots") / f"encoder-{step:06d}.keras")
            return seen

        return train_steps(
            model,
            batch_at,
            learning_rates(*course, budget.learning_rate, budget.updates, budget.warmup_updates),
            budget.updates,
            checkpoint_folder=checkpoints,
            checkpoint_every=budget.interval,
            on_interval=on_interval,
            interval=budget.interval,
            label=f"{training.name} on {len(training.rows)} images",
            micro_batches=budget.accumulate,
            stop_when=stop_rule(budget, decorrelates),
            retries=budget.nan_retries,
            name_batch=lambda step: _items(training, batch_at.positions(step)),
            profiled=budget.profile and range(budget.profile.first, budget.profile.first + budget.profile.updates),
        )


def _items(training: MethodTraining, positions: np.ndarray) -> str:
    """Pseudonymous ids of the first few images at these places of the training's rows."""
    items = training.shards.table["item_id"].iloc[training.rows[positions]]
    more = f" and {len(items) - NAMED_ITEMS} more" if len(items) > NAMED_ITEMS else ""
    return ", ".join(items[:NAMED_ITEMS]) + more


def _bring_up_to_date(model, trained) -> None:
    """Give `trained` the weights of the model's encoder, averaged where averages are kept."""
    averages = averages_of(model)
    if trained is not model.encoder:
        for source, target in zip(model.encoder.weights, trained.weights, strict=True):
            target.assign(copied(averages.get(id(source), source)))


def _note_best(path: Path, model, kept: dict, row: dict, column: str) -> None:
    """Write the kept networks' weights if the row is this column's best so far. Raises DoesNotFit for unknown ones."""
    if column not in row:
        known = ", ".join(sorted(name for name, value in row.items() if isinstance(value, float)))
        raise DoesNotFit(f"best_by: the history has no column '{column}'. Known: {known}")
    if not math.isfinite(row[column]):
        return
    if path.exists():
        with np.load(path) as stored:
            # What a training wrote after its last checkpoint, before it was killed, comes again.
            if stored["step"] < row["step"] and not better(column, row[column], float(stored["value"])):
                return
    weights = {
        f"{name}_{i:04d}": values
        for name, network in kept.items()
        for i, values in enumerate(_weights_of(model, network))
    }
    with whole_file(path) as file:
        np.savez(file, step=row["step"], value=row[column], **weights)


def _keep(model, kept: dict, budget: Budget, history: pd.DataFrame, folder: Path) -> int:
    """The update whose weights the kept networks, and the model's encoder, have now: those that the budget wants."""
    best, trained = folder / "checkpoints" / "best.npz", kept["weight"]
    step = int(history["step"].iloc[-1])
    if budget.keep == "last" or not best.exists():
        _bring_up_to_date(model, trained)
        weights = {name: _weights_of(model, network) for name, network in kept.items()}
    else:
        with np.load(best) as stored:
            names, step = sorted(stored.files), int(stored["step"])
            weights = {name: [stored[n] for n in names if n.startswith(f"{name}_")] for name in kept}
    for name, network in kept.items():
        network.set_weights(weights[name])
    if trained is not model.encoder:
        model.encoder.set_weights(weights["weight"])
    return step


def _weights_of(model, network) -> list[np.ndarray]:
    """The network's weights, averaged where averages are kept."""
    averages = averages_of(model)
    return [copied(averages.get(id(variable), variable)) for variable in network.weights]


def _last_look(sheets: SampleSheets | None, images: list[np.ndarray], kept: int, last: int, folder: Path) -> dict:
    """What run.json has to say of the latent space, if there is one; writes pictures.npz, whatever there is to see.

    kept: the update whose weights the networks have; last: the training's last one.
    """
    found, shown, traversed = {}, {}, {}
    if sheets:
        shown, codes = sheets.pictures()
        if codes:
            with Board(folder / "tensorboard", last) as board:
                found["latent"], traversed = sheets.explored(images, board.writer, kept)
    write_for_report(folder / "pictures.npz", kept, shown, traversed)
    return found


def _ending(history: pd.DataFrame, budget: Budget, decorrelates: bool) -> dict:
    """Why and when a training ended before all updates, how often it went back, and whether the features collapsed."""
    rows = history.to_dict("records")
    why, step = stop_rule(budget, decorrelates)(rows), int(rows[-1]["step"])
    return {
        "stopped": {"update": step, "why": why} if why and step < budget.updates else None,
        "collapsed": lasting_collapse(rows, decorrelates, settled_after(budget.ema_momentum)),
        "retries": int(rows[-1]["retries"]),
    }


def assert_allowed(table: pd.DataFrame, allowed: set[str]) -> None:
    """Raises ValueError where the images' table has other patients."""
    strangers = sorted(set(table["patient_id"]) - set(allowed))
    if strangers:
        raise ValueError(
            f"{len(strangers)} patients of the shards are not in the corpus' list of allowed patients "
            f"(first: {strangers[0]}): pretraining would see validation or test patients"
        )


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _save(folder: Path, encoder, history: pd.DataFrame, about: dict) -> dict:
    """Write encoder.keras, history.parquet and, last, run.json; each is complete or absent."""
    cause = about.pop("collapsed", None)
    about |= {
        "backend": keras.backend.backend(),
        "keras": keras.__version__,
        "collapsed": cause is not None,
        "collapse_cause": cause,
        "final_loss": None if math.isnan(history["loss"].iloc[-1]) else float(history["loss"].iloc[-1]),
    }
    save_model(encoder, folder / "encoder.keras")
    with whole_file(folder / "history.parquet") as file:
        history.to_parquet(file, index=False)
    write_text(folder / "run.json", json.dumps(about, indent=1, sort_keys=True))
    return about
