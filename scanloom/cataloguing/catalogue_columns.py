"""The columns of the catalogue's tables, and what of a header may leave `private/`."""

import re

import numpy as np
import pandas as pd

from scanloom.cataloguing import selection

TEXT, WHOLE, NUMBER, BOOLEAN = "str", "int64", "float64", "bool"

# Columns of results/<dataset>/catalogue.parquet, all of them: what is not listed here does not leave private/. Beside
# each stands why it may. Text that a scanner or a person wrote passes `presentable` first.
COLUMNS = {
    "series_id": TEXT,  # pseudonym
    "patient_id": TEXT,  # pseudonym
    "study_id": TEXT,  # pseudonym
    "verdict": TEXT,  # ours
    "reason": TEXT,  # ours, or of the dataset file
    "detail": TEXT,  # ours: numbers of slices, degrees
    "phi_risk": TEXT,  # ours: kinds of places where identifiers may stand, never what stands there
    "file_ids": object,  # pseudonyms
    "n_files": WHOLE,  # a count
    "n_images": WHOLE,  # a count
    "n_missing": WHOLE,  # a count
    "modality": TEXT,  # a code (PS3.3 C.7.3.1.1.1)
    "body_part": TEXT,  # a code (PS3.16 annex L)
    "view_position": TEXT,  # a code
    "laterality": TEXT,  # a code
    "plane": TEXT,  # ours, from the orientation
    "image_type": TEXT,  # codes
    "patient_sex": TEXT,  # M, F, O: needed to see a bias; of itself nobody's
    "patient_age_years": NUMBER,  # no date; above 89 all are 90 (45 CFR 164.514(b)(2)(i)(C))
    "contrast_agent": BOOLEAN,  # whether, not which
    "manufacturer": TEXT,  # of the device
    "scanner_model": TEXT,  # of the device; neither its serial number nor its station name
    "kernel": TEXT,  # of the device
    "site": TEXT,  # as the dataset file chose; institutions are pseudonyms
    "slice_thickness_mm": NUMBER,  # technique, as all below
    "rows": WHOLE,
    "columns": WHOLE,
    "spacing_mm": object,
    "orientation": object,
    "photometric": TEXT,
    "bits_stored": WHOLE,
    "signed": BOOLEAN,
    "rescale_slope": NUMBER,
    "rescale_intercept": NUMBER,
    "rescale_type": TEXT,  # a code (PS3.3 C.11.1.1.2)
    "transfer_syntax": TEXT,
    "tilt_deg": NUMBER,
    "kvp": NUMBER,
    "tube_current_ma": NUMBER,
    "echo_time_ms": NUMBER,
    "repetition_time_ms": NUMBER,
    "b_value": NUMBER,
    "header_repaired": BOOLEAN,
    "chunk": WHOLE,  # ours
}
WRITTEN = ("modality", "body_part", "view_position", "laterality", "image_type", "patient_sex", "manufacturer")
WRITTEN += ("scanner_model", "kernel", "photometric", "rescale_type")
WITHHELD = "withheld"  # stands for text that might name somebody
# Columns of the private table of series: what conditions can use, the verdict, and the raw identifiers.
SERIES_COLUMNS = {name: selection.DTYPES[kind] for name, (kind, _) in selection.COLUMNS.items()} | dict.fromkeys(
    ("verdict", "reason", "detail", "phi_risk", "raw_patient", "series_uid", "study_uid", "institution"), TEXT
)
PLAIN_TEXT = re.compile(r"[A-Za-z0-9 _.,+*/()\\-]{0,64}")
LONG_NUMBER = re.compile(r"[0-9]{6}")


def published(table: pd.DataFrame) -> pd.DataFrame:
    """The catalogue's COLUMNS of a table that knows more."""
    spacing = table[["spacing_z_mm", "spacing_y_mm", "spacing_x_mm"]].to_numpy(dtype=float).round(5)
    orientation = table[[f"orientation_{i}" for i in range(6)]].to_numpy(dtype=float).round(4) + 0.0
    raw_patient = table.raw_patient.fillna("")
    return typed(
        table.assign(
            spacing_mm=pd.Series(list(spacing), index=table.index, dtype=object),
            orientation=pd.Series(list(orientation), index=table.index, dtype=object),
            **{column: presentable(table[column].fillna(""), raw_patient) for column in WRITTEN},
        ),
        COLUMNS,
    )


def presentable(texts: pd.Series, raw_patient: pd.Series) -> pd.Series:
    """The texts, "withheld" for those that might name somebody: odd characters, six digits on end, or the patient's id.

    DICOM separates the parts of a name by ^, and codes have no need of it, nor of @, colons or accents.
    """
    codes, distinct = pd.factorize(texts)
    plain = [text if PLAIN_TEXT.fullmatch(text) and not LONG_NUMBER.search(text) else WITHHELD for text in distinct]
    shown = np.array([*plain, ""], dtype=object)[codes]
    pairs = zip(raw_patient.tolist(), texts.tolist(), strict=True)
    names_patient = [len(raw) >= 4 and raw in text for raw, text in pairs]
    return pd.Series(np.where(names_patient, WITHHELD, shown), index=texts.index, dtype="str")


def typed(table: pd.DataFrame, columns: dict) -> pd.DataFrame:
    """The columns with their types; what is unknown is "" or NaN or 0 or False."""
    out = {}
    for name, kind in columns.items():
        values = table[name]
        if kind == TEXT:
            values = values.fillna("").astype("str")
        elif kind == WHOLE:
            values = values.fillna(0).astype("int64")
        elif kind == BOOLEAN:
            values = values.eq(True)
        elif kind == NUMBER:
            values = values.astype("float64")
        out[name] = values
    return pd.DataFrame(out)
