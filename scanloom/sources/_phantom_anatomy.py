"""A head made of formulas: HU and tissue at any grid of millimetres, different for every patient.

Structures are implicit functions (negative inside, in mm) of standard head coordinates, painted one over the other with
edges one pixel soft. A patient is a smooth random deformation of the standard head plus sizes drawn at random. Axes are
DICOM's: x to the patient's left, y to the back, z up; the origin lies between the frontal horns' tails.
"""

from dataclasses import dataclass

import numpy as np

from scanloom.sources._phantom_fields import Field, random_field

BRAIN_RADII_MM = (66.0, 82.0, 64.0)  # of the standard brain: x, y, z upwards
RADIUS_DOWN_MM = 118.0  # the brain case hardly narrows towards the skull base
EDGE_MM = 1.5  # width of the soft edge between two tissues

TISSUES = ("air", "scalp", "fat", "bone", "csf", "grey", "white", "dura", "calcification", "eye", "infarct", "bleed")
CODE = {name: code for code, name in enumerate(TISSUES)}
# Typical CT numbers; grey and white matter and CSF are shifted per patient by a few HU.
HU = {"air": -1000, "scalp": 45, "fat": -85, "bone": 950, "csf": 7, "grey": 37.5, "white": 28.5, "dura": 52, "eye": 12}


@dataclass(frozen=True)
class Head:
    """One patient's anatomy."""

    scale: tuple[float, float, float]  # patient's size over the standard, per axis x, y, z
    centre_mm: tuple[float, float, float]  # head's origin in the scanner, x, y, z
    rotation: np.ndarray  # [3, 3], scanner to head axes
    warp: tuple[Field, Field, Field]
    warp_mm: float
    folds: Field  # its zero level sets are the sulci
    texture: Field
    skull_mm: float
    scalp_mm: float
    fat_share: float
    gap_mm: float  # CSF between brain and skull: grows with age
    ventricle_size: float  # 1 = typical
    shifts_hu: dict[str, float]
    calcified: dict[str, float]  # structure -> HU, only those that are calcified
    infarct: tuple[float, float, float, float] | None  # centre x, y, z and radius of an old infarct


@dataclass(frozen=True)
class Space:
    """Standard head coordinates of a grid: float32 `[z, y, x]` each, in mm.

    inside: distance below the inner table of the skull (negative outside); pia: distance below the brain's surface.
    """

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    inside: np.ndarray
    pia: np.ndarray
    folds: np.ndarray
    texture: np.ndarray
    ventricles: np.ndarray
    csf: np.ndarray
    base: np.ndarray  # height above the skull base


def draw_head(rng: np.random.Generator, age: int) -> Head:
    """A random patient; the older, the wider ventricles and sulci and the more calcifications."""
    old = (age - 55) / 20
    angles = np.deg2rad(rng.normal(0, (3, 3, 5)))
    size = rng.normal(1, 0.03)
    calcified = {
        name: float(rng.uniform(90, 190))
        for name, share in (("pineal", 0.55 + 0.1 * old), ("choroid", 0.45 + 0.1 * old), ("basal_ganglia", 0.1))
        if rng.random() < share
    }
    side = rng.choice((-1, 1))
    infarct = (side * rng.uniform(25, 48), rng.uniform(-35, 45), rng.uniform(5, 40), rng.uniform(8, 20))
    return Head(
        scale=tuple(size * rng.normal(1, 0.03, 3)),
        centre_mm=tuple(rng.normal(0, (4, 5, 3))),
        rotation=_rotation(*angles),
        warp=tuple(random_field(rng, 90, 320) for _ in range(3)),
        warp_mm=float(rng.uniform(1.5, 3.2)),
        folds=random_field(rng, 17, 34),
        texture=random_field(rng, 12, 60),
        skull_mm=float(np.clip(rng.normal(7, 1.2), 4.5, 10)),
        scalp_mm=float(np.clip(rng.normal(7, 1.5), 4, 11)),
        fat_share=float(rng.uniform(0.35, 0.75)),
        gap_mm=float(np.clip(rng.normal(2.2 + 0.9 * old, 0.6), 0.8, 5)),
        ventricle_size=float(np.clip(np.exp(rng.normal(0.12 * old, 0.16)), 0.7, 1.7)),
        shifts_hu={name: float(rng.normal(0, 1)) for name in ("csf", "grey", "white")},
        calcified=calcified,
        infarct=infarct if rng.random() < 0.12 + 0.05 * max(old, 0) else None,
    )


