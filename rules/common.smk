# Names, constraints and the few functions the rules share. What a study consists of is decided in scanloom/planning.py.

import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

ROOT = Path(workflow.basedir)
sys.path.insert(0, str(ROOT))
from scanloom import code_dependencies, config as study_config, dataset_config, planning
from scanloom import plugins, preflight, strict_yaml
from scanloom.searches import studies

code_dependencies.make_importable(ROOT)

try:
    for file in workflow.configfiles:
        strict_yaml.read_yaml(Path(file))  # Snakemake has read them, but of a key that stands twice only the last
    study = study_config.study_from(config, where=" ".join(map(str, workflow.configfiles)) or "config")
    dataset_files = {
        name: dataset_config.load_dataset(name, ROOT / "datasets", use, study.rank)
        for name, use in study.datasets.items()
    }
    if workflow.is_main_process:
        preflight.check(study, dataset_files)
except ValueError as error:
    raise WorkflowError(str(error)) from None

config.clear()
config.update(study.model_dump(mode="json"))
DATASETS = {name: dataset.model_dump(mode="json") for name, dataset in dataset_files.items()}
FOLDERS = study.folders
searches = studies.Searches(study)
used_views = planning.view_names(study)


wildcard_constraints:
    dataset="|".join(study.datasets),
    corpus="|".join(study.corpora),
    task="|".join(study.tasks),
    method="|".join(study.pretraining.methods),
    fraction="|".join(planning.fraction_names(study)),
    chunk=r"\d{3}",
    search="|".join(study.studies) or "none",
    trial="[0-9a-f]{12}",


def code_of(script, **used):
    """Fingerprint of the code a script runs on: its import closure and the plug-ins the study makes it load.

    `used` gives plug-ins per kind: names ("{method}" is filled in from the job's wildcards), or a function of the
    wildcards that returns a plug-in of the configuration or names.
    """

    def fingerprint(wildcards):
        files = [ROOT / "workflow_scripts" / f"{script}.py"]
        for kind, names in used.items():
            names = names(wildcards) if callable(names) else names
            for name in [names["name"]] if isinstance(names, dict) else names:
                files.append(plugins.file_of(kind, name.format(**dict(wildcards))))
        return code_dependencies.code_fingerprint(*files)

    return fingerprint


def of_dataset(key):
    """One key of the job's dataset file; editing any other key reruns nothing."""
    return lambda wildcards: DATASETS[wildcards.dataset][key]


def of_task(key):
    """One key of the job's task."""
    return lambda wildcards: config["tasks"][wildcards.task][key]


def reader_of_task(wildcards):
    """Reader of the task's dataset, with its settings."""
    return DATASETS[study.tasks[wildcards.task].dataset]["reader"]


def planned(function):
    """A function of planning.py as a function of the job's wildcards: function(study, dataset, corpus or task)."""
    return lambda w: function(study, next(w[key] for key in ("task", "corpus", "dataset") if key in w.keys()))


def of_tasks_dataset(pattern):
    """The file of the dataset that the job's task uses; one per chunk where the pattern has `{chunk}`."""

    def files(wildcards):
        paths = planning.chunk_files(study, pattern, [study.tasks[wildcards.task].dataset])
        return paths if "{chunk}" in pattern else paths[0]

    return files


def label_columns(wildcards):
    """Label columns of the job's dataset, in the order in which shards hold them."""
    return list(DATASETS[wildcards.dataset]["labels"]["columns"])


def label_of_task(wildcards):
    """Column, kind and classes of the task's label; of a search, of the task it learns on."""
    task = study.tasks[studies.task_of(study, wildcards.search) if "search" in wildcards.keys() else wildcards.task]
    label = DATASETS[task.dataset]["labels"]["columns"][task.label]
    return {"column": task.label, "kind": label["kind"], "classes": label["classes"]}


def encoder_of_task(wildcards):
    """The encoder that the job's method pretrained on the task's corpus."""
    return f"results/{study.tasks[wildcards.task].corpus}/pretrained/{wildcards.method}/encoder.keras"


def share_of_cores(jobs, most):
    """Threads of each of so many jobs that can run side by side; `most` on a cluster, where a job has a node.

    One after the other with all cores, a third of the time would pass with one at work: starting, tracing, monitors.
    """
    cores = workflow.resource_settings.cores
    return most if cores is None or workflow.remote_exec else max(1, min(most, cores // jobs))
