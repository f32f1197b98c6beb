"""Built-in cohort of head CTs: real DICOM files of invented heads, some with a bleed whose true mask lies beside them.

Two sites with different scanners, patients with one or two series, files in no spatial order, and a few deliberately
bad files. Everything follows from the seed: the same seed gives the same bytes, whatever the number of processes.
It makes `dicom/<patient>/S<n>/`, `masks/`, `extra/` (the bad files) and `labels.csv` with one row per good slice.
"""

import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import Field

from scanloom.code_dependencies import code_fingerprint
from scanloom.sources import _phantom_bad_files as bad_files
from scanloom.sources import _phantom_files as files
from scanloom.sources._phantom_anatomy import draw_head
from scanloom.sources._phantom_bleeds import KIND_SHARES, KINDS, Bleed, draw_bleed
from scanloom.sources._phantom_scanner import SCANNERS, Protocol, Scan, Scanner, scan
from scanloom.sources._report import FetchPlan, FetchReport
from scanloom.strict_models import Strict

PROGRESS_UNIT = "patients"
MIN_BLEED_MM2 = 120.0  # a slice counts as bleeding from this area of the true mask on
LEVELS_MM = (-14.0, 32.0)  # head heights where the base ends and where the ventricles end
SCAN_RANGE_MM = (-42.0, 54.0)  # table positions of the lowest and highest slice centre
COLUMNS = [
    *("sop_uid", "series_uid", "patient_id", "site", "bleed", "bleed_type", "bleed_area_mm2", "bleed_ml"),
    *("level", "ventricle_size", "mask", "age", "sex"),
]


class Settings(Strict):
    """Size and mix of the cohort."""

    patients: int = Field(240, ge=4, le=99999, description="patients with at least one good series")
    matrix: int = Field(128, ge=32, le=512, multiple_of=2, description="rows and columns of a slice")
    slices_per_series: int = Field(10, ge=4, le=200, description="slices of each series")
    second_series_share: float = Field(
        0.25, ge=0, le=1, description="share of patients with a second series: thinner slices or a sharper kernel"
    )
    bleed_share: float = Field(0.4, ge=0, le=1, description="share of patients with a bleed")
    site_b_share: float = Field(0.4, ge=0, le=1, description="share of patients scanned at site B, the noisier one")
    bad_files: bool = Field(True, description="add truncated, foreign, duplicate and incomplete files")
    seed: int | None = Field(None, ge=0, description="seed of the cohort; null: the study's seed")


@dataclass(frozen=True)
class Patient:
    """What is decided about a patient before anything is computed."""

    number: int
    site: str
    bleed: str | None
    second: str | None


def LABEL_COLUMNS(settings: Settings) -> list[str]:
    """Columns of labels.csv, known before anything is written."""
    return list(COLUMNS)


def check(settings: Settings) -> list[str]:
    """Problems that can be known before the first job: none, the phantom needs nothing."""
    return []


def root(settings: Settings, destination: Path) -> Path:
    """Folder that the reader scans."""
    return Path(destination) / "cohort"


def plan(settings: Settings, destination: Path) -> FetchPlan:
    """What would be made, and what lies there from an earlier run."""
    folder = root(settings, destination)
    here = _sizes(folder)
    series = settings.patients + round(settings.second_series_share * settings.patients)
    note = (
        f"made on this machine, nothing is downloaded: {settings.patients} patients, {series} series, "
        f"{series * settings.slices_per_series} slices"
    )
    return FetchPlan(folder, len(here) or None, sum(here.values()) or None, len(here), sum(here.values()), (note,))


def expected_exclusions(settings: Settings) -> dict[str, str]:
    """Path below the root -> reason, for every file that must not be used although it lies among the images."""
    return bad_files.reasons(settings.slices_per_series) if settings.bad_files else {}


