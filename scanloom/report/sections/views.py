"""The views of a few images: what pretraining and finetuning see instead of them, and what each view does alone."""

import numpy as np

from scanloom.report import wording
from scanloom.report.section import Card, Cards, Heading, Note, Section
from scanloom.report.sections.contact_sheet import is_colour
from scanloom.report.study_tables import StudyTables

TITLE = "Views"
ORDER = 65
LEAD = (
    "Training never sees an image twice in the same way. These are its views in the first epochs of pretraining; a "
    "method that compares views must find the same patient in all of a row."
)


def build(tables: StudyTables) -> Section:
    """One sheet per dataset."""
    blocks = []
    for dataset in tables.datasets:
        name, title = f"{dataset}/views.npz", tables.datasets[dataset]["title"]
        sheet = tables.arrays(name)
        blocks.append(Heading(title))
        if sheet is None or not len(sheet["item_id"]):
            blocks.append(Note("There is nothing to show: the dataset has no training image, or no sheet was given."))
            continue
        channels = [str(channel) for channel in sheet["channels"]]
        colour = is_colour(channels)
        shown = "" if colour or len(channels) == 1 else f" Shown is the channel {wording.title(channels[0])}."
        blocks.append(
            Cards(
                name=f"{dataset}-views",
                cards=tuple(_card_of_image(sheet, case, colour) for case in range(len(sheet["item_id"]))),
                caption=f"{len(sheet['item_id'])} training images of {title} and their first "
                f"{sheet['views'].shape[1]} views in pretraining.{_branches(sheet)}{shown}",
                look="whether you still recognise the patient in every view, and still see what the label is about.",
                bad="a finding cropped away, blurred or erased in most views (the network learns to ignore it), views "
                "that all look the same (nothing has to be learned), or uncovered corners that give a turn away.",
                sources=(name,),
            )
        )
        blocks.append(
            Cards(
                name=f"{dataset}-views-alone",
                cards=tuple(
                    Card(
                        title=wording.title(str(view)),
                        images=tuple(
                            (f"draw {k + 1}", _shown(picture, colour)) for k, picture in enumerate(_distinct(pictures))
                        ),
                    )
                    for view, pictures in zip(sheet["alone_names"], sheet["alone"], strict=True)
                ),
                caption=f"What each view of the study does by itself to the first of these images, "
                f"up to {sheet['alone'].shape[1]} draws with the study's settings.{shown}",
                look="the range of each view: is the strongest draw still a possible image of this modality?",
                bad="a view whose draws cannot be told from the image: its settings are too weak for this image size.",
                sources=(name,),
            )
        )
    return Section(TITLE, LEAD, tuple(blocks))


def _distinct(pictures: np.ndarray) -> list[np.ndarray]:
    """The pictures without those that came before: of a view such as invert one is enough."""
    return [p for k, p in enumerate(pictures) if not any(np.array_equal(p, before) for before in pictures[:k])]


def _branches(sheet: dict[str, np.ndarray]) -> str:
    if sheet["branch"].max() < 2:
        return ""
    return " The branches have views of their own: odd views are of branch 1, even ones of branch 2."


def _card_of_image(sheet: dict[str, np.ndarray], case: int, colour: bool) -> Card:
    images = [("image", _shown(sheet["original"][case], colour))]
    for number, (branch, picture) in enumerate(zip(sheet["branch"], sheet["views"][case], strict=True)):
        images.append((f"branch {branch}" if branch else f"view {number + 1}", _shown(picture, colour)))
    return Card(title=f"Image {case + 1}", images=tuple(images), note=wording.short(str(sheet["item_id"][case])))


def _shown(picture: np.ndarray, colour: bool) -> np.ndarray:
    return picture if colour else picture[..., 0]
