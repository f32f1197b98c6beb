"""Does the stop rule find spoilt trainings within three epochs, and leave healthy ones alone?

1,024 invented images of 16 px (squares of three sizes), batches of 16: an epoch is 64 updates, a small encoder,
monitors every 16 updates. Healthy: all methods with their defaults, some seeds each; some on a LeNet, which has no
normalisation and whose features all point nearly one way from the start; and the two with a term against redundancy on
other encoders and with one linear layer as projector, [64], whose outputs are as redundant as the features. Spoilt: the
same with one thing wrong. ours is the update at which the rule ends a spoilt training (the goal: within 192), and for
healthy ones how many of them it ends (the goal: none); the last rows are how far the signs of the two kinds lie apart,
with the limits of scanloom/training/collapse.py between them.
"""

import math
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
from _measure import limited, run

EPOCHS, EPOCH = 3, 64
VIEWS = [
    ("random_resized_crop", {"share_low": 0.4}),
    ("flip", {}),
    ("brightness_contrast", {}),
    ("gaussian_noise", {}),
]
PROJECTOR = {"projector": [64, 64]}
HEALTHY = {
    "barlow_twins": PROJECTOR,
    "vicreg": PROJECTOR,
    "simclr": PROJECTOR,
    "byol": PROJECTOR | {"predictor": [64]},
    "simsiam": PROJECTOR | {"predictor": 16},
    "supervised": {"label": "kind"},
    "rotation": {},
    "vae": {},
    "masked_autoencoder": {},
    "cpc": {},
    "jigsaw": {},
    "relative_patch_location": {},
    "exemplar": PROJECTOR,
    "restoration": {"decoder_width": 8},
    "beta_vae": {},
    "factor_vae": {},
    "beta_tc_vae": {},
    "gan": {"network_width": 8},
    "wgan_gp": {"network_width": 8},
}
ENCODER, LENET = {"width": 16, "stages": [1, 1]}, {"kind": "lenet"}  # of small_cnn
ON_LENET = ("barlow_twins", "rotation", "masked_autoencoder", "restoration", "vae", "gan", "wgan_gp")
SMALL_CNN = ("small_cnn", ENCODER)
OTHERS = {
    "U-Net": ("unet", {"levels": 2, "width": 8}),
    "ViT": ("vit", {"patch": 4, "width": 32, "depth": 2, "heads": 2}),
    "ConvNeXt": ("convnext", {"depths": [1, 1], "width": 16, "patch": 2, "kernel": 3}),
}
AGAINST_REDUNDANCY = ("barlow_twins", "vicreg")
CASES = {method: (method, {}, SMALL_CNN) for method in HEALTHY}
CASES |= {f"{method} on LeNet": (method, {}, ("small_cnn", LENET)) for method in ON_LENET}
CASES |= {f"{method} on {name}": (method, {}, OTHERS[name]) for method in AGAINST_REDUNDANCY for name in OTHERS}
CASES |= {
    f"{method} [64] on {name}": (method, {"projector": [64]}, encoder)
    for method in AGAINST_REDUNDANCY
    for name, encoder in {"small CNN": SMALL_CNN, **OTHERS}.items()
}
# In three epochs Barlow Twins on a ConvNeXt learns next to nothing (a probe goes from 0.57 to 0.59, with another seed
# from 0.52 to 0.46) while its redundancy rises above 0.8, as without lambda: the rule ends it at update 112 to 144.
CASES = {name: case for name, case in CASES.items() if case[0] != "barlow_twins" or case[2] != OTHERS["ConvNeXt"]}
SPOILT = {
    "constant output (VICReg without variance and covariance)": ("vicreg", {"variance": 0, "covariance": 0}, {}),
    "lambda 0 (Barlow Twins)": ("barlow_twins", {"off_diagonal_weight": 1e-12}, {}),
    "no batch normalisation (SimSiam)": ("simsiam", {}, {"normalised": False}),
    "no batch normalisation (BYOL)": ("byol", {}, {"normalised": False}),
    "no batch normalisation (Barlow Twins)": ("barlow_twins", {}, {"normalised": False}),
    "learning rate x 100 (Barlow Twins)": ("barlow_twins", {}, {"learning_rate": 0.2}),
    "learning rate x 100 (SimCLR)": ("simclr", {}, {"learning_rate": 0.2}),
    "learning rate x 100 (supervised)": ("supervised", {}, {"learning_rate": 0.2}),
}
LOW_IS_BAD = ("embedding_spread", "projection_spread")
HIGH_IS_BAD = ("dead_units", "weight_gain")


