"""The study and dataset files as typed models: every key, its meaning, its default, and what is wrong with a bad value.

`schemas/*.json` are generated from these models (a test keeps them equal); `config.yaml` is the commented manual.
Names of plug-ins (steps, methods, ...) are checked against the files that exist, so no list of names lives here.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, Field, ValidationError, field_validator, model_validator

from scanloom import plugins, selection, view_choice
from scanloom.arms import Finetuned, Frozen, Strict
from scanloom.budget import Budget, overridden
from scanloom.plugin_fields import Plugin, one_plugin, plugin_of
from scanloom.search_settings import Search

NAME = re.compile(r"[a-z][a-z0-9_]*")


class ConfigError(ValueError):
    """A study or dataset file that cannot be run; the message names file, key, value and remedy."""


def _checked_name(value: str) -> str:
    if not NAME.fullmatch(value):
        raise ValueError("names are lower-case letters, digits and underscores, starting with a letter")
    return value


Name = Annotated[str, BeforeValidator(_checked_name)]


Views = list[Plugin] | dict[str, list[Plugin]]


def _checked_views(value: Any) -> Views:
    """Presets replaced by their views, all of them checked."""
    views = view_choice.written_out(value)
    if not all(view_choice.branches_of(views)):
        raise ValueError("at least one view is needed; {flip: {p: 0}} changes nothing")

    def checked(listed: list) -> list[Plugin]:
        return [Plugin(**one_plugin(view)).checked("views") for view in listed]

    return {b: checked(listed) for b, listed in views.items()} if isinstance(views, dict) else checked(views)


Consensus = Literal["majority", "any", "unanimous", "mean"]
Uncertain = Literal["ignore", "zero", "one"]


class Label(Strict):
    """One label: its classes, and the cells of the label table that say which."""

    kind: Literal["binary", "multiclass", "ordinal"] = Field(
        description="binary: two classes; multiclass: exclusive classes; ordinal: exclusive classes in order"
    )
    classes: list[str] = Field(min_length=2, description="class names in the order of their indices")
    values: dict[str, int] | None = Field(
        None, description="raw table value -> class index; null: the raw values are the indices or the class names"
    )
    column: str | None = Field(None, description="the table's column; null: the label's own name")
    contains: str | None = Field(
        None, description="the column holds a list (Mass|Nodule): class 1 where this is one of its items, else 0"
    )
    separator: str = Field("|", min_length=1, description="what stands between the items of such a list")
    one_hot: list[str] | None = Field(
        None, min_length=2, description="one column per class, in the order of classes: the one that holds 1 says which"
    )
    readers: list[str] | None = Field(
        None, min_length=2, description="one column per reader of the same images; their agreement is reported"
    )
    consensus: Consensus = Field(
        "majority",
        description="several readers -> one label. majority: more than half of those who said anything (a tie is no "
        "label); any, unanimous: class 1 if one says so, if all say so; mean: as majority, and their share beside it",
    )
    uncertain: list[str] = Field([], description="raw values that mean 'uncertain'")
    uncertain_as: Uncertain = Field("ignore", description="what they count as: no label, class 0, class 1")
    blank: int | None = Field(None, description="class of an empty cell of a table row; null: no label")

    @model_validator(mode="after")
    def _consistent(self):
        count = len(self.classes)
        if self.kind == "binary" and count != 2:
            raise ValueError(f"a binary label has two classes, not {count}")
        if sum(given is not None for given in (self.contains, self.one_hot, self.readers)) > 1:
            raise ValueError("contains, one_hot and readers exclude each other: a label comes from one of them")
        if self.column is not None and (self.one_hot or self.readers):
            raise ValueError("column stands beside one_hot or readers, which name the columns themselves; drop it")
        if self.one_hot and len(self.one_hot) != count:
            raise ValueError(f"one_hot names {len(self.one_hot)} columns for {count} classes")
        two_only = self.uncertain or self.contains or (self.readers and self.consensus != "majority")
        if two_only and count != 2:
            raise ValueError(
                "uncertain, contains and the consensus any, unanimous and mean need two classes;"
                f" this label has {count}. For several readers say `consensus: majority`"
            )
        for key, index in {**(self.values or {}), **({} if self.blank is None else {"blank": self.blank})}.items():
            if not 0 <= index < count:
                raise ValueError(f"'{key}' is class {index}, but the classes are 0 to {count - 1}")
        return self


class Findings(Strict):
    """Findings of one kind, each absent, present or unknown. Every finding becomes a binary label of its own."""

    columns: dict[Name, str] = Field(
        min_length=1,
        description="finding -> its column in the table; with list_column the item of the list; with readers what "
        "stands for {} in their columns",
    )
    list_column: str | None = Field(None, description="column that holds the findings as a list (Mass|Nodule)")
    separator: str = Field("|", min_length=1, description="what stands between the items of the list")
    values: dict[str, int] | None = Field(None, description="raw table value -> 0 (absent) or 1 (present)")
    readers: list[str] | None = Field(None, min_length=2, description='one column per reader, as in "R1:{}"')
    consensus: Consensus = "majority"
    uncertain: list[str] = Field([], description="raw values that mean 'uncertain'")
    uncertain_as: Uncertain = Field("ignore", description="what they count as: no label, absent, present")
    blank: int | None = Field(None, description="what an empty cell means: 0 absent, 1 present; null: no label")

    def as_labels(self) -> dict[str, Label]:
        """One binary label per finding."""
        same = {"values": self.values, "uncertain": self.uncertain, "uncertain_as": self.uncertain_as}
        labels = {}
        for name, column in self.columns.items():
            if self.readers:
                place = {"readers": [r.replace("{}", column) for r in self.readers], "consensus": self.consensus}
            elif self.list_column:
                place = {"column": self.list_column, "contains": column, "separator": self.separator}
            else:
                place = {"column": column}
            words = name.replace("_", " ")
            labels[name] = Label(kind="binary", classes=[f"no {words}", words], blank=self.blank, **same, **place)
        return labels

    @model_validator(mode="after")
    def _consistent(self):
        if self.readers and self.list_column:
            raise ValueError("readers and list_column exclude each other")
        if self.readers and not all("{}" in reader for reader in self.readers):
            raise ValueError('every reader\'s column holds {} where the finding stands, as in "R1:{}"')
        return self


class TableFormat(Strict):
    """How a label table is written, where its name does not say it."""

    separator: Literal["comma", "semicolon", "tab", "blanks"] | None = Field(
        None, description="null: tab in .tsv and .tab, else comma"
    )
    skip_rows: int = Field(0, ge=0, description="lines before the header, or before the data if `header` is given")
    header: list[str] | None = Field(None, description="column names of a table that has none")


class JoinedTable(TableFormat):
    """A second table with further columns of the same rows."""

    table: str = Field(description="file below the dataset's root, or a pattern that one file fits")
    key: str | None = Field(None, description="its column that holds the same as labels.key; null: the same name")


class Labels(Strict):
    """Where labels stand and how their rows find their images."""

    table: str | list[str] | None = Field(
        None,
        description="CSV or TSV below the dataset's root, or a pattern that one file fits; several are put below each "
        "other; null: the reader supplies labels, or `extract` takes them from paths",
    )
    format: TableFormat = TableFormat()
    more_tables: list[JoinedTable] = Field([], description="tables with further columns, joined by key")
    lists: dict[str, dict[str, str]] = Field(
        {}, description="new column -> {value: text file of keys, one per line}: official split lists"
    )
    extract: dict[str, str] = Field(
        {},
        description="column -> regular expression that is searched in it; its named groups become columns. `path` "
        "without a table: the images' paths below the root, so that folders and file names give labels and patients",
    )
    recode: dict[str, dict[str, str]] = Field({}, description="column -> {raw value: what it is read as}")
    normalise: dict[str, str] = Field(
        {}, description="regular expression -> replacement, on keys of both sides before they are compared, in order"
    )
    join: Literal["sop_uid", "series_uid", "patient_id", "path", "index"] = Field(
        "path", description="what of an image is matched with the table's key"
    )
    key: str | None = Field(None, description="the table's column that is matched; null: the same name as `join`")
    columns: dict[str, Label] = Field({}, description="labels that tasks may use")
    multilabel: dict[Name, Findings] = Field(
        {}, description="groups of findings; each finding is added to `columns` as a binary label"
    )

    @model_validator(mode="after")
    def _expressions(self):
        for expression in [*self.extract.values(), *self.normalise]:
            try:
                compiled = re.compile(expression)
            except re.error as error:
                raise ValueError(f"'{expression}' is no regular expression: {error}") from None
            if expression in self.extract.values() and not compiled.groupindex:
                raise ValueError(f"extract: '{expression}' names no group; write (?P<column>...)")
        return self

    @model_validator(mode="after")
    def _findings_are_labels(self):
        added = {}
        for group, findings in self.multilabel.items():
            for name, label in findings.as_labels().items():
                if self.columns.get(name, label) != label or name in added:
                    raise ValueError(f"multilabel.{group}: '{name}' is a label of that name already; choose another")
                added[name] = label
        # Frozen against change after the check; this is part of it.
        object.__setattr__(self, "columns", {**self.columns, **added})
        if self.table is None and (self.more_tables or self.lists):
            raise ValueError("more_tables and lists add columns to a table, but `table` is null")
        return self


class Masks(Strict):
    """Masks beside the images; those of lesions are used for the pointing game."""

    table_column: str | None = Field(
        None, description="label-table column with the NIfTI file of the series, below the root"
    )
    file: str | None = Field(
        None, description="the file below the root, with label-table columns in braces: labelsTr/{case}.nii.gz"
    )
    classes: dict[str, int] = Field({}, description="what the mask's values mean: name -> value")

    @model_validator(mode="after")
    def _one_of_both(self):
        if (self.table_column is None) == (self.file is None):
            raise ValueError("say where masks are with either table_column or file")
        return self


def _checked_condition(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("expected a SQL condition as text")
    selection.check(value)
    return value


Condition = Annotated[str, BeforeValidator(_checked_condition)]


class Exclusion(Strict):
    """Series that are left out, and why."""

    where: Condition = Field(description="SQL condition over the catalogue's columns")
    reason: str = Field(min_length=1, description="stands in the books")


class DatasetFile(Strict):
    """`datasets/<name>.yaml`: where the images come from, how to read them, labels, licence, splits."""

    name: Name
    title: str
    licence: str = Field(description="licence of the images, as their publisher states it")
    licence_acceptance: Literal["not_needed", "required"] = Field(
        "not_needed", description="required: nothing is fetched or read before the user has accepted the licence"
    )
    citation: str | None = None
    homepage: str | None = None
    source: plugin_of("sources") = Field(description="how bytes get here")
    reader: plugin_of("readers") = Field(description="how files become series")
    modality: str | None = Field(None, description="DICOM modality to use; other files are excluded with that reason")
    where: Condition | None = Field(
        None, description="SQL condition over the catalogue's columns; series that do not fit are excluded"
    )
    exclude: list[Exclusion] = Field([], description="series left out, each with its reason; after `where`")
    group: str | None = Field(
        "patient_id", description="unit of every split: patient_id or a label-table column; null: each image alone"
    )
    how_to_get: str | None = Field(
        None, description="where to register, what to download and where to put it, if no source can fetch it"
    )
    layout: list[str] = Field(
        [], description="patterns below the root that must exist; a folder that lacks one stops the study"
    )
    labels: Labels = Labels()
    masks: Masks | None = None
    site: str | None = Field(None, description="label-table or catalogue column naming the site")
    official_split: str | None = Field(None, description="label-table column holding train, validation or test")
    stratify: list[str] = Field([], description="label columns (and `site`) whose shares are equal in all splits")
    expected: dict[str, int] = Field({}, description="published counts to compare with: series, patients, images")


class DatasetUse(Strict):
    """How this study uses one dataset."""

    dtype: Literal["uint8", "uint16"] = Field("uint8", description="integer type of stored images")
    accept_licence: str | None = Field(
        None, description="where a licence must be accepted: its text, exactly as the dataset file has it in `licence`"
    )
    steps: list[plugin_of("steps")] = Field(min_length=1, description="preprocessing steps in order")
    source: dict[str, Any] = Field(
        {}, description="overrides of the dataset file's source settings, or another source: {local_folder: {path: ..}}"
    )
    reader: dict[str, Any] = Field({}, description="overrides of the dataset file's reader settings")
    labels: dict[str, Any] = Field(
        {}, description="overrides of the dataset file's labels: {multilabel: {findings: {uncertain_as: one}}}"
    )
    where: Condition | None = Field(None, description="instead of the dataset file's condition (`true`: no condition)")
    exclude: list[Exclusion] | None = Field(None, description="instead of the dataset file's list ([]: nothing)")


class Folders(Strict):
    """Where things live, relative to the working directory."""

    data: str = Field("data", description="downloads")
    private: str = Field("private", description="raw paths and identifiers; never share")
    runs: str = Field("runs", description="finished and interrupted trainings by fingerprint")


class Splits(Strict):
    """Who validates and who tests; the rest trains. A dataset's official splits come before the shares."""

    validation: float = Field(0.15, gt=0, lt=0.9, description="share of patients")
    test: float = Field(0.25, gt=0, lt=0.9, description="share of patients")
    assignment: Literal["stable", "balanced"] = Field(
        "stable",
        description="stable: a hash decides each patient alone, so who comes or goes moves nobody; balanced: exact "
        "shares per stratum, for small cohorts, where a new patient may move another",
    )
    by: Literal["patient", "site"] = Field("patient", description="site: all patients of a site share a split")
    external_test_site: str | dict[str, str] | None = Field(
        None, description="site whose patients are the test set, all of it; {dataset: site} where datasets differ"
    )

    @model_validator(mode="after")
    def _some_training(self):
        if self.validation + self.test >= 1:
            raise ValueError(f"validation {self.validation} + test {self.test} leave no training patients")
        if self.by == "site" and self.external_test_site:
            raise ValueError("by: site draws the test sites, external_test_site names one; choose")
        return self


