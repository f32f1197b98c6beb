"""A corpus small enough for tests, and pretraining on it as a command: tiny_corpus.py METHOD FOLDER [SECONDS].

Run as a command it needs this library and a Keras backend, nothing else, so the JAX-only environment can run it.
"""

import json
import sys
import time

import numpy as np
import pandas as pd

from scanloom.pretraining.pretraining_run import Budget, pretrain

VIEWS = [
    ("random_resized_crop", {}),
    ("flip", {}),
    ("brightness_contrast", {}),
    ("gaussian_blur", {}),
    ("gaussian_noise", {}),
    ("cutout", {}),
]
SETTINGS = {"barlow_twins": {"projector": [16, 16]}, "supervised": {"label": "level"}, "from_scratch": {}}
BUDGET = Budget(
    updates=24,
    batch=16,
    learning_rate=1e-3,
    warmup_updates=4,
    weight_decay=1e-4,
    interval=4,
    monitors={"images": 48, "view_images": 48},  # of so few updates they would look at too few for kNN
)


class TinyCorpus:
    """Random blobs of 12 patients with 4 images each; what pretraining uses of scanloom.shards.records.Shards."""

    def __init__(self, slow_s: float = 0.0):
        rng = np.random.default_rng(0)
        coarse = rng.integers(0, 256, (48, 4, 4, 1)).repeat(4, axis=1).repeat(4, axis=2)
        self._images, self._slow_s = coarse.astype(np.uint8), slow_s
        self.image_spec = {"shape": [16, 16, 1], "dtype": "uint8"}
        self.table = pd.DataFrame(
            {
                "item_id": [f"series{i // 4}-{i % 4:04d}" for i in range(48)],
                "patient_id": [f"patient{i // 4}" for i in range(48)],
                "level": np.where(np.arange(48) < 8, np.nan, np.arange(48) % 3).astype(np.float32),
            }
        )

    def images(self, indices) -> np.ndarray:
        """uint8 [len(indices), 16, 16, 1]."""
        time.sleep(self._slow_s)
        return self._images[indices]


def run(method: str, folder, corpus=None, **changed) -> dict:
    """Pretraining on the tiny corpus."""
    corpus = corpus or TinyCorpus()
    arguments = {
        "allowed_patients": set(corpus.table["patient_id"]),
        "method": method,
        "method_settings": SETTINGS.get(method, {}),
        "encoder": "resnet",
        "encoder_settings": {"depth": 10, "width": 4},
        "views": VIEWS,
        "budget": BUDGET,
        "seed": 5,
        "folder": folder,
    }
    return pretrain(corpus, **(arguments | changed))


if __name__ == "__main__":
    slow_s = float(sys.argv[3]) if len(sys.argv) > 3 else 0.0
    print(json.dumps(run(sys.argv[1], sys.argv[2], TinyCorpus(slow_s))))
    if "jax" in sys.modules:
        assert "tensorflow" not in sys.modules, "the JAX backend must not need TensorFlow"