def _rotation(pitch: float, roll: float, yaw: float) -> np.ndarray:
    cp, sp, cr, sr, cy, sy = *_cos_sin(pitch), *_cos_sin(roll), *_cos_sin(yaw)
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_y = np.array([[cr, 0, sr], [0, 1, 0], [-sr, 0, cr]])
    about_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def _cos_sin(angle: float) -> tuple[float, float]:
    return float(np.cos(angle)), float(np.sin(angle))


def space_of(head: Head, z_mm: np.ndarray, y_mm: np.ndarray, x_mm: np.ndarray) -> Space:
    """Standard head coordinates of every voxel of the scanner grid with these axes."""
    grid = [
        np.asarray(axis, np.float32).reshape(shape) - np.float32(centre)
        for axis, shape, centre in zip(
            (x_mm, y_mm, z_mm), ((1, 1, -1), (1, -1, 1), (-1, 1, 1)), head.centre_mm, strict=True
        )
    ]
    x, y, z = (
        (sum(np.float32(head.rotation[i, j]) * grid[j] for j in range(3)) + warp * np.float32(head.warp_mm))
        / np.float32(head.scale[i])
        for i, warp in enumerate(field.on_grid(z_mm, y_mm, x_mm) for field in head.warp)
    )
    inside = _distance_below_skull(x, y, z)
    folds = head.folds.on_grid(z_mm, y_mm, x_mm)
    texture = head.texture.on_grid(z_mm, y_mm, x_mm)
    pia = inside - head.gap_mm
    ventricles = _ventricles(x, y, z, head.ventricle_size)
    sulci = pia - (6 + 3 * head.gap_mm) * np.exp(-((folds / 0.18) ** 2))
    side = np.abs(x)
    cisterns = np.minimum(
        _ellipsoid(x, y, z, (0, -4, -24), (13, 9, 6)), _ellipsoid(side, y, z, (50, -14, -4), (13, 5, 13))
    )
    base = z - _base_height(y)
    return Space(x, y, z, inside, pia, folds, texture, ventricles, np.minimum(sulci, cisterns), base)