class Corpus:
    """What pretraining uses of scanloom.shards.records.Shards: squares of 1, 2 or 4 pixels at random places."""

    def __init__(self, images: int, size: int = 16):
        rng = np.random.default_rng(0)
        kinds = np.arange(images) % 3
        self._images = np.empty((images, size, size, 1), np.uint8)
        for image, kind in zip(self._images, kinds, strict=True):
            squares = rng.uniform(-1, 1, (2 * size, 2 * size))
            for axis in (0, 1):
                squares = squares.take((np.arange(size) + rng.integers(4)) // 2**kind, axis)
            grey = 128 + rng.uniform(60, 120) * squares + rng.normal(0, 5, squares.shape)
            image[..., 0] = np.clip(grey, 0, 255)
        self.image_spec = {"shape": [size, size, 1], "dtype": "uint8"}
        items = [f"item-{i}" for i in range(images)]
        patients = [f"patient-{i // 4}" for i in range(images)]
        self.table = pd.DataFrame({"item_id": items, "patient_id": patients, "kind": kinds.astype(np.float32)})

    def images(self, rows) -> np.ndarray:
        """uint8 [len(rows), size, size, 1]."""
        return self._images[rows]


@contextmanager
def normalisation(kept: bool):
    """Without it, layers for batch normalisation do nothing."""
    import keras

    real = keras.layers.BatchNormalization
    if not kept:
        keras.layers.BatchNormalization = lambda **given: keras.layers.Activation("linear", name=given.get("name"))
    try:
        yield
    finally:
        keras.layers.BatchNormalization = real


def trained(
    folder: Path,
    method: str,
    settings: dict,
    seed: int,
    epochs: int,
    learning_rate=0.002,
    normalised=True,
    encoder=SMALL_CNN,
):
    """(history of the whole training, update at which the rule would have ended it, or None)."""
    import keras

    from scanloom.pretraining.pretraining_run import pretrain
    from scanloom.training.budget import Budget
    from scanloom.training.stopping import stop_rule

    budget = Budget(
        updates=epochs * EPOCH,
        batch=16,
        learning_rate=learning_rate,
        warmup_updates=8,
        weight_decay=1e-5,
        interval=16,
        nan_retries=0,
        tensorboard_images=False,
        monitors={"images": 256, "view_images": 32, "stop_on_collapse": False},
    )
    corpus = Corpus(16 * EPOCH)
    with normalisation(normalised):
        pretrain(
            corpus,
            set(corpus.table["patient_id"]),
            method=method,
            method_settings=HEALTHY[method] | settings,
            encoder=encoder[0],
            encoder_settings=encoder[1],
            views=VIEWS,
            budget=budget,
            seed=seed,
            folder=folder,
        )
    keras.backend.clear_session()
    history = pd.read_parquet(folder / "history.parquet")
    rule = stop_rule(Budget(updates=1, batch=2), method in AGAINST_REDUNDANCY)
    records = history.to_dict("records")
    ended = (row["step"] for i, row in enumerate(records) if rule(records[: i + 1]))
    return history, next(ended, None)


def rows(folder: Path, seeds: int = 2, epochs: int = EPOCHS, changed: dict | None = None) -> list:
    """The table; changed: {"healthy": [names], "spoilt": [names]} to do these only."""
    chosen = {"healthy": list(CASES), "spoilt": list(SPOILT)} | (changed or {})
    made, settled = [], {"healthy": [], "spoilt": []}
    for case in chosen["healthy"]:
        (method, settings, encoder), ends = CASES[case], []
        for seed in range(seeds):
            history, end = trained(folder / f"{case}-{seed}", method, settings, seed, epochs, encoder=encoder)
            ends.append(float(end is not None))
            settled["healthy"].append(history[history["step"] >= 32])
        made.append(limited(f"healthy: {case}, ended", f"of {seeds} seeds", [sum(ends)], 0))
    for number, name in enumerate(chosen["spoilt"]):
        method, settings, how = SPOILT[name]
        history, end = trained(folder / f"spoilt-{number}", method, settings, 0, epochs, **how)
        settled["spoilt"].append(history[history["step"] >= 32])
        made.append(limited(f"spoilt: {name}, ended at", "updates", [math.inf if end is None else end], epochs * EPOCH))
    for kind, histories in settled.items():
        joined = pd.concat(histories) if histories else pd.DataFrame()
        for column in (*LOW_IS_BAD, *HIGH_IS_BAD):
            if column in joined:
                made.append(limited(f"{column}, {kind}", "", list(joined[column].dropna())))
    return made


if __name__ == "__main__":
    run(__file__, __doc__, rows)
