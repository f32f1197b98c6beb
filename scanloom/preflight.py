"""Everything about a study that can be known to be wrong before the first job."""

import json
from pathlib import Path

import numpy as np

from scanloom import planning, plugins
from scanloom.cataloguing import selection
from scanloom.config import Study
from scanloom.dataset_config import DatasetFile
from scanloom.files.layout import layout_problem
from scanloom.pretraining.method_batches import draws
from scanloom.pretraining.view_choice import branches_of, pairs
from scanloom.pretraining.view_pipeline import Pipeline
from scanloom.searches import studies
from scanloom.steps._masks import follows_image
from scanloom.strict_models import ConfigError

TASK_KINDS = ("binary", "multiclass")  # kinds of labels that heads and metrics exist for
RANKS = (2, 3)  # of a plug-in that does not say
EDGES = (240, 224, 252, 256, 64)  # pixels: divisible by whatever a method may want
SMALLEST_CLASS = 3  # patients: one each for training, validation and test


def check(study: Study, datasets: dict[str, DatasetFile]) -> None:
    """Raise ConfigError listing every problem that configuration, dataset files and label tables show."""
    problems = []
    for name, dataset in datasets.items():
        unaccepted = licence_problem(dataset, study.datasets[name].accept_licence)
        if unaccepted:  # before that nothing of the data is read, not even to find further problems
            problems.append(unaccepted)
            continue
        measured = {task.label for task in study.tasks.values() if task.dataset == name}
        problems += [f"datasets/{name}.yaml: {problem}" for problem in _dataset_problems(dataset, measured)]
    for name, task in study.tasks.items():
        problems += _task_problems(f"tasks.{name}.label", task.label, datasets[task.dataset])
    problems += _site_problems(study, datasets)
    problems += _method_problems(study, datasets)
    problems += _network_problems(study)
    problems += _search_problems(study, datasets)
    problems += _mask_problems(study, datasets)
    problems += _view_problems(study)
    if problems:
        raise ConfigError("\n".join(problems))


def licence_problem(dataset: DatasetFile, accepted: str | None) -> str | None:
    """What is to be read and written before the data may be used; None if no acceptance is needed or it is given."""
    licence = " ".join(dataset.licence.split())
    if dataset.licence_acceptance == "not_needed" or (accepted and " ".join(accepted.split()) == licence):
        return None
    found = f"; accept_licence has another text: {' '.join(accepted.split())!r}" if accepted else ""
    where = f" (see {dataset.homepage})" if dataset.homepage else ""
    return (
        f"datasets/{dataset.name}.yaml: its licence must be accepted before the data may be used{found}. The licence:\n"
        f"    {licence}\n"
        f"Read it{where}. If you accept it, write in the study: datasets: {{{dataset.name}: {{accept_licence: "
        f"{json.dumps(licence, ensure_ascii=False)}}}}}"
    )


def _task_problems(where: str, label: str, dataset: DatasetFile) -> list[str]:
    """A label that does not exist, or whose kind nothing here can learn yet, with what can be learnt instead."""
    columns, groups = dataset.labels.columns, dataset.labels.multilabel
    possible = [name for name, column in columns.items() if column.kind in TASK_KINDS]
    instead = f"Labels of '{dataset.name}' that a task can use: {', '.join(possible) or 'none'}"
    masks = dataset.masks.classes if dataset.masks else {}
    if label in groups:
        return [
            f"{where}: '{label}' is multilabel, and there is no head for several findings at once yet. Each of its "
            f"findings can be a binary task now: {', '.join(groups[label].columns)}"
        ]
    if label in columns and columns[label].kind == "ordinal":
        return [
            f"{where}: '{label}' is ordinal, and there is no ordinal head yet. Declare the same column once more as "
            f"multiclass, or as binary with a threshold (values: {{'0': 0, '1': 0, '2': 1}}). {instead}"
        ]
    if label not in columns and label in ("mask", "masks", "segmentation", *masks):
        return [
            f"{where}: '{label}' would be segmentation, and there is no decoder for masks yet. The images can be "
            f"pretrained on now (corpora). {instead}"
        ]
    if label not in columns:
        return [
            f"{where}: dataset '{dataset.name}' declares no label '{label}'. "
            f"Known: {', '.join(columns) or 'none'}.{plugins.suggestion(label, list(columns))}"
        ]
    return []


def _site_problems(study: Study, datasets: dict[str, DatasetFile]) -> list[str]:
    """Official splits and a draw by sites contradict each other."""
    problems = []
    for name, dataset in datasets.items():
        site = planning.external_test_site(study, name)
        if dataset.official_split and (site or study.splits.by == "site"):
            key = f"external_test_site '{site}'" if site else "by: site"
            problems.append(
                f"splits.{key}: dataset '{name}' has official splits (column '{dataset.official_split}'), which say "
                "otherwise. Name sites for the other datasets only ({dataset: site}), or drop official_split"
            )
    return problems


