"""Voxel values and places in space of every shared series equal those of dcm2niix, and where not the table says why.

dcm2niix (Li et al. 2016) writes NIfTI: voxels i, j, k run along columns, rows, slices, its matrix leads to RAS mm, rows
are flipped so that j leads upwards, and sagittal or coronal 3D stacks are turned to axial. So its voxels are taken to
ours through both matrices: what links them must swap and flip axes by whole voxels.
"""

import subprocess
from pathlib import Path

import dcm2niix
import nibabel
import numpy as np
import pytest
import SimpleITK

from scanloom.readers import dicom
from scanloom.readers._volume import Volume
from scanloom.readers.dicom import Settings

RAS_OF_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
XYZ_OF_ZYX = np.eye(4)[[2, 1, 0, 3]]
AIR_HU = -1024.0

FOLDERS = [
    "ct_contrast_dicom_part/dicom",
    "ct_head_tilt_dicom",
    "sts_pet_ct_mr_part/dicom",
    "dicom_cases/dicom2nifti",
    "dicom_cases/nema_and_issues",
    "dicom_cases/not_a_slice",
]

# End of the stem of dcm2niix' file (series UID, suffix) -> kind of difference, and why it is there.
DIFFERENCES = {
    "714813892": (
        "shear",
        "its matrix steps from slice to slice by the distance along the normal although the step leans: slice k is not "
        "where ImagePositionPatient says; ours is",
    ),
    "040321185": ("shear", "as above"),
    "714813892_Tilt_Eq_1": ("corrected", "see test_tilt_and_unequal_spacing_are_corrected_as_dcm2niix_does"),
    "040321185_Tilt_1": ("corrected", "see there"),
    "417197937_Eq_1": (
        "corrected",
        "one slice is missing; it makes 6 slices of 4 mm where we make the 5 of 5 mm that there would be",
    ),
    "356729824825182": (
        "scaled",
        "a Philips file: it divides what the rescale slope gives by slope times the maker's private scale slope "
        "(4.25885 and 0.000276572 in the header), as quantitative MR wants it",
    ),
    "861615759294": (
        "phases",
        "4 acquisitions of one slice (bolus monitoring): one 4D file in the order of instance numbers, four series of "
        "ours in that of acquisition numbers, here the reverse",
    ),
    "356227417197937": ("refused: missing slices", "the gap is twice the others; values are equal when it is kept"),
    "356581228571744": ("refused: mixed orientation", "two orientations in one series, which it writes as two files"),
    "356581228571744a": ("refused: mixed orientation", "the other one"),
    "298251700242": ("refused: mosaic of slices", "it takes the mosaic apart; for us the header's word stands"),
    "166546115.14677": ("not readable", "it scales this NEMA sample by 1.6e-41, a misread private slope"),
    "9.1.5.2": ("palette", "it writes the palette's indices, we look the colours up"),
    "3.11.1.20040826185059.5457": ("inverted", "MONOCHROME1: lower stored values are brighter (PS3.3 C.7.6.3.1.2)"),
    "3.13.1.20040826185059.5457": ("place", "ultrasound without a place in the patient: no affine"),
    "3.8.1.20040826185059.5457": ("place", "no ImageOrientationPatient: no affine; it assumes an axial slice"),
    "dcm2nii_invalidName": ("refused: burned-in text suspected", "BurnedInAnnotation is YES; no series UID either"),
    "1458337731.665795": ("refused: wrong modality: SEG", "a segmentation is no image"),
    "165151607525240": ("refused: localizer", "a scout is no slice"),
    "184503286111321": ("refused: colour picture in a CT series", "a dose report"),
}

# End of the series UID -> why ITK has its slices elsewhere than ImagePositionPatient says.
PLACES_OF_SIMPLEITK = {
    "714813892": "it steps along the normal although the stack leans",
    "040321185": "as above",
    "227417197937": "one slice is missing, and it spreads the others evenly",
}


def dcm2niix_files(root: Path, out: Path) -> dict[str, nibabel.Nifti1Image]:
    """Stem -> image of all that dcm2niix makes of a folder, named by series UID."""
    command = [dcm2niix.bin, "-d", "9", "-b", "n", "-f", "%j", "-o", str(out), str(root)]
    subprocess.run(command, capture_output=True, check=False)  # it fails for files it does not know
    return {path.name.removesuffix(".nii"): nibabel.load(path) for path in sorted(out.glob("*.nii"))}


