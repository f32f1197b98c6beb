"""Searches of a small study as their rules would leave them: ranked by the library itself from made-up predictions."""

from functools import cache

import numpy as np
import pandas as pd
import yaml
from prediction_tables import predictions

from scanloom import config
from scanloom.searches import resource_check, studies, trial_ranking
from scanloom.training.learning_rate_advice import advice
from scanloom.training.learning_rate_range import rates

CLASSES = ("no bleed", "bleed")
PROJECTOR, WEIGHT = "methods.barlow_twins.projector", "methods.barlow_twins.off_diagonal_weight"
SEARCHES = {
    "projector_and_weight": {
        "kind": "grid",
        "vary": {PROJECTOR: [[64], [64, 64], [128, 128]], WEIGHT: [0.001, 0.005, 0.02, 0.1]},
        "seeds": [0, 1],
    },
    "supervised_baseline": {
        "kind": "random",
        "method": "from_scratch",
        "vary": {
            "arms.finetuned.learning_rates.0": {"log_uniform": [1e-5, 1e-2]},
            "arms.finetuned.weight_decay": {"log_uniform": [1e-8, 1e-3]},
            "arms.finetuned.batch": [32, 64],
        },
        "trials": 12,
        "probe": {"arms": ["finetuned"]},
    },
    "views_one_by_one": {
        "kind": "transformation_scan",
        "base": ["random_resized_crop", "flip"],
        "candidates": ["gaussian_blur", "gaussian_noise", "cutout", "brightness_contrast"],
        "probe": {"arms": ["frozen", "finetuned"]},
    },
    "rates": {"kind": "learning_rate_range", "vary": {"pretraining.batch": [32, 128]}},
    "what_fits": {
        "kind": "resource_check",
        "sizes_px": [64, 128, 256],
        "batches": [32, 128, 512],
        "encoders": [{"resnet": {"depth": 18}}, {"resnet": {"depth": 50}}],
    },
}


def resolved(root) -> config.Study:
    """The shipped study with SEARCHES."""
    return config.study_from(yaml.safe_load((root / "config.yaml").read_text()) | {"studies": SEARCHES})


@cache
def made(root) -> tuple[dict, dict[str, pd.DataFrame]]:
    """The searches as the report is told of them, and their tables; made once."""
    study = resolved(root)
    return study.model_dump(mode="json")["studies"], tables(study)


def tables(study: config.Study) -> dict[str, pd.DataFrame]:
    """Names as in `planning.report_tables` -> tables."""
    made = {}
    for name, search in study.studies.items():
        if search.kind == "resource_check":
            made[f"studies/{name}/resources.parquet"] = resource_check.check(
                studies.cells(study, name), _cell, progress=lambda said: None
            )
            continue
        trials = studies.trials(study, name)
        told = [
            {key: getattr(t, key) for key in ("id", "setting", "number", "name", "values", "seed")} | _result(t)
            for t in trials
        ]
        curves = {t.id: _curve(t) for t in trials}
        if search.kind == "learning_rate_range":
            told = [one | advice(curves[one["id"]], len(curves[one["id"]])) for one in told]
            made[f"studies/{name}/ranking.parquet"] = trial_ranking.advise(told)
        else:
            protocol = studies.protocol(study, name) | {"resamples": 100}
            made[f"studies/{name}/ranking.parquet"] = trial_ranking.rank(
                told, {t.id: _validation(t) for t in trials}, CLASSES, kind="binary", **protocol, seed=0
            )
        made[f"studies/{name}/curves.parquet"] = trial_ranking.curves(told, curves)
    return made


def _goodness(trial) -> float:
    """Class distance of a trial's predictions: best in the middle of the ranges."""
    value = 1.6
    values = trial.values
    if PROJECTOR in values:
        value -= 0.25 * abs(np.log10(values[WEIGHT] / 0.008)) + 0.2 * (len(values[PROJECTOR]) - 1)
    if "arms.finetuned.learning_rates.0" in values:
        value -= 0.4 * (np.log10(values["arms.finetuned.learning_rates.0"]) + 3) ** 2
    return value + 0.1 * len(trial.job["views"]) - 0.3 * ("cutout" in trial.name)


def _validation(trial) -> pd.DataFrame:
    parts = [
        predictions({"m": lambda fraction: _goodness(trial)}, schedules=(arm,), fractions=(1.0,), seeds=1, patients=30)
        for arm in trial.job["arms"]
    ]
    return pd.concat(parts, ignore_index=True).assign(split="validation")


def _result(trial) -> dict:
    diverged = trial.values.get("arms.finetuned.learning_rates.0", 0) > 0.008
    told = {"final_loss": 3.0 / _goodness(trial), "rankme": 12.5, "seconds": 63.0, "collapsed": False}
    return (
        {"outcome": "diverged", "reason": "loss is nan at update 9"}
        if diverged
        else {"outcome": "finished", "reason": ""} | told
    )


def _curve(trial) -> pd.DataFrame:
    noise = np.random.default_rng(trial.number).normal(size=200)
    if "learning_rates" in trial.job:
        rate = rates(*trial.job["learning_rates"], 200)
        loss = 10 - 4 / (1 + (1e-3 / rate) ** 1.5) + 30 * (rate / (0.2 * trial.number)) ** 2 + 0.1 * noise
        return pd.DataFrame({"step": np.arange(1, 201), "learning_rate": rate, "loss": loss})[: 190 + 3 * trial.number]
    step = np.arange(10, 201, 10)
    loss = 10 * np.exp(-step / 80) + 3 / max(_goodness(trial), 0.1) + 0.05 * noise[: len(step)]
    return pd.DataFrame({"step": step, "learning_rate": 0.002 * (1 - step / 210), "loss": loss})


def _cell(cell: dict) -> dict:
    work = cell["size_px"] ** 2 * cell["budget"]["batch"] * cell["encoder"]["settings"]["depth"]
    if work > 256**2 * 128 * 50:
        return {"outcome": resource_check.OUT_OF_MEMORY, "reason": "passed the limit of 16000 MB"}
    if (cell["size_px"], cell["budget"]["batch"]) == (64, 512):
        return {"outcome": resource_check.ERROR, "reason": "SIGSEGV: no message"}
    measured = {"seconds": work * 2e-9, "feeding_s": 0.004, "host_mb": 900 + work * 3e-5, "device_mb": None}
    return {"outcome": "ok", "reason": "", **measured, "parameters": 11_000_000, "device": "cpu"}
