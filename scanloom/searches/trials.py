"""One trial of a search: a short pretraining and a probe of it, or a learning-rate range test. Test is never opened.

What a trial leaves in its folder: result.json, curve.parquet (the history of the training, or the range test's curve)
and predictions.parquet (validation images; empty for a range test), each complete whatever the outcome.
"""

import json
import math
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd

from scanloom import plugins
from scanloom.atomic_files import whole_file, write_text
from scanloom.downstream.arms import Finetuned, Frozen
from scanloom.downstream.downstream_task import Arm, Task, labelled_rows, patients_of
from scanloom.downstream.embeddings import embed
from scanloom.downstream.finetuning import finetune
from scanloom.downstream.probing import probe
from scanloom.lazy import keras
from scanloom.pretraining.method_training import DoesNotFit, bare_training
from scanloom.pretraining.pretraining_run import Budget, assert_allowed, pretrain
from scanloom.pretraining.view_choice import pairs
from scanloom.pretraining.view_pipeline import Pipeline
from scanloom.spoken_errors import spoken_error
from scanloom.training.learning_rate_advice import advice
from scanloom.training.learning_rate_range import loss_curve, rates
from scanloom.training.peak_memory import says_out_of_memory

FILES = ("result.json", "curve.parquet", "predictions.parquet")
SEEN = ("train", "validation")
"""Splits of the task's dataset that a trial may open: a search that saw test would choose by it."""

FINISHED, DIVERGED, REFUSED, OUT_OF_MEMORY = "finished", "diverged", "refused", "out of memory"
"""Outcomes. refused: the settings do not fit each other or the images, so there is nothing to train."""


def run_trial(job: dict, corpus, allowed_patients: set[str], task_shards, task: Task, fraction_table, folder: Path):
    """Run the `job` of a `studies.Trial` in `folder` and write FILES there.

    corpus: shards pretrained on; task_shards, fraction_table: what is probed (None for a range test). A loss that is
    not finite, settings that do not fit each other or the images, and memory that ran out are outcomes of the trial and
    no errors: a search goes on without them. Raises ValueError where the corpus holds other patients or `task_shards`
    test images.
    """
    assert_allowed(corpus.table, allowed_patients)
    if task_shards is not None and not set(task_shards.table["split"]) <= set(SEEN):
        raise ValueError(f"a trial sees {' and '.join(SEEN)} images alone, and these shards hold others")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    curve, predictions, found = pd.DataFrame(), pd.DataFrame(), {}
    try:
        if "learning_rates" in job:
            curve, found = _range_test(job, corpus)
        else:
            found = _pretrained(job, corpus, allowed_patients, folder)
            curve = pd.read_parquet(folder / "history.parquet")
        if "arms" in job:
            predictions, selected = _probed(job, task_shards, task, fraction_table, folder)
            found |= selected
        found |= {"outcome": FINISHED, "reason": ""}
    except Exception as error:  # what frameworks raise where memory ends shares no base class
        found |= _outcome_of(error)
    shutil.rmtree(folder / "finetuned", ignore_errors=True)  # whole models, of which a search keeps the predictions
    found["seconds"] = time.perf_counter() - start
    for name, table in (("curve.parquet", curve), ("predictions.parquet", predictions)):
        with whole_file(folder / name) as file:
            table.to_parquet(file, index=False)
    write_text(folder / "result.json", json.dumps(found, indent=1, sort_keys=True, allow_nan=False) + "\n")


def _outcome_of(error: Exception) -> dict:
    """What an error says of the trial's settings; raised again where it says nothing of them."""
    text = str(error)
    if isinstance(error, FloatingPointError):
        return {"outcome": DIVERGED, "reason": text}
    if isinstance(error, MemoryError) or says_out_of_memory(f"{type(error).__name__} {text}"):
        return {"outcome": OUT_OF_MEMORY, "reason": spoken_error(text or type(error).__name__)}
    if isinstance(error, DoesNotFit):
        return {"outcome": REFUSED, "reason": text}
    raise error


