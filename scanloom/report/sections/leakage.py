"""Duplicates within and across splits, and whether the same patient stands behind them."""

import pandas as pd

from scanloom.report import wording
from scanloom.report.section import Heading, Note, Section, Table
from scanloom.report.study_tables import StudyTables

TITLE = "Leakage"
ORDER = 75
LEAD = (
    "Splits are by patient, and every reader asserts that no patient is in two of them. Copies under another patient's "
    "name would pass that check; they are looked for in the images themselves."
)
SHOWN = 40  # pairs listed; the counts above the list are of all


def build(tables: StudyTables) -> Section:
    """Per dataset: counts of exact and near duplicates, and the pairs that cross splits."""
    blocks = []
    for dataset, about in tables.datasets.items():
        name = f"{dataset}/leakage.parquet"
        pairs = tables.frame(name)
        blocks.append(Heading(about["title"]))
        if pairs is None:
            blocks.append(Note("The search for duplicates was not given, so nothing can be said about copies."))
        elif pairs.empty:
            blocks.append(Note("No exact and no near duplicates were found.", "good"))
        else:
            blocks += _pairs(name, pairs)
    return Section(TITLE, LEAD, tuple(blocks))


def _pairs(name: str, pairs: pd.DataFrame) -> list:
    across = pairs[pairs.split_a != pairs.split_b]
    if across.empty:
        verdict = Note(f"{wording.plural(len(pairs), 'pair')} of duplicates, none across splits.", "good")
    else:
        touched = len(set(across.item_a) | set(across.item_b))
        verdict = Note(
            f"{wording.plural(len(across), 'pair')} of duplicates across splits ({wording.count(touched)} images). "
            "Scores may be too good by as much as these images weigh.",
            "bad",
        )
    splits = [" and ".join(sorted(pair)) for pair in zip(pairs.split_a, pairs.split_b, strict=True)]
    counted = pairs.assign(between=splits).groupby(["kind", "between", "same_patient"]).size()
    counts = Table(
        title="Duplicates by kind",
        columns=("Kind", "Splits", "Same patient", "Pairs"),
        rows=tuple(
            (str(kind), between, "yes" if same else "no", wording.count(n))
            for (kind, between, same), n in counted.items()
        ),
        caption="Exact: the same bytes after preprocessing. Near: almost the same picture.",
        sources=(name,),
        numeric=frozenset(["Pairs"]),
    )
    if across.empty:
        return [verdict, counts]
    listed = Table(
        title="Pairs across splits",
        columns=("Image", "Split", "Image ", "Split ", "Kind", "Same patient"),
        rows=tuple(
            (
                wording.short(p.item_a),
                p.split_a,
                wording.short(p.item_b),
                p.split_b,
                str(p.kind),
                "yes" if p.same_patient else "no",
            )
            for p in across.head(SHOWN).itertuples()
        ),
        caption=f"The first {SHOWN} of {len(across)}." if len(across) > SHOWN else "",
        sources=(name,),
        folded=True,
    )
    return [verdict, counts, listed]
