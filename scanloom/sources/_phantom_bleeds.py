"""Bleeds of five kinds, of a wanted volume, in the head of `_phantom_anatomy`.

Each kind is an *entry field*: a number per voxel that says how large the bleed must be for the voxel to belong to it.
The level at which the enclosed volume equals the wanted one is found once on a coarse grid of the patient; any series
then evaluates the same field against the same level.
"""

from dataclasses import dataclass

import numpy as np

from scanloom.sources._phantom_anatomy import CODE, Canvas, Head, Space, space_of, within
from scanloom.sources._phantom_fields import Field, random_field

KINDS = ("intraparenchymal", "subdural", "epidural", "subarachnoid", "intraventricular")
KIND_SHARES = (0.40, 0.26, 0.16, 0.10, 0.08)
MEDIAN_ML = {"intraparenchymal": 26, "subdural": 45, "epidural": 34, "subarachnoid": 30, "intraventricular": 18}
SKULL_RADIUS_MM = 72.0  # of a sphere like the brain case
COARSE_MM = 3.0  # grid on which the volume is measured
NOWHERE = np.float32(1e6)


@dataclass(frozen=True)
class Bleed:
    """One bleed; `level` is where its entry field is cut."""

    kind: str
    hu: float
    seat_mm: tuple[float, float, float]  # where it sits, or the direction in which the skull is hit; head coordinates
    stretch: tuple[float, float, float]
    span_deg: float  # half opening angle of a crescent or lens
    shape: Field
    level: float


def draw_bleed(rng: np.random.Generator, head: Head, kind: str) -> Bleed:
    """A random bleed of `kind`; volumes are lognormal, 4 to 90 ml, as far as the space it fills allows."""
    millilitres = float(np.clip(MEDIAN_ML[kind] * np.exp(rng.normal(0, 0.5)), 4, 90))
    side = rng.choice((-1, 1))
    if kind == "intraparenchymal":
        seat = (side * rng.uniform(14, 46), rng.uniform(-50, 55), rng.uniform(-2, 42))
    elif kind == "subarachnoid":
        seat = (side * rng.uniform(5, 50), rng.uniform(-50, 45), rng.uniform(-22, 40))
    elif kind == "intraventricular":
        seat = (side * 20.0, 60.0, 5.0)
    else:
        seat = (side * rng.uniform(45, 66), rng.uniform(-60, 60), rng.uniform(0, 32))
    bleed = Bleed(
        kind=kind,
        hu=float(rng.uniform(56, 80)),
        seat_mm=seat,
        stretch=tuple(np.exp(rng.normal(0, 0.2, 3))),
        span_deg=_span_deg(rng, kind, millilitres),
        shape=random_field(rng, 18, 60),
        level=0.0,
    )
    axes = [np.arange(start, stop, COARSE_MM) for start, stop in ((-60, 84), (-105, 106), (-90, 91))]
    entry = np.sort(entry_field(bleed, space_of(head, *axes), bleed.shape.on_grid(*axes)), axis=None)
    room = int(np.searchsorted(entry, NOWHERE / 2))
    voxels = min(int(1000 * millilitres / COARSE_MM**3), int(0.6 * room))
    return Bleed(**{**vars(bleed), "level": float(entry[max(voxels, 1)])})


def _span_deg(rng: np.random.Generator, kind: str, millilitres: float) -> float:
    """Half opening angle under which a crescent or lens of that volume is as thick as such bleeds are.

    A cap of radius a and central thickness t holds c * pi * a**2 * t; c is the mean of its profile over the disc.
    """
    low_mm, high_mm, mean_profile = (10, 17, 1 / 2) if kind == "epidural" else (7, 12, 2 / 3)
    thickness_mm = max(rng.uniform(low_mm, high_mm) * (millilitres / 20) ** (1 / 3), 6)
    radius_mm = np.sqrt(1000 * millilitres / (mean_profile * np.pi * thickness_mm))
    # A little wider, for the part that the base of the skull and the midline cut off.
    return float(np.clip(1.08 * np.rad2deg(radius_mm / SKULL_RADIUS_MM), 10, 75))


def entry_field(bleed: Bleed, at: Space, shape: np.ndarray) -> np.ndarray:
    """Size at which each voxel joins the bleed: float32 `[z, y, x]`, NOWHERE where it cannot go."""
    cx, cy, cz = bleed.seat_mm
    in_skull = (at.inside > 0) & (at.base > 3)
    if bleed.kind in ("subdural", "epidural"):
        along = (at.x * cx + at.y * cy + at.z * cz) / np.sqrt((at.x**2 + at.y**2 + at.z**2) * (cx**2 + cy**2 + cz**2))
        turn = np.arccos(np.clip(along, -1, 1)) / np.deg2rad(bleed.span_deg)
        profile = 1 - turn**2
        if bleed.kind == "subdural":  # a crescent keeps its thickness almost to its ends
            profile = np.sqrt(np.clip(profile, 0, 1))
        entry = at.inside / np.maximum(profile * (1 + 0.2 * shape), 0.02)
        return np.where(in_skull & (profile > 0) & (at.x * cx > 0), entry, NOWHERE)
    sx, sy, sz = bleed.stretch
    away = np.sqrt(((at.x - cx) / sx) ** 2 + ((at.y - cy) / sy) ** 2 + ((at.z - cz) / sz) ** 2)
    away = away * (1 + 0.18 * shape.clip(-2, 2))
    room = {"intraparenchymal": at.pia > 1.5, "subarachnoid": at.csf < 1.2, "intraventricular": at.ventricles < 0.5}
    return np.where(in_skull & room[bleed.kind], away, NOWHERE)


def paint_bleed(canvas: Canvas, bleed: Bleed, at: Space, shape: np.ndarray) -> np.ndarray:
    """Coverage of each voxel by the bleed, float32 0..1; it is painted on the canvas, with swelling around it."""
    entry = entry_field(bleed, at, shape)
    hollow = (canvas.tissue == CODE["bone"]) | (canvas.tissue == CODE["air"])
    coverage = within(entry - np.float32(bleed.level), 1.0) * ~hollow
    if bleed.kind == "intraparenchymal":
        ring = within(entry - np.float32(1.25 * bleed.level + 2), 6.0) * (canvas.tissue != CODE["csf"])
        canvas.hu -= 9 * ring * (at.pia > 1.5)
    hu = bleed.hu + 3 * shape - (6 if bleed.kind == "subarachnoid" else 0)
    canvas.paint(coverage, "bleed", hu)
    return coverage
