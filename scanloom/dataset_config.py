"""The dataset files, `datasets/<name>.yaml`, as typed models, and what a study changes of one."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

from scanloom import plugins
from scanloom.cataloguing import selection
from scanloom.labelling.label_config import Labels, Masks
from scanloom.plugin_fields import Plugin, one_plugin, plugin_of
from scanloom.strict_models import ConfigError, Name, Strict, all_keys
from scanloom.strict_yaml import read_yaml


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
        "patient_id",
        description="unit of every split: patient_id or a label-table column; null: each series (a picture is one)",
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


def load_dataset(name: str, folder: Path, use: DatasetUse | None = None, rank: int | None = None) -> DatasetFile:
    """`<folder>/<name>.yaml`, checked, with what the study changes of it. Raises ConfigError.

    rank: of the study, where a reader's settings may depend on it (`for_rank`).
    """
    path = Path(folder) / f"{name}.yaml"
    if not path.is_file():
        known = sorted(p.stem for p in Path(folder).glob("*.yaml"))
        raise ConfigError(
            f"no dataset '{name}': {path} not found. Known: {', '.join(known)}.{plugins.suggestion(name, known)}"
        )
    values = read_yaml(path)
    try:
        if use is not None:
            values |= {part: _overridden(part, values.get(part), getattr(use, part)) for part in ("source", "reader")}
            values["labels"] = _merged(values.get("labels") or {}, use.labels)
        values |= use.model_dump(include={"where", "exclude"}, exclude_none=True) if use else {}
        dataset = DatasetFile(**values)
    except ValidationError as error:
        raise ConfigError(f"{path}: {plugins.explain(error, all_keys(DatasetFile))}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None
    if dataset.name != name:
        raise ConfigError(f"{path}: name is '{dataset.name}' but the file is called '{name}.yaml'; make them equal")
    return dataset if rank is None else dataset.model_copy(update={"reader": _for_rank(dataset.reader, rank)})


def _for_rank(reader: Plugin, rank: int) -> Plugin:
    chosen = getattr(plugins.load("readers", reader.name), "for_rank", None)
    if chosen is None:
        return reader
    settings = chosen(plugins.settings("readers", reader.name, reader.settings), rank)
    return Plugin(name=reader.name, settings=settings.model_dump(mode="json"))
