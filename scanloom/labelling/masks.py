"""Lesion masks on the grid of the stored images: a NIfTI file taken through the geometric steps of preprocessing."""

from pathlib import Path

import numpy as np
import pandas as pd
import SimpleITK as sitk

from scanloom import plugins
from scanloom.geometry import normals, spacing_along, stack_affine
from scanloom.readers._stack_correction import StackChoices, correct_stack, uneven_mm
from scanloom.readers._volume import Volume
from scanloom.steps._masks import moved

PARALLEL = 0.999  # cosine above which two axes count as the same: directions are written with 3 decimals or more
KEPT = StackChoices()
SAME_SLICE_MM = 0.1  # NIfTI stores float32 positions; slices of one stack are further apart


def masks_for(
    path: Path,
    series_id: str,
    orientation: np.ndarray,
    position_mm: np.ndarray,
    shape: tuple[int, int],
    steps: list[tuple[str, object]],
    rank: int,
    place: np.ndarray | None = None,
    stack: StackChoices = KEPT,
) -> dict[str, np.ndarray]:
    """item_id -> bool mask `[*spatial]` of the images that preprocessing makes of this series.

    path: NIfTI mask, non-zero inside. orientation `[6]` (row and column direction, LPS) and position_mm `[z]` (along
    the normal, in stack order) of the series, shape its rows and columns: the mask's slices are put in the series'
    order and turned the way its rows and columns run. steps: (name, settings) as preprocessing gets them; those without
    `apply_to_mask` change values only and are passed over. rank 2: one item per slice; 3: one per series.
    place `[z, 3]` (LPS, of each slice's first pixel): where the slices lie; then position_mm may count from anywhere.
    Needed by steps that ask for it, and where the series' tilt or distances were corrected (`stack`), which is then
    done to the mask. Raises ValueError, without naming the file, when the mask is not on the grid of the series.
    """
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError:  # its text holds the path, which may hold a name
        raise ValueError(f"mask of series {series_id} cannot be read: missing or no image file") from None
    if place is not None and not np.isfinite(place).all():
        place = None
    along_mm = position_mm if place is None else place @ normals(np.asarray(orientation, float)[None])[0]
    values, spacing_mm = _on_series_grid(image, orientation, along_mm, shape, series_id)
    affine = None if place is None else stack_affine(np.tile(orientation, (len(place), 1)), place, spacing_mm)
    places = np.asarray(position_mm, float)
    mask = Volume(values, "mask", spacing_mm, affine_lps=affine, stack_mm=uneven_mm(places, np.arange(len(places))))
    if affine is not None and mask.slices > 1:
        mask = correct_stack(mask, orientation, place, position_mm, stack, nearest=True)
    mask = moved(mask, [(plugins.load("steps", name), settings) for name, settings in steps])
    inside = mask.values > 0
    if rank == 3:
        return {f"{series_id}-{0:04d}": inside}
    return {f"{series_id}-{index:04d}": part for index, part in zip(mask.slice_index, inside, strict=True)}


def _on_series_grid(image, orientation, position_mm, shape, series_id) -> tuple[np.ndarray, tuple]:
    """The mask, float32 0/1 `[z, y, x]` in the series' slices, rows and columns, and its spacing.

    position_mm: of each slice along the normal, from where all coordinates count, up or down.
    """
    orientation, position_mm = np.asarray(orientation, float), np.asarray(position_mm, float)
    where = f"mask of series {series_id}"
    if image.GetDimension() != 3:
        raise ValueError(f"{where} has {image.GetDimension()} dimensions, expected 3")
    values = sitk.GetArrayFromImage(image) != 0
    if values.shape[1:] != tuple(shape):
        raise ValueError(f"{where} has {values.shape[1:]} rows and columns, the series {tuple(shape)}")
    axes = np.array(image.GetDirection()).reshape(3, 3).T
    for axis, wanted, name in ((2, orientation[:3], "columns"), (1, orientation[3:], "rows")):
        cosine = float(axes[2 - axis] @ wanted)
        if abs(cosine) < PARALLEL:
            raise ValueError(f"{where}: its {name} run along {axes[2 - axis].round(3)}, the series' along {wanted}")
        values = np.flip(values, axis) if cosine < 0 else values
    normal = normals(orientation[None])[0]
    step_mm = axes[2] * image.GetSpacing()[2]
    found_mm = (np.array(image.GetOrigin()) + np.arange(len(values))[:, None] * step_mm) @ normal
    nearest = np.abs(position_mm[:, None] - found_mm).argmin(axis=1)
    off = np.abs(found_mm[nearest] - position_mm)
    if not (off <= SAME_SLICE_MM).all():
        raise ValueError(f"{where}: {int((off > SAME_SLICE_MM).sum())} of {len(off)} slices have no slice of the mask")
    spacing_z = spacing_along(np.sort(position_mm)) if len(position_mm) > 1 else image.GetSpacing()[2]
    return values[nearest].astype(np.float32), (spacing_z, *reversed(image.GetSpacing()[:2]))


def masks_of_series(
    table: pd.DataFrame,
    chunk_rows: pd.DataFrame,
    catalogue: pd.DataFrame,
    root: Path,
    steps: list[dict],
    rank: int,
    reader: dict,
) -> dict[str, np.ndarray]:
    """item_id -> bool mask of every image of the series that `table` (series_id, mask_path) names.

    chunk_rows, catalogue: private image rows and public catalogue of the dataset; root: its folder; reader: its
    reader's {"name", "settings"}.
    """
    chosen = {key: reader["settings"][key] for key in StackChoices._fields if key in reader["settings"]}
    headers = catalogue[catalogue["verdict"] == "used"].set_index("series_id")
    rows_of = dict(list(chunk_rows.groupby("series_id", sort=True)))
    ready = [(step["name"], plugins.settings("steps", step["name"], step["settings"])) for step in steps]
    masks: dict[str, np.ndarray] = {}
    for series_id, path in table.drop_duplicates("series_id")[["series_id", "mask_path"]].itertuples(index=False):
        header, rows = headers.loc[series_id], rows_of[series_id].sort_values("slice_index")
        place = rows.reindex(columns=[f"position_{i}" for i in range(3)]).to_numpy(np.float64)
        masks |= masks_for(
            Path(root) / path,
            series_id,
            np.asarray(header["orientation"], np.float64),
            rows["position_mm"].to_numpy(np.float64),
            (int(header["rows"]), int(header["columns"])),
            ready,
            rank,
            place,
            StackChoices(**chosen),
        )
    return masks