def _method_problems(study: Study, datasets: dict[str, DatasetFile]) -> list[str]:
    """Labels that methods pretrain with: some dataset of every corpus declares them, and they can be learnt."""
    problems = []
    for method, settings in study.pretraining.methods.items():
        label, where = settings.get("label"), f"pretraining.methods.{method}.label"
        for corpus_name, corpus in study.corpora.items() if label else ():
            used = [datasets[name] for name in corpus.datasets]
            known = [name for dataset in used for name in [*dataset.labels.columns, *dataset.labels.multilabel]]
            if label not in known:
                problems.append(
                    f"{where}: corpus '{corpus_name}' has no label '{label}'. "
                    f"Known: {', '.join(known)}.{plugins.suggestion(label, known)}"
                )
            for dataset in used:
                if label in [*dataset.labels.columns, *dataset.labels.multilabel]:
                    problems += _task_problems(where, label, dataset)
    return problems


def _network_problems(study: Study) -> list[str]:
    """Files of weights that are not there, networks for images of another rank, views that spoil a method."""
    problems = []
    for method in study.pretraining.methods:
        where = f"pretraining.methods.{method}"
        for file in planning.weight_files(study, method):
            if not Path(file).is_file():
                problems.append(
                    f"{where}.file: there is no file {file}; weights are never downloaded, so put them there or "
                    "correct the path (it starts at the folder the study runs in)"
                )
        plugin = plugins.load("methods", method)
        problems += _rank_problem(where, plugin, study.rank)
        settings = plugins.settings("methods", method, study.pretraining.methods[method])
        if study.rank in getattr(plugin, "RANKS", RANKS):
            problems += _draw_problem(where, plugin, settings, study.rank)
        if hasattr(plugin, "problem_with_views"):
            branches = branches_of(study.model_dump()["views"])[: plugin.BRANCHES]
            found = filter(
                None, (plugin.problem_with_views(settings, pairs(branch), study.rank) for branch in branches)
            )
            problems += [f"{where}: {problem}" for problem in dict.fromkeys(found)]
    return problems + _rank_problem(
        f"encoder.{study.encoder.name}", plugins.load("encoders", study.encoder.name), study.rank
    )


def _draw_problem(where: str, plugin, settings, rank: int) -> list[str]:
    """What a method refuses to draw for images of whatever size: then it is not the size, which is not known yet."""
    for edge in EDGES:
        try:
            draws(plugin, settings, Pipeline([], (edge,) * rank + (1,)), 0, 0, np.zeros(2, np.uint64))
        except ValueError as error:
            problem = f"{where}: {error}"
        else:
            return []
    return [problem]


def _rank_problem(where: str, plugin, rank: int) -> list[str]:
    """A plug-in that is not for both ranks says so in RANKS."""
    ranks = getattr(plugin, "RANKS", RANKS)
    return [] if rank in ranks else [f"{where}: is for rank {ranks[0]}, and the study has rank {rank}"]


def _view_problems(study: Study) -> list[str]:
    """Views that images of the study's rank cannot have; how many channels there are is not known yet."""
    problems = []
    for branch in branches_of(study.model_dump()["views"]):
        for view in pairs(branch):
            try:
                Pipeline([view], (8,) * study.rank + (3,)).draw(0, 0, 0, np.zeros(1, np.uint64))
            except ValueError as error:
                problems.append(f"views: {error}")
    return problems


def _search_problems(study: Study, datasets: dict[str, DatasetFile]) -> list[str]:
    """What is wrong with the searches, and with the study as their trials change it; each problem once."""
    problems = studies.problems(study)
    if problems:
        return problems
    known = {*_method_problems(study, datasets), *_network_problems(study), *_view_problems(study)}
    for name in planning.searches(study):
        for label, trial in studies.trial_studies(study, name):
            found = [*_method_problems(trial, datasets), *_network_problems(trial), *_view_problems(trial)]
            problems += [f"studies.{name}, {label}: {problem}" for problem in found if problem not in known]
            known.update(found)
    return problems


def _mask_problems(study: Study, datasets: dict[str, DatasetFile]) -> list[str]:
    """Masks are read without their images, so steps that place pixels by the image would leave them behind."""
    return [
        f"datasets.{name}.steps: {step.name} cuts by what an image shows, and the masks of '{name}' could not follow; "
        "use crop_or_pad"
        for name, use in study.datasets.items()
        for step in use.steps
        if datasets[name].masks and follows_image(plugins.load("steps", step.name))
    ]


