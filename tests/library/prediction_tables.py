"""Constructed predictions for the tests of evaluation and verdict."""

from itertools import product

import numpy as np
import pandas as pd

FRACTIONS = (0.01, 0.1, 1.0)
LABELLED = pd.DataFrame(
    {"fraction": FRACTIONS, "labelled_patients": [10, 100, 1000], "labelled_images": [30, 300, 3000]}
)


def predictions(
    separations: dict, *, schedules=("finetuned",), fractions=FRACTIONS, seeds=4, patients=80, classes=2, noise_seed=0
) -> pd.DataFrame:
    """Two series of two images per patient; separations: method -> function of fraction giving the class distance.

    Labels are always the same. The noise of an image under a seed is the same for all methods of one call, so equal
    separations give equal predictions; calls with another `noise_seed` give arms with noise of their own.
    """
    patient = np.repeat(np.arange(patients), 4)
    label = (np.arange(patients) % classes)[patient]
    noise = np.random.default_rng(noise_seed).standard_normal(
        (len(schedules), len(fractions), seeds, len(patient), classes)
    )
    frames = []
    for method, separation in separations.items():
        for (i, schedule), (j, fraction), s in product(enumerate(schedules), enumerate(fractions), range(seeds)):
            logits = separation(fraction) * np.eye(classes)[label] + noise[i, j, s]
            probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            frames.append(
                pd.DataFrame(
                    {
                        "method": method,
                        "schedule": schedule,
                        "fraction": fraction,
                        "seed": s,
                        "split": "test",
                        "item_id": [f"i{i:04d}" for i in range(len(patient))],
                        "series_id": [f"s{i // 2:04d}" for i in range(len(patient))],
                        "patient_id": [f"p{p:03d}" for p in patient],
                        "site": "A",
                        "label": label,
                        **{f"p{k}": probabilities[:, k] for k in range(classes)},
                    }
                )
            )
    return pd.concat(frames, ignore_index=True)
