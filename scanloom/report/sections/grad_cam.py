"""Where the networks look: the same cases for the pretrained network and the baseline, and the pointing game."""

import numpy as np
import pandas as pd
from scipy.ndimage import binary_erosion

from scanloom.report import wording
from scanloom.report.figure_style import INK, MUTED, WIDTH, method_styles, panel
from scanloom.report.image_tiles import overlay, to_uint8
from scanloom.report.section import Card, Cards, Figure, Heading, Note, Section, Table
from scanloom.report.sections.contact_sheet import in_colour
from scanloom.report.study_tables import StudyTables

TITLE = "Where the networks look"
ORDER = 40
LEAD = (
    "Grad-CAM of finetuned networks, for the class that the first network predicts. A map shows what raised that "
    "class's score; it does not show that the network is right."
)
OUTLINE = (0, 220, 170)  # of the true lesion, on the source image only: overlays stay free of hints


def build(tables: StudyTables) -> Section:
    """Per task: chosen cases as cards, then how often the maps' maxima lie in the lesion."""
    blocks = []
    for task in tables.tasks:
        cases, arrays = tables.frame(f"{task}/explained/cases.parquet"), tables.arrays(f"{task}/explained/cases.npz")
        blocks.append(Heading(wording.title(task)))
        if cases is None or arrays is None or cases.empty:
            blocks.append(
                Note("No maps: only finetuned networks are explained, and this task has none that were given.")
            )
            continue
        blocks += [_panel(tables, task, cases, arrays), *_pointing(tables, task)]
    return Section(TITLE, LEAD, tuple(blocks))


def _methods(arrays: dict[str, np.ndarray]) -> list[str]:
    """Explained methods; the first one chose the cases."""
    return [name.removeprefix("maps_") for name in arrays if name.startswith("maps_")]


def _panel(tables: StudyTables, task: str, cases: pd.DataFrame, arrays: dict[str, np.ndarray]) -> Cards:
    colour = in_colour(tables, tables.tasks[task]["dataset"])
    classes, methods = tables.classes(task), _methods(arrays)
    cards = []
    for place, case in cases.iterrows():
        image, mask, maps = _flat(arrays, place, methods)
        source = to_uint8(image if colour else image[..., 0])
        shown = [(f"image{', lesion outlined' if mask.any() else ''}", _outlined(source, mask))]
        for method, heat in zip(methods, maps, strict=True):
            said = classes[int(case[f"prediction_{method}"])]
            label = f"{wording.title(method)}: {said} {wording.number(float(case[f'probability_{method}']), 2)}"
            shown.append((label, overlay(source, heat)))
        right = case.group == "right"
        cards.append(
            Card(
                title=f"{classes[int(case.label)]}, {'right' if right else 'wrong'}",
                images=tuple(shown),
                note=wording.short(case.item_id),
                tone="good" if right else "bad",
            )
        )
    first = wording.title(methods[0])
    return Cards(
        name=f"{task}-grad_cam",
        cards=tuple(cards),
        caption=f"Test cases that {first} got right and wrong with the most confidence, per true class, each of "
        "another patient. Under each map: what that network predicts, and how sure it is.",
        look="whether bright areas lie on the finding, and whether the networks look at the same place.",
        bad="maps on the skull, the border, a label or the table; the same blob in every case, whatever the image; or "
        "a wholly dark map, which points nowhere.",
        sources=tuple(f"{task}/explained/{file}" for file in ("cases.npz", "cases.parquet")),
    )


def _flat(arrays: dict, place: int, methods: list[str]) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Image [y, x, C], mask [y, x] and maps of one case; of a volume, the slice where the first map is strongest."""
    image, mask = arrays["images"][place], arrays["masks"][place]
    maps = [arrays[f"maps_{method}"][place] for method in methods]
    if mask.ndim == 3:
        z = int(np.asarray(maps[0], float).sum(axis=(1, 2)).argmax())
        image, mask, maps = image[z], mask[z], [heat[z] for heat in maps]
    return image, mask, maps


def _outlined(source: np.ndarray, mask: np.ndarray) -> np.ndarray:
    if not mask.any():
        return source
    picture = source if source.ndim == 3 else np.repeat(source[..., None], 3, axis=-1)
    return np.where((mask & ~binary_erosion(mask))[..., None], np.uint8(OUTLINE), picture)


def _pointing(tables: StudyTables, task: str) -> list:
    name = f"{task}/explained/pointing.json"
    pointing = tables.record(name)
    if pointing is None:
        return [Note("The pointing game was not given.")]
    played = {method: result for method, result in pointing["methods"].items() if result["n"]}
    if not played:
        return [Note("No pointing game: no correctly found test image has a mask of its lesion.")]
    styles = method_styles(tables.methods)
    words = "; ".join(
        f"{wording.title(m)} {_rate(r)}, chance {wording.percent(r['chance'])}" for m, r in played.items()
    )
    tolerance = f" A hit may lie {pointing['tolerance_px']} pixels outside." if pointing["tolerance_px"] else ""
    figure = Figure(
        name=f"{task}-pointing",
        panels=(
            panel(
                f"pointing-{task}",
                f"Pointing game, share of maps whose maximum lies in the lesion: {words}.",
                lambda axes: _draw(axes, played, styles),
                (WIDTH, 1.3 + 0.42 * len(played)),
            ),
        ),
        caption="Share of test images whose map has its maximum inside the true lesion, with 95 % intervals over "
        f"patients. Short line: a random point.{tolerance} Each network plays on the images it gets right.",
        look="the distance between mark and short line: that is what the network knows of the place.",
        bad="an interval that reaches the short line: right answers for reasons that are not in the lesion.",
        sources=(name,),
    )
    table = Table(
        title="Pointing game",
        columns=("Method", "Hits", "Images", "Patients", "Rate", "Chance"),
        rows=tuple(
            (
                wording.title(method),
                wording.count(result["hits"]),
                wording.count(result["n"]),
                wording.count(result["n_patients"]),
                _rate(result),
                wording.percent(result["chance"], 1),
            )
            for method, result in pointing["methods"].items()
        ),
        caption="",
        sources=(name,),
        numeric=frozenset(["Hits", "Images", "Patients", "Chance"]),
        folded=True,
    )
    return [figure, table]


def _rate(result: dict) -> str:
    if result["rate"] is None:
        return wording.NOTHING
    return f"{wording.percent(result['rate'])} ({wording.percent(result['low'])} to {wording.percent(result['high'])})"


def _draw(axes, played: dict[str, dict], styles: dict) -> None:
    for place, (method, result) in enumerate(played.items()):
        style = styles[method]
        axes.plot([result["low"], result["high"]], [place, place], color=style.colour, lw=2, solid_capstyle="round")
        axes.plot(result["rate"], place, marker=style.marker, color=style.colour, markersize=7)
        axes.plot([result["chance"]] * 2, [place - 0.25, place + 0.25], color=MUTED, lw=1.6)
    axes.set_yticks(range(len(played)), [wording.title(method) for method in played])
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.set_ylim(len(played) - 0.4, -0.6)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
    axes.grid(True, axis="x")
    axes.grid(False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.set_title("Maximum inside the lesion")