def our_volumes(root: Path, **choices) -> tuple[dict[str, Volume], dict[str, str]]:
    """Series UID -> volume of all that is read, and -> reason of all that is refused."""
    keep = {name: "keep" for name in ("gantry_tilt", "unequal_spacing")}
    settings = Settings(**(keep | choices))
    scan = dicom.scan(root, settings)
    grouped = dicom.group_series(scan, settings)
    read = grouped.series.series_key[grouped.series.reason == ""]
    rows = dict(list(grouped.images.groupby("series_key")))
    refused = grouped.series.set_index("series_key").reason
    files = scan.files.merge(scan.images[["path", "series_uid"]].drop_duplicates("path"), on="path", how="left")
    bad = files[~files.ok & files.series_uid.notna()].drop_duplicates("series_uid")
    reasons = bad.set_index("series_uid").reason.to_dict() | refused[refused != ""].to_dict()
    return {key: dicom.read_series(root, rows[key], settings) for key in read}, reasons


def values_of(image: nibabel.Nifti1Image) -> np.ndarray:
    """float64 [i, j, k], or [i, j, k, c] for colours."""
    array = np.asarray(image.dataobj)
    if array.dtype.names:
        array = np.stack([array[name] for name in array.dtype.names], axis=-1)
    return array.astype(np.float64)


def to_our_voxels(volume: Volume, affine_ras: np.ndarray) -> np.ndarray:
    """[4, 4]: dcm2niix' voxel (i, j, k, 1) to our (z, y, x, 1)."""
    return np.linalg.inv(RAS_OF_LPS @ volume.affine_lps) @ affine_ras


def turned(values: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Their voxels in the order of ours, by a `grid` that swaps and flips axes."""
    order = [int(np.abs(row[:3]).argmax()) for row in grid[:3]]
    flips = tuple(slice(None, None, int(np.sign(grid[new, old]))) for new, old in enumerate(order))
    return values.transpose(*order, *range(3, values.ndim))[flips]


def assert_same_grid(volume: Volume, grid: np.ndarray, atol: float = 2e-3) -> None:
    """The grid only swaps and flips axes and hits whole voxels; a single slice' third axis has no length of its own."""
    order = [int(np.abs(row[:3]).argmax()) for row in grid[:3]]
    signs = np.array([np.sign(grid[new, old]) for new, old in enumerate(order)])
    expected = np.eye(4)[[*order, 3]]
    expected[:3] *= signs[:, None]
    expected[:3, 3] = np.where(signs < 0, np.array(volume.values.shape[:3]) - 1, 0)
    if volume.slices == 1:
        grid = np.delete(grid, order[0], axis=1)
        expected = np.delete(expected, order[0], axis=1)
    np.testing.assert_allclose(grid, expected, atol=atol)


def assert_same_values(volume: Volume, theirs: np.ndarray, rtol: float = 1e-6) -> None:
    """Equal, but for air: padding and all below -1024 HU become -1024 HU in ours, and stay what they are in theirs."""
    ours = volume.values.astype(np.float64)
    assert ours.shape == theirs.shape
    if volume.unit == "HU":
        theirs = np.maximum(theirs, AIR_HU)
    if volume.padding_mask is not None:
        ours, theirs = ours[~volume.padding_mask], theirs[~volume.padding_mask]
    np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=1e-5)


def difference(stem: str) -> str:
    """Kind of difference that the table has for a file, "" for none."""
    found = [kind for end, (kind, _) in DIFFERENCES.items() if stem.endswith(end)]
    assert len(found) <= 1
    return found[0] if found else ""


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_series_is_dcm2niix_series_or_the_table_says_why_not(shared_data, tmp_path, folder):
    root = shared_data / folder
    theirs = dcm2niix_files(root, tmp_path)
    volumes, refused = our_volumes(root)
    assert theirs
    for stem, image in theirs.items():
        kind, uid = difference(stem), "" if stem == "dcm2nii_invalidName" else stem.partition("_")[0].rstrip("a")
        if kind.startswith("refused: "):
            assert refused[uid] == kind.removeprefix("refused: ")
            continue
        if kind in ("corrected", "not readable"):
            continue
        if kind == "phases":
            for number in range(image.shape[3]):
                phase = volumes[f"{uid}#{image.shape[3] - number}"]
                assert_same_grid(phase, to_our_voxels(phase, image.affine))
                assert_same_values(phase, values_of(image)[..., number].swapaxes(0, 2)[:, ::-1])
            continue
        volume = volumes[uid]
        if kind in ("palette", "place", "inverted"):
            assert volume.affine_lps is None
            if kind == "place":
                assert_same_values(volume, values_of(image).swapaxes(0, 2)[:, ::-1])
            elif kind == "inverted":
                stored = values_of(image).swapaxes(0, 2)[:, ::-1]
                np.testing.assert_array_equal(volume.values, 2**10 - 1 - stored)
            continue
        grid = to_our_voxels(volume, image.affine)
        if kind == "shear":
            # Along the leaning step it is short by the cosine of the tilt.
            lean = volume.affine_lps[:3, 0]
            grid[0, 2] *= np.linalg.norm(lean) / volume.spacing_mm[0]
        assert_same_grid(volume, grid)
        factor = 4.25885 * 0.000276572 if kind == "scaled" else 1
        assert_same_values(volume, factor * turned(values_of(image), grid), rtol=1e-5 if kind == "scaled" else 1e-6)


