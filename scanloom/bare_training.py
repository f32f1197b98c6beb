"""A method's model and its batches, compiled as for pretraining, with nothing around them: no monitors, no checkpoints.

For short looks at single updates: learning-rate range tests and measurements of time and memory.
"""

from collections.abc import Callable

import numpy as np

from scanloom import plugins
from scanloom.lazy import keras
from scanloom.method_batches import batches
from scanloom.optimizers import adamw, players_of
from scanloom.stateless_random import keys_of
from scanloom.view_choice import pairs
from scanloom.view_pipeline import Pipeline


def bare_training(
    shards,
    *,
    method: str,
    method_settings: dict,
    encoder: dict,
    views,
    budget,
    seed: int,
) -> tuple[object, Callable[[int], dict[str, np.ndarray]]]:
    """(compiled model, step -> batch dict). shards, budget as in `pretraining.pretrain`; encoder, views: as a
    resolved study has them, name and settings.

    Raises ValueError where the method does not train, or has too few images.
    """
    plugin = plugins.load("methods", method)
    if not plugin.TRAINS:
        raise ValueError(f"{method} trains nothing before the labels come; choose a method that does")
    settings = plugins.settings("methods", method, method_settings)
    labels, rows = None, np.arange(len(shards.table))
    if plugin.USES_LABELS:
        column = shards.table[settings.label].to_numpy(float)
        rows = np.flatnonzero(np.isfinite(column))
        labels = column[rows].astype(np.int32)
    if len(rows) < budget.batch:
        raise ValueError(f"a batch of {budget.batch} images is larger than the corpus ({len(rows)} usable images)")
    if getattr(settings, "dataset_size", 0) is None:
        settings = settings.model_copy(update={"dataset_size": len(rows)})
    image_shape = tuple(shards.image_spec["shape"])
    pipeline = Pipeline(pairs(views), image_shape)
    shape = plugin.encoder_shape(settings, image_shape) if hasattr(plugin, "encoder_shape") else image_shape
    if hasattr(plugin, "own_encoder"):
        network = plugin.own_encoder(settings, shape, seed)
    else:
        checked = plugins.settings("encoders", encoder["name"], encoder["settings"])
        network = plugins.load("encoders", encoder["name"]).build(checked, shape, seed)
    model = plugin.build(network, settings, pipeline, seed, None if labels is None else int(labels.max()) + 1)
    for player in players_of(model):
        # XLA on JAX only, which knows nothing else: compiling costs more than so few updates.
        player.compile(optimizer=adamw(player, budget.weight_decay), jit_compile=keras.backend.backend() == "jax")
    keys = keys_of(shards.table["item_id"].iloc[rows])
    amounts = {"batch": budget.batch, "updates": budget.updates, "seed": seed}
    return model, batches(shards, rows, keys, labels, plugin, settings, pipeline, **amounts)
