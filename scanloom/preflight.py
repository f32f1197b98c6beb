"""Everything about a study that can be known to be wrong before the first job."""

import csv
from pathlib import Path

from scanloom import plugins
from scanloom.config import ConfigError, DatasetFile, Study

SMALLEST_CLASS = 3  # patients: one each for training, validation and test


def check(study: Study, datasets: dict[str, DatasetFile]) -> None:
    """Raise ConfigError listing every problem that configuration, dataset files and label tables show."""
    problems = []
    for name, dataset in datasets.items():
        measured = {task.label for task in study.tasks.values() if task.dataset == name}
        problems += [f"datasets/{name}.yaml: {problem}" for problem in _dataset_problems(dataset, measured)]
    for name, task in study.tasks.items():
        columns = datasets[task.dataset].labels.columns
        if task.label not in columns:
            problems.append(
                f"tasks.{name}.label: dataset '{task.dataset}' declares no label '{task.label}'. "
                f"Known: {', '.join(columns)}.{plugins.suggestion(task.label, list(columns))}"
            )
    problems += _method_problems(study, datasets)
    if problems:
        raise ConfigError("\n".join(problems))


def _method_problems(study: Study, datasets: dict[str, DatasetFile]) -> list[str]:
    problems = []
    for method, settings in study.pretraining.methods.items():
        label = settings.get("label")
        for corpus_name, corpus in study.corpora.items() if label else ():
            known = [column for dataset in corpus.datasets for column in datasets[dataset].labels.columns]
            if label not in known:
                problems.append(
                    f"pretraining.methods.{method}.label: corpus '{corpus_name}' has no label '{label}'. "
                    f"Known: {', '.join(known)}.{plugins.suggestion(label, known)}"
                )
    return problems


def _dataset_problems(dataset: DatasetFile, measured: set[str]) -> list[str]:
    source = plugins.load("sources", dataset.source.name)
    settings = plugins.settings("sources", dataset.source.name, dataset.source.settings)
    problems = list(source.check(settings))
    if problems:
        return problems
    needed = _needed_columns(dataset)
    known = source.LABEL_COLUMNS(settings)
    if known is not None:
        return _absent(needed, list(known), "the source's label table")
    table = Path(getattr(settings, "path", "")) / (dataset.labels.table or "")
    if dataset.labels.table is None:
        return []
    if not table.is_file():
        return [f"label table {table} not found (labels.table is relative to the dataset's root)"]
    rows = _read(table)
    problems = _absent(needed, list(rows[0]) if rows else [], str(table))
    return problems or _label_problems(dataset, table, rows, measured)


def _needed_columns(dataset: DatasetFile) -> list[str]:
    labels = dataset.labels
    if labels.table is None:
        return []
    columns = [labels.key or labels.join, *labels.columns]
    columns += [dataset.group] if dataset.group not in (None, "patient_id") else []
    columns += [dataset.official_split] if dataset.official_split else []
    columns += [dataset.masks.table_column] if dataset.masks else []
    return columns


def _absent(needed: list[str], known: list[str], where: str) -> list[str]:
    return [
        f"no column '{column}' in {where}. Columns: {', '.join(known)}.{plugins.suggestion(column, known)}"
        for column in needed
        if column not in known
    ]


def _read(table: Path) -> list[dict]:
    with open(table, newline="", encoding="utf-8-sig") as file:
        delimiter = "\t" if table.suffix == ".tsv" else ","
        return list(csv.DictReader(file, delimiter=delimiter))


def _label_problems(dataset: DatasetFile, table: Path, rows: list[dict], measured: set[str]) -> list[str]:
    """Empty classes of labels that tasks measure, unknown values, and groups that an official split tears apart."""
    problems = []
    group = dataset.group if dataset.group not in (None, "patient_id") else None
    unit = group or dataset.labels.key or dataset.labels.join
    for column, label in dataset.labels.columns.items():
        index_of = label.values or {name: i for i, name in enumerate(label.classes)}
        units: dict[int, set] = {i: set() for i in range(len(label.classes))}
        unknown = set()
        for row in rows:
            value = row[column].strip()
            index = index_of.get(value, int(value) if value.isdigit() and not label.values else None)
            if value and (index is None or index not in units):
                unknown.add(value)
            elif value:
                units[index].add(row[unit])
        if unknown:
            problems.append(
                f"{table}: column '{column}' holds {', '.join(map(repr, sorted(unknown)[:5]))}, which is no class of "
                f"{label.classes}; map raw values with labels.columns.{column}.values"
            )
        for index, members in units.items() if column in measured else ():
            if len(members) < SMALLEST_CLASS:
                problems.append(
                    f"{table}: class '{label.classes[index]}' of '{column}' has {len(members)} {unit}s; at least "
                    f"{SMALLEST_CLASS} are needed, one each for training, validation and test"
                )
    if dataset.official_split:
        split_of: dict[str, str] = {}
        for row in rows:
            first = split_of.setdefault(row[unit], row[dataset.official_split])
            if first != row[dataset.official_split]:
                problems.append(
                    f"{table}: {unit} in row {rows.index(row) + 2} is in two splits, '{first}' and "
                    f"'{row[dataset.official_split]}'; a patient belongs to one (column '{dataset.official_split}')"
                )
                break
    return problems
