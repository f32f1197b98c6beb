"""What is wrong with a search beyond what its models see: paths, tasks, fractions, and values that do nothing.

A path that no trial uses is an error: its values would make equal trials, which are one, and the search would be
smaller than it was written.
"""

import itertools
from typing import Any

from scanloom import planning, plugins
from scanloom.searches.search_settings import LearningRateRange, Random, ResourceCheck, TransformationScan
from scanloom.strict_models import ConfigError
from scanloom.training.budget import Budget

VARIED = ("pretraining", "methods", "encoder", "views", "arms", "method")
"""What a trial may have otherwise. The rest is the data and what is asked of them: another study."""
OF_A_COURSE = ("learning_rate", "schedule", "warmup_updates")
"""Keys of pretraining that a range test does not use: its learning rate rises from `low` to `high`."""
OF_AN_UPDATE = (
    *("batch", "accumulate", "optimizer", "weight_decay", "clip_norm", "clip_value"),
    *("ema_momentum", "precision"),
)
"""Keys of pretraining that a range test uses: it makes updates, and neither looks at the encoder nor keeps it."""
OF_A_LOOK = ("batch", "monitors")
"""Keys of pretraining that a method uses that trains nothing: its encoder is looked at once."""


def check(study, search, where: str) -> None:
    """Raise ConfigError for what pydantic could not see. study: `config.Study`."""
    paths = [*search.fixed, *getattr(search, "vary", {})]
    if isinstance(search, TransformationScan):
        paths.append("views")
        if search.base is None and not isinstance(study.views, list):
            raise ConfigError(f"{where}.base: the study's views differ by branch; say from which views the scan starts")
    for path in paths:
        _assert_variable(path, where)
        _assert_used(path, search, where)
    for one, other in itertools.permutations(map(full_path, paths), 2):
        if other == one or other.startswith(f"{one}."):
            raise ConfigError(f"{where}: '{other}' lies within '{one}'; a trial can have only one of the two")
    for seed in search.seeds:
        if search.seeds.count(seed) > 1:
            raise ConfigError(f"{where}.seeds: {seed} stands twice; each seed is one pretraining, so list it once")
    if search.task is not None and search.task not in study.tasks:
        known = list(study.tasks)
        raise ConfigError(
            f"{where}.task: no '{search.task}' in tasks: {', '.join(known)}.{plugins.suggestion(search.task, known)}"
        )
    if hasattr(search, "probe"):
        _check_probe(study, search.probe, where)


def check_methods(search, methods: list[str], where: str) -> None:
    """Raise ConfigError where a method has no loss to test, or a path changes nothing for any of the methods."""
    for method in methods if isinstance(search, LearningRateRange) else ():
        if not plugins.load("methods", method).TRAINS:
            raise ConfigError(
                f"{where}: {method} trains nothing before the labels come, so no learning rate of it can be tested; "
                "name one that trains (`method:`)"
            )
    views = ["views"] if isinstance(search, TransformationScan) else []
    for path in [*search.fixed, *getattr(search, "vary", {}), *views]:
        reasons = [unused(path, search, method) for method in methods]
        if all(reasons):
            raise ConfigError(f"{where}: '{path}' changes nothing, {reasons[0]}; take it out")


def check_arms(trial_study, search, where: str) -> None:
    """Raise ConfigError where an arm of the probe is switched off in the study as a trial changes it."""
    for arm in search.probe.arms if hasattr(search, "probe") else ():
        if getattr(trial_study.arms, arm) is None:
            raise ConfigError(f"{where}: probe.arms: {arm} is switched off in arms; give it settings there")


def used_budget(budget: dict, search, method: str) -> dict:
    """What of a budget a trial of `method` uses."""
    if isinstance(search, LearningRateRange):
        return {key: budget[key] for key in ("updates", *OF_AN_UPDATE)}
    if not plugins.load("methods", method).TRAINS:
        return {key: budget[key] for key in OF_A_LOOK}
    return budget


def unused(path: str, search, method: str) -> str | None:
    """Why a trial of `method` is the same whatever the value at the path; None where it uses the value."""
    first, *rest = full_path(path).split(".")
    plugin = plugins.load("methods", method)
    if isinstance(search, ResourceCheck):
        return None
    if [first, *rest[:1]] == ["pretraining", "methods"]:
        other = rest[1:] and rest[1] != method
        return f"it is no setting of {method}, which the trials train (`method:`)" if other else None
    if first == "pretraining" and rest and not plugin.TRAINS:
        return f"{method} trains nothing before the labels come"
    if first == "views" and not plugin.TRAINS and "finetuned" not in search.probe.arms:
        return f"{method} trains nothing before the labels come, and the frozen arm sees images as they are"
    if first == "encoder" and hasattr(plugin, "own_encoder"):
        return f"{method} brings an encoder of its own"
    return None


def full_path(path: str) -> str:
    """A path from the root of the resolved study."""
    return f"pretraining.{path}" if path.split(".")[0] == "methods" else path


def may_be_equal(search, one: dict[str, Any], other: dict[str, Any], method: str) -> bool:
    """Whether it is no slip that these values, path -> value, make equal trials of `method`.

    Draws repeat, and what other methods of the search use is nothing to this one.
    """

    def used(values: dict[str, Any]) -> dict[str, Any]:
        return {path: value for path, value in values.items() if not unused(path, search, method)}

    return used(one) == used(other) and (isinstance(search, Random) or one != other)


def _check_probe(study, probe, where: str) -> None:
    if probe.fraction is not None and probe.fraction not in study.fractions:
        known = ", ".join(planning.fraction_names(study))
        raise ConfigError(f"{where}.probe.fraction: {probe.fraction:g} is none of the study's fractions: {known}")
    if probe.draws > len(study.seeds):
        raise ConfigError(f"{where}.probe.draws: {probe.draws} draws, but the study has {len(study.seeds)} seeds")


def _assert_variable(path: str, where: str) -> None:
    first = path.split(".")[0]
    if first not in VARIED:
        raise ConfigError(
            f"{where}: '{path}' cannot be varied; what can begins with {', '.join(VARIED)}."
            f"{plugins.suggestion(first, list(VARIED))}"
        )


def _assert_used(path: str, search, where: str) -> None:
    first, key = ([*path.split("."), ""])[:2]
    if isinstance(search, LearningRateRange):
        if first == "arms":
            raise ConfigError(f"{where}: '{path}' changes nothing, a range test runs no arms; take it out")
        if first == "pretraining" and key in OF_A_COURSE:
            raise ConfigError(
                f"{where}: '{path}' changes nothing, the learning rate of a range test rises from low "
                f"({search.low:g}) to high ({search.high:g}); take it out, or change low and high"
            )
        if first == "pretraining" and key in {*Budget.model_fields} - {*OF_AN_UPDATE}:
            remedy = "say updates: beside kind:" if key == "updates" else "take it out"
            raise ConfigError(
                f"{where}: '{path}' changes nothing, of pretraining a range test uses {', '.join(OF_AN_UPDATE)} alone; "
                f"{remedy}"
            )
    elif first == "arms" and key in ("frozen", "finetuned") and key not in search.probe.arms:
        listed = ", ".join([*search.probe.arms, key])
        raise ConfigError(
            f"{where}: '{path}' changes nothing, the trials run {' and '.join(search.probe.arms)} alone; say "
            f"probe: {{arms: [{listed}]}}, or [{key}] alone, or take it out"
        )
