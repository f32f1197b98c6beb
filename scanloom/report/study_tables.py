"""Everything the report is made of, read on first use: tables by the names of `planning.report_tables`, with origins.

A name is the file's place below results/: `phantom/catalogue.parquet`, `bleed/evaluation/metrics.parquet`. Only files
that were given are read, so that Snakemake knows every input of the page. A file that was not given is `None`: the
section that needs it says so in the page instead of failing.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

# One job writes several files and one origin; these files have theirs beside another file of the same job.
ORIGIN_BESIDE = {
    "books.json": "catalogue.parquet",
    "run.json": "history.parquet",
    "pictures.npz": "history.parquet",
    "leakage_examples.npz": "leakage.parquet",
}
ORIGIN_FOLDERS = ("evaluation", "explained")  # all files in such a folder come from one job
SECRET = re.compile(r"salt|secret|token|password|credential|api_key", re.IGNORECASE)


@dataclass(frozen=True)
class Origin:
    """The rule behind a file and short fingerprints of its settings, input data and code."""

    rule: str
    config: str
    data: str
    code: str
    versions: tuple[tuple[str, str], ...] = ()


class StudyTables:
    """The tables of one study.

    files: table name -> path, as `planning.report_tables` gives them; paths that do not exist count as not given.
    config: the resolved study. datasets: the resolved dataset files by name. benchmarks: Snakemake's benchmark files.
    """

    def __init__(
        self,
        files: Mapping[str, str | Path],
        config: dict,
        datasets: Mapping[str, dict],
        benchmarks: Iterable[str | Path] = (),
    ):
        self._files = {name: Path(path) for name, path in files.items() if Path(path).is_file()}
        self._absent = sorted(set(files) - set(self._files))
        self._benchmarks = sorted(Path(path) for path in benchmarks if Path(path).is_file())
        self._read: dict[str, object] = {}
        self.config = config
        self.datasets = dict(datasets)

    # What the study consists of

    @property
    def title(self) -> str:
        """Title of the report."""
        return self.config["report"]["title"]

    @property
    def tasks(self) -> dict[str, dict]:
        """Tasks by name."""
        return self.config["tasks"]

    @property
    def corpora(self) -> list[str]:
        """Names of the corpora."""
        return list(self.config["corpora"])

    @property
    def methods(self) -> list[str]:
        """Names of the methods, the baseline last."""
        return sorted(self.config["pretraining"]["methods"], key=lambda name: name == "from_scratch")

    @property
    def main_metric(self) -> str:
        """Metric of the verdict."""
        return self.config["evaluation"]["main_metric"]

    @property
    def metrics(self) -> list[str]:
        """Metrics, that of the verdict first."""
        return sorted(self.config["evaluation"]["metrics"], key=lambda name: name != self.main_metric)

    def label(self, dataset: str, column: str) -> dict:
        """Kind and classes of a label column."""
        return self.datasets[dataset]["labels"]["columns"][column]

    def classes(self, task: str) -> list[str]:
        """Class names of a task."""
        return self.label(self.tasks[task]["dataset"], self.tasks[task]["label"])["classes"]

    # What was measured

    def names(self) -> list[str]:
        """Names of all files that are there."""
        return sorted(self._files)

    def absent(self) -> list[str]:
        """Names of files that were expected and are not there."""
        return self._absent

    def has(self, name: str) -> bool:
        """Whether the file is there."""
        return name in self._files

    def frame(self, name: str) -> pd.DataFrame | None:
        """A Parquet table."""
        return self._once(name, pd.read_parquet)

    def record(self, name: str) -> dict | None:
        """A JSON file."""
        return self._once(name, lambda path: json.loads(path.read_text()))

    def arrays(self, name: str) -> dict[str, np.ndarray] | None:
        """The arrays of an NPZ file."""
        return self._once(name, _read_arrays)

    def images(self, dataset: str) -> pd.DataFrame | None:
        """One row per image of the dataset, all chunks."""
        frames = [self.frame(name) for name in self.image_tables(dataset)]
        return pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True) if frames else None

    def image_tables(self, dataset: str) -> list[str]:
        """Names of the dataset's image tables."""
        return [name for name in self.names() if name.startswith(f"{dataset}/images/")]

    def predictions(self, task: str) -> pd.DataFrame | None:
        """All prediction tables of the task that were given."""
        names = self.prediction_tables(task)
        return pd.concat([self.frame(name) for name in names], ignore_index=True) if names else None

    def prediction_tables(self, task: str) -> list[str]:
        """Names of the task's prediction tables."""
        return [name for name in self.names() if name.startswith(f"{task}/predictions/")]

    def evaluation(self, task: str, part: str) -> pd.DataFrame | None:
        """One evaluation table of the task (`metrics`, `comparisons`, ...)."""
        return self.frame(f"{task}/evaluation/{part}.parquet")

    def benchmarks(self) -> pd.DataFrame:
        """One row per job: rule, job, s, max_rss (MB), mean_load (%), cpu_time (s); NaN where not measured.

        A job is named after what it is for ("bleed-vicreg-0.1"): those of other studies in the folder are left out.
        """
        rows = []
        for path in self._benchmarks:
            if not self._is_ours(path.stem.split("-")):
                continue
            frame = pd.read_csv(path, sep="\t", na_values=["-", "NA"])
            frame.insert(0, "job", path.stem)
            frame.insert(0, "rule", path.parent.name)
            rows.append(frame)
        columns = ["rule", "job", "s", "max_rss", "mean_load", "cpu_time"]
        return pd.concat(rows, ignore_index=True).reindex(columns=columns) if rows else pd.DataFrame(columns=columns)

    def _is_ours(self, job: list[str]) -> bool:
        """Whether everything that the job's name names belongs to the study; trials have a name of their own."""
        config = self.config
        if job[0] in config["studies"]:
            return True
        known = {*self.datasets, *self.corpora, *self.tasks, *config["pretraining"]["methods"], "study", "report"}
        known |= {f"{fraction:g}" for fraction in config["fractions"]}
        known |= {f"{chunk:03d}" for chunk in range(config["chunks"])}
        return known.issuperset(job)

    # Where it comes from

    def origin(self, name: str) -> Origin | None:
        """The origin of a file, or None where none was recorded."""
        for candidate in self._origin_files(name):
            if candidate.is_file():
                values = json.loads(candidate.read_text())
                versions = tuple(sorted(values.get("versions", {}).items()))
                return Origin(*(str(values.get(key, "")) for key in ("rule", "config", "data", "code")), versions)
        return None

    def _origin_files(self, name: str) -> list[Path]:
        path = self._files.get(name)
        if path is None:
            return []
        own = [path.with_name(f"{path.name}.origin.json")]
        if path.name in ORIGIN_BESIDE:
            own.append(path.with_name(f"{ORIGIN_BESIDE[path.name]}.origin.json"))
        if path.parent.name == "images":  # the job that splits the patients writes them
            own.append(path.parent.with_name("splits.parquet.origin.json"))
        if path.parent.name in ORIGIN_FOLDERS:
            own += sorted(path.parent.glob("*.origin.json"))
        return own

    def settings_text(self) -> str:
        """The resolved study as YAML without secrets and without folders of the machine it ran on."""
        return yaml.safe_dump(_public(self.config), sort_keys=False, allow_unicode=True, width=100)

    def _once(self, name: str, read):
        if name not in self._read:
            self._read[name] = read(self._files[name]) if name in self._files else None
        return self._read[name]


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _public(value):
    """The value without secrets; absolute paths lose their folders, addresses their user and query."""
    if isinstance(value, dict):
        return {
            key: "(not shown)" if SECRET.search(str(key)) and inner else _public(inner) for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [_public(inner) for inner in value]
    if isinstance(value, str) and re.match(r"(/|~|[A-Za-z]:[\\/])", value):
        return "…/" + re.split(r"[\\/]", value.rstrip("/"))[-1]
    if isinstance(value, str) and "://" in value:
        scheme, rest = value.split("://", 1)
        return f"{scheme}://{rest.split('?')[0].rpartition('@')[2]}"
    return value
