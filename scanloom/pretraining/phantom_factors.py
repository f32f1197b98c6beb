"""Pictures of which it is known how they were made: slices of one invented head under a few independent factors.

The built-in phantom draws a head from many numbers. Here all but a handful stay as they are, and each of these takes a
few even steps, independently of the others: what scores of disentanglement need and no real data set has.
"""

import dataclasses
import itertools

import numpy as np

from scanloom.sources._phantom_anatomy import draw_head, paint_head, space_of

FACTORS = {
    "left": np.linspace(-24.0, 24.0, 6),  # mm to the patient's left
    "back": np.linspace(-24.0, 24.0, 6),  # mm to the back
    "size": np.linspace(0.72, 1.0, 6),  # of the head over the standard head
    "ventricle_size": np.linspace(0.6, 2.4, 5),  # 1 = typical
    "skull_mm": np.linspace(4.0, 16.0, 4),
}
AGE, HEIGHT_MM, FIELD_MM = 55, 10.0, 260.0
WINDOW_HU = (-40.0, 120.0)


def factor_images(size: int, count: int | None = None, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """images uint8 [n, size, size, 1] and factors int64 [n, 5], steps of FACTORS in their order.

    All combinations (4320), or `count` of them at random, each at most once; the head follows from the seed. Raises
    ValueError for a count beyond that.
    """
    steps = np.array(list(itertools.product(*(range(len(values)) for values in FACTORS.values()))))
    if count is not None:
        if not 1 <= count <= len(steps):
            raise ValueError(f"count ({count}) must be from 1 to {len(steps)}, the number of combinations")
        steps = steps[np.sort(np.random.default_rng([seed, 1]).permutation(len(steps))[:count])]
    head = dataclasses.replace(draw_head(np.random.default_rng([seed, 0]), AGE), infarct=None, calcified={})
    return np.stack([_slice(head, row, size) for row in steps]), steps


def _slice(head, steps: np.ndarray, size: int) -> np.ndarray:
    left, back, scale, ventricles, skull = (values[step] for values, step in zip(FACTORS.values(), steps, strict=True))
    made = dataclasses.replace(
        head,
        centre_mm=(left, back, 0.0),
        scale=(scale,) * 3,
        rotation=np.eye(3),
        warp_mm=0.0,
        ventricle_size=ventricles,
        skull_mm=skull,
    )
    axis = (np.arange(size) - (size - 1) / 2) * (FIELD_MM / size)
    low, high = WINDOW_HU
    hu = paint_head(made, space_of(made, np.array([HEIGHT_MM * scale]), axis, axis)).hu[0]
    return np.rint(np.clip((hu - low) / (high - low), 0, 1) * 255).astype(np.uint8)[:, :, None]
