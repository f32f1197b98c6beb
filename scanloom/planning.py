"""What a study consists of: names of chunks and fractions, and the files each stage needs. Pure functions of the study.

The graph depends on the configuration and the dataset files alone, never on what lies in the image folders, so the
number of jobs and the planning time do not grow with the number of images.
"""

from pathlib import Path

from scanloom import plugins
from scanloom.config import Study
from scanloom.labelling.label_tables import LabelError, label_files
from scanloom.pretraining import view_choice

SPLITS = ("train", "validation", "test")


def chunk_names(study: Study) -> list[str]:
    """`000`, `001`, ...: one per part of a dataset."""
    return [f"{chunk:03d}" for chunk in range(study.chunks)]


def fraction_name(fraction: float) -> str:
    """A fraction as it stands in paths: `0.01`, `0.1`, `1`."""
    return f"{fraction:g}"


def fraction_names(study: Study) -> list[str]:
    """All label fractions, smallest first."""
    return [fraction_name(fraction) for fraction in study.fractions]


def chunk_files(study: Study, pattern: str, datasets) -> list[str]:
    """`pattern` with `{dataset}` and `{chunk}` filled in for every chunk of the datasets."""
    return [pattern.format(dataset=d, chunk=c) for d in datasets for c in chunk_names(study)]


def corpus_splits(study: Study, corpus: str) -> dict[str, list[str]]:
    """Splits of each dataset that the corpus may hold: all, but training alone where a task measures on the dataset."""
    measured = {task.dataset for task in study.tasks.values()}
    return {d: ["train"] if d in measured else list(SPLITS) for d in study.corpora[corpus].datasets}


def corpus_indexes(study: Study, corpus: str) -> list[str]:
    """Shard indexes of the corpus's datasets."""
    return [f"results/{dataset}/shards/index.json" for dataset in study.corpora[corpus].datasets]


def step_names(study: Study, dataset: str) -> list[str]:
    """Names of the dataset's preprocessing steps."""
    return [step.name for step in study.datasets[dataset].steps]


def task_steps(study: Study, task: str) -> list[dict]:
    """Preprocessing steps of the task's dataset, with their settings."""
    return [step.model_dump(mode="json") for step in study.datasets[study.tasks[task].dataset].steps]


def task_step_names(study: Study, task: str) -> list[str]:
    """Names of the preprocessing steps of the task's dataset."""
    return step_names(study, study.tasks[task].dataset)


def task_labels(study: Study, dataset: str) -> list[str]:
    """Label columns that tasks on the dataset use: each of their classes must be in each split."""
    return sorted({task.label for task in study.tasks.values() if task.dataset == dataset})


def label_tables(dataset: dict) -> dict:
    """What the catalogue needs of the dataset's labels: the tables. What their cells mean is the splits' concern."""
    return {key: value for key, value in dataset["labels"].items() if key not in ("columns", "multilabel")}


def label_files_here(dataset: dict) -> list[str]:
    """Label tables and lists in a folder of the user's, who corrects them; those of other sources do not change."""
    if dataset["source"]["name"] != "local_folder":
        return []
    root = Path(dataset["source"]["settings"]["path"]).expanduser()
    try:
        return [str(root / name) for name in label_files(root, dataset["labels"])]
    except LabelError:
        return []  # the step that reads them says what is wrong


def leakage_roles(study: Study) -> dict[str, dict[str, dict[str, str]]]:
    """task -> dataset -> split -> learnt, validation or test: what the split's images are to the task, if anything."""
    roles = {}
    for name, task in study.tasks.items():
        roles[name] = {d: dict.fromkeys(splits, "learnt") for d, splits in corpus_splits(study, task.corpus).items()}
        roles[name][task.dataset] = {"train": "learnt", "validation": "validation", "test": "test"}
    return roles


def leakage_gate(study: Study) -> list[str]:
    """What training waits for in a study that refuses leaks."""
    return ["results/no_leakage.json"] if study.leakage.strict else []


def external_test_site(study: Study, dataset: str) -> str | None:
    """The site whose patients are the dataset's test set."""
    site = study.splits.external_test_site
    return site.get(dataset) if isinstance(site, dict) else site


def prediction_stems(study: Study) -> list[str]:
    """`<method>/<arm>` of every prediction table: `barlow_twins/frozen`, `barlow_twins/finetuned-0.1`, ..."""
    stems = []
    for method in study.pretraining.methods:
        if study.arms.frozen:
            stems.append(f"{method}/frozen")
        if study.arms.finetuned:
            stems += [f"{method}/finetuned-{fraction}" for fraction in fraction_names(study)]
    return stems


def budget(study: Study, method: str) -> dict:
    """What the method is trained with: the settings that all methods share, and its own overrides."""
    return study.pretraining.budget_of(method).model_dump(mode="json")


def optimizer_names(budget: dict, method_settings: dict) -> list[str]:
    """Optimizers whose code a training runs: its budget's, and one that a network of the method has for itself."""
    chosen = [budget.get("optimizer"), method_settings.get("generator_optimizer")]
    return list(dict.fromkeys(plugin["name"] for plugin in chosen if plugin))


