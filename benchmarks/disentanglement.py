"""Do latent methods find the factors that pictures were made from, and does each of their numbers say one thing?

The 4,320 slices of one invented head under five independent factors (scanloom/pretraining/phantom_factors.py), 32 px.
Every method trains the same small encoder and decoder for the same number of updates (of factor_vae every other one is
its discriminator's); scored are the posterior means of all images (scanloom/pretraining/disentanglement.py).
ours: the median over seeds, peer: the better of two that learn nothing about pictures, an untrained encoder's features
and as many principal components of the pixels as there are latent numbers. The goal is to beat both in the mutual
information gap and in DCI disentanglement; the other scores are for orientation.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from _measure import limited, run

SIZE, LATENT = 32, 10
ENCODER = {"width": 8, "stages": [1, 1, 1, 1]}
SHARED = {
    "latent": LATENT,
    "latent_from": "feature_map",  # pooled features say little about where the head is
    "hidden": 128,
    "decoder_width": 8,
    "likelihood": "gaussian",
    "scale": 0.1,
}
METHODS = {
    "vae": ("vae", {}),
    "beta_vae, H": ("beta_vae", {"form": "H", "beta": 8.0}),
    "beta_vae, B": ("beta_vae", {"form": "B", "gamma": 30.0, "capacity": 16.0, "capacity_growth": 0.8}),
    "factor_vae": ("factor_vae", {"gamma": 20.0}),
    "beta_tc_vae": ("beta_tc_vae", {"beta": 8.0}),
}
GOALS = ("mig", "dci_disentanglement")


class Corpus:
    """What trainings use of scanloom.shards.records.Shards: pictures with known factors."""

    def __init__(self, images: np.ndarray):
        self._images = images
        self.image_spec = {"shape": list(images.shape[1:]), "dtype": "uint8"}
        names = [f"{number:04d}" for number in range(len(images))]
        self.table = pd.DataFrame({"item_id": names, "patient_id": names})

    def images(self, rows) -> np.ndarray:
        """uint8 [len(rows), size, size, 1]."""
        return self._images[rows]


def learnt(name: str, images: np.ndarray, seed: int, updates: int, batch: int) -> tuple[np.ndarray, dict]:
    """(posterior means [n, latent] of all images after a training, its scalars at the end)."""
    import keras

    from scanloom.pretraining.latent_space import active_units
    from scanloom.pretraining.method_training import MethodTraining
    from scanloom.schedules import cosine, learning_rates
    from scanloom.training.budget import Budget
    from scanloom.training.training_loop import train_steps

    method, settings = METHODS[name]
    training = MethodTraining(
        Corpus(images),
        method=method,
        method_settings=SHARED | settings,
        encoder="small_cnn",
        encoder_settings=ENCODER,
        views=[],
        budget=Budget(updates=updates, batch=batch),
        seed=seed,
    )
    model = training.model()
    rates = learning_rates(cosine, cosine.Settings(), 2e-3, updates, min(50, updates // 2))
    interval = max(1, updates // 10)
    history = train_steps(model, training.batch_at(), rates, updates, interval=interval, label=f"{name}, seed {seed}")
    codes = training.plugin.showing(training.settings, model).codes
    parts = [codes(part.astype(np.float32) / 255) for part in np.array_split(images, -(-len(images) // 512))]
    mean = np.concatenate([part[0] for part in parts])
    scalars = {
        column: float(history[column].iloc[-1])
        for column in ("reconstruction", "kl", "autoencoder_kl")
        if column in history
    }
    keras.backend.clear_session()
    return mean, scalars | {"active_units": active_units(mean)}


def untrained(images: np.ndarray, seed: int) -> np.ndarray:
    """Features of the encoder as it starts."""
    from scanloom.encoders import small_cnn

    encoder = small_cnn.build(small_cnn.Settings(**ENCODER), images.shape[1:], seed)
    return encoder.predict(images.astype(np.float32) / 255, batch_size=512, verbose=0)


def components(images: np.ndarray, count: int) -> np.ndarray:
    """Principal components of the pixels [n, count]."""
    from sklearn.decomposition import PCA

    return PCA(count, random_state=0).fit_transform(images.reshape(len(images), -1) / 255.0)


def rows(
    folder: Path, updates: int = 3000, batch: int = 64, seeds: int = 1, count: int | None = None, methods=tuple(METHODS)
) -> list[dict]:
    """The table; count: pictures, at random, instead of all."""
    from scanloom.pretraining.disentanglement import disentanglement_scores
    from scanloom.pretraining.phantom_factors import factor_images

    images, factors = factor_images(SIZE, count)
    without = {
        "untrained encoder": [disentanglement_scores(untrained(images, seed), factors) for seed in range(seeds)],
        "principal components": [disentanglement_scores(components(images, LATENT), factors)],
    }
    found = {}
    for name in methods:
        found[name] = []
        for seed in range(seeds):
            mean, scalars = learnt(name, images, seed, updates, batch)
            found[name].append(disentanglement_scores(mean, factors) | scalars)
    best = {score: max(_median(runs, score) for runs in without.values()) for score in without["untrained encoder"][0]}
    made = [_row(score, name, runs) for name, runs in without.items() for score in best]
    for name, runs in found.items():
        made += [_row(score, name, runs, best.get(score)) for score in runs[0]]
    return made


def _median(runs: list[dict], score: str) -> float:
    return float(np.median([run[score] for run in runs]))


def _row(score: str, name: str, runs: list[dict], peer: float | None = None) -> dict:
    row = limited(f"{score}, {name}", "", [float(run[score]) for run in runs]) | {"peer": peer}
    if peer is not None and score in GOALS:
        row |= {"goal": f"> {peer:.3g}", "met": bool(row["ours"] > peer)}
    return row


if __name__ == "__main__":
    run(__file__, __doc__, rows, {"updates": {"type": int, "default": 3000}, "seeds": {"type": int, "default": 1}})
