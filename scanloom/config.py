"""The study and dataset files as typed models: every key, its meaning, its default, and what is wrong with a bad value.

`schemas/*.json` are generated from these models (a test keeps them equal); `config.yaml` is the commented manual.
Names of plug-ins (steps, methods, ...) are checked against the files that exist, so no list of names lives here.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, Field, ValidationError, field_validator, model_validator

from scanloom import plugins
from scanloom.arms import Finetuned, Frozen, Strict

NAME = re.compile(r"[a-z][a-z0-9_]*")


class ConfigError(ValueError):
    """A study or dataset file that cannot be run; the message names file, key, value and remedy."""


def _one_plugin(value: Any) -> Any:
    """`name` or `{name: {setting: value}}` as `(name, settings)`."""
    if isinstance(value, str):
        return {"name": value, "settings": {}}
    if isinstance(value, dict) and set(value) == {"name", "settings"}:
        return value
    if isinstance(value, dict) and len(value) == 1:
        [(name, settings)] = value.items()
        return {"name": name, "settings": settings or {}}
    raise ValueError("expected a name, or one name with its settings: {name: {setting: value}}")


class Plugin(Strict):
    """A plug-in's name and its settings as written."""

    name: str
    settings: dict[str, Any] = {}

    def checked(self, kind: str) -> "Plugin":
        """The same with all defaults filled in. Raises ValueError with a suggestion for unknown names and keys."""
        return Plugin(name=self.name, settings=plugins.settings(kind, self.name, self.settings).model_dump(mode="json"))


def plugin_of(kind: str):
    """Field type: one plug-in of `kind`, checked against the files in its folder."""

    def check(value: Any) -> Plugin:
        return Plugin(**_one_plugin(value)).checked(kind)

    return Annotated[Plugin, BeforeValidator(check)]


def _checked_name(value: str) -> str:
    if not NAME.fullmatch(value):
        raise ValueError("names are lower-case letters, digits and underscores, starting with a letter")
    return value


Name = Annotated[str, BeforeValidator(_checked_name)]


class Label(Strict):
    """One column of labels."""

    kind: Literal["binary", "multiclass"] = Field(description="binary: two classes; multiclass: exclusive classes")
    classes: list[str] = Field(min_length=2, description="class names in the order of their indices")
    values: dict[str, int] | None = Field(
        None, description="raw table value -> class index; null: the raw values are the indices or the class names"
    )

    @model_validator(mode="after")
    def _two_classes(self):
        if self.kind == "binary" and len(self.classes) != 2:
            raise ValueError(f"a binary label has two classes, not {len(self.classes)}")
        return self


class Labels(Strict):
    """Where labels stand and how their rows find their images."""

    table: str | None = Field(None, description="CSV or TSV below the dataset's root; null: the reader supplies labels")
    join: Literal["sop_uid", "series_uid", "patient_id", "path", "index"] = Field(
        "path", description="what of an image is matched with the table's key"
    )
    key: str | None = Field(None, description="the table's column that is matched; null: the same name as `join`")
    columns: dict[str, Label] = Field(description="label columns that tasks may use")


class Masks(Strict):
    """Lesion masks beside the images; used for the pointing game."""

    table_column: str = Field(description="label-table column with the NIfTI file of the series, below the root")


class DatasetFile(Strict):
    """`datasets/<name>.yaml`: where the images come from, how to read them, labels, licence, splits."""

    name: Name
    title: str
    licence: str = Field(description="licence of the images, as their publisher states it")
    citation: str | None = None
    homepage: str | None = None
    source: plugin_of("sources") = Field(description="how bytes get here")
    reader: plugin_of("readers") = Field(description="how files become series")
    modality: str | None = Field(None, description="DICOM modality to use; other files are excluded with that reason")
    group: str | None = Field(
        "patient_id", description="unit of every split: patient_id or a label-table column; null: each image alone"
    )
    labels: Labels
    masks: Masks | None = None
    site: str | None = Field(None, description="label-table or catalogue column naming the site")
    official_split: str | None = Field(None, description="label-table column holding train, validation or test")
    stratify: list[str] = Field([], description="label columns (and `site`) whose shares are equal in all splits")
    expected: dict[str, int] = Field({}, description="published counts to compare with: series, patients, images")


