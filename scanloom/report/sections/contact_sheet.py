"""Cases before and after preprocessing, and after each of its steps: what the network really sees."""

import numpy as np

from scanloom.report import wording
from scanloom.report.section import Card, Cards, Figure, Heading, Note, Section
from scanloom.report.strip_figure import strip_panel
from scanloom.report.study_tables import StudyTables

TITLE = "Contact sheet"
ORDER = 60
LEAD = "A few slices of many cases, as they came and as the network sees them. Most faults in a study can be seen here."
COLOUR_CHANNELS = ({"red", "green", "blue"}, {"r", "g", "b"})


def build(tables: StudyTables) -> Section:
    """One sheet per dataset."""
    blocks = []
    for dataset in tables.datasets:
        name = f"{dataset}/contact_sheet.npz"
        sheet = tables.arrays(name)
        blocks.append(Heading(tables.datasets[dataset]["title"]))
        if sheet is None or not len(sheet["item_id"]):
            blocks.append(
                Note("No contact sheet was made of this dataset: none of its images was used, or it was not given.")
            )
            continue
        if "strips" in sheet:
            blocks.append(_strips(dataset, tables.datasets[dataset]["title"], sheet, name))
        blocks.append(
            Cards(
                name=f"{dataset}-contact_sheet",
                cards=tuple(_cards(sheet)),
                caption=f"{len(sheet['item_id'])} cases of {tables.datasets[dataset]['title']}. Left: before, over its "
                "whole range of values. Right: after preprocessing, one image per channel.",
                look="anatomy that fills the frame, upright, with contrast where the finding would be.",
                bad="a black or white square (wrong window), a cut-off head, a stretched or mirrored one, a table or "
                "label burned into the picture, or a case that belongs to another study.",
                sources=(name,),
            )
        )
    return Section(TITLE, LEAD, tuple(blocks))


def _strips(dataset: str, title: str, sheet: dict[str, np.ndarray], source: str) -> Figure:
    cases, _, rows = sheet["strips"].shape[:3]
    shown = min(cases, 1 if rows > 1 else 3)
    titles = [
        f"{label or 'no label'} · {wording.short(item)}"
        for label, item in zip(sheet["label"], sheet["item_id"], strict=True)
    ]
    return Figure(
        name=f"{dataset}-steps",
        panels=tuple(strip_panel(f"{dataset}-steps-{case}", titles[case], sheet, case) for case in range(shown)),
        caption=f"What each step does to {title}, from left to right; settings that are not defaults stand below the "
        "step's name. Below each picture: the histogram of its series between the physical values shown as black and "
        "white (square root of the share of pixels), the smallest and largest value as the step gives it, slices × "
        "rows × columns, and the distance of pixels.",
        look="whether what you need to see survives every step, and the histogram fills its width once scaled.",
        bad="a step that changes nothing, cuts into the anatomy, or piles the tissue up at black or white.",
        sources=(source,),
        wide=True,
    )


def _cards(sheet: dict[str, np.ndarray]) -> list[Card]:
    channels = [str(channel) for channel in sheet["channels"]]
    cards = []
    for before, after, item, label in zip(
        sheet["before"], sheet["after"], sheet["item_id"], sheet["label"], strict=True
    ):
        images = [("before", before)]
        if is_colour(channels):
            images.append(("after", after))
        else:
            images += [(wording.title(channel), after[..., c]) for c, channel in enumerate(channels)]
        cards.append(Card(title=str(label) or "no label", images=tuple(images), note=wording.short(item)))
    return cards


def in_colour(tables: StudyTables, dataset: str) -> bool:
    """Whether the dataset's channels are red, green and blue, as its contact sheet says."""
    sheet = tables.arrays(f"{dataset}/contact_sheet.npz")
    return sheet is not None and is_colour([str(channel) for channel in sheet["channels"]])


def is_colour(channels: list[str]) -> bool:
    """Whether channels of these names are one picture in colour."""
    return len(channels) == 3 and {channel.lower() for channel in channels} in COLOUR_CHANNELS