def fetch(
    settings: Settings,
    destination: Path,
    *,
    seed: int | None,
    progress: Callable[[int, int], None] | None = None,
    workers: int | None = None,
) -> FetchReport:
    """Write the cohort into `destination`/cohort, or reuse it if the same one is there complete.

    progress: called with patients done and patients in all. workers: processes; default one per available core.
    An interrupted fetch leaves only a folder named cohort.partial, which the next one replaces.
    """
    seed = seed if settings.seed is None else settings.seed
    destination = Path(destination)
    folder, manifest = root(settings, destination), destination / "cohort.json"
    identity = {
        "settings": settings.model_dump(exclude={"seed"}),
        "seed": seed,
        "code": code_fingerprint(Path(__file__)),
    }
    sizes = _sizes(folder)
    if manifest.is_file() and json.loads(manifest.read_text()) == {**identity, "files": sizes}:
        return FetchReport(folder, len(sizes), sum(sizes.values()), fetched=0, reused=len(sizes))

    partial = destination / "cohort.partial"
    manifest.unlink(missing_ok=True)
    for stale in (partial, folder):
        if stale.exists():
            shutil.rmtree(stale)
    partial.mkdir(parents=True)
    cohort = plan_cohort(settings, seed)
    rows = []
    for done, of_patient in enumerate(_each_patient(settings, seed, cohort, partial, workers), start=1):
        rows += of_patient
        if progress is not None:
            progress(done, len(cohort))
    pd.DataFrame(rows, columns=COLUMNS).to_csv(partial / "labels.csv", index=False, lineterminator="\n")
    partial.rename(folder)
    sizes = _sizes(folder)
    unfinished = manifest.with_suffix(".partial.json")
    unfinished.write_text(json.dumps({**identity, "files": sizes}))
    unfinished.replace(manifest)
    return FetchReport(folder, len(sizes), sum(sizes.values()), fetched=len(sizes), reused=0)


def _sizes(root: Path) -> dict[str, int]:
    """Bytes of every file below the folder, by relative path."""
    found = sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.stat().st_size for path in found}


def plan_cohort(settings: Settings, seed: int) -> list[Patient]:
    """Site, bleed and number of series of each patient; the shares are met exactly, bleeds and sites independently."""
    rng = np.random.default_rng([seed, 0])
    count = settings.patients
    bleeding = round(settings.bleed_share * count)
    shares = np.cumsum(KIND_SHARES) / sum(KIND_SHARES)
    kinds = [KINDS[int(np.searchsorted(shares, (i + 0.5) / bleeding))] for i in range(bleeding)]
    bleeds = _shuffled(rng, kinds + [None] * (count - bleeding))
    at_b = round(settings.site_b_share * count)
    sites = _shuffled(rng, ["B"] * at_b + ["A"] * (count - at_b))
    twice = round(settings.second_series_share * count)
    seconds = _shuffled(rng, [("thin", "sharp")[i % 2] for i in range(twice)] + [None] * (count - twice))
    return [Patient(number + 1, *parts) for number, parts in enumerate(zip(sites, bleeds, seconds, strict=True))]


def _shuffled(rng: np.random.Generator, values: list) -> list:
    return [values[i] for i in rng.permutation(len(values))]


def _each_patient(
    settings: Settings, seed: int, cohort: list[Patient], root: Path, workers: int | None
) -> Iterator[list[dict]]:
    """Label rows patient by patient, in the cohort's order, computed by several processes where the system can fork."""
    workers = workers or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    if workers == 1 or "fork" not in multiprocessing.get_all_start_methods():
        yield from (write_patient(settings, seed, patient, root) for patient in cohort)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("fork")) as pool:
        yield from pool.map(write_patient, repeat(settings), repeat(seed), cohort, repeat(root), chunksize=4)


