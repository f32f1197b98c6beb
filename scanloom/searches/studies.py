"""`studies:` as jobs: every search of a study becomes trials, each the study with other values at some paths.

A trial is found by the fingerprint of what it does, not by its place in a list: a further value or draw adds trials and
moves none. Paths are those of the resolved study, in dots: `pretraining.learning_rate`, `encoder.width`,
`methods.barlow_twins.projector`, `views`, `views.flip.p`, `arms.finetuned.learning_rates.0`, or `method`.
"""

import copy
import hashlib
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import ValidationError

from scanloom import planning, plugins
from scanloom.config import Study
from scanloom.pretraining.view_choice import branches_of
from scanloom.run_store import fingerprint
from scanloom.searches.search_checks import (
    check,
    check_arms,
    check_methods,
    full_path,
    may_be_equal,
    unused,
    used_budget,
)
from scanloom.searches.search_settings import (
    Grid,
    LearningRateRange,
    Random,
    ResourceCheck,
    TransformationScan,
)
from scanloom.spoken_values import spoken, spoken_value
from scanloom.strict_models import ConfigError
from scanloom.training.budget import overridden


@dataclass(frozen=True)
class Trial:
    """One training of a search. `job` says all of it; trials of one `setting` differ in nothing but the seed."""

    search: str
    number: int
    name: str
    values: dict[str, Any]
    seed: int
    job: dict

    @property
    def id(self) -> str:
        """12 hex digits of what the trial does."""
        return fingerprint(self.job)[:12]

    @property
    def setting(self) -> str:
        """12 hex digits of the same without its seed."""
        return fingerprint({key: value for key, value in self.job.items() if key != "seed"})[:12]


def task_of(study: Study, name: str) -> str:
    """The task a search learns on."""
    return study.studies[name].task or next(iter(study.tasks))


def method_of(study: Study, name: str) -> str:
    """The method a search trains where it does not vary it."""
    return study.studies[name].method or study.explanation.compare


def trials(study: Study, name: str) -> list[Trial]:
    """All trials of a search in the order of its settings, each once. Raises ConfigError.

    Draws may repeat a setting; values of a list that make equal trials are a slip.
    """
    search = study.studies[name]
    where = f"studies.{name}"
    check(study, search, where)
    check_methods(search, _methods(study, name), where)
    found: dict[str, Trial] = {}
    for number, (label, values) in enumerate(_settings(study, search), start=1):
        trial_study, method = _with(study, name, {**search.fixed, **values}, where, label)
        check_arms(trial_study, search, f"{where}, {label}" if label else where)
        # Networks that begin anew with each draw of labels are pretrained by no seed: others would be the same again.
        once = plugins.load("methods", method).FRESH_PER_SEED
        for seed in search.seeds[: 1 if once else None]:
            job = _job(trial_study, study, name, method, seed)
            trial = Trial(name, number, label or "as the study", values, seed, job)
            twin = found.setdefault(trial.id, trial)
            if twin is not trial and not may_be_equal(search, twin.values, values, method):
                raise ConfigError(
                    f"{where}: settings {twin.number} ({twin.name}) and {number} ({trial.name}) make the same trial; "
                    "take one of them out"
                )
    return list(found.values())


def cells(study: Study, name: str) -> list[dict]:
    """All measurements of a resource check; batches rise within one encoder, channels and size. Raises ConfigError."""
    asked, where = study.studies[name], f"studies.{name}"
    resolved, method = _with(study, name, {}, where, "")
    encoders = [resolved.encoder]
    if asked.encoders is not None:
        encoders = [_with(study, name, {"encoder": e}, where, spoken_value(e))[0].encoder for e in asked.encoders]
    dump = resolved.model_dump(mode="json")
    budget = _budget(dump["pretraining"], method)
    settings = resolved.pretraining.methods[method]
    common = {"method": method, "method_settings": settings, "views": dump["views"], "rank": study.rank}
    common["updates"] = asked.updates
    grid = itertools.product(encoders, asked.channels, sorted(asked.sizes_px), sorted(asked.batches))
    return [
        common
        | {"encoder": encoder.model_dump(mode="json"), "channels": channels, "size_px": size}
        | {"budget": budget | {"batch": batch}}
        for encoder, channels, size, batch in grid
    ]