def _range_test(job: dict, corpus) -> tuple[pd.DataFrame, dict]:
    low, high = job["learning_rates"]
    arguments = _arguments(job)
    budget = arguments["budget"]
    model, batch_at = bare_training(corpus, **arguments)
    curve = loss_curve(model, batch_at, rates(low, high, budget.updates), budget.accumulate)
    return curve, advice(curve, budget.updates)


def _arguments(job: dict) -> dict:
    """What pretraining and range tests are told of a trial."""
    return {
        "method": job["method"],
        "method_settings": job["method_settings"],
        "encoder": job["encoder"]["name"],
        "encoder_settings": job["encoder"]["settings"],
        "views": pairs(job["views"]),
        "budget": Budget(**job["budget"]),
        "seed": job["seed"],
    }


def _pretrained(job: dict, corpus, allowed_patients: set[str], folder: Path) -> dict:
    """Facts about the pretraining; the encoder is in `folder`."""
    about = pretrain(corpus, allowed_patients, **_arguments(job), folder=folder)
    history = pd.read_parquet(folder / "history.parquet")
    last = {key: float(history[key].iloc[-1]) for key in ("embedding_std", "rankme")}
    if not all(map(math.isfinite, last.values())):
        raise FloatingPointError(
            about["collapse_cause"] or f"features are not finite after update {history.step.max()}"
        )
    return {key: about[key] for key in ("parameters", "epochs", "collapsed", "final_loss")} | last


def _probed(job: dict, shards, task: Task, fraction_table, folder: Path) -> tuple[pd.DataFrame, dict]:
    """Predictions of every arm and draw on validation, and what was selected."""
    predictions, selected = [], {}
    if "frozen" in job["arms"]:
        part, selection = _frozen(job, shards, task, fraction_table, folder / "encoder.keras")
        predictions.append(part)
        selected["frozen_candidates"] = selection[selection.chosen].candidate.tolist()
    if "finetuned" in job["arms"]:
        part, selection = _finetuned(job, shards, task, fraction_table, folder)
        predictions.append(part)
        selected["finetuned_candidates"] = selection[selection.chosen].candidate.tolist()
        selected["finetuned_updates"] = [int(n) for n in selection[selection.chosen].updates]
    both = pd.concat(predictions, ignore_index=True)
    return both[both.split == "validation"].reset_index(drop=True), selected


def _frozen(job: dict, shards, task: Task, fraction_table, encoder: Path):
    """A linear probe on features of the labelled images alone."""
    needed = set()
    for draw in job["draws"]:
        rows = labelled_rows(shards.table, task, patients_of(fraction_table, draw))
        needed |= {*rows.train.tolist(), *rows.validation.tolist()}
    rows = np.array(sorted(needed))
    table = shards.table.iloc[rows].reset_index(drop=True)
    network = keras.saving.load_model(encoder, compile=False)
    features = embed(network, lambda indices: shards.images(rows[indices]), len(rows))
    fractions, settings = {job["fraction"]: fraction_table}, Frozen(**job["arms"]["frozen"])
    return probe(lambda seed: features, table, fractions, task, job["method"], settings, job["draws"])


def _finetuned(job: dict, shards, task: Task, fraction_table, folder: Path):
    plugin, encoder = plugins.load("methods", job["method"]), job["encoder"]
    own = hasattr(plugin, "own_encoder")
    arm = Arm(
        job["method"],
        None if own else encoder["name"],
        plugins.settings("encoders", encoder["name"], encoder["settings"]),
        None if plugin.FRESH_PER_SEED else folder / "encoder.keras",
    )
    pipeline = Pipeline(pairs(job["views"]), tuple(shards.image_spec["shape"]))
    settings = Finetuned(**job["arms"]["finetuned"])
    result = finetune(
        shards, job["fraction"], fraction_table, task, arm, pipeline, settings, job["draws"], folder / "finetuned"
    )
    return result.predictions, result.selection