class DatasetUse(Strict):
    """How this study uses one dataset."""

    dtype: Literal["uint8", "uint16"] = Field("uint8", description="integer type of stored images")
    steps: list[plugin_of("steps")] = Field(min_length=1, description="preprocessing steps in order")
    source: dict[str, Any] = Field({}, description="overrides of the dataset file's source settings")
    reader: dict[str, Any] = Field({}, description="overrides of the dataset file's reader settings")


class Folders(Strict):
    """Where things live, relative to the working directory."""

    data: str = Field("data", description="downloads")
    private: str = Field("private", description="raw paths and identifiers; never share")
    runs: str = Field("runs", description="finished and interrupted trainings by fingerprint")


class Splits(Strict):
    """Shares of patients; the rest trains."""

    validation: float = Field(0.15, gt=0, lt=0.9)
    test: float = Field(0.25, gt=0, lt=0.9)

    @model_validator(mode="after")
    def _some_training(self):
        if self.validation + self.test >= 1:
            raise ValueError(f"validation {self.validation} + test {self.test} leave no training patients")
        return self


class Corpus(Strict):
    """What is pretrained on."""

    datasets: list[str] = Field(min_length=1)


class Task(Strict):
    """A dataset plus a label."""

    dataset: str
    label: str
    corpus: str
    level: Literal["image", "series", "patient"] = Field("image", description="what one prediction is about")
    aggregate: Literal["mean", "max"] = Field("mean", description="how image probabilities become one per level")


class Pretraining(Strict):
    """The same budget for every method."""

    methods: dict[str, dict[str, Any]] = Field(description="method name -> settings; from_scratch is mandatory")
    updates: int = Field(1000, ge=1)
    batch: int = Field(128, ge=2)
    learning_rate: float = Field(1e-3, gt=0)
    warmup_updates: int = Field(50, ge=0)
    weight_decay: float = Field(1e-4, ge=0)
    interval: int = Field(50, ge=1, description="updates between monitors and checkpoints")

    @field_validator("methods", mode="before")
    @classmethod
    def _checked_methods(cls, methods: Any) -> dict:
        if not isinstance(methods, dict):
            raise ValueError("expected method names with their settings: {barlow_twins: {}, from_scratch: {}}")
        checked = {name: Plugin(name=name, settings=s or {}).checked("methods").settings for name, s in methods.items()}
        if "from_scratch" not in checked:
            raise ValueError("from_scratch is missing: without the baseline no gain can be claimed")
        return checked


class Arms(Strict):
    """Uses of an encoder downstream."""

    frozen: Frozen | None = Frozen()
    finetuned: Finetuned | None = Finetuned()


class Evaluation(Strict):
    """What is measured on test."""

    metrics: list[str] = ["auroc", "auprc", "accuracy", "balanced_accuracy", "brier"]
    main_metric: str = Field("auroc", description="metric of the verdict")
    resamples: int = Field(2000, ge=200, le=100000, description="bootstrap resamples of patients")

    @field_validator("metrics")
    @classmethod
    def _known(cls, names: list[str]) -> list[str]:
        for name in names:
            plugins.file_of("metrics", name)
        return names

    @model_validator(mode="after")
    def _main_is_measured(self):
        if self.main_metric not in self.metrics:
            raise ValueError(f"main_metric '{self.main_metric}' is not among metrics {self.metrics}")
        return self


class Explanation(Strict):
    """Which cases are explained, and how."""

    method: str = Field("grad_cam", description="a file of scanloom/explain")
    compare: str = Field("barlow_twins", description="method shown beside from_scratch")
    cases_per_group: int = Field(3, ge=1, le=12)
    tolerance_px: int = Field(0, ge=0, description="pointing game: a hit so close to the mask counts")

    @field_validator("method")
    @classmethod
    def _known(cls, name: str) -> str:
        plugins.file_of("explain", name)
        return name


class Report(Strict):
    """What stands in the report."""

    title: str = "How many labels does pretraining save?"
    sections: list[str] | None = Field(None, description="files of scanloom/report/sections; null: all")
    contact_sheet_cases: int = Field(24, ge=1, le=96)

    @field_validator("sections")
    @classmethod
    def _known(cls, names: list[str] | None) -> list[str] | None:
        for name in names or []:
            plugins.file_of("report/sections", name)
        return names