def problems(study: Study) -> list[str]:
    """What is wrong with the searches."""
    found = []
    for name in study.studies:
        try:
            trials(study, name) if name in planning.searches(study) else cells(study, name)
        except ConfigError as error:
            found.append(str(error))
    return found


def trial_studies(study: Study, name: str) -> Iterator[tuple[str, Study]]:
    """Label and resolved study of every setting of a search, for checks that need all of it."""
    search = study.studies[name]
    for label, values in _settings(study, search):
        yield label, _with(study, name, {**search.fixed, **values}, f"studies.{name}", label)[0]


def inputs_of(study: Study, trial: Trial) -> dict[str, str | list[str]]:
    """Files a trial reads; those of the probe are missing from a range test."""
    task = study.tasks[trial.job["task"]]
    files = {
        "patients": f"results/{task.corpus}/patients.parquet",
        "indexes": planning.corpus_indexes(study, task.corpus),
        "weights": _weights(trial.job),
    }
    if "fraction" in trial.job:
        fraction = planning.fraction_name(trial.job["fraction"])
        files["index"] = f"results/{task.dataset}/shards/index.json"
        files["fraction"] = f"results/{trial.job['task']}/fractions/{fraction}.parquet"
    return files


def _weights(job: dict) -> list[str]:
    return [job["method_settings"]["file"]] if job["method_settings"].get("file") else []


def plugins_of(job: dict) -> dict[str, list[str]]:
    """Plug-ins whose code a trial or a cell runs, by kind."""
    inner = job["method_settings"].get("encoder")
    schedule = job["budget"].get("schedule")
    return {
        "methods": [job["method"]],
        "encoders": [job["encoder"]["name"], *([inner] if inner else [])],
        "views": [view["name"] for branch in branches_of(job["views"]) for view in branch],
        "optimizers": planning.optimizer_names(job["budget"], job["method_settings"]),
        "schedules": [schedule["name"]] if schedule else [],
    }


def protocol(study: Study, name: str) -> dict:
    """How the trials of a search are scored; a range test has no arms."""
    search, task = study.studies[name], study.tasks[task_of(study, name)]
    return {
        "arms": search.probe.arms if hasattr(search, "probe") else [],
        "metric": study.evaluation.main_metric,
        "level": task.level,
        "aggregate": task.aggregate,
        "resamples": study.evaluation.resamples,
    }


class Searches:
    """What the rules ask about trials and cells, as functions of a job's wildcards.

    Trials are worked out when they are asked for: the jobs of the study itself, each a process that reads the rules
    again, never do.
    """

    def __init__(self, study: Study):
        self._study = study
        self._trials = cache(lambda name: {trial.id: trial for trial in trials(study, name)})
        self._cells = cache(lambda name: cells(study, name))

    def job(self, wildcards) -> dict:
        """What the job's trial does."""
        return self._trials(wildcards.search)[wildcards.trial].job

    def inputs(self, wildcards) -> dict:
        """Files that the job's trial reads."""
        return inputs_of(self._study, self._trials(wildcards.search)[wildcards.trial])

    def files(self, name: str):
        """One file of every trial of the job's search."""
        return lambda w: [f"results/studies/{w.search}/trials/{trial}/{name}" for trial in self._trials(w.search)]

    def listed(self, wildcards) -> list[dict]:
        """What the ranking says of each trial beside its result."""
        keys = ("id", "setting", "number", "name", "values", "seed")
        return [{key: getattr(trial, key) for key in keys} for trial in self._trials(wildcards.search).values()]

    def protocol(self, wildcards) -> dict:
        """How the trials of the job's search are scored."""
        return protocol(self._study, wildcards.search)

    def cells(self, wildcards) -> list[dict]:
        """Measurements of the job's resource check."""
        return self._cells(wildcards.search)

    def limits(self, wildcards) -> dict:
        """Largest memory and time of a measurement."""
        return self._study.studies[wildcards.search].model_dump(include={"memory_mb", "limit_s"})

    def weights(self, wildcards) -> list[str]:
        """Files of weights that the job's resource check reads."""
        return sorted({file for cell in self.cells(wildcards) for file in _weights(cell)})

    def plugins(self, kind: str):
        """Plug-ins of one kind whose code the job's trial, or its resource check, runs."""

        def names(wildcards) -> list[str]:
            jobs = [self.job(wildcards)] if wildcards.get("trial") else self.cells(wildcards)
            return list(dict.fromkeys(name for job in jobs for name in plugins_of(job)[kind]))

        return names


