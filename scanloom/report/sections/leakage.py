"""Copies within and across splits and datasets, into which tasks they leak, and pairs of them side by side."""

import numpy as np
import pandas as pd

from scanloom.report import wording
from scanloom.report.section import Card, Cards, KeyNumber, KeyNumbers, Note, Section, Table
from scanloom.report.study_tables import StudyTables

TITLE = "Leakage"
ORDER = 75
LEAD = (
    "Splits are by patient, and every reader asserts that no patient is in two of them. Copies under another patient's "
    "name, in this data set or another one, would pass that check; they are looked for in the images themselves."
)
PAIRS, EXAMPLES = "leakage.parquet", "leakage_examples.npz"
SHOWN = 40  # pairs listed; the counts above the list are of all
KINDS = {
    "bytes": "the same file",
    "pixels": "the same pixels",
    "near": "a near copy",
    "image id": "the same DICOM instance",
    "patient id": "the same patient id",
}


def build(tables: StudyTables) -> Section:
    """What was searched, what leaks, counts by kind and place, examples, and the pairs that leak."""
    pairs, examples = tables.frame(PAIRS), tables.arrays(EXAMPLES)
    if pairs is None:
        note = Note("The search for copies was not given, so nothing can be said about them.")
        return Section(TITLE, LEAD, (note,))
    for side in "ab":  # where there is one data set only, its name says nothing
        dataset, split = pairs[f"dataset_{side}"], pairs[f"split_{side}"]
        pairs = pairs.assign(**{f"place_{side}": split if len(tables.datasets) == 1 else dataset + ", " + split})
    blocks = [_verdict(pairs)]
    if examples is not None:
        blocks.append(_searched(pairs, examples))
    if len(pairs):
        if examples is not None and len(examples["item_a"]):
            blocks.append(_cards(pairs, examples))
        blocks.append(_counts(pairs))
        blocks += _listed(pairs)
    return Section(TITLE, LEAD, tuple(blocks))


def _verdict(pairs: pd.DataFrame) -> Note:
    if pairs.empty:
        return Note("No copies were found.", "good")
    leaks = pairs[pairs.leaks_into != ""]
    images, people = leaks[leaks.item_a != ""], leaks[leaks.item_a == ""]
    if leaks.empty:
        return Note(
            f"{wording.plural(len(pairs), 'pair')} of copies, none from what is learnt to what is measured.", "good"
        )
    tasks = ", ".join(sorted({task for into in leaks.leaks_into for task in into.split(", ")}))
    text = ""
    if len(images):
        touched = len(set(images.item_a) | set(images.item_b))
        text = (
            f"{wording.plural(len(images), 'pair')} of copies across splits ({wording.count(touched)} images) in "
            f"{tasks}. Scores may be too good by as much as these images weigh. "
        )
        if (images.kind == "near").all():
            text += "All are near copies, found by likeness: look at them below, two patients may just be alike. "
    if len(people):
        text += (
            f"{wording.plural(len(people), 'pair')} of patients, one learnt from and one measured, with the same raw "
            "id: one person, or chance where ids are short."
        )
    return Note(text.strip(), "bad" if len(images) else "open")


def _searched(pairs: pd.DataFrame, examples: dict[str, np.ndarray]) -> KeyNumbers:
    compared, empty = int(examples["compared"]), int(examples["no_content"])
    numbers = [
        KeyNumber("Images searched", wording.count(compared), f"{wording.count(empty)} without content left out"),
        KeyNumber("Pairs of copies", wording.count(int((pairs.item_a != "").sum()))),
        KeyNumber(
            "Pairs that leak",
            wording.count(int(((pairs.leaks_into != "") & (pairs.item_a != "")).sum())),
            tone="bad" if ((pairs.leaks_into != "") & (pairs.item_a != "")).any() else "good",
        ),
    ]
    return KeyNumbers(tuple(numbers), (PAIRS,))


def _cards(pairs: pd.DataFrame, examples: dict[str, np.ndarray]) -> Cards:
    by_items = pairs[pairs.item_a != ""].set_index(["item_a", "item_b"])
    cards = []
    for item_a, item_b, a, b in zip(examples["item_a"], examples["item_b"], examples["a"], examples["b"], strict=True):
        pair = by_items.loc[(item_a, item_b)]
        alike = f" ({pair.likeness:.3f})" if pair.kind == "near" else ""
        cards.append(
            Card(
                title=KINDS[pair.kind] + alike,
                images=((pair.place_a, a), (pair.place_b, b)),
                note=f"{wording.short(item_a)} and {wording.short(item_b)}",
                tone="bad" if pair.leaks_into else "plain",
            )
        )
    return Cards(
        name="leakage-pairs",
        cards=tuple(cards),
        caption="Pairs of copies, those that leak first: mean of the channels after preprocessing. In brackets how "
        "alike a near copy is once one is laid on the other (1: equal).",
        look="the same anatomy in both, even if one is mirrored, cropped or in another grey scale.",
        bad="two that merely resemble each other: then the pair is a false alarm.",
        sources=(PAIRS, EXAMPLES),
    )


def _counts(pairs: pd.DataFrame) -> Table:
    places = (pairs.place_a + " and " + pairs.place_b).rename("places")
    keys = [pairs.kind.map(KINDS), places, "same_patient", "leaks_into"]
    counted = pairs.groupby(keys, sort=True).size()
    return Table(
        title="Copies by kind",
        columns=("Kind", "Where", "Same patient", "Leaks into", "Pairs"),
        rows=tuple(
            (kind, where, "yes" if same else "no", into or "no task", wording.count(n))
            for (kind, where, same, into), n in counted.items()
        ),
        caption="Same pixels: after preprocessing. Near copies are sought among different patients only.",
        sources=(PAIRS,),
        numeric=frozenset(["Pairs"]),
    )


def _listed(pairs: pd.DataFrame) -> list[Table]:
    leaks = pairs[pairs.leaks_into != ""]
    if leaks.empty:
        return []
    return [
        Table(
            title="Pairs that leak",
            columns=("Kind", "Image or patient", "Where", "Image or patient ", "Where ", "Leaks into"),
            rows=tuple(
                (
                    KINDS[p.kind],
                    wording.short(p.item_a or p.patient_a),
                    p.place_a,
                    wording.short(p.item_b or p.patient_b),
                    p.place_b,
                    p.leaks_into,
                )
                for p in leaks.head(SHOWN).itertuples()
            ),
            caption=f"The first {SHOWN} of {len(leaks)}." if len(leaks) > SHOWN else "",
            sources=(PAIRS,),
            folded=True,
        )
    ]
