"""Settings of one pretraining, the same for every method unless the study overrides them for one.

They stand apart from `config.py`: a new key elsewhere in the study is no change of the code that trainings run on.
"""

import math
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from scanloom.plugin_fields import plugin_of
from scanloom.plugins import suggestion
from scanloom.strict_models import Strict

FALLING = (
    *("alignment", "uniformity", "dead_units", "projection_redundancy"),
    *("reconstruction", "kl", "total_correlation", "mutual_information", "dimension_kl"),
)
"""Columns of the history that are better lower, beside all whose name ends in "loss"."""
RISING = (
    *("rankme", "lidar", "embedding_std", "embedding_spread", "accuracy", "active_units"),
    *("projection_spread", "projection_rankme", "projection_scale"),
)
"""Columns that are better higher, beside kNN and probes."""
BY_LABEL = ("knn_", "probe_")
OF_PLAYERS = ("reconstruction", "reading", "kl", "total_correlation")
"""What is better lower in a column <player>_<name>, too; what players win from each other is no better either way."""


class DoesNotFit(ValueError):
    """Settings that do not fit each other or the images: nothing can be trained with them."""


MONITOR_SHARE = 0.04
IMAGES_SHARE = 0.6
"""Of what monitors look at, images as they are; the rest is views."""
MOST_IMAGES = 512
IMAGES, VIEW_IMAGES = (32, MOST_IMAGES), (8, 48)
"""Fewest and most."""


def falls(metric: str) -> bool:
    """Whether a column of the history is better lower. Raises ValueError for columns of which nobody knows."""
    if metric in RISING or metric.startswith(BY_LABEL):
        return False
    if metric in FALLING or metric.endswith(("loss", *(f"_{name}" for name in OF_PLAYERS))):
        return True
    known = ["loss", *FALLING, *RISING]
    raise ValueError(
        f"'{metric}' is no column of the history that tells better from worse. Known: {', '.join(known)}, "
        "knn_<label>, probe_<label>, the losses of methods (<...>_loss) and, of players that take turns, "
        f"{', '.join(f'<player>_{name}' for name in OF_PLAYERS)}.{suggestion(metric, known)}"
    )


def _tells(column: str) -> bool:
    try:
        falls(column)
    except ValueError:
        return False
    return True


def _judging(metric: str) -> str:
    falls(metric)
    return metric


Metric = Annotated[str, AfterValidator(_judging)]


class Monitors(Strict):
    """What is looked at in inference mode at every interval."""

    images: int | None = Field(
        None,
        ge=16,
        description="training images whose features are looked at; null: 512, fewer where small batches make that dear",
    )
    view_images: int | None = Field(
        None, ge=4, description="of these, images of which several views are compared; null: 48, or fewer"
    )
    views: int = Field(4, ge=2, description="views of each of them")
    labels: list[str] | None = Field(
        None,
        description="labels for kNN and linear probe, on the training patients alone; null: the first three that the "
        "images have; []: none",
    )
    neighbours: int = Field(20, ge=1, description="of kNN")
    stop_on_collapse: bool = Field(True, description="end a training whose features stay collapsed")


class EarlyStopping(Strict):
    """End when a column of the history no longer gets better."""

    metric: Metric = Field("loss", description="column of history.parquet, such as loss, rankme, knn_<label>")
    patience: int = Field(5, ge=1, description="intervals without a new best")
    least: float = Field(0.0, ge=0, description="change that counts as better")


class Threshold(Strict):
    """End as soon as a column of the history is good enough."""

    metric: Metric = Field("loss", description="column of history.parquet")
    value: float = Field(description="good enough")


class Profiled(Strict):
    """Updates that the backend's own profiler records, for TensorBoard or Perfetto."""

    first: int = Field(10, ge=0, description="updates before")
    updates: int = Field(5, ge=1, description="updates recorded")