class Shards(Strict):
    """Files of images that trainings read."""

    compression: Literal["none", "gzip"] = Field(
        "none", description="gzip: smaller files (TensorFlow's GZIP option), slower to write; unpacked when opened"
    )


class Leakage(Strict):
    """What happens when images are found to leak from what is learnt into what is measured."""

    strict: bool = Field(
        False, description="true: nothing is trained until no copy crosses from training to validation or test"
    )
    examples: int = Field(12, ge=0, le=48, description="pairs shown in the report")


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


class Pretraining(Budget):
    """The same budget for every method, but for what `overrides` says of one."""

    methods: dict[str, dict[str, Any]] = Field(description="method name -> settings; from_scratch is mandatory")
    overrides: dict[str, dict[str, Any]] = Field(
        {}, description="method name -> keys of this table with other values; the report names them"
    )
    warmup_updates: int = Field(50, ge=0, description=Budget.model_fields["warmup_updates"].description)
    weight_decay: float = Field(1e-4, ge=0, description=Budget.model_fields["weight_decay"].description)

    def budget_of(self, method: str) -> Budget:
        """What this method is trained with. Raises ValueError."""
        common = self.model_dump(mode="json", exclude={"methods", "overrides"})
        return Budget(**overridden(common, self.overrides.get(method, {})))

    @model_validator(mode="after")
    def _checked_overrides(self):
        for method in self.overrides:
            _known_name(method, self.methods, "pretraining.overrides", "pretraining.methods")
            try:
                self.budget_of(method)
            except ValidationError as error:
                found = plugins.explain(error, list(Budget.model_fields))
                raise ValueError(f"overrides.{method}: {found}") from None
        return self

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
    view_cases: int = Field(6, ge=1, le=24, description="images whose views are shown")

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
    shards: Shards = Shards()
    leakage: Leakage = Leakage()
    corpora: dict[Name, Corpus] = Field(min_length=1)
    tasks: dict[Name, Task] = Field(min_length=1)
    fractions: list[float] = Field([0.01, 0.1, 1.0], min_length=1, description="shares of labelled training patients")
    seeds: list[int] = Field([0, 1, 2], min_length=1, description="repetitions of drawing labels and training")
    encoder: plugin_of("encoders")
    views: Annotated[Views, BeforeValidator(_checked_views)] = Field(
        description="augmentations of pretraining and finetuning: a list (it may hold presets), {preset: name}, or "
        "{branch_1: [..], branch_2: [..]}, where finetuning and methods of one branch take branch_1"
    )
    pretraining: Pretraining
    arms: Arms = Arms()
    evaluation: Evaluation = Evaluation()
    explanation: Explanation = Explanation()
    report: Report = Report()
    studies: dict[Name, Search] = Field({}, description="searches over settings, by name; see docs/studies.md")

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
        if isinstance(self.splits.external_test_site, dict):
            for dataset in self.splits.external_test_site:
                _known_name(dataset, self.datasets, "splits.external_test_site", "datasets")
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


