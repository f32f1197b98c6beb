"""Does each method learn anything? All of them on public sets, against random features and training from scratch.

    make evidence                                         (hours; writes benchmarks/methods.md)
    python benchmarks/evidence/methods.py --work DIR --shared DIR [--sets pneumoniamnist ...] [--methods vicreg ...]
        [--frozen-only]

Every set is a study of this folder (`<set>.yaml`), run by Snakemake in a copy of the checkout below `--work`, where a
run that was broken off goes on. Lines of methods.md that a run does not make again stay, each with the commit that made
it. Encoder, views, updates and batches are the same for all methods of a set. Written is one table per set: accuracy of
the nearest neighbours of frozen features (k = 11, cosine, as Doerrich et al. 2025), AUROC of a linear probe and of
finetuning per label fraction, and whether the probe beats the one on random features, by the paired interval of the
study. A method that does not is marked.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from _checkout import copy_of_checkout, snakemake
from _measure import ROOT

HERE = Path(__file__).resolve().parent
SETS = ("pneumoniamnist", "ham10000", "hippocampus", "adrenal")
LEFT_OUT = {
    "imagenet": "needs a file of weights",
    "frozen_25d": "needs a file of weights",
}
NEIGHBOURS = 11
COMMIT = "commit.txt"  # in a study's folder: what its copy of the checkout is
BASELINE = "from_scratch"
SCHEDULES = ("frozen", "finetuned")
ABOUT = """# Does each method learn?

Made by `make evidence` (benchmarks/evidence/methods.py); nothing here is written by hand. AUROC on test, mean of the
seeds of the labelled part; each method was pretrained once. `frozen` is a linear probe, whose baseline is the same
untrained encoder; intervals are paired, by patient and seed, at 95 %, not corrected for the number of methods.
`supervised` is pretrained with the labels: a reference. `commit` is what made a row. Left out: {left_out}.

