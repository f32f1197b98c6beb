"""Fetch a dataset, or say what would be fetched, how many bytes, and under which licence.

The workflow does the same by itself: a study finds what this command fetched, if both use the same folder.
Interrupt it at any time; the same command goes on from there.
"""

import argparse
import sys
import textwrap
from pathlib import Path

from scanloom import plugins
from scanloom.commands._words import bytes_in_words, files_in_words
from scanloom.dataset_config import DatasetFile, load_dataset
from scanloom.files.layout import layout_problem
from scanloom.preflight import licence_problem
from scanloom.sources._progress import shown
from scanloom.sources._report import FetchPlan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("dataset", metavar="DATASET", help="name of a file in datasets/, or path of such a file")
    parser.add_argument("--dry-run", action="store_true", help="fetch nothing; say what would be fetched")
    parser.add_argument("--to", metavar="FOLDER", type=Path, help="download folder (default: data/DATASET)")
    parser.add_argument("--accept-licence", action="store_true", help="I have read the licence and accept it")
    parser.add_argument("--seed", type=int, default=0, help="of invented data whose file gives no seed (default: 0)")


def run(arguments: argparse.Namespace) -> int:
    """Print the dataset's terms and the plan; fetch unless it is a dry run."""
    dataset = _dataset(arguments.dataset)
    destination = arguments.to or Path("data") / dataset.name
    source = plugins.load("sources", dataset.source.name)
    settings = plugins.settings("sources", dataset.source.name, dataset.source.settings)
    print(_terms(dataset))
    problems = source.check(settings)
    if problems:
        raise ValueError(_with_way(problems[0], dataset))
    if arguments.dry_run:
        print(_planned(dataset.source.name, source.plan(settings, destination)))
        return 0
    if not arguments.accept_licence and licence_problem(dataset, None):
        raise ValueError(
            f"the licence of {dataset.name} must be accepted before the data may be used: "
            f"'{' '.join(dataset.licence.split())}'. Read it ({dataset.homepage or 'ask its publisher'}), "
            "then run again with --accept-licence"
        )
    try:
        with shown(source.PROGRESS_UNIT) as progress:
            report = source.fetch(settings, destination, seed=arguments.seed, progress=progress)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130  # as shells report a process that ended by Ctrl-C
    problem = layout_problem(report.root, dataset.layout, dataset.how_to_get)
    if problem:
        raise ValueError(problem)
    print(
        f"{files_in_words(report.files)}, {bytes_in_words(report.bytes)} in {report.root} "
        f"({report.fetched} fetched, {report.reused} were here)"
    )
    if report.withdrawn:
        print(
            f"{files_in_words(report.withdrawn)} of an earlier fetch no longer at the source: set aside in withdrawn/"
        )
    return 0


def _dataset(given: str) -> DatasetFile:
    """The dataset file of that name or path."""
    if given.endswith((".yaml", ".yml")):
        return load_dataset(Path(given).stem, Path(given).parent)
    here = Path("datasets")
    return load_dataset(given, here if here.is_dir() else plugins.PACKAGE.parent / "datasets")


def _with_way(problem: str, dataset: DatasetFile) -> str:
    how = " ".join((dataset.how_to_get or "").split())
    return f"{problem} How to get it: {how}" if how else problem


def _terms(dataset: DatasetFile) -> str:
    """Title, licence, citation and homepage, one indented paragraph each."""
    needed = " (must be accepted)" if dataset.licence_acceptance == "required" else ""
    parts = {"licence": dataset.licence + needed, "citation": dataset.citation, "homepage": dataset.homepage}
    return "\n".join([f"{dataset.name}: {dataset.title}", *(_line(key, text) for key, text in parts.items() if text)])


def _planned(source: str, plan: FetchPlan) -> str:
    """What is there in all, what of it is here, what would be fetched, and notes."""
    lines = [_line("source", f"{source}, into {plan.root}")]
    lines.append(_line("in all", f"{files_in_words(plan.files)}, {bytes_in_words(plan.bytes)}"))
    if plan.files_here:
        lines.append(_line("here", f"{files_in_words(plan.files_here)}, {bytes_in_words(plan.bytes_here)}"))
    if plan.files is not None:
        rest = None if plan.bytes is None else plan.bytes - plan.bytes_here
        left = plan.files - plan.files_here
        lines.append(_line("to fetch", f"{files_in_words(left)}, {bytes_in_words(rest)}" if left else "nothing"))
    return "\n".join([*lines, *(_line("note", note) for note in plan.notes)])


def _line(key: str, text: str) -> str:
    return textwrap.fill(
        " ".join(text.split()), 120, initial_indent=f"  {key:<9} ", subsequent_indent=" " * 12, break_long_words=False
    )
