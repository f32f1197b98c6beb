"""Share of the time that Barlow Twins pretraining waits for data, with the shipped study's encoder, views and batch.

Shards of invented uint8 images, in size and channels like the study's, are written, opened and trained on by
`pretraining.pretrain`; what is read is the column wait_share of its history, the figure that the report shows. The
first two intervals build graphs and are left out. Monitors and checkpoints are timed at a shorter interval and told for
the study's. The last row is how fast that training goes.
"""

import json
from pathlib import Path

import pandas as pd
import yaml
from _measure import ROOT, limited, run
from _synthetic import images_of, write_shards

GOAL_PERCENT = 3.0
MONITOR_GOAL_PERCENT = 5.0


def rows(folder: Path, images: int = 1024, updates: int = 60, interval: int = 10, changed: dict | None = None) -> list:
    """The table; changed: keys of the study to replace."""
    from scanloom.config import study_from
    from scanloom.pretraining.pretraining_run import Budget, pretrain
    from scanloom.pretraining.view_choice import pairs
    from scanloom.shards.records import open_shards

    study = study_from(yaml.safe_load((ROOT / "config.yaml").read_text()) | (changed or {}))
    steps = next(iter(study.datasets.values())).steps
    size = [step.settings["size_px"][0] for step in steps if "size_px" in step.settings][-1]
    channels = next(len(step.settings["windows"]) for step in steps if step.name == "hu_window")
    (folder / "shards").mkdir(exist_ok=True)
    shards = open_shards(write_shards(folder / "shards", images_of(images, size, channels, "uint8"), parts=4))
    budget = study.pretraining
    about = pretrain(
        shards,
        set(shards.table["patient_id"]),
        method="barlow_twins",
        method_settings=budget.methods["barlow_twins"],
        encoder=study.encoder.name,
        encoder_settings=study.encoder.settings,
        views=pairs(study.model_dump()["views"]),
        budget=Budget(
            updates=updates,
            batch=min(budget.batch, images),
            learning_rate=budget.learning_rate,
            warmup_updates=min(budget.warmup_updates, updates // 2),
            weight_decay=budget.weight_decay,
            interval=interval,
        ),
        seed=study.seed,
        folder=folder / "pretrained",
    )
    history = pd.read_parquet(folder / "pretrained" / "history.parquet").iloc[2:]
    beside = beside_percent(history, interval, budget.interval)
    (folder / "run.json").write_text(json.dumps(about, indent=1))
    return [
        limited("waiting for data", "% of time", list(100 * history["wait_share"]), GOAL_PERCENT),
        limited("monitors and checkpoints", "% of time", beside, MONITOR_GOAL_PERCENT),
        limited("training", "images/s", list(history["images_per_s"])),
    ]


def beside_percent(history: pd.DataFrame, interval: int, told_for: int) -> list[float]:
    """Percent of the time that monitors and checkpoints took in each row, were they `told_for` updates apart."""
    beside = history["monitor_share"] / (1 - history["monitor_share"]) * interval / told_for
    return list(100 * beside / (1 + beside))


if __name__ == "__main__":
    run(__file__, __doc__, rows)