On PneumoniaMNIST at 28 pixels, k = 11, Doerrich et al. (Scientific Reports 2025) give 0.857 for a frozen DINO ViT-B/16
of 86 M parameters pretrained on ImageNet, 0.811 for a ResNet-18.
"""


def study_of(name: str, shared: Path, work: Path, frozen_only: bool = False, only: list[str] | None = None) -> dict:
    """The study of a set with the folders of this machine in it. only: methods beside random features; None: all."""
    text = (HERE / f"{name}.yaml").read_text().replace("SHARED", str(shared)).replace("MADE", str(work / "made"))
    study = yaml.safe_load(text)
    if frozen_only:
        study["arms"]["finetuned"] = None
    if only is not None:
        methods = study["pretraining"]["methods"]
        study["pretraining"]["methods"] = {m: methods[m] for m in methods if m in (BASELINE, *only)}
        study["explanation"]["compare"] = next(m for m in methods if m in only)
    return study


def run_study(name: str, shared: Path, work: Path, cores: int, frozen_only: bool, only: list[str] | None):
    """(the study, the folder it ran in). Raises RuntimeError with Snakemake's output where it fails."""
    study, folder = study_of(name, shared, work, frozen_only, only), work / name
    if not folder.exists():
        copy_of_checkout(folder)
        (folder / COMMIT).write_text(commit())
    for file in (HERE / "datasets").glob("*.yaml"):
        (folder / "datasets" / file.name).write_text(file.read_text())
    if name == "hippocampus":
        make_hippocampus(shared / "hippocampus_part", work / "made" / "hippocampus")
    (folder / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    [task] = study["tasks"]
    wanted = [f"results/{task}/evaluation/metrics.parquet"]
    # One thread each: two trainings of a small network beside each other are faster than one after the other.
    options = ["--cores", str(cores), "--set-threads", "pretrain_encoder=1", "--keep-going", "--rerun-incomplete"]
    snakemake(folder, "--configfile", "study.yaml", *options, "--", *wanted)
    return study, folder


def make_hippocampus(source: Path, made: Path) -> None:
    """Links to the images that have a mask, and volumes.csv: `large` where the hippocampus is above the median."""
    import nibabel

    volumes = {}
    for mask in sorted((source / "labels").glob("*.nii.gz")):
        image = source / "images" / mask.name
        if image.exists():
            loaded = nibabel.load(mask)
            volumes[mask.name] = float(
                (loaded.get_fdata() > 0).sum() * abs(nibabel.affines.voxel_sizes(loaded.affine).prod())
            )
            (made / "images").mkdir(parents=True, exist_ok=True)
            link = made / "images" / mask.name
            if not link.exists():
                link.symlink_to(image)
    table = pd.DataFrame({"path": list(volumes), "volume_mm3": list(volumes.values())})
    table["large"] = (table["volume_mm3"] > table["volume_mm3"].median()).astype(int)
    table.to_csv(made / "volumes.csv", index=False)


def neighbours_accuracy(study: dict, folder: Path, method: str) -> float:
    """Share of test images whose class is that of most of their nearest training images in the frozen features.

    The mean over seeds for a method whose encoder is another one for every seed.
    """
    import numpy as np
    from sklearn.neighbors import KNeighborsClassifier

    [(task, about)] = study["tasks"].items()
    with np.load(folder / f"results/{task}/embeddings/{method}.npz") as arrays:
        features, items = [arrays[key] for key in arrays if key != "item_id"], arrays["item_id"]
    images = pd.concat(map(pd.read_parquet, sorted((folder / f"results/{about['dataset']}/images").glob("*.parquet"))))
    key = "item_id" if study["rank"] == 2 else "series_id"
    wanted = items if study["rank"] == 2 else [item.rsplit("-", 1)[0] for item in items]
    images = images.drop_duplicates(key).set_index(key).loc[wanted]
    label, split = images[about["label"]].to_numpy(), images["split"].to_numpy()
    known = ~pd.isna(label)
    train, test = (split == "train") & known, (split == "test") & known
    right = []
    for one in features:
        nearest = KNeighborsClassifier(NEIGHBOURS, metric="cosine").fit(one[train], label[train].astype(int))
        right.append((nearest.predict(one[test]) == label[test].astype(int)).mean())
    return float(np.mean(right))


def rows_of(study: dict, folder: Path) -> list[dict]:
    """One row per method: kNN accuracy, AUROC per schedule and fraction, differences from the baseline."""
    [task] = study["tasks"]
    metrics, comparisons = (
        pd.read_parquet(folder / f"results/{task}/evaluation/{name}.parquet").query("metric == 'auroc'")
        for name in ("metrics", "comparisons")
    )
    rows = []
    for method in study["pretraining"]["methods"]:
        row = {
            "method": method,
            "knn": neighbours_accuracy(study, folder, method),
            "ended": ended(study, folder, method),
        }
        for (schedule, fraction), part in metrics[(metrics["method"] == method) & (metrics["split"] == "test")].groupby(
            ["schedule", "fraction"]
        ):
            row[f"{schedule} {fraction:g}"] = part["value"].item()
        for (schedule, fraction), part in comparisons[comparisons["method"] == method].groupby(
            ["schedule", "fraction"]
        ):
            row[f"difference {schedule} {fraction:g}"] = part[["difference", "low", "high"]].iloc[0].tolist()
        rows.append(row)
    return rows


def ended(study: dict, folder: Path, method: str) -> str:
    """Why a pretraining ended before its last update; empty where it did not."""
    [corpus] = study["corpora"]
    stopped = json.loads((folder / f"results/{corpus}/pretrained/{method}/run.json").read_text())["stopped"]
    return f"update {stopped['update']}: {stopped['why']}" if stopped else ""


def parameters(folder: Path, study: dict) -> int:
    """Weights of the encoder."""
    from scanloom import plugins
    from scanloom.shards.shard_index import manifests_of

    [(name, settings)] = study["encoder"].items()
    [task] = study["tasks"].values()
    manifest = manifests_of(folder / f"results/{task['dataset']}/shards/index.json")[0]
    shape = tuple(json.loads(manifest.read_text())["image"]["shape"])
    return plugins.load("encoders", name).build(plugins.settings("encoders", name, settings), shape, 0).count_params()


def commit() -> str:
    """The commit of this checkout, "unknown" where there is none."""
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def cells_of(row: dict, study: dict, commit: str) -> dict[str, str]:
    """A row as its line in the table says it, by column; a schedule that was not run is left out."""
    fractions = [f"{fraction:g}" for fraction in study["fractions"]]
    cells = {"method": row["method"], f"kNN, k = {NEIGHBOURS}": f"{row['knn']:.3f}"}
    for schedule, fraction in ((s, f) for s in SCHEDULES for f in fractions if f"{s} {f}" in row):
        cells[column(schedule, fraction)] = f"{row[f'{schedule} {fraction}']:.3f}"
    difference, above = said(row, fractions)
    cells |= {f"probe minus random features, {percent(fractions[1])}": difference, "beats random features": above}
    return cells | {"commit": commit} | ({"ended early": row["ended"].replace("|", "/")} if row["ended"] else {})


def column(schedule: str, fraction: str) -> str:
    """Title of the column of a schedule's AUROC at this fraction of the labels."""
    return f"{schedule}, {percent(fraction)}"


def percent(fraction: str) -> str:
    """Such as "10 %"."""
    return f"{100 * float(fraction):g} %"


def table(study: dict, lines: list[dict[str, str]]) -> str:
    """Markdown: one line per method, best probe first; a dash where a method was not run so."""
    fractions = [f"{fraction:g}" for fraction in study["fractions"]]
    known = {title for line in lines for title in line}
    head = ["method", f"kNN, k = {NEIGHBOURS}", *(column(s, f) for s in SCHEDULES for f in fractions)]
    head += [f"probe minus random features, {percent(fractions[1])}", "beats random features", "ended early", "commit"]
    head = [title for title in head if title in known]
    best_first = sorted(lines, key=lambda line: -float(line[column("frozen", fractions[1])]))
    rows = [head, ["---"] * len(head), *([line.get(title, "-") for title in head] for line in best_first)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def said(row: dict, fractions: list[str]) -> tuple[str, str]:
    """The difference with its interval, and at which fractions it is above 0."""
    if row["method"] == BASELINE:
        return "-", "is random features"
    difference, low, high = row[f"difference frozen {fractions[1]}"]
    above = [fraction for fraction in fractions if row.get(f"difference frozen {fraction}", [0, 0])[1] > 0]
    shares = ", ".join(map(percent, above))
    return f"{difference:+.3f} ({low:+.3f} to {high:+.3f})", f"at {shares}" if above else "**no**"


def parts_of(page: str) -> dict[str, str]:
    """The text below each set's heading."""
    [_, *parts] = page.split("\n## ")
    return {name: text.strip() for name, _, text in (part.partition("\n") for part in parts)}


def lines_of(part: str) -> list[dict[str, str]]:
    """The lines of a set's table, each by column; a dash is nothing."""
    rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in part.splitlines() if line[:1] == "|"]
    if not rows:
        return []
    [head, _, *rest] = rows
    return [{title: cell for title, cell in zip(head, row, strict=True) if cell != "-"} for row in rest]


def with_earlier(earlier: dict[str, dict], new: dict[str, dict]) -> dict[str, dict]:
    """The lines of both by method; where a new line has no finetuning and the earlier one had, that stays, as said."""
    joined = earlier | new
    for method in earlier.keys() & new.keys():
        kept = {title: cell for title, cell in earlier[method].items() if title.startswith("finetuned")}
        if kept and not any(title.startswith("finetuned") for title in new[method]):
            made_by = f"{new[method]['commit']}, finetuned {earlier[method]['commit']}"
            joined[method] = new[method] | kept | {"commit": made_by}
    return joined


def page_of(parts: dict[str, str]) -> str:
    """methods.md."""
    left_out = "; ".join(f"{name} ({why})" for name, why in LEFT_OUT.items())
    found = [f"## {name}\n\n{parts[name]}\n" for name in SETS if name in parts]
    return "\n".join([ABOUT.format(left_out=left_out), *found])


def introduction(name: str, study: dict, folder: Path, lines: dict[str, dict]) -> str:
    """What was run, and what was not."""
    budget, methods = study["pretraining"], study_of(name, Path(), Path())["pretraining"]["methods"]
    missing = [method for method in methods if method not in lines]
    tuned = any(title.startswith("finetuned") for line in lines.values() for title in line)
    return (
        f"{pd.Timestamp.today().date()}. Encoder of {parameters(folder, study) / 1e6:.2f} M parameters; pretraining of "
        f"{budget['updates']} updates of {budget['batch']} images; seeds {study['seeds']}."
        + (f" Not run yet: {', '.join(missing)}." if missing else "")
        + ("" if tuned else " Finetuning was not run.")
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="folder for the studies; kept")
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared" / "data", metavar="DIR")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--frozen-only", action="store_true", help="no finetuning: a third of the time")
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="these alone, beside random features")
    parser.add_argument("--cores", type=int, default=2)
    arguments = parser.parse_args()
    work, page_file = arguments.work.resolve(), ROOT / "benchmarks" / "methods.md"
    for name in arguments.sets:
        options = (arguments.cores, arguments.frozen_only, arguments.methods)
        study, folder = run_study(name, arguments.shared.resolve(), work, *options)
        made_by = (folder / COMMIT).read_text().strip()
        lines = {row["method"]: cells_of(row, study, made_by) for row in rows_of(study, folder)}
        parts = parts_of(page_file.read_text())
        lines = with_earlier({line["method"]: line for line in lines_of(parts.get(name, ""))}, lines)
        parts[name] = "\n\n".join([introduction(name, study, folder, lines), table(study, list(lines.values()))])
        print(f"{name}\n\n{parts[name]}\n", flush=True)
        page_file.write_text(page_of(parts))


if __name__ == "__main__":
    main()
