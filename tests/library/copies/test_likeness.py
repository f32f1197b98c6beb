import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanloom.copies import likeness as lk
from scanloom.copies.fingerprints import fingerprints


def blobs(n, size=48, seed=0, rank=2):
    """uint8 [n, *size, 1]: smooth random pictures that look nothing like each other."""
    rng = np.random.default_rng(seed)
    values = rng.random((n, *[12] * rank), dtype=np.float32)
    for axis in range(1, rank + 1):
        values = np.moveaxis(values, axis, -1)
        flat = cv2.resize(
            values.reshape(-1, 12), (size, int(np.prod(values.shape[:-1]))), interpolation=cv2.INTER_LINEAR
        )
        values = np.moveaxis(flat.reshape(*values.shape[:-1], size), -1, axis)
    return (values * 200 + 20).astype(np.uint8)[..., np.newaxis]


@pytest.mark.parametrize("rank", [2, 3])
def test_mirrored_fingerprints_are_those_of_mirrored_images(rank):
    images = blobs(2, size=24, rank=rank)
    for axes in lk.mirrorings(rank):
        turned = np.flip(images, [axis + 1 for axis in axes])
        np.testing.assert_allclose(lk.mirrored(fingerprints(images), axes), fingerprints(turned), atol=2e-3)
    assert len(lk.mirrorings(rank)) == 2**rank
    assert lk.mirrorings(rank)[0] == ()


def test_a_cropped_fingerprint_is_that_of_the_cropped_image():
    """To first order: what lies at the border is mixed in a little differently."""
    image = blobs(1, size=400)
    edge = round(400 * (1 - lk.CROP) / 2)
    inner = np.s_[:, edge // 2 : 400 - 3 * edge // 2, 3 * edge // 2 : 400 - edge // 2]
    expected = fingerprints(np.ascontiguousarray(image[inner]))[0, : lk.COARSE[2], : lk.COARSE[2]].ravel()[1:]
    found = lk._cropped(fingerprints(image).astype(np.float32), (-1, 1))[0].ravel()[1:]
    assert np.corrcoef(found, expected)[0, 1] > 0.99
    plain = fingerprints(image)[0, : lk.COARSE[2], : lk.COARSE[2]].ravel()[1:]
    assert np.corrcoef(plain, expected)[0, 1] < np.corrcoef(found, expected)[0, 1]


@given(st.integers(0, 1000), st.floats(0.93, 1), st.floats(-0.03, 0.03), st.floats(-0.03, 0.03), st.booleans())
@settings(max_examples=25, deadline=None)
def test_stretch_and_shift_are_undone(seed, keep, down, right, other_way):
    image = blobs(1, size=128, seed=seed)[0, ..., 0]
    matrix = np.array([[keep, 0, 128 * ((1 - keep) / 2 + right)], [0, keep, 128 * ((1 - keep) / 2 + down)]])
    moved = cv2.warpAffine(image, matrix, (128, 128), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=4)
    pair = [image, moved] if other_way else [moved, image]
    found = lk.likeness(fingerprints(np.stack(pair)[..., None]), np.array([[0, 1, 0]]))
    assert found[0] > 0.98


def test_strangers_are_not_alike_and_copies_are():
    images = blobs(60)
    coefficients = fingerprints(images)
    pairs = np.array([[a, b, 0] for a in range(8) for b in range(a + 1, 60)])
    assert lk.likeness(coefficients, pairs).max() < 0.9
    np.testing.assert_allclose(lk.likeness(coefficients, np.array([[4, 4, 0]])), 1, atol=1e-4)


def test_a_bent_grey_scale_is_straightened():
    images = blobs(1)
    bent = np.rint(255 * (images / 255) ** 1.6).astype(np.uint8)
    assert lk.likeness(fingerprints(np.concatenate([images, bent])), np.array([[0, 1, 0]]))[0] > 0.995


def test_partners_are_the_best_of_all_pairs():
    """The blocked search equals one large correlation matrix, block by block smaller than the set."""
    relatives = 0.6 * blobs(10)[np.arange(70) % 10] + 0.4 * blobs(70, seed=1)
    coefficients = fingerprints(relatives.astype(np.uint8))
    group = np.arange(70) // 2
    coarse = coefficients[:, :8, :8].astype(np.float32)
    mean, spread = lk._moments(coarse)
    white = lk._whitened(coarse, mean, spread)
    best = np.full((70, 70), -1.0)
    changed = [lk.mirrored(coefficients, axes).astype(np.float32)[:, :8, :8] for axes in lk.mirrorings(2)]
    changed += [lk._cropped(coefficients.astype(np.float32), c) for c in ((-1, -1), (-1, 1), (1, -1), (1, 1))]
    for version in changed:
        best = np.maximum(best, lk._whitened(version, mean, spread) @ white.T)
    best[group[:, None] == group] = -1
    expected = set()
    for row in range(70):
        for column in np.argsort(-best[row])[: lk.PARTNERS]:
            if best[row, column] > lk.LEAST:
                expected.add((min(row, column), max(row, column)))
    rows, columns, lk.ROWS, lk.COLUMNS = lk.ROWS, lk.COLUMNS, 16, 24
    try:
        found = lk.partners(coefficients, group)
    finally:
        lk.ROWS, lk.COLUMNS = rows, columns
    assert set(map(tuple, found[:, :2].tolist())) == expected
    assert len(expected) > 100


def test_threads_change_nothing():
    coefficients = fingerprints(blobs(40))
    pairs = np.array([[a, b, a % 4] for a in range(40) for b in range(a + 1, 40)])
    np.testing.assert_array_equal(lk.likeness(coefficients, pairs), lk.likeness(coefficients, pairs, workers=3))
