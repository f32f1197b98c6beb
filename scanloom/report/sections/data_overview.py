"""What the images are: found, used and excluded with reasons; patients and classes per split and site."""

import pandas as pd

from scanloom.report import wording
from scanloom.report.figure_style import BLUE, GREEN, GREY, INK, ORANGE, SKY, VERMILLION, WIDTH, label_bar, panel
from scanloom.report.section import Figure, Heading, KeyNumber, KeyNumbers, Note, Section, Table
from scanloom.report.study_tables import StudyTables

TITLE = "Data"
ORDER = 70
LEAD = "No image is lost silently: every file found is either used or excluded for a stated reason."
SPLITS = ("train", "validation", "test")
CLASS_COLOURS = (SKY, VERMILLION, GREEN, ORANGE, BLUE, GREY)


def build(tables: StudyTables) -> Section:
    """Per dataset: the books, the reasons, classes per split, sites and scanners."""
    blocks = []
    for dataset, about in tables.datasets.items():
        blocks.append(Heading(about["title"]))
        books, catalogue = tables.record(f"{dataset}/books.json"), tables.frame(f"{dataset}/catalogue.parquet")
        if books is None or catalogue is None:
            blocks.append(Note("The catalogue of this dataset was not given, so there is nothing to count."))
            continue
        blocks += [_numbers(tables, dataset, books, catalogue), *_balance(dataset, books)]
        images = tables.images(dataset)
        if images is None or images.empty:
            blocks.append(Note("No image of this dataset was used."))
        else:
            blocks += _classes(tables, dataset, images)
        blocks += _readers(dataset, tables.frame(f"{dataset}/reader_agreement.parquet"))
        blocks.append(_scanners(dataset, catalogue))
        blocks.append(Note(_terms(about)))
    return Section(TITLE, LEAD, tuple(blocks))


def _numbers(tables: StudyTables, dataset: str, books: dict, catalogue: pd.DataFrame) -> KeyNumbers:
    used = catalogue[catalogue.verdict == "used"]
    expected = tables.datasets[dataset].get("expected") or {}

    def published(what: str) -> str:
        return f"published: {wording.count(expected[what])}" if what in expected else ""

    return KeyNumbers(
        (
            KeyNumber("files found", wording.count(books["found"])),
            KeyNumber("files used", wording.count(books["used"])),
            KeyNumber("files excluded", wording.count(books["excluded"]), "reasons below" if books["excluded"] else ""),
            KeyNumber("series used", wording.count(used.series_id.nunique()), published("series")),
            KeyNumber("patients", wording.count(used.patient_id.nunique()), published("patients")),
            KeyNumber("images", wording.count(used.n_images.sum()), published("images")),
        ),
        (f"{dataset}/books.json",),
    )


def _balance(dataset: str, books: dict) -> list:
    found, used, excluded = books["found"], books["used"], books["excluded"]
    sum_text = f"{wording.count(found)} found = {wording.count(used)} used + {wording.count(excluded)} excluded"
    if found != used + excluded or excluded != sum(books["reasons"].values()):
        return [
            Note(f"The books do not balance: {sum_text}; reasons add up to {sum(books['reasons'].values())}.", "bad")
        ]
    balance = Note(f"The books balance, to the file: {sum_text}.", "good")
    if not excluded:
        return [balance]
    reasons = sorted(books["reasons"].items(), key=lambda item: (-item[1], item[0]))
    words = ", ".join(f"{wording.count(n)} {reason}" for reason, n in reasons)
    return [
        balance,
        Figure(
            name=f"{dataset}-exclusions",
            panels=(
                panel(
                    f"exclusions-{dataset}",
                    f"Files excluded by reason: {words}.",
                    lambda axes: _draw_reasons(axes, reasons),
                    (WIDTH, 1.1 + 0.3 * len(reasons)),
                ),
            ),
            caption="Files excluded, by reason. The list of files is kept in the private folder, not here.",
            look="whether a reason is larger than you would expect of this source.",
            bad="a whole scanner, site or class that falls to one reason: what is left is another population.",
            sources=(f"{dataset}/books.json",),
        ),
    ]