def _distance_below_skull(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """First-order distance to the inner table of the skull, an egg narrower in front; positive inside."""
    rx, ry, up = BRAIN_RADII_MM
    rz = np.where(z > 0, np.float32(up), np.float32(RADIUS_DOWN_MM))
    x = x * (1 - 0.1 * y / ry)
    radius = np.sqrt((x / rx) ** 2 + (y / ry) ** 2 + (z / rz) ** 2) + 1e-6
    slope = np.sqrt((x / rx**2) ** 2 + (y / ry**2) ** 2 + (z / rz**2) ** 2) / radius + 1e-6
    return (1 - radius) / slope


def _ellipsoid(x, y, z, centre: tuple, radii: tuple) -> np.ndarray:
    """About the distance to an ellipsoid's surface in mm, negative inside."""
    (cx, cy, cz), (rx, ry, rz) = centre, radii
    return (np.sqrt(((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 + ((z - cz) / rz) ** 2) - 1) * min(radii)


def _ventricles(x, y, z, size: float) -> np.ndarray:
    """Distance to the ventricles, negative inside: horns, bodies, third and fourth."""
    side = np.abs(x)
    parts = (
        ((7, -24, 12), (5, 13, 9)),
        ((12, 2, 19), (6, 26, 7)),
        ((22, 32, 10), (6.5, 16, 9)),
        ((31, 6, -10), (3, 11, 3)),
        ((0, 2, 1), (2.2, 12, 9)),
        ((0, 32, -28), (6, 5, 8)),
    )
    distance = None
    for centre, radii in parts:
        part = _ellipsoid(side, y, z, centre, tuple(size * r for r in radii))
        distance = part if distance is None else np.minimum(distance, part)
    return distance


def _base_height(y: np.ndarray) -> np.ndarray:
    """Height of the skull base: the frontal fossa is high, the posterior fossa deep."""
    return -20 - 12 / (1 + np.exp(-(y + 25) / 4)) - 45 / (1 + np.exp(-(y - 12) / 4))


def within(distance_mm: np.ndarray, edge_mm: float = EDGE_MM) -> np.ndarray:
    """Coverage of a voxel by the structure whose signed distance this is: 1 inside, 0 outside, soft in between."""
    return np.clip(0.5 - distance_mm / edge_mm, 0, 1)


class Canvas:
    """HU float32 and tissue code uint8 of a grid; structures are painted over what is there."""

    def __init__(self, shape: tuple[int, ...]):
        self.hu = np.full(shape, HU["air"], np.float32)
        self.tissue = np.zeros(shape, np.uint8)

    def paint(self, coverage: np.ndarray, tissue: str, hu: np.ndarray | float) -> None:
        """Blend `hu` in by coverage (0..1); the voxel becomes `tissue` where at least half is covered."""
        self.hu += coverage * (hu - self.hu)
        self.tissue[coverage >= 0.5] = CODE[tissue]


def paint_head(head: Head, at: Space) -> Canvas:
    """HU and tissue of the head without any bleed."""
    canvas = Canvas(at.x.shape)
    outside = -at.inside
    thickness = head.skull_mm * (1 + 0.25 * at.texture.clip(-1.5, 1.5) * 0.5)
    canvas.paint(within(outside - thickness - head.scalp_mm), "scalp", HU["scalp"])
    fat = np.abs(outside - thickness - 0.55 * head.scalp_mm) - 0.5 * head.fat_share * head.scalp_mm
    canvas.paint(within(fat), "fat", HU["fat"])
    diploe = np.exp(-(((outside / thickness - 0.5) / 0.25) ** 2))
    skull = within(np.maximum(outside - thickness, at.inside))
    canvas.paint(skull, "bone", HU["bone"] + 150 - (350 + 60 * at.texture.clip(-2, 2)) * diploe)
    _paint_brain(canvas, head, at)
    _paint_base(canvas, head, at)
    return canvas


def _paint_brain(canvas: Canvas, head: Head, at: Space) -> None:
    hu = {name: HU[name] + head.shifts_hu.get(name, 0) for name in ("csf", "grey", "white")}
    side = np.abs(at.x)
    tentorium = at.z - (4 - 0.55 * side - 0.1 * (at.y - 10))
    cerebellum = np.maximum(tentorium, 14 - at.y)
    canvas.paint(within(-at.inside), "csf", hu["csf"])
    canvas.paint(within(-at.pia), "grey", hu["grey"] + 0.6 * at.texture)
    # The ribbon follows the surface and dives along each sulcus.
    ribbon = 4.5 + 13 * np.exp(-((at.folds / 0.55) ** 2))
    canvas.paint(within(np.maximum(ribbon - at.pia, -cerebellum)), "white", hu["white"] + 0.6 * at.texture)
    for centre, radii in (((13, 10, 4), (8, 13, 8)), ((22, -8, 4), (7, 17, 10)), ((11, -22, 6), (4, 8, 9))):
        canvas.paint(within(_ellipsoid(side, at.y, at.z, centre, radii)), "grey", hu["grey"] + 1)
    canvas.paint(within(_ellipsoid(at.x, at.y, at.z, (0, 14, -28), (12, 11, 20))), "white", hu["white"] + 3)
    if head.infarct is not None:
        cx, cy, cz, radius = head.infarct
        infarct = _ellipsoid(at.x, at.y, at.z, (cx, cy, cz), (radius,) * 3) + 3 * at.texture
        canvas.paint(within(np.maximum(infarct, 1 - at.pia), 5.0), "infarct", 17.0)
    canvas.paint(within(np.maximum(at.csf, -at.inside)), "csf", hu["csf"])
    canvas.paint(within(at.ventricles), "csf", hu["csf"])
    _paint_bright_normals(canvas, head, at, tentorium)


def _paint_bright_normals(canvas: Canvas, head: Head, at: Space, tentorium: np.ndarray) -> None:
    """What is bright in a brain window without being a bleed: dura, venous sinuses, arteries, calcifications."""
    side = np.abs(at.x)
    callosum = _ellipsoid(at.x, at.y, at.z, (0, 5, 0), (200, 48, 34))
    falx = np.maximum.reduce([side - 1.1, -callosum, -8 - at.z, -at.inside])
    canvas.paint(within(falx), "dura", HU["dura"])
    canvas.paint(within(np.maximum.reduce([np.abs(tentorium) - 1, 12 - at.y, -at.inside])), "dura", HU["dura"] - 5)
    sagittal = np.maximum.reduce([side + 0.6 * at.inside - 5.5, -at.inside, -5 - at.z, -30 - at.y + at.z])
    canvas.paint(within(sagittal), "dura", HU["dura"] + 3)
    transverse = np.maximum.reduce([np.abs(tentorium + 2) - 4, 40 - at.y, at.inside - 6, -at.inside])
    canvas.paint(within(transverse), "dura", HU["dura"] + 2)
    artery = np.hypot(np.abs(at.y + 12) + np.maximum(side - 40, 0), at.z + 8 - 0.1 * side) - 1.6
    canvas.paint(within(artery), "dura", HU["dura"] - 6)
    spots = {
        "pineal": (((0, 20, 5),), (2.8, 3.2, 3.5)),
        "choroid": (((20, 31, 9), (-21, 30, 11)), (3.2, 4, 4)),
        "basal_ganglia": (((19, -6, 3), (-19, -6, 3)), (3, 6, 4)),
    }
    for name, value in head.calcified.items():
        centres, radii = spots[name]
        for centre in centres:
            canvas.paint(within(_ellipsoid(at.x, at.y, at.z, centre, radii)), "calcification", value)


def _paint_base(canvas: Canvas, head: Head, at: Space) -> None:
    """Everything under the brain: floor of the skull, orbits, petrous bones, air-filled sinuses."""
    side, inside = np.abs(at.x), -at.inside
    canvas.paint(within(np.maximum(at.base, inside)), "scalp", HU["scalp"] + 5 * at.texture)
    floor = np.maximum(np.abs(at.base + 2) - 2.5, inside)
    canvas.paint(within(floor), "bone", 650 + 120 * at.texture)
    petrous_axis = np.abs(at.y - (4 + 0.5 * (side - 20))) * 0.9
    petrous = np.maximum.reduce([np.hypot(petrous_axis, at.z + 33) - 7, 16 - side, side - 62, inside])
    canvas.paint(within(petrous), "bone", 1050 + 100 * at.texture)
    canvas.paint(within(_ellipsoid(at.x, at.y, at.z, (0, 4, -42), (11, 6, 15))), "bone", 700.0)
    # The bone ring is open in front of the orbits.
    canvas.paint(within(np.maximum.reduce([at.y + 55, at.z + 23, inside - 9])), "scalp", HU["scalp"])
    orbit = _ellipsoid(side, at.y, at.z, (31, -60, -38), (18, 22, 15))
    canvas.paint(within(np.abs(orbit + 1) - 2), "bone", 600.0)
    canvas.paint(within(orbit + 3), "fat", HU["fat"])
    canvas.paint(within(_ellipsoid(side, at.y, at.z, (31, -66, -38), (12, 12, 12))), "eye", HU["eye"])
    canvas.paint(within(_ellipsoid(side, at.y, at.z, (31, -75, -38), (5, 2.5, 5))), "eye", 75.0)
    for centre, radii in (((0, -60, -36), (9, 20, 12)), ((0, -27, -43), (11, 10, 9)), ((10, -83, -20), (9, 3.5, 8))):
        air = _ellipsoid(side if centre[0] else at.x, at.y, at.z, centre, radii) + 1.5 * at.texture
        canvas.paint(within(np.abs(air - 1) - 1), "bone", 450.0)
        canvas.paint(within(air), "air", HU["air"])
    mastoid = np.maximum(_ellipsoid(side, at.y, at.z, (55, 26, -38), (7, 11, 11)), -at.folds)
    canvas.paint(within(mastoid), "air", HU["air"] + 150)
