"""What methods that make images have learnt to draw: reconstructions, samples, and what each latent number changes."""

import numpy as np

from scanloom.report import wording
from scanloom.report.section import Card, Cards, Heading, Section, Table
from scanloom.report.sections.contact_sheet import in_colour
from scanloom.report.study_tables import StudyTables

TITLE = "Images that methods make"
ORDER = 82
LEAD = (
    "Some methods learn by making images. What they draw well their encoder has understood; what is missing from every "
    "picture it has left out."
)
NAMES = {
    "real": "Training images",
    "reconstructed": "The same, reconstructed",
    "generated": "Made of noise",
    "real_windowed": "Training images, window",
    "generated_windowed": "Made of noise, window",
}
NUMBERS = ("Images", "FID", "FID of real images", "Precision", "Recall", "Copies", "Latent numbers used")


def build(tables: StudyTables) -> Section | None:
    """Per corpus: scores of every method that makes images, and its pictures; None where no method makes images."""
    blocks = []
    for corpus in tables.corpora:
        sheets = {method: tables.arrays(_name(corpus, method)) for method in tables.methods}
        sheets = {method: sheet for method, sheet in sheets.items() if sheet is not None and "real" in sheet}
        if not sheets:
            continue
        blocks.append(Heading(wording.title(corpus)))
        colour = any(in_colour(tables, dataset) for dataset in tables.config["corpora"][corpus]["datasets"])
        blocks.append(_scores(tables, corpus, list(sheets)))
        for method, sheet in sheets.items():
            blocks.append(_pictures(corpus, method, sheet, colour))
            if "traversal" in sheet:
                blocks.append(_traversal(corpus, method, sheet, colour))
    return Section(TITLE, LEAD, tuple(blocks)) if blocks else None


def _name(corpus: str, method: str) -> str:
    return f"{corpus}/pretrained/{method}/pictures.npz"


def _scores(tables: StudyTables, corpus: str, methods: list[str]) -> Table:
    rows = []
    for method in methods:
        run = tables.record(f"{corpus}/pretrained/{method}/run.json") or {}
        scores, latent = run.get("generation", {}), run.get("latent")
        used = f"{latent['active_units']} of {len(latent['kl'])}" if latent else wording.NOTHING
        numbers = [wording.number(scores.get(name)) for name in ("fid", "fid_of_real", "precision", "recall")]
        copies = wording.percent(scores.get("copies_share"))
        rows.append((wording.title(method), wording.count(scores.get("images")), *numbers, copies, used))
    return Table(
        title="How like real images they are",
        columns=("Method", *NUMBERS),
        rows=tuple(rows),
        caption="In the features of each method's own encoder, so not comparable between methods. FID is good near "
        "that of other real images. Precision: share of made images among real ones. Recall: share of real images "
        "among made ones. Copies: made images as near to any training image as 1 % of different patients' images "
        "are to each other. A latent number is used if the variance of its posterior mean over images exceeds 0.01.",
        sources=tuple(_name(corpus, method) for method in methods),
        numeric=frozenset(NUMBERS),
    )


def _pictures(corpus: str, method: str, sheet: dict[str, np.ndarray], colour: bool) -> Cards:
    kinds = [name for name in sheet if sheet[name].ndim == 4]
    return Cards(
        name=f"{corpus}-made-{method}",
        cards=tuple(
            Card(
                title=NAMES.get(kind, wording.title(kind)),
                images=tuple((str(k + 1), _shown(image, colour)) for k, image in enumerate(sheet[kind])),
            )
            for kind in kinds
        ),
        caption=f"{wording.title(method)} after {wording.count(int(sheet['step']))} updates. Shown is of volumes the "
        f"middle slice{'' if colour else ', of several channels the first'}.",
        look="whether what the label is about is there in the reconstructions, and whether samples differ.",
        bad="reconstructions that all look alike (the code says nothing), samples that repeat one another, or patterns "
        "of squares.",
        sources=(_name(corpus, method),),
    )


def _traversal(corpus: str, method: str, sheet: dict[str, np.ndarray], colour: bool) -> Cards:
    labels = [wording.signed(float(value), 1) for value in sheet["traversal_values"]]
    rows = zip(sheet["traversal_numbers"], sheet["traversal_kl"], sheet["traversal"], strict=True)
    return Cards(
        name=f"{corpus}-traversal-{method}",
        cards=tuple(
            Card(
                title=f"Latent number {number}, {wording.number(float(kl), 2)} nats",
                images=tuple((label, _shown(image, colour)) for label, image in zip(labels, row, strict=True)),
            )
            for number, kl, row in rows
        ),
        caption=f"{wording.title(method)}: the code of one training image, in each row with one of its numbers set to "
        "the values below the pictures. The numbers that say most about images come first.",
        look="whether a row changes one thing: position, size, brightness, an organ.",
        bad="rows that change everything at once (entangled), or none that changes anything (the posterior has "
        "collapsed to the prior: lower beta, or use a longer warm-up).",
        sources=(_name(corpus, method),),
    )


def _shown(picture: np.ndarray, colour: bool) -> np.ndarray:
    return picture if colour else picture[..., 0]
