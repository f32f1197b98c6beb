"""The study file as typed models: every key, its meaning, its default, and what is wrong with a bad value.

`schemas/*.json` are generated from these models and those of `dataset_config` (a test keeps them equal); `config.yaml`
is the commented manual. Names of plug-ins (steps, methods, ...) are checked against the files that exist, so no list of
names lives here.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from scanloom import plugins
from scanloom.dataset_config import DatasetUse
from scanloom.downstream.arms import Finetuned, Frozen
from scanloom.plugin_fields import Plugin, one_plugin, plugin_of
from scanloom.pretraining import view_choice
from scanloom.searches.search_settings import Search
from scanloom.strict_models import ConfigError, Name, Strict, all_keys
from scanloom.training.budget import Budget, overridden

Views = list[Plugin] | dict[str, list[Plugin]]


def _checked_views(value: Any) -> Views:
    """Presets replaced by their views, all of them checked."""
    views = view_choice.written_out(value)
    if not all(view_choice.branches_of(views)):
        raise ValueError("at least one view is needed; {flip: {p: 0}} changes nothing")

    def checked(listed: list) -> list[Plugin]:
        return [Plugin(**one_plugin(view)).checked("views") for view in listed]

    return {b: checked(listed) for b, listed in views.items()} if isinstance(views, dict) else checked(views)


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
    compare: str = Field(
        "barlow_twins", description="method shown beside from_scratch; where the study has none of that name, its first"
    )
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
        if (
            "compare" not in self.explanation.model_fields_set
            and self.explanation.compare not in self.pretraining.methods
        ):
            compared = next((m for m in self.pretraining.methods if m != "from_scratch"), "from_scratch")
            # A frozen model fills a default that depends on other keys this way.
            object.__setattr__(self, "explanation", self.explanation.model_copy(update={"compare": compared}))
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


def study_from(values: dict, where: str = "config") -> Study:
    """The checked study. Raises ConfigError."""
    try:
        return Study(**values)
    except ValidationError as error:
        raise ConfigError(f"{where}: {plugins.explain(error, all_keys(Study))}") from None