def encoder_names(study: Study) -> list[str]:
    """Encoders whose code the study runs: its own, and those that it or a method of it is made of."""
    settings = [study.encoder.settings, *study.pretraining.methods.values()]
    return [study.encoder.name, *sorted({s["encoder"] for s in settings if "encoder" in s} - {study.encoder.name})]


def view_names(study: Study) -> list[str]:
    """Views whose code the study runs, of all branches."""
    return list(dict.fromkeys(view.name for branch in view_choice.branches_of(study.views) for view in branch))


def weight_files(study: Study, method: str) -> list[str]:
    """Files of weights that the method starts from; other content makes it another run."""
    file = study.pretraining.methods[method].get("file")
    return [] if file is None else [file]


def trainings(study: Study) -> int:
    """Pretrainings that compute: of every corpus by every method but those that leave the encoder as it is built."""
    training = sum(plugins.load("methods", name).TRAINS for name in study.pretraining.methods)
    return max(1, training * len(study.corpora))


def methods_with_labels(study: Study) -> list[str]:
    """Methods that pretrain with labels, or whose encoder labels choose: references in comparisons, no label savers."""
    pretraining = study.pretraining
    return [
        name
        for name in pretraining.methods
        if plugins.load("methods", name).USES_LABELS or pretraining.budget_of(name).chooses_by_labels
    ]


def explained_methods(study: Study) -> list[str]:
    """Methods whose Grad-CAM maps are compared: the chosen one beside the baseline."""
    return list(dict.fromkeys([study.explanation.compare, "from_scratch"]))


def is_explained(study: Study) -> bool:
    """Only finetuned models are explained: the frozen arm has no network of its own."""
    return study.arms.finetuned is not None


def searches(study: Study) -> list[str]:
    """Searches that consist of trials."""
    return [name for name, search in study.studies.items() if search.kind != "resource_check"]


def resource_checks(study: Study) -> list[str]:
    """Searches that measure time and memory."""
    return [name for name, search in study.studies.items() if search.kind == "resource_check"]


def report_tables(study: Study) -> dict[str, str]:
    """What the report is made of: a short name -> its file. Names are `<thing>/<part>`."""
    tables = {}
    for dataset in study.datasets:
        parts = ("catalogue.parquet", "books.json", "splits.parquet", "reader_agreement.parquet")
        for part in (*parts, "contact_sheet.npz", "views.npz"):
            tables[f"{dataset}/{part}"] = f"results/{dataset}/{part}"
        for chunk in chunk_names(study):
            tables[f"{dataset}/images/{chunk}.parquet"] = f"results/{dataset}/images/{chunk}.parquet"
    for part in ("leakage.parquet", "leakage_examples.npz"):
        tables[part] = f"results/{part}"
    for corpus in study.corpora:
        for method in study.pretraining.methods:
            for part in ("history.parquet", "run.json", "pictures.npz"):
                tables[f"{corpus}/pretrained/{method}/{part}"] = f"results/{corpus}/pretrained/{method}/{part}"
    for task in study.tasks:
        for part in ("metrics", "comparisons", "savings", "calibration", "confusion"):
            tables[f"{task}/evaluation/{part}.parquet"] = f"results/{task}/evaluation/{part}.parquet"
        tables[f"{task}/evaluation/verdict.json"] = f"results/{task}/evaluation/verdict.json"
        for stem in prediction_stems(study):
            tables[f"{task}/predictions/{stem}.parquet"] = f"results/{task}/predictions/{stem}.parquet"
        if is_explained(study):
            for part in ("cases.parquet", "cases.npz", "pointing.json"):
                tables[f"{task}/explained/{part}"] = f"results/{task}/explained/{part}"
    for search in searches(study):
        for part in ("ranking.parquet", "curves.parquet"):
            tables[f"studies/{search}/{part}"] = f"results/studies/{search}/{part}"
    for search in resource_checks(study):
        tables[f"studies/{search}/resources.parquet"] = f"results/studies/{search}/resources.parquet"
    return tables


def origin_of(path: str) -> str:
    """The file that says where `path` comes from."""
    return f"{path}.origin.json"


def report_sections(study: Study) -> list[str]:
    """Names of the report's sections."""
    return study.report.sections or plugins.names("report/sections")


def public(study: Study) -> dict:
    """The resolved study without its salt: Snakemake copies the parameters of the report into its own archive."""
    return study.model_dump(mode="json") | {"salt": "withheld"}


def source_seed(study: Study, source: dict) -> int | None:
    """The seed a source gets: its own where its settings have one, the study's where they leave it open."""
    if "seed" not in source["settings"]:
        return None
    own = source["settings"]["seed"]
    return study.seed if own is None else own


def stamped(study: Study) -> list[str]:
    """Tables of the report that have a file beside them saying where they come from."""
    endings = ("catalogue.parquet", "splits.parquet", "leakage.parquet", "contact_sheet.npz", "views.npz")
    endings += ("history.parquet", "evaluation/metrics.parquet", "explained/cases.parquet", "reader_agreement.parquet")
    endings += ("ranking.parquet", "resources.parquet")
    return [path for path in report_tables(study).values() if path.endswith(endings) or "/predictions/" in path]


def report_inputs(study: Study) -> dict[str, list[str]]:
    """Input files of the report."""
    tables = list(report_tables(study).values())
    return {"tables": tables, "origins": [origin_of(path) for path in stamped(study)]}
