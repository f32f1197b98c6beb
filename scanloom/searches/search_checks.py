"""What is wrong with a search beyond what its models see: paths, tasks, fractions, and values that do nothing.

A path that no trial uses is an error: its values would make equal trials, which are one, and the search would be
smaller than it was written.
"""

import itertools
from typing import Any

from scanloom import planning, plugins
from scanloom.searches.search_settings import LearningRateRange, Random, TransformationScan
from scanloom.strict_models import ConfigError

VARIED = ("pretraining", "methods", "encoder", "views", "arms", "method")
"""What a trial may have otherwise. The rest is the data and what is asked of them: another study."""
OF_A_COURSE = ("learning_rate", "schedule", "warmup_updates")
"""Keys of pretraining that a range test does not use: its learning rate rises from `low` to `high`."""


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


def full_path(path: str) -> str:
    """A path from the root of the resolved study."""
    return f"pretraining.{path}" if path.split(".")[0] == "methods" else path


def may_be_equal(search, one: dict[str, Any], other: dict[str, Any], method: str) -> bool:
    """Whether it is no slip that these values, path -> value, make equal trials of `method`.

    Draws repeat, and settings of other methods of the search are none of this one's.
    """

    def used(values: dict[str, Any]) -> dict[str, Any]:
        keys = {path: full_path(path).split(".") for path in values}
        others = [path for path, (*first, _) in keys.items() if first[:2] == ["pretraining", "methods"]]
        return {path: value for path, value in values.items() if path not in others or method in keys[path][2:3]}

    return used(one) == used(other) and (isinstance(search, Random) or one != other)


def _check_probe(study, probe, where: str) -> None:
    if probe.fraction is not None and probe.fraction not in study.fractions:
        known = ", ".join(planning.fraction_names(study))
        raise ConfigError(f"{where}.probe.fraction: {probe.fraction:g} is none of the study's fractions: {known}")
    if probe.draws > len(study.seeds):
        raise ConfigError(f"{where}.probe.draws: {probe.draws} draws, but the study has {len(study.seeds)} seeds")
    for arm in probe.arms:
        if getattr(study.arms, arm) is None:
            raise ConfigError(f"{where}.probe.arms: {arm} is switched off in arms; give it settings there")


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
    elif first == "arms" and key in ("frozen", "finetuned") and key not in search.probe.arms:
        listed = ", ".join([*search.probe.arms, key])
        raise ConfigError(
            f"{where}: '{path}' changes nothing, the trials run {' and '.join(search.probe.arms)} alone; say "
            f"probe: {{arms: [{listed}]}}, or [{key}] alone, or take it out"
        )