def _overridden(part: str, plugin: Any, overrides: dict) -> dict:
    """The plug-in with other settings, or the other plug-in that the overrides name."""
    plugin = one_plugin(plugin)
    if len(overrides) == 1 and set(overrides) <= set(plugins.names(f"{part}s")):
        return overrides
    return {plugin["name"]: {**plugin["settings"], **overrides}}


def _merged(values: dict, overrides: dict) -> dict:
    """`values` with the overrides put in, key by key at every depth."""
    both = {key: _merged(values[key], overrides[key]) for key in overrides if isinstance(values.get(key), dict)}
    return {**values, **overrides, **{key: new for key, new in both.items() if isinstance(overrides[key], dict)}}


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
        if use is not None:
            values |= {part: _overridden(part, values.get(part), getattr(use, part)) for part in ("source", "reader")}
            values["labels"] = _merged(values.get("labels") or {}, use.labels)
        values |= use.model_dump(include={"where", "exclude"}, exclude_none=True) if use else {}
        dataset = DatasetFile(**values)
    except ValidationError as error:
        raise ConfigError(f"{path}: {plugins.explain(error, _all_keys(DatasetFile))}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None
    if dataset.name != name:
        raise ConfigError(f"{path}: name is '{dataset.name}' but the file is called '{name}.yaml'; make them equal")
    return dataset