class Budget(Strict):
    """Amounts, update rule, safety and records of one training."""

    updates: int = Field(1000, ge=1)
    batch: int = Field(128, ge=2, description="images per update")
    learning_rate: float = Field(1e-3, gt=0, description="the highest; its size depends on the optimizer")
    warmup_updates: int = Field(0, ge=0, description="updates of linear rise to it, before the schedule")
    weight_decay: float = Field(0.0, ge=0, description="of kernels; biases and normalisations never decay")
    interval: int = Field(50, ge=1, description="updates between monitors and checkpoints")
    optimizer: plugin_of("optimizers") = Field(
        "adamw", validate_default=True, description="a file of scanloom/optimizers"
    )
    schedule: plugin_of("schedules") = Field(
        "cosine", validate_default=True, description="a file of scanloom/schedules"
    )
    clip_norm: float | None = Field(None, gt=0, description="largest norm of all gradients together; null: no limit")
    clip_value: float | None = Field(None, gt=0, description="largest number in a gradient; null: no limit")
    accumulate: int = Field(
        1, ge=1, description="parts of a batch that pass one after the other, for memory; losses compare inside a part"
    )
    ema_momentum: float | None = Field(
        None, gt=0, lt=1, description="monitor and save a moving average of the weights; null: the weights"
    )
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="of computations; weights, losses and the saved encoder are float32"
    )
    nan_retries: int = Field(
        2, ge=0, description="times to go back to the last checkpoint at half the rate when a loss is not finite"
    )
    early_stopping: EarlyStopping | None = Field(None, description="null: train all updates")
    stop_at: Threshold | None = Field(None, description="null: no threshold")
    keep: Literal["last", "best"] = Field("last", description="encoder that is saved: of the end, or best by best_by")
    best_by: Metric = Field("rankme", description="column of history.parquet for keep: best")
    snapshot_every: int = Field(0, ge=0, description="updates between encoders kept in snapshots/; 0: none")
    monitors: Monitors = Monitors()
    tensorboard_images: bool = Field(True, description="views and histograms of features and weights, not only curves")
    profile: Profiled | None = Field(None, description="null: no profile")
    synthetic_updates: int = Field(
        0, ge=0, description="updates timed on one batch in memory before the training, to know what input costs"
    )

    @model_validator(mode="after")
    def _fit_together(self):
        if self.warmup_updates >= self.updates:
            raise ValueError(
                f"warm-up ({self.warmup_updates} updates) must be shorter than the training ({self.updates} updates)"
            )
        if self.clip_norm is not None and self.clip_value is not None:
            raise ValueError(f"clip_norm ({self.clip_norm:g}) and clip_value ({self.clip_value:g}): choose one")
        if self.batch % self.accumulate:
            raise ValueError(
                f"a batch of {self.batch} images cannot be cut into {self.accumulate} equal parts (accumulate)"
            )
        if self.batch // self.accumulate < 2:
            raise ValueError(f"accumulate {self.accumulate} leaves one image per part; batch statistics need two")
        if self.precision == "float16" and self.accumulate > 1:
            raise ValueError(
                "float16 leaves out parts whose gradients overflow, so updates would mix parts of two batches; with "
                "accumulate above 1 use bfloat16 or float32"
            )
        if self.profile and self.profile.first + self.profile.updates > self.updates:
            last = self.profile.first + self.profile.updates
            raise ValueError(f"profile: update {last} is beyond the training's end ({self.updates} updates)")
        return self

    def looked_at(self, shown: float) -> tuple[int, int]:
        """(images, images of which views are compared) at every interval; shown: see `MethodTraining.shown`.

        To look costs a forward pass, a third of what training costs. Of their own accord monitors take MONITOR_SHARE
        of the time, but look at the fewest that say something, and at all where they look once (shown 0) or labels
        decide.
        """
        passes = MONITOR_SHARE * 3 * self.interval * self.batch * shown
        if shown == 0 or self.chooses_by_labels:
            passes = math.inf
        images = self.monitors.images or _between(*IMAGES, IMAGES_SHARE * passes)
        views = (1 - IMAGES_SHARE) * passes / self.monitors.views
        return images, self.monitors.view_images or _between(*VIEW_IMAGES, views)

    @property
    def judged_by(self) -> dict[str, str]:
        """The columns that end a training or choose its encoder, by the setting that names them."""
        rules = {"early_stopping": self.early_stopping, "stop_at": self.stop_at}
        named = {setting: rule.metric for setting, rule in rules.items() if rule is not None}
        return named | ({"best_by": self.best_by} if self.keep == "best" else {})

    @property
    def chooses_by_labels(self) -> bool:
        """Whether labels of training images decide which encoder is saved: then the method is no label saver."""
        return any(metric.startswith(BY_LABEL) for metric in self.judged_by.values())

    def assert_judged_by(self, columns: list[str]) -> None:
        """Raises DoesNotFit where what ends a training, or chooses its encoder, is none of its history's columns."""
        known = [column for column in columns if _tells(column)]
        for setting, metric in self.judged_by.items():
            if metric not in known:
                raise DoesNotFit(
                    f"{setting}: the history has no column '{metric}'. Known: {', '.join(known)}."
                    f"{suggestion(metric, known)}"
                )


def _between(least: int, most: int, wished: float) -> int:
    return int(max(least, min(most, wished)))


def overridden(common: dict, own: dict) -> dict:
    """The keys of a budget with a method's own in their place; of tables such as monitors, key by key."""
    tables = {key for key, value in common.items() if isinstance(value, dict) and "name" not in value}
    return common | {key: common[key] | value if key in tables and value else value for key, value in own.items()}


def better(metric: str, new: float, old: float, least: float = 0.0) -> bool:
    """Whether a column's new value is better than its old one by more than `least`; never for what is not a number."""
    return new < old - least if falls(metric) else new > old + least