def _draw_reasons(axes, reasons: list[tuple[str, int]]) -> None:
    places, counts = range(len(reasons)), [n for _, n in reasons]
    axes.barh(places, counts, color=GREY, height=0.62)
    for place, n in enumerate(counts):
        label_bar(axes, n, place, f"{n:,}")
    axes.set_yticks(places, [reason.replace("_", " ") for reason, _ in reasons])
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.set_ylim(len(reasons) - 0.4, -0.6)
    axes.set_xlim(0, 1.15 * max(counts))
    axes.set_xticks([])
    axes.grid(False)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.set_title("Files excluded")


def _classes(tables: StudyTables, dataset: str, images: pd.DataFrame) -> list:
    sources = tuple(tables.image_tables(dataset))
    declared = tables.datasets[dataset]["labels"]
    groups = {group: list(about["columns"]) for group, about in declared.get("multilabel", {}).items()}
    findings = [_findings(group, names, images, sources) for group, names in groups.items()]
    grouped = {name for names in groups.values() for name in names}
    labels = [name for name in declared["columns"] if name in images and name not in grouped]
    if not labels:
        return findings or [Note("None of this dataset's label columns reached its image table.")]
    sites = images.site.fillna("not stated").astype(str) if "site" in images else pd.Series("not stated", images.index)
    images = images.assign(site=sites)
    panels, rows = [], []
    for column in labels:
        classes = tables.label(dataset, column)["classes"]
        named = images[column].map(dict(enumerate(classes))).fillna("no label")
        for split in SPLITS:
            part = images[images.split == split].assign(name=named)
            order = pd.Categorical(part.name, [*classes, "no label"])
            for (name, site), group in part.groupby([order, "site"], observed=True):
                rows.append(
                    (
                        wording.title(column),
                        name,
                        split,
                        site,
                        wording.count(group.patient_id.nunique()),
                        wording.count(len(group)),
                    )
                )
        counts = pd.crosstab(images.split, named).reindex(index=SPLITS, columns=[*classes, "no label"], fill_value=0)
        counts = counts.loc[:, counts.sum() > 0]
        words = "; ".join(
            f"{split}: " + ", ".join(f"{wording.count(n)} {name}" for name, n in row.items())
            for split, row in counts.iterrows()
        )
        panels.append(
            panel(
                f"classes-{dataset}-{column}",
                f"Images per class of {wording.title(column)} and split: {words}.",
                lambda axes, counts=counts, column=column: _draw_classes(axes, counts, wording.title(column)),
                (WIDTH, 2.3 + 0.14 * len(counts.columns)),
            )
        )
    return [
        Figure(
            name=f"{dataset}-classes",
            panels=tuple(panels),
            caption="Share of images per class in each split, with numbers of images.",
            look="equal shares from train to test.",
            bad="a class that is rare or absent in one split: scores of that split then mean little.",
            sources=sources,
        ),
        Table(
            title="Patients and images per class, split and site",
            columns=("Label", "Class", "Split", "Site", "Patients", "Images"),
            rows=tuple(rows),
            caption="A patient with images of both classes counts in both rows. No patient is in two splits.",
            sources=sources,
            numeric=frozenset(["Patients", "Images"]),
        ),
        *findings,
    ]


def _findings(group: str, names: list[str], images: pd.DataFrame, sources: tuple[str, ...]) -> Table:
    """One row per finding: images that show it, that do not, and of which nothing is known, per split."""
    rows = []
    for name in names:
        cells = []
        for split in SPLITS:
            found = images[name][images.split == split]
            counts = ((found == 1).sum(), (found == 0).sum(), found.isna().sum())
            cells.append(" / ".join(wording.count(n) for n in counts))
        rows.append((wording.title(name), wording.count(images.patient_id[images[name] == 1].nunique()), *cells))
    return Table(
        title=f"{wording.title(group)}: images with it, without it, and without a label",
        columns=("Finding", "Patients with it", *(f"{wording.title(split)}" for split in SPLITS)),
        rows=tuple(rows),
        caption="An image may show several findings. Images without a label are pretrained on and left out of tasks.",
        sources=sources,
        numeric=frozenset(["Patients with it", *(wording.title(split) for split in SPLITS)]),
    )


