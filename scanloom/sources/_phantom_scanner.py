"""From a head to what a CT scanner stores: partial volume, kernel, beam hardening, noise, field of view, 12 bits."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from scanloom.sources._phantom_anatomy import Head, paint_head, space_of
from scanloom.sources._phantom_bleeds import Bleed, paint_bleed

FIELD_OF_VIEW_MM = 232.0
SUBSLICES = 2  # samples across one slice's thickness
BITS_STORED = 12


@dataclass(frozen=True)
class Scanner:
    """A site's machine. Stored value = HU - intercept; `padding` is stored outside the circular field of view."""

    site: str
    institution: str
    manufacturer: str
    model: str
    kvp: int
    tube_current_ma: int
    kernels: dict[str, float]  # name -> blur in mm
    noise_hu: float
    signed: bool
    intercept: int
    padding: int


SCANNERS = {
    "A": Scanner(
        site="A",
        institution="Quillon General Hospital",
        manufacturer="Northlight Imaging",
        model="NL-64",
        kvp=120,
        tube_current_ma=300,
        kernels={"H30s": 1.2, "H60h": 0.6},
        noise_hu=3.0,
        signed=False,
        intercept=-1024,
        padding=0,
    ),
    "B": Scanner(
        site="B",
        institution="Mereworth Quillon Clinic",
        manufacturer="Corvane Medical",
        model="Tomos 16",
        kvp=130,
        tube_current_ma=180,
        kernels={"SOFT": 1.0, "DETAIL": 0.5},
        noise_hu=4.5,
        signed=True,
        intercept=0,
        padding=-2000,
    ),
}


@dataclass(frozen=True)
class Protocol:
    """How one series is taken; centres_mm: slice centres along the table, upwards."""

    centres_mm: tuple[float, ...]
    thickness_mm: float
    matrix: int
    kernel: str

    @property
    def pixel_mm(self) -> float:
        """Side of a pixel."""
        return FIELD_OF_VIEW_MM / self.matrix

    def pixel_axis_mm(self) -> np.ndarray:
        """Pixel centres across the field of view, float64 `[matrix]`."""
        return (np.arange(self.matrix) - (self.matrix - 1) / 2) * self.pixel_mm


@dataclass(frozen=True)
class Scan:
    """One series: what was stored, and the truth.

    stored: int16 or uint16 `[z, y, x]`; mask: bool, the bleed; tissue: uint8, an index of TISSUES; head_z_mm: `[z]`,
    each slice's height in standard head coordinates.
    """

    stored: np.ndarray
    mask: np.ndarray
    tissue: np.ndarray
    head_z_mm: np.ndarray


def scan(rng: np.random.Generator, head: Head, bleed: Bleed | None, scanner: Scanner, protocol: Protocol) -> Scan:
    """One series of the head: what the scanner stores, and the truth on the same grid."""
    axis = protocol.pixel_axis_mm()
    offsets = ((np.arange(SUBSLICES) + 0.5) / SUBSLICES - 0.5) * protocol.thickness_mm
    z_mm = (np.asarray(protocol.centres_mm)[:, None] + offsets).ravel()
    at = space_of(head, z_mm, axis, axis)
    canvas = paint_head(head, at)
    slices = len(protocol.centres_mm)
    mask = np.zeros((slices, protocol.matrix, protocol.matrix), bool)
    if bleed is not None:
        coverage = paint_bleed(canvas, bleed, at, bleed.shape.on_grid(z_mm, axis, axis))
        mask = _over_thickness(coverage, slices) >= 0.5
    hu = _over_thickness(canvas.hu, slices)
    hu = _blur(hu, scanner.kernels[protocol.kernel] / protocol.pixel_mm)
    hu += _beam_hardening(rng, at, slices)
    hu += _noise(rng, hu, axis, scanner, protocol)
    tissue = canvas.tissue.reshape(slices, SUBSLICES, *hu.shape[1:])[:, SUBSLICES // 2]
    centre = protocol.matrix // 2
    head_z = _over_thickness(at.z[:, centre : centre + 1, centre : centre + 1], slices).ravel()
    return Scan(_store(hu, axis, scanner), mask, tissue, head_z)


def _over_thickness(values: np.ndarray, slices: int) -> np.ndarray:
    """Mean over the samples of each slice: `[z, y, x]`."""
    return values.reshape(slices, SUBSLICES, *values.shape[1:]).mean(axis=1)


def _blur(values: np.ndarray, sigma_px: float) -> np.ndarray:
    return ndimage.gaussian_filter(values, (0, sigma_px, sigma_px), mode="nearest")


def _beam_hardening(rng: np.random.Generator, at, slices: int) -> np.ndarray:
    """HU added by beam hardening: brighter under the skull than in the middle, streaks between the petrous bones."""
    inside = _over_thickness(at.inside, slices)
    cupping = rng.uniform(3, 8) * np.exp(-np.abs(inside) / 9) * (inside > -2)
    x, y, z = (_over_thickness(axis, slices) for axis in (at.x, at.y, at.z))
    angle, wave, phase = rng.normal(0, 0.06), rng.uniform(14, 26), rng.uniform(0, 2 * np.pi)
    bands = np.sin(2 * np.pi * (y + x * angle) / wave + phase)
    envelope = np.exp(-(((z + 32) / 11) ** 2) - ((y - 15) / 26) ** 2 - (x / 50) ** 4)
    return cupping + rng.uniform(8, 22) * bands * envelope


def _noise(
    rng: np.random.Generator, hu: np.ndarray, axis: np.ndarray, scanner: Scanner, protocol: Protocol
) -> np.ndarray:
    """Correlated noise: coarser with a softer kernel, stronger in thin slices, behind bone and in the middle."""
    grain_px = max(scanner.kernels[protocol.kernel] / protocol.pixel_mm, 0.35)
    noise = _blur(rng.standard_normal(hu.shape, dtype=np.float32), grain_px)
    noise /= noise.std()
    sharpness = max(scanner.kernels.values()) / scanner.kernels[protocol.kernel]
    sigma = scanner.noise_hu * np.sqrt(5.0 / protocol.thickness_mm) * sharpness**0.5
    radius = np.hypot(axis[:, None], axis) / 90
    bone = (hu > 300).mean(axis=(1, 2), keepdims=True)
    return (noise * sigma * (0.85 + 2.0 * bone) * (1.15 - 0.3 * np.minimum(radius, 1))).astype(np.float32)


def _store(hu: np.ndarray, axis: np.ndarray, scanner: Scanner) -> np.ndarray:
    """Stored values: 12 bits, padding outside the circle; air inside never equals padding."""
    lowest = -(2 ** (BITS_STORED - 1)) if scanner.signed else 0
    highest = lowest + 2**BITS_STORED - 1
    stored = np.clip(np.rint(hu - scanner.intercept), max(lowest, scanner.padding + 1), highest)
    outside = np.hypot(axis[:, None], axis) > FIELD_OF_VIEW_MM / 2
    stored[:, outside] = scanner.padding
    return stored.astype("<i2" if scanner.signed else "<u2")