def write_patient(settings: Settings, seed: int, patient: Patient, root: Path) -> list[dict]:
    """Write one patient's series and masks (and the bad files, for the first patient); give the label rows."""
    rng = np.random.default_rng([seed, 1, patient.number])
    person = files.draw_person(rng, patient.number)
    head = draw_head(rng, person.age)
    bleed = draw_bleed(rng, head, patient.bleed) if patient.bleed else None
    tilt = float(rng.uniform(-18, 18)) if rng.random() < 0.25 else 0.0
    placement = files.Placement(tuple(float(v) for v in rng.normal((0, -180, -600), (5, 10, 40))), tilt)
    scanner = SCANNERS[patient.site]
    soft, sharp = scanner.kernels
    protocols = [_protocol(settings, 5.0, soft)]
    if patient.second == "thin":
        protocols.append(_protocol(settings, 2.5, soft, shift_mm=3.0))
    elif patient.second == "sharp":
        protocols.append(_protocol(settings, 5.0, sharp))
    study_uid = files.uid(seed, "study", patient.number)
    about = {
        "patient_id": person.patient_id,
        "site": patient.site,
        "ventricle_size": round(head.ventricle_size, 3),
        "age": person.age,
        "sex": person.sex,
    }
    rows = []
    for number, protocol in enumerate(protocols, start=1):
        names = files.SeriesNames(study_uid, files.uid(seed, "series", patient.number, number), number)
        header = files.series_header(person, scanner, protocol, placement, names)
        made = scan(np.random.default_rng([seed, 2, patient.number, number]), head, bleed, scanner, protocol)
        folder = root / "dicom" / person.patient_id / f"S{number}"
        sop_uids = _write_series(rng, folder, header, made, protocol, placement, scanner)
        mask = ""
        if made.mask.any():
            mask = f"masks/{person.patient_id}-S{number}.nii.gz"
            files.write_mask(root / mask, made.mask, protocol, placement)
        rows += _label_rows(about, names.series_uid, sop_uids, made, protocol, bleed, mask)
        if settings.bad_files and patient.number == 1 and number == 1:
            bad_files.write(root / "extra", folder, header, made.stored, protocol, placement)
    return rows


def _protocol(settings: Settings, thickness_mm: float, kernel: str, shift_mm: float = 0.0) -> Protocol:
    low, high = SCAN_RANGE_MM
    step = round((high - low) / (settings.slices_per_series - 1), 3)
    centres = tuple(low + shift_mm + step * i for i in range(settings.slices_per_series))
    return Protocol(centres, thickness_mm, settings.matrix, kernel)


def _write_series(
    rng: np.random.Generator,
    folder: Path,
    header,
    made: Scan,
    protocol: Protocol,
    placement: files.Placement,
    scanner: Scanner,
) -> list[str]:
    """Write the slices under names in no spatial order; give their SOP Instance UIDs from the lowest slice upwards.

    InstanceNumber counts upwards, downwards, or (interleaved acquisition) the even slices before the odd ones.
    """
    count = len(protocol.centres_mm)
    upwards = np.arange(count)
    order = (upwards, upwards[::-1], np.concatenate([upwards[::2], upwards[1::2]]))[rng.integers(3)]
    instance_number = np.empty(count, int)
    instance_number[order] = np.arange(1, count + 1)
    file_number = rng.permutation(count) + 1
    suffix = ".dcm" if scanner.site == "A" else ""
    sop_uids = [files.uid(header.SeriesInstanceUID, index) for index in range(count)]
    for index, z_mm in enumerate(protocol.centres_mm):
        path = folder / f"IM{file_number[index]:04d}{suffix}"
        position = placement.position(protocol, z_mm)
        files.write_instance(path, header, sop_uids[index], int(instance_number[index]), position, made.stored[index])
    return sop_uids


def _label_rows(
    about: dict, series_uid: str, sop_uids: list[str], made: Scan, protocol: Protocol, bleed: Bleed | None, mask: str
) -> list[dict]:
    """One row per slice, from the lowest to the highest."""
    areas = made.mask.sum(axis=(1, 2)) * protocol.pixel_mm**2
    step = protocol.centres_mm[1] - protocol.centres_mm[0]
    return [
        {
            **about,
            "sop_uid": sop_uid,
            "series_uid": series_uid,
            "bleed": int(area >= MIN_BLEED_MM2),
            "bleed_type": bleed.kind if bleed is not None and area >= MIN_BLEED_MM2 else "none",
            "bleed_area_mm2": round(float(area), 1),
            "bleed_ml": round(float(areas.sum() * step / 1000), 2),
            "level": int(np.searchsorted(LEVELS_MM, height)),
            "mask": mask,
        }
        for sop_uid, area, height in zip(sop_uids, areas, made.head_z_mm, strict=True)
    ]
