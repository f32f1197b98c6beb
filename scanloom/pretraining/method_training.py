"""A method, the images it learns from, its batches and its compiled models: what every training of it is made of.

Pretraining puts monitors and checkpoints around it; learning-rate range tests and measurements of time and memory do
not.
"""

import math
from collections.abc import Callable
from contextlib import contextmanager
from functools import wraps

import numpy as np
import pandas as pd

from scanloom import plugins
from scanloom.lazy import keras
from scanloom.optimizers import begin_averages, optimizer_of, players_of
from scanloom.pretraining.method_batches import batches
from scanloom.pretraining.view_pipeline import Pipeline
from scanloom.stateless_random import keys_of
from scanloom.training.backend import compiles, make_deterministic
from scanloom.training.budget import MOST_IMAGES, Budget, DoesNotFit
from scanloom.training.fused_normalisation import fuse_normalisations

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


def _fitting(function: Callable) -> Callable:
    """A ValueError of what is made before the training begins means settings that do not fit."""

    @wraps(function)
    def checked(*arguments, **named):
        try:
            return function(*arguments, **named)
        except ValueError as error:
            raise DoesNotFit(str(error)) from error

    return checked


class MethodTraining:
    """`name`, `plugin` and checked `settings` of the method; `rows` of images it can use, their `keys` and `labels`.

    shards, views, budget: as in `pretraining.pretrain`. Raises DoesNotFit where there are too few images, or settings
    that do not exist or fit.
    """

    @_fitting
    def __init__(
        self,
        shards,
        *,
        method: str,
        method_settings: dict,
        encoder: str,
        encoder_settings: dict,
        views,
        budget: Budget,
        seed: int,
    ):
        self.shards, self.budget, self.seed = shards, budget, seed
        self.name, self.plugin = method, plugins.load("methods", method)
        self.settings = plugins.settings("methods", method, method_settings)
        self._encoder_plugin = plugins.load("encoders", encoder)
        self._encoder_settings = plugins.settings("encoders", encoder, encoder_settings)
        self.image_shape = tuple(shards.image_spec["shape"])
        self.rows, self.labels = _usable_rows(shards.table, self.settings.label if self.plugin.USES_LABELS else None)
        self.keys = keys_of(shards.table["item_id"].iloc[self.rows])
        if getattr(self.settings, "dataset_size", 0) is None:
            self.settings = self.settings.model_copy(update={"dataset_size": len(self.rows)})
        if len(self.rows) < budget.batch:
            raise ValueError(
                f"a batch of {budget.batch} images is larger than the corpus ({len(self.rows)} usable images)"
            )
        part, least = budget.batch // budget.accumulate, getattr(self.plugin, "SMALLEST_PART", 1)
        if part < least:
            raise ValueError(
                f"{method} needs {least} images at a time, and batch: {budget.batch} with accumulate: "
                f"{budget.accumulate} gives it {part}; raise batch or lower accumulate"
            )
        self.pipeline = Pipeline(views, self.image_shape)
        for branch in range(max(1, self.plugin.BRANCHES)):
            self.pipeline.draw(seed, branch, 0, self.keys[:1])  # what cannot be drawn for these images is found now

    @property
    def trained_shape(self) -> tuple[int, ...]:
        """Shape of what the encoder is trained on: methods that look at parts of an image have another."""
        if hasattr(self.plugin, "encoder_shape"):
            return self.plugin.encoder_shape(self.settings, self.image_shape)
        return self.image_shape

    @property
    @_fitting
    def shown(self) -> float:
        """Of each image of an update, how many whole images' worth of pixels pass the encoder; 0: it does not train."""
        parts = 1
        if hasattr(self.plugin, "parts_per_image"):
            parts = self.plugin.parts_per_image(self.settings, self.image_shape)
        share = math.prod(self.trained_shape[:-1]) / math.prod(self.image_shape[:-1])
        return self.plugin.BRANCHES * parts * share

    @property
    def decorrelates(self) -> bool:
        """Whether the loss is against embeddings whose numbers say the same."""
        return getattr(self.plugin, "DECORRELATES", False)

    @_fitting
    def settle(self, images: list[np.ndarray]) -> None:
        """Let the method compute settings from some stored images (batches of them), where it wants to."""
        if hasattr(self.plugin, "settle"):
            self.settings = self.plugin.settle(self.settings, np.concatenate(images), self.shards.image_spec)

    @_fitting
    def batch_at(self) -> Callable[[int], dict[str, np.ndarray]]:
        """step -> batch dict, see `method_batches.batches`. To be called after `settle`."""
        budget = self.budget
        made = batches(
            self.shards,
            self.rows,
            self.keys,
            self.labels,
            self.plugin,
            self.settings,
            self.pipeline,
            batch=budget.batch,
            updates=budget.updates,
            seed=self.seed,
        )
        made(0)  # the same for what the method draws
        return made

    def encoder(self, shape: tuple[int, ...] | None = None):
        """An untrained encoder in float32 for images of this shape, by default of the corpus'."""
        shape = self.image_shape if shape is None else shape
        if hasattr(self.plugin, "own_encoder"):
            return self.plugin.own_encoder(self.settings, shape, self.seed)
        return self._encoder_plugin.build(self._encoder_settings, shape, self.seed)

    @_fitting
    def encoder_to_keep(self, trained):
        """An encoder in float32 for whole images that can take the weights of `trained`, which may see parts alone."""
        kept = self.encoder()
        if [weight.shape for weight in kept.weights] != [weight.shape for weight in trained.weights]:
            raise ValueError(
                f"{self.name} shows the encoder images of shape {self.trained_shape}, and this encoder has other "
                f"weights for the corpus' {self.image_shape}; choose one whose weights fit every size (vit has them "
                "with positions: sincos, convolutional encoders with pooled features), or another method"
            )
        return kept

    @_fitting
    def model(self):
        """The untrained model, compiled, with `.encoder`. To be called after `settle`."""
        budget = self.budget
        classes = None if self.labels is None else int(self.labels.max()) + 1
        with precision(budget.precision):
            try:
                network = self.encoder(self.trained_shape)
            except ValueError as error:
                if self.trained_shape == self.image_shape:
                    raise
                raise ValueError(f"{self.name} shows the encoder parts of the images: {error}") from error
            model = self.plugin.build(network, self.settings, self.pipeline, self.seed, classes)
        for player in players_of(model):
            player.compile(optimizer=_optimizer(player, budget), jit_compile=compiles())
            fuse_normalisations(player)
        if budget.ema_momentum is not None:
            begin_averages(model)
        return model