def test_the_table_of_differences_holds_nothing_that_is_not_there(shared_data, tmp_path):
    stems = []
    for number, folder in enumerate(FOLDERS):
        (tmp_path / str(number)).mkdir()
        stems += dcm2niix_files(shared_data / folder, tmp_path / str(number))
    assert [end for end in DIFFERENCES if not any(stem.endswith(end) for stem in stems)] == []


@pytest.mark.parametrize(
    ("folder", "stem_end"),
    [("ct_head_tilt_dicom", "_Tilt_Eq_1"), ("dicom_cases/dicom2nifti/failing/gantrytilting", "_Tilt_1")],
)
def test_tilt_and_unequal_spacing_are_corrected_as_dcm2niix_does(shared_data, tmp_path, folder, stem_end):
    """The same matrix and picture size, to the fifth decimal; the same values to the rounding of its two passes.

    Left out are air (ours is -1024 before it is interpolated) and what mixes with it, and the rows at both ends of each
    slice, where it repeats the last row and takes the first for nothing, and we do half a pixel of both.
    """
    root = shared_data / folder
    image = next(image for stem, image in dcm2niix_files(root, tmp_path).items() if stem.endswith(stem_end))
    volumes, _ = our_volumes(root, gantry_tilt="correct", unequal_spacing="resample")
    (volume,) = volumes.values()
    grid = to_our_voxels(volume, image.affine)
    assert_same_grid(volume, grid)
    theirs = turned(values_of(image), grid)
    assert theirs.shape == volume.values.shape
    axes = volume.affine_lps[:3, :3] / np.linalg.norm(volume.affine_lps[:3, :3], axis=0)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-5)
    tissue = (volume.values > -900) & (theirs > -900) & ~volume.padding_mask
    assert tissue.mean() > 0.2
    off = np.abs(volume.values - theirs)
    assert (off[tissue] > 1.01).mean() < 2e-3
    assert np.median(off[tissue]) <= 0.5


def test_an_uncorrected_tilt_is_in_the_matrix_slice_by_slice(shared_data):
    """Voxel (k, 0, 0) lies where ImagePositionPatient of slice k says, for a stack that leans and has one distance."""
    root = shared_data / "dicom_cases/dicom2nifti/failing/gantrytilting"
    settings = Settings(gantry_tilt="keep")
    images = dicom.group_series(dicom.scan(root, settings), settings).images
    volume = dicom.read_series(root, images, settings)
    places = images[[f"position_{i}" for i in range(3)]].to_numpy()
    index = np.array([[k, 0, 0, 1.0] for k in range(volume.slices)])
    np.testing.assert_allclose((index @ volume.affine_lps.T)[:, :3], places, atol=1e-3)


@pytest.mark.parametrize("folder", [folder for folder in FOLDERS if not folder.endswith("not_a_slice")])
def test_values_and_places_are_simpleitks(shared_data, folder):
    """Of every series of single-frame files. ITK's index is (x, y, z), its physical points are LPS, as ours."""
    root, settings = shared_data / folder, Settings(missing_slices="keep")
    grouped = dicom.group_series(dicom.scan(root, settings), settings)
    used = set(grouped.series.series_key[grouped.series.reason == ""])
    assert used
    for key, rows in grouped.images.groupby("series_key"):
        if key not in used or rows.frame.max() >= 0:
            continue
        volume, reader = dicom.read_series(root, rows, settings), SimpleITK.ImageSeriesReader()
        reader.SetFileNames([str(root / path) for path in rows.path])
        theirs = reader.Execute()
        assert_same_values(volume, SimpleITK.GetArrayFromImage(theirs).astype(np.float64), rtol=1e-5)
        if volume.affine_lps is None:  # see "place", "palette" and "inverted" in DIFFERENCES
            continue
        corners = [(0, 0, 0), (3, 2, 0), tuple(size - 1 for size in theirs.GetSize())]
        ours = [(volume.affine_lps @ [*index[::-1], 1])[:3] for index in corners]
        off = np.abs(np.array(ours) - [theirs.TransformIndexToPhysicalPoint(index) for index in corners]).max()
        wrong = [why for end, why in PLACES_OF_SIMPLEITK.items() if key.endswith(end)]
        assert off > 1 if wrong else off < 1e-3, (key, off)
