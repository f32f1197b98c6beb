"""The images of one DICOM series as a volume in physical units."""

from pathlib import Path

import numpy as np
import pandas as pd

from scanloom.geometry import spacing_along
from scanloom.readers._dicom_pixels import read_frames
from scanloom.readers._scan import private_errors
from scanloom.readers._volume import Volume


@private_errors
def read_series(root: Path, rows: pd.DataFrame, settings) -> Volume:
    """The images of `rows` (path, frame, slice_index, position_mm; in stack order) as one volume in physical units."""
    run = (rows.path != rows.path.shift()).cumsum()
    parts = [
        read_frames(Path(root) / part.path.iloc[0], part.frame.tolist()) for _, part in rows.groupby(run, sort=False)
    ]
    values = np.concatenate([part.values for part in parts])
    padding = np.concatenate([part.padding for part in parts])
    position = rows.position_mm.to_numpy(dtype=np.float64)
    spacing_z = spacing_along(position) if np.isfinite(position).all() else np.nan
    return Volume(
        values=values,
        unit=parts[0].unit,
        spacing_mm=(spacing_z, *parts[0].spacing_mm),
        padding_mask=padding if padding.any() else None,
        channels=("image",) if values.ndim == 3 else ("red", "green", "blue"),
        slice_index=rows.slice_index.to_numpy(dtype=np.int64),
    )