class Study(Strict):
    """`config.yaml`: one study."""

    name: Name
    seed: int = Field(0, ge=0, description="seed of splits, fractions, pretraining and resampling")
    salt: str | None = Field(None, description="secret of the pseudonyms; null: made once in the private folder")
    rank: Literal[2, 3] = Field(2, description="2: every slice is an image; 3: every series is a volume")
    folders: Folders = Folders()
    chunks: int = Field(8, ge=1, le=999, description="parts of each dataset; part = hash(series) mod chunks")
    datasets: dict[str, DatasetUse] = Field(min_length=1)
    splits: Splits = Splits()
    corpora: dict[Name, Corpus] = Field(min_length=1)
    tasks: dict[Name, Task] = Field(min_length=1)
    fractions: list[float] = Field([0.01, 0.1, 1.0], min_length=1, description="shares of labelled training patients")
    seeds: list[int] = Field([0, 1, 2], min_length=1, description="repetitions of drawing labels and training")
    encoder: plugin_of("encoders")
    views: list[plugin_of("views")] = Field(min_length=1, description="augmentations of pretraining and finetuning")
    pretraining: Pretraining
    arms: Arms = Arms()
    evaluation: Evaluation = Evaluation()
    explanation: Explanation = Explanation()
    report: Report = Report()

    @field_validator("fractions")
    @classmethod
    def _possible(cls, fractions: list[float]) -> list[float]:
        for fraction in fractions:
            if not 0 < fraction <= 1:
                raise ValueError(f"impossible fraction {fraction}: a share of labelled patients lies in (0, 1]")
        if len(set(fractions)) < len(fractions):
            raise ValueError("a fraction is listed twice")
        return sorted(fractions)

    @model_validator(mode="after")
    def _names_exist(self):
        for name, corpus in self.corpora.items():
            for dataset in corpus.datasets:
                _known_name(dataset, self.datasets, f"corpora.{name}.datasets", "datasets")
        for name, task in self.tasks.items():
            _known_name(task.dataset, self.datasets, f"tasks.{name}.dataset", "datasets")
            _known_name(task.corpus, self.corpora, f"tasks.{name}.corpus", "corpora")
        _known_name(self.explanation.compare, self.pretraining.methods, "explanation.compare", "pretraining.methods")
        used_twice = set(self.datasets) & set(self.corpora) | set(self.datasets) & set(self.tasks)
        used_twice |= set(self.corpora) & set(self.tasks)
        if used_twice:
            raise ValueError(
                f"'{min(used_twice)}' names two things: datasets, corpora and tasks share the folder results/"
            )
        return self


def _known_name(name: str, known, where: str, kind: str) -> None:
    if name not in known:
        raise ValueError(f"{where}: no '{name}' in {kind}.{plugins.suggestion(name, list(known))}")


def _read_yaml(path: Path) -> dict:
    try:
        values = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise ConfigError(f"{path}: file not found") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected keys and values, found {type(values).__name__}")
    return values


def _all_keys(model: type[BaseModel], seen: set | None = None) -> list[str]:
    """Every key that the model and the models below it know, for suggestions."""
    seen = set() if seen is None else seen
    keys = []
    for name, field in model.model_fields.items():
        keys.append(name)
        for inner in models_in(field.annotation):
            if inner not in seen:
                seen.add(inner)
                keys += _all_keys(inner, seen)
    return keys


def models_in(annotation) -> list[type[BaseModel]]:
    """Models that a field's type is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in models_in(part)]


def study_from(values: dict, where: str = "config") -> Study:
    """The checked study. Raises ConfigError."""
    try:
        return Study(**values)
    except ValidationError as error:
        raise ConfigError(f"{where}: {plugins.explain(error, _all_keys(Study))}") from None


def load_dataset(name: str, folder: Path, use: DatasetUse | None = None) -> DatasetFile:
    """`<folder>/<name>.yaml`, checked, with the study's overrides of source and reader settings. Raises ConfigError."""
    path = Path(folder) / f"{name}.yaml"
    if not path.is_file():
        known = sorted(p.stem for p in Path(folder).glob("*.yaml"))
        raise ConfigError(
            f"no dataset '{name}': {path} not found. Known: {', '.join(known)}.{plugins.suggestion(name, known)}"
        )
    values = _read_yaml(path)
    try:
        for part, overrides in (("source", use.source), ("reader", use.reader)) if use else ():
            plugin = _one_plugin(values.get(part))
            values[part] = {plugin["name"]: {**plugin["settings"], **overrides}}
        dataset = DatasetFile(**values)
    except ValidationError as error:
        raise ConfigError(f"{path}: {plugins.explain(error, _all_keys(DatasetFile))}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None
    if dataset.name != name:
        raise ConfigError(f"{path}: name is '{dataset.name}' but the file is called '{name}.yaml'; make them equal")
    return dataset