def _readers(dataset: str, agreement: pd.DataFrame | None) -> list[Table]:
    """Agreement of the readers, for labels that several readers gave."""
    if agreement is None or agreement.empty:
        return []
    rows = []
    for row in agreement.itertuples():
        by_reader = [] if row.positive_by_reader is None else list(row.positive_by_reader)
        positive = [wording.count(n) if by_reader else "" for n in (row.any, row.majority, row.unanimous)]
        kappa = "undefined" if pd.isna(row.kappa) else f"{row.kappa:.3f} ({row.kappa_low:.2f} to {row.kappa_high:.2f})"
        each = " / ".join(wording.count(n) for n in by_reader)
        rows.append(
            (wording.title(row.label), wording.count(row.rows), each, *positive, wording.count(row.disagree), kappa)
        )
    return [
        Table(
            title="Agreement of readers",
            columns=("Label", "Rows", "Each reader", "Any", "Majority", "All", "Disagree", "Fleiss' kappa (95 %)"),
            rows=tuple(rows),
            caption="Rows of the label table that every reader filled in, and how many of them are positive: to each "
            "reader, to any, to more than half, to all. A low kappa says that the label itself is uncertain; very "
            "different counts of the readers, that they read by different rules.",
            sources=(f"{dataset}/reader_agreement.parquet",),
            numeric=frozenset(["Rows", "Any", "Majority", "All", "Disagree"]),
        )
    ]


def _draw_classes(axes, counts: pd.DataFrame, title: str) -> None:
    share = counts.div(counts.sum(axis=1).clip(lower=1), axis=0)
    left = pd.Series(0.0, index=counts.index)
    for place, name in enumerate(counts.columns):
        colour = GREY if name == "no label" else CLASS_COLOURS[place % len(CLASS_COLOURS)]
        axes.barh(range(len(counts)), share[name], left=left, height=0.6, color=colour, alpha=0.9, label=name)
        for row, (part, n, start) in enumerate(zip(share[name], counts[name], left, strict=True)):
            if part > 0.09:
                axes.text(start + part / 2, row, f"{n:,}", ha="center", va="center", fontsize=8.5, color="#14171b")
        left = left + share[name]
    axes.set_yticks(range(len(counts)), counts.index)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.set_ylim(len(counts) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.set_xticks([])
    axes.grid(False)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.set_title(title)
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.02), ncols=min(2, len(counts.columns)), handlelength=1)


def _scanners(dataset: str, catalogue: pd.DataFrame) -> Table:
    keys = ["modality", "manufacturer", "scanner_model", "kernel", "site"]
    used = catalogue[catalogue.verdict == "used"]
    named = used[keys].fillna("").astype(str).replace({"": "not stated", "nan": "not stated"})
    groups = used.groupby([named[key] for key in keys], sort=True)
    rows = []
    for key, group in groups:
        thickness = sorted(group.slice_thickness_mm.dropna().round(2).unique())
        low_high = (
            f"{thickness[0]:g}"
            if len(thickness) == 1
            else f"{thickness[0]:g} to {thickness[-1]:g}"
            if thickness
            else ""
        )
        rows.append(
            (*key, low_high or "not stated", wording.count(group.patient_id.nunique()), wording.count(len(group)))
        )
    return Table(
        title="Scanners and protocols",
        columns=("Modality", "Manufacturer", "Model", "Kernel", "Site", "Slice (mm)", "Patients", "Series"),
        rows=tuple(rows),
        caption="As the headers say. Groups of one are named too: they are where shortcuts hide.",
        sources=(f"{dataset}/catalogue.parquet",),
        numeric=frozenset(["Patients", "Series"]),
        folded=True,
    )


def _terms(about: dict) -> str:
    cite = f" Cite: {about['citation']}" if about.get("citation") else ""
    return f"Licence: {about['licence']}.{cite}"
