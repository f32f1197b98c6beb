"""A pretraining with many options at once, as a command too: training_options.py FOLDER prints its history."""

import json
import sys
from pathlib import Path

import pandas as pd
import tiny_corpus

from scanloom.training.budget import Budget

BUDGET = Budget(
    updates=4,
    batch=16,
    interval=2,
    optimizer={"lars": {"trust": 0.02}},
    schedule={"step": {"at": [0.5]}},
    learning_rate=0.3,
    weight_decay=1e-4,
    clip_norm=5.0,
    accumulate=2,
    ema_momentum=0.9,
    keep="best",
    best_by="lidar",
    synthetic_updates=1,
    monitors={"images": 16, "view_images": 4, "views": 2},
)
COLUMNS = ["loss", "learning_rate", "embedding_std", "rankme", "lidar", "projection_scale", "weight_gain"]


def run(folder) -> dict[str, list[float]]:
    """Columns of the history that do not depend on time."""
    small = {"encoder": "small_cnn", "encoder_settings": {"width": 4, "stages": [1, 1]}, "views": [("flip", {})]}
    tiny_corpus.run("barlow_twins", folder, budget=BUDGET, **small)
    history = pd.read_parquet(Path(folder) / "history.parquet")
    return {column: list(history[column]) for column in COLUMNS}


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1])))
    if "jax" in sys.modules:
        assert "tensorflow" not in sys.modules, "the JAX backend must not need TensorFlow"