def _dataset_problems(dataset: DatasetFile, measured: set[str]) -> list[str]:
    source = plugins.load("sources", dataset.source.name)
    settings = plugins.settings("sources", dataset.source.name, dataset.source.settings)
    problems = list(source.check(settings))
    if problems:
        how = f" How to get it: {' '.join(dataset.how_to_get.split())}" if dataset.how_to_get else ""
        return [*problems[:-1], problems[-1] + how]
    known = source.LABEL_COLUMNS(settings)
    if known is not None:
        return _absent(_needed_columns(dataset), known, "the source's label table")
    if dataset.source.name != "local_folder":
        return []  # nothing lies here before it was fetched
    root = Path(settings.path).expanduser()
    problem = layout_problem(root, dataset.layout, dataset.how_to_get)
    if problem:
        return [f"source local_folder: path '{settings.path}': {problem}"]
    return _label_problems(dataset, root, measured)


def _label_problems(dataset: DatasetFile, root: Path, measured: set[str]) -> list[str]:
    """What the label tables below the root show; nothing where labels stand in paths or in the images' files."""
    if dataset.labels.table is None:
        return []
    # Postponed: tables are read once, by the process that plans; its jobs read this file too.
    from scanloom.labelling.label_tables import LabelError, read_labels

    try:
        table = read_labels(root, dataset.labels.model_dump(), masks=dataset.masks and dataset.masks.model_dump())
    except LabelError as error:
        return [str(error)]
    where = dataset.labels.table if isinstance(dataset.labels.table, str) else "the label table"
    absent = _absent(_needed_columns(dataset), list(table.columns), where)
    return absent or [*_class_problems(dataset, table, where, measured), *_split_problems(dataset, table, where)]


def _needed_columns(dataset: DatasetFile) -> list[str]:
    """Columns of the label table that the dataset file names; `site` may also be one of the catalogue's."""
    from scanloom.labelling.label_classes import columns_of
    from scanloom.labelling.label_tables import mask_column

    labels = dataset.labels
    if labels.table is None:
        return []
    columns = [labels.key or labels.join]
    columns += [cell for name, label in labels.columns.items() for cell in columns_of(name, label.model_dump())]
    columns += [dataset.group] if dataset.group not in (None, "patient_id") else []
    columns += [dataset.official_split] if dataset.official_split else []
    conditions = [dataset.where] if dataset.where else []
    conditions += [rule.where for rule in dataset.exclude]
    columns += [column for condition in conditions for column in selection.label_columns(condition)]
    mask = mask_column(dataset.masks.model_dump()) if dataset.masks else None
    return [*columns, *([mask] if mask else [])]


def _absent(needed: list[str], known: list[str], where: str) -> list[str]:
    return [
        f"no column '{column}' in {where}. Columns: {', '.join(known)}.{plugins.suggestion(column, list(known))}"
        for column in dict.fromkeys(needed)
        if column not in known
    ]


def _unit(dataset: DatasetFile) -> str:
    """The column whose values are the units of splits, as far as the label table says."""
    group = dataset.group if dataset.group not in (None, "patient_id") else None
    return group or dataset.labels.key or dataset.labels.join


def _class_problems(dataset: DatasetFile, table, where: str, measured: set[str]) -> list[str]:
    """Values that are no class, and classes of labels that tasks measure with too few units."""
    from scanloom.labelling.label_classes import class_column
    from scanloom.labelling.label_tables import LabelError

    problems, unit = [], _unit(dataset)
    for name, label in dataset.labels.columns.items():
        try:
            indices, _ = class_column(table, name, label.model_dump())
        except LabelError as error:
            problems.append(f"{where}: {error}")
            continue
        for index, class_name in enumerate(label.classes if name in measured else ()):
            members = table[unit][indices == index].nunique()
            if members < SMALLEST_CLASS:
                problems.append(
                    f"{where}: class '{class_name}' of '{name}' has {members} {unit}s; at least "
                    f"{SMALLEST_CLASS} are needed, one each for training, validation and test"
                )
    return problems


def _split_problems(dataset: DatasetFile, table, where: str) -> list[str]:
    """A unit that the official split tears apart."""
    column, unit = dataset.official_split, _unit(dataset)
    if not column:
        return []
    pairs = table[[unit, column]][table[column] != ""].drop_duplicates()
    torn = pairs[pairs[unit].duplicated()]
    if not len(torn):
        return []
    row = torn.index[0]
    first = pairs[column][pairs[unit] == torn[unit].loc[row]].iloc[0]
    return [
        f"{where}: {unit} in row {row + 2} is in two splits, '{first}' and '{torn[column].loc[row]}'; a patient "
        f"belongs to one ({torn[unit].nunique()} such {unit}s; column '{column}')"
    ]