# Settings: which values a search tries


def _settings(study: Study, search) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, path -> value) of every setting; `fixed` is not part of it."""
    if isinstance(search, Grid | LearningRateRange):
        for combination in itertools.product(*search.vary.values()):
            values = dict(zip(search.vary, combination, strict=True))
            yield spoken(values), values
    elif isinstance(search, Random):
        for number in range(search.trials):
            values = {path: _drawn(kind, search.seed, path, number) for path, kind in search.vary.items()}
            yield spoken(values), values
    elif isinstance(search, TransformationScan):
        base = study.model_dump(mode="json")["views"] if search.base is None else search.base
        for count in range(search.at_once + 1):
            for added in itertools.combinations(search.candidates, count):
                name = " + ".join(["base", *map(spoken_value, added)])
                yield name, {"views": [*base, *added]}


def _drawn(kind, seed: int, path: str, number: int):
    """Draw `number` of one path: a hash, so that neither other paths nor other draws matter."""
    digest = hashlib.sha256(f"{seed}\0{path}\0{number}".encode()).digest()
    share = int.from_bytes(digest[:6], "big") / 2**48
    if isinstance(kind, list):
        return kind[math.floor(share * len(kind))]
    if kind.integers:
        low, high = kind.integers
        return low + math.floor(share * (high - low + 1))
    if kind.uniform:
        low, high = kind.uniform
        return _short(low + share * (high - low), low, high)
    low, high = kind.log_uniform
    return _short(math.exp(math.log(low) + share * (math.log(high) - math.log(low))), low, high)


def _short(value: float, low: float, high: float) -> float:
    """A value of the range with four digits, or as many as divide its width into thousands; never outside of it.

    Short to read, and the last bits of a logarithm differ between machines.
    """
    return min(max(round(value, max(_decimals(value), _decimals(high - low))), low), high)


def _decimals(value: float) -> int:
    """Decimals with which a number has four digits."""
    return 3 - int(f"{value:.3e}".split("e")[1])


# Paths: where a value stands in the resolved study


def _with(study: Study, name: str, values: dict[str, Any], where: str, label: str) -> tuple[Study, str]:
    """The checked study with these values, and the method it trains. Raises ConfigError."""
    search = study.studies[name]
    dump = study.model_dump(mode="json") | {"studies": {}}
    method = values.get("method", method_of(study, name))
    dump["pretraining"]["methods"].setdefault(method, _method_settings(study, method, where))
    dump["pretraining"] |= _budget(dump["pretraining"], method)
    if "overrides" in dump["pretraining"]:
        # What the study overrides for the method has just become common; it must not hide what a trial varies.
        dump["pretraining"]["overrides"] = {}
    if getattr(search, "updates", None) and not isinstance(search, ResourceCheck):
        _shorten(dump["pretraining"], search.updates)
    for path, value in values.items():
        # What the method does not use would tell apart trials that do the same.
        if path != "method" and not unused(path, search, method):
            _put(dump, full_path(path).split("."), copy.deepcopy(value), f"{where}: '{path}'")
    try:
        return Study(**dump), method
    except ValidationError as error:
        raise ConfigError(f"{where}, {label or 'fixed'}: {plugins.explain(error)}") from None


def _methods(study: Study, name: str) -> list[str]:
    """Methods that a search may train. Raises ConfigError for those that are not there."""
    search, where = study.studies[name], f"studies.{name}"
    methods = getattr(search, "vary", {}).get("method", [search.fixed.get("method", method_of(study, name))])
    if not isinstance(methods, list) or not all(isinstance(method, str) for method in methods):
        raise ConfigError(f"{where}: 'method' is a name; it cannot be {methods}, so list names to choose from")
    for method in methods:
        _method_settings(study, method, where)
    return methods


def _method_settings(study: Study, method: str, where: str) -> dict:
    """The study's settings of a method, or its defaults where the study does not use it; None where it has none."""
    if method in study.pretraining.methods:
        return study.pretraining.methods[method]
    try:
        fields = plugins.load("methods", method).Settings.model_fields
    except plugins.UnknownPlugin as error:
        raise ConfigError(f"{where}.method: {error}") from None
    return {
        key: None if field.is_required() else field.get_default(call_default_factory=True)
        for key, field in fields.items()
    }


