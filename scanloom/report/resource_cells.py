"""Resource checks in the report: what one update costs by batch, image size and encoder, and what does not fit."""

import json

import numpy as np
import pandas as pd

from scanloom.report import heat_map, wording
from scanloom.report.figure_style import WIDTH, panel
from scanloom.report.section import Figure, KeyNumber, KeyNumbers, Note, Table
from scanloom.report.study_tables import StudyTables
from scanloom.spoken_values import spoken_value

OK, OUT_OF_MEMORY = "ok", "out of memory"
LEAST_FACTOR = 2  # from the palest to the darkest cell: what differs by a few percent looks alike


def blocks(tables: StudyTables, name: str) -> list:
    """How many cells ran, heat maps of time and memory, and a row per cell."""
    cells = tables.frame(f"studies/{name}/resources.parquet")
    if cells is None:
        return [Note("This resource check was not run.")]
    source = (f"studies/{name}/resources.parquet",)
    cells = cells.assign(label=_encoder_labels(cells))
    full, failed = (cells.outcome == OUT_OF_MEMORY).sum(), (~cells.outcome.isin([OK, OUT_OF_MEMORY])).sum()
    devices = sorted(set(cells.device.dropna()))
    numbers = KeyNumbers(
        (
            KeyNumber("cells that ran", f"{(cells.outcome == OK).sum()} of {len(cells)}", ", ".join(devices)),
            KeyNumber("out of memory", wording.count(full)),
            KeyNumber("failed for another reason", wording.count(failed), tone="bad" if failed else "plain"),
        ),
        source,
    )
    panels = []
    memory = "device_mb" if cells.device_mb.notna().any() else "host_mb"
    for label, part in cells.groupby("label", sort=False):
        panels.append(_cells_panel(name, label, part, "seconds", "Seconds per update"))
        panels.append(_cells_panel(name, label, part, memory, "Peak memory"))
    figure = Figure(
        name=f"study-{name}-resources",
        panels=tuple(panels),
        caption="One update on made-up images, the batch at hand; each cell in a process of its own. Hatched: it did "
        f"not run, and why. From palest to darkest at least a factor of {LEAST_FACTOR}. Memory is the accelerator's "
        "where there is one, else the whole process's.",
        look="the largest batch that fits, and whether seconds grow in proportion to it.",
        bad="seconds that hardly grow with the batch: small batches waste the machine.",
        sources=source,
    )
    return [numbers, figure, _cells_table(cells, source)]


def _encoder_labels(cells: pd.DataFrame) -> list[str]:
    """Name of each cell's encoder, with the settings and channels in which several differ."""
    settings = [json.loads(text) for text in cells.encoder_settings]
    labels = []
    for encoder, own, channels in zip(cells.encoder, settings, cells.channels, strict=True):
        others = [other for name, other in zip(cells.encoder, settings, strict=True) if name == encoder]
        differing = [key for key in own if any(other.get(key) != own[key] for other in others)]
        parts = [f"{key} {spoken_value(own[key])}" for key in differing]
        parts += [wording.plural(int(channels), "channel")] if cells.channels.nunique() > 1 else []
        labels.append(", ".join([encoder, *parts]))
    return labels


def _cells_panel(name: str, label: str, cells: pd.DataFrame, column: str, title: str):
    sizes, batches = sorted(cells.size_px.unique()), sorted(cells.batch.unique())
    values = np.full((len(sizes), len(batches)), np.nan)
    texts = [["" for _ in batches] for _ in sizes]
    for cell in cells.itertuples():
        place = sizes.index(cell.size_px), batches.index(cell.batch)
        value = getattr(cell, column)
        if cell.outcome == OK and np.isfinite(value):
            values[place] = value
            texts[place[0]][place[1]] = _megabytes(value) if column != "seconds" else _seconds(value)
        else:
            texts[place[0]][place[1]] = cell.outcome if cell.outcome != OK else wording.NOTHING
    words = "; ".join(f"{s} px, {b} images: {texts[i][j]}" for i, s in enumerate(sizes) for j, b in enumerate(batches))
    shade = np.log(values)  # seconds and memory span magnitudes
    rows, columns = [f"{size} px" for size in sizes], [str(batch) for batch in batches]
    return panel(
        f"study-{name}-{label}-{column}".replace(" ", "-").replace(",", ""),
        f"{title}, {label}: {words}.",
        lambda axes: heat_map.draw(
            axes, shade, texts, rows, columns, f"{title}, {label}", ("image", "batch"), np.log(LEAST_FACTOR)
        ),
        (WIDTH, 1.4 + 0.4 * len(sizes)),
    )


def _cells_table(cells: pd.DataFrame, source: tuple[str, ...]) -> Table:
    rows = tuple(
        (
            cell.label,
            f"{cell.size_px} px",
            str(cell.batch),
            cell.outcome if cell.outcome == OK else f"{cell.outcome}: {cell.reason}",
            _seconds(cell.seconds),
            wording.count(cell.batch / cell.seconds if cell.outcome == OK else None),
            _seconds(cell.feeding_s),
            _megabytes(cell.host_mb),
            _megabytes(cell.device_mb),
        )
        for cell in cells.itertuples()
    )
    columns = ("Encoder", "Image", "Batch", "Outcome", "Update", "Images per s", "Feeding", "Memory", "On the device")
    return Table(
        title="Cells",
        columns=columns,
        rows=rows,
        caption="Feeding: making a batch, which training does meanwhile in another thread; it sets the pace where it "
        "is longer than the update.",
        sources=source,
        numeric=frozenset(columns[4:]),
        folded=True,
    )


def _seconds(value) -> str:
    """`4.7 ms`, `1.3 s`."""
    if wording.missing(value):
        return wording.NOTHING
    return f"{1000 * value:.3g} ms" if value < 1 else f"{value:.3g} s"


def _megabytes(value) -> str:
    """`820 MB`, `1.03 GB`: cells of one network differ by little beside what its framework takes."""
    return wording.megabytes(value, 2)
