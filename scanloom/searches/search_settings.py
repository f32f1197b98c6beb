"""Settings of `studies:`: searches over the study's own settings.

They stand apart from `config.py` as those of the arms do: the code of a trial does not depend on the other keys.
"""

import math
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from scanloom.pretraining.view_choice import written_out
from scanloom.strict_models import Strict

MOST_TRIALS = 1000
"""Of one search: a grid that multiplies out to more is a slip."""

Arm = Literal["frozen", "finetuned"]


class Drawn(Strict):
    """Numbers drawn from a range: one of the three."""

    log_uniform: tuple[float, float] | None = Field(None, description="ends; their logarithms are drawn evenly")
    uniform: tuple[float, float] | None = Field(None, description="ends; drawn evenly")
    integers: tuple[int, int] | None = Field(None, description="ends, both included; drawn evenly")

    @model_validator(mode="after")
    def _one_range(self):
        given = {name: ends for name, ends in self if ends is not None}
        if len(given) != 1:
            raise ValueError("say one of log_uniform, uniform and integers: {log_uniform: [0.0001, 0.01]}")
        [(name, (low, high))] = given.items()
        if not low < high or (name == "log_uniform" and low <= 0):
            raise ValueError(f"{name} needs {'0 < ' if name == 'log_uniform' else ''}low ({low:g}) < high ({high:g})")
        return self


Values = Annotated[list[Any], Field(min_length=1)]
ListedOrDrawn = Annotated[
    Annotated[Values, Tag("listed")] | Annotated[Drawn, Tag("drawn")],
    Discriminator(lambda value: "listed" if isinstance(value, list) else "drawn"),
]


def _assert_few(settings: int) -> None:
    if settings > MOST_TRIALS:
        raise ValueError(
            f"{settings} settings; at most {MOST_TRIALS} are tried. Drawing some (kind: random) costs less"
        )


def _one_list(views: Any) -> Any:
    """Views without presets, one list of them: that of one branch is no base of the others."""
    if views is None:
        return None
    views = written_out(views)
    if isinstance(views, dict):
        raise ValueError(
            f"these views differ by branch ({', '.join(views)}), and candidates are put behind one list; write a list "
            "of views or a preset that is one, such as {preset: chest_xray}"
        )
    return views


class Probe(Strict):
    """How a trial is scored, on validation patients alone."""

    arms: list[Arm] = Field(
        ["frozen"], min_length=1, description="arms to run, with the study's settings of them; the first one ranks"
    )
    fraction: float | None = Field(None, description="one of the study's fractions; null: the largest")
    draws: int = Field(1, ge=1, description="draws of labelled patients: the first so many of the study's seeds")


class _Search(Strict):
    method: str | None = Field(None, description="method that is trained; null: that of explanation.compare")
    task: str | None = Field(None, description="task whose corpus is trained on and whose label is probed; null: first")
    fixed: dict[str, Any] = Field({}, description="path -> value that all trials share: {encoder.width: 8}")
    updates: int | None = Field(
        None, ge=1, description="updates of pretraining, warm-up shortened in proportion; null: as the study has them"
    )
    seeds: list[int] = Field([0], min_length=1, description="pretrainings of each setting; added to the study's seed")


class Grid(_Search):
    """Every combination of the listed values."""

    kind: Literal["grid"]
    vary: dict[str, Values] = Field(
        min_length=1, description="path -> values: {pretraining.learning_rate: [0.001, 0.002]}"
    )
    probe: Probe = Probe()

    @model_validator(mode="after")
    def _few(self):
        _assert_few(math.prod(map(len, self.vary.values())))
        return self


class Random(_Search):
    """Values drawn at random; a further trial changes none of the others."""

    kind: Literal["random"]
    vary: dict[str, ListedOrDrawn] = Field(
        min_length=1,
        description="path -> list to choose from, {log_uniform: [a, b]}, {uniform: [a, b]} or {integers: [a, b]}",
    )
    trials: int = Field(ge=1, le=MOST_TRIALS, description="how many settings are drawn")
    seed: int = Field(0, ge=0, description="other seed, other draws")
    probe: Probe = Probe()


class TransformationScan(_Search):
    """The base's views alone, then with one candidate more, then with several."""

    kind: Literal["transformation_scan"]
    base: Annotated[list[Any] | dict[str, str] | None, BeforeValidator(_one_list)] = Field(
        None, description="views all trials have: a list, or {preset: name}; null: the study's"
    )
    candidates: list[Any] = Field(min_length=1, description="views put behind the base's, in this order")
    at_once: int = Field(1, ge=1, description="most candidates in one trial: 2 tries all pairs too")
    probe: Probe = Probe()

    @model_validator(mode="after")
    def _few(self):
        _assert_few(sum(math.comb(len(self.candidates), count) for count in range(self.at_once + 1)))
        return self


class LearningRateRange(_Search):
    """A learning rate that rises with every update, until the loss does."""

    kind: Literal["learning_rate_range"]
    low: float = Field(1e-6, gt=0, description="learning rate of the first update")
    high: float = Field(1.0, gt=0, description="learning rate of the last update")
    updates: int = Field(200, ge=20, description="updates from low to high")
    vary: dict[str, Values] = Field({}, description="path -> values: one curve per combination")

    @model_validator(mode="after")
    def _range(self):
        if self.low >= self.high:
            raise ValueError(f"low ({self.low:g}) must be below high ({self.high:g})")
        _assert_few(math.prod(map(len, self.vary.values())))
        return self


class ResourceCheck(Strict):
    """Seconds and memory of one update, on made-up images: what fits on this machine, and how long it takes."""

    kind: Literal["resource_check"]
    method: str | None = Field(None, description="method whose update is measured; null: that of explanation.compare")
    encoders: list[Any] | None = Field(None, min_length=1, description="encoders to measure; null: the study's")
    sizes_px: list[Annotated[int, Field(ge=1)]] = Field(
        min_length=1, description="edge of the square or cubic image, from 1 on"
    )
    batches: list[Annotated[int, Field(ge=2)]] = Field(
        min_length=1, description="images per update, from 2 on as in pretraining"
    )
    channels: list[Annotated[int, Field(ge=1)]] = Field([1], min_length=1, description="of the image, from 1 on")
    updates: int = Field(5, ge=1, description="updates that are timed, after two that are not")
    memory_mb: int | None = Field(
        None, ge=1, description="a cell that takes more counts as out of memory; null: 90 % of what is free"
    )
    limit_s: float = Field(600, gt=0, description="a cell that takes longer is given up")


Search = Annotated[Grid | Random | TransformationScan | LearningRateRange | ResourceCheck, Field(discriminator="kind")]