def _budget(pretraining: dict, method: str) -> dict:
    """Amounts and rules that the method is trained with, its overrides among them."""
    common = {key: value for key, value in pretraining.items() if key not in ("methods", "overrides")}
    return overridden(common, pretraining.get("overrides", {}).get(method, {}))


def _shorten(pretraining: dict, updates: int) -> None:
    """Fewer updates: warm-up and monitoring interval keep their share of them, and nothing is profiled."""
    share = updates / pretraining["updates"]
    pretraining["updates"] = updates
    for key, least in (("warmup_updates", 0), ("interval", 1)):
        if key in pretraining:
            pretraining[key] = max(least, min(pretraining[key], round(share * pretraining[key])))
    pretraining["profile"] = None


def _put(values: Any, keys: list[str], value: Any, where: str) -> None:
    """Put `value` where `keys` lead to, which must exist. Raises ConfigError with a suggestion."""
    key, rest = _key(values, keys, where)
    if rest:
        _put(values[key], rest, value, where)
    else:
        values[key] = value


def _key(values: Any, keys: list[str], where: str) -> tuple[Any, list[str]]:
    """The first key as `values` has it, and the keys that follow: plug-ins and lists of them are gone into by name."""
    first, rest = keys[0], keys[1:]
    if isinstance(values, list):
        names = [part["name"] if _is_plugin(part) else None for part in values]
        if first.isdigit() and int(first) < len(values):
            return int(first), rest
        if first in names:
            return names.index(first), rest
        known = [name for name in names if name] or [str(place) for place in range(len(values))]
    elif _is_plugin(values):
        own, settings = values["name"], values["settings"]
        if first in settings:
            return "settings", keys
        if first == own and rest:
            return "settings", rest
        known = [own, *settings]
    elif isinstance(values, dict):
        if first in values:
            return first, rest
        known = list(values)
    else:
        known = []
    there = ", ".join(known) or "nothing below"
    raise ConfigError(f"{where}: no setting '{first}'; there is {there}.{plugins.suggestion(first, known)}")


def _is_plugin(values: Any) -> bool:
    return isinstance(values, dict) and set(values) == {"name", "settings"}


# Jobs: what a trial is


def _job(trial: Study, study: Study, name: str, method: str, seed: int) -> dict:
    """Everything that determines a trial, ready for JSON, except the images, the code and the label's classes.

    What the method does not use is left out: settings of it change no trial. Trainings of the study itself are keyed
    elsewhere, by their rules.
    """
    search, task = study.studies[name], task_of(study, name)
    dump = trial.model_dump(mode="json")
    job = {
        "method": method,
        "method_settings": trial.pretraining.methods[method],
        "budget": used_budget(_budget(dump["pretraining"], method), search, method),
        "encoder": dump["encoder"],
        "views": [] if unused("views", search, method) else dump["views"],
        "seed": study.seed + seed,
        "splits": planning.corpus_splits(study, study.tasks[task].corpus),
        "task": task,
    }
    if isinstance(search, LearningRateRange):
        return job | {"learning_rates": [search.low, search.high]}
    fraction = study.fractions[-1] if search.probe.fraction is None else search.probe.fraction
    return job | {
        "arms": {arm: dump["arms"][arm] for arm in search.probe.arms},
        "fraction": fraction,
        "draws": study.seeds[: search.probe.draws],
    }