def bare_training(shards, *, images_to_settle: int = MOST_IMAGES, **what) -> tuple[object, Callable]:
    """(compiled model, step -> batch dict) for short looks at single updates; what: arguments of `MethodTraining`.

    Raises DoesNotFit, also where the method does not train.
    """
    training = MethodTraining(shards, **what)
    if not training.plugin.TRAINS:
        raise DoesNotFit(f"{what['method']} trains nothing before the labels come; choose a method that does")
    training.settle([shards.images(training.rows[:images_to_settle])])
    make_deterministic()
    return training.model(), training.batch_at()


@contextmanager
def precision(name: str):
    """Layers made inside compute in this precision; their weights are float32."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(POLICIES[name])
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _optimizer(player, budget: Budget):
    chosen = getattr(player, "own_optimizer", budget.optimizer)
    plugin = plugins.load("optimizers", chosen.name)
    return optimizer_of(
        player,
        plugin,
        plugin.Settings(**chosen.settings),
        budget.weight_decay,
        clip_norm=budget.clip_norm,
        clip_value=budget.clip_value,
        ema_momentum=budget.ema_momentum,
        micro_batches=budget.accumulate,
        scale_loss=budget.precision == "float16",
    )


def _usable_rows(table: pd.DataFrame, label: str | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Positions of the images a method can use, and their labels int32 (None where it uses none)."""
    if label is None:
        return np.arange(len(table)), None
    if label not in table:
        known = [c for c in table.columns if pd.api.types.is_float_dtype(table[c])]
        raise ValueError(
            f"the corpus has no label '{label}'. Known: {', '.join(known)}.{plugins.suggestion(label, known)}"
        )
    rows = np.flatnonzero(table[label].notna().to_numpy())
    if not len(rows):
        raise ValueError(f"no image of the corpus has a value of label '{label}'")
    values = table[label].to_numpy()[rows]
    wrong = values[(values < 0) | (values != np.floor(values))]
    if len(wrong):
        raise ValueError(f"label '{label}' has the value {wrong[0]:g}; class indices are whole numbers from 0 on")
    return rows, values.astype(np.int32)
