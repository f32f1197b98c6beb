"""How alike two images are if one may be the other mirrored, cropped by some per cent, re-windowed, compressed, noisy.

First the partners: fingerprints, whitened coefficient by coefficient over all images (so that anatomy that all share
counts for nothing), are correlated all with all in blocks; once as they are, once for each way to mirror one of them,
once for each of a few crops. Each image keeps its best few. Then the likeness of each pair: one image is shifted and
stretched onto the other (Lucas and Kanade, IJCAI 1981; a quadratic change of the grey scale is estimated in the same
least squares), and the correlation of their gradients is taken where both have pixels. Gradients, because large bright
areas, which different heads or skins share, would make any two alike. Images turned by an angle are not found.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from itertools import product

import numpy as np

from scanloom.copies.fingerprints import FADE, cosines, pixel_centres, slopes

COARSE = {2: 8, 3: 5}  # coefficients per axis for finding partners
PARTNERS = 8  # kept per image
LEAST = 0.5  # correlation of whitened fingerprints of partners
CROP = 0.95  # share of an axis that the crops among the partners keep; at two places per axis
PRIOR = 10  # images' worth of belief that coefficients of one frequency vary alike: matters for small sets only
ROWS, COLUMNS = 1024, 8192  # images per block of the correlation matrix: 32 MB
PAIRS = 256  # aligned at once
GRID = {2: (16, 32), 3: (10, 16)}  # pixels per axis of the coarse and the fine alignment
STEPS = (6, 4)  # of each
COARSE_LIKENESS = 0.9  # below, a pair is not aligned finely
MARGIN = 1 / 16  # of each axis left out of the comparison: a crop changes what smoothing mixes in there
FURTHEST = (0.15, 0.1)  # stretch and shift, in axis lengths


def mirrored(coefficients: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """Fingerprints of the images mirrored along spatial axes (0-based): odd cosines change their sign."""
    signs = np.ones(coefficients.shape[1:], np.float32)
    for axis in axes:
        shape = [1] * signs.ndim
        shape[axis] = -1
        signs = signs * ((-1.0) ** np.arange(signs.shape[axis])).reshape(shape).astype(np.float32)
    return coefficients * signs


def mirrorings(rank: int) -> list[tuple[int, ...]]:
    """All sets of axes to mirror, none first."""
    return sorted((tuple(np.flatnonzero(bits)) for bits in product((0, 1), repeat=rank)), key=len)


def partners(coefficients: np.ndarray, group: np.ndarray) -> np.ndarray:
    """int64 [pairs, 3]: images a < b of different groups that may show the same, and the number of the mirroring.

    coefficients: float16 [n, *K]; group: int [n], images of one group (patient) are not compared.
    """
    rank = coefficients.ndim - 1
    coarse = coefficients[(slice(None), *[slice(COARSE[rank])] * rank)].astype(np.float32)
    mean, spread = _moments(coarse)
    columns = _whitened(coarse, mean, spread)
    ways = [(number, axes, None) for number, axes in enumerate(mirrorings(rank))]
    ways += [(0, (), corner) for corner in product((-1, 1), repeat=rank)]
    found = []
    for start in range(0, len(coarse), ROWS):
        rows = coefficients[start : start + ROWS].astype(np.float32)
        best = _Best(len(rows))
        for number, axes, corner in ways:
            changed = mirrored(rows, axes) if corner is None else _cropped(rows, corner)
            changed = _whitened(changed[(slice(None), *[slice(COARSE[rank])] * rank)], mean, spread)
            for left in range(0, len(columns), COLUMNS):
                correlation = changed @ columns[left : left + COLUMNS].T
                above = np.flatnonzero(correlation > best.bar[:, np.newaxis])  # flat: 6 times faster than nonzero
                row, column = np.divmod(above, correlation.shape[1])
                other = group[start + row] != group[left + column]
                row, column = row[other], column[other]
                best.offer(row, left + column, number, correlation[row, column])
        row, column, number = best.taken()
        found.append(np.stack([start + row, column, number], axis=1))
    pairs = np.concatenate(found) if found else np.zeros((0, 3), np.int64)
    pairs[:, :2].sort(axis=1)
    return np.unique(pairs, axis=0)


class _Best:
    """The PARTNERS best columns of each of n rows, from blocks offered one after the other."""

    def __init__(self, n: int):
        self.bar = np.full(n, LEAST, np.float32)
        self._kept = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))

    def offer(self, row, column, number, value) -> None:
        if not len(row):
            return
        offered = (row, column, np.full(len(row), number), value)
        row, column, number, value = (np.concatenate(both) for both in zip(self._kept, offered, strict=True))
        order = np.lexsort((-value, column, row))  # one entry per column: its best way
        first = np.ones(len(order), bool)
        first[1:] = (row[order][1:] != row[order][:-1]) | (column[order][1:] != column[order][:-1])
        order = order[first]
        order = order[np.lexsort((column[order], -value[order], row[order]))]
        row_sorted = row[order]
        place = np.arange(len(order)) - np.searchsorted(row_sorted, row_sorted)
        last = order[place == PARTNERS - 1]
        self.bar[row[last]] = value[last]
        order = order[place < PARTNERS]
        self._kept = row[order], column[order], number[order], value[order]

    def taken(self):
        return self._kept[:3]


def _moments(coarse: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and spread of every coefficient; in small sets drawn towards zero and the spread of its total frequency."""
    n = len(coarse)
    mean = coarse.sum(axis=0) / (n + PRIOR)
    power = np.square(coarse - mean).sum(axis=0)
    frequency = sum(np.indices(power.shape))
    shared = (np.bincount(frequency.ravel(), power.ravel()) / np.bincount(frequency.ravel()) / n)[frequency]
    return mean, np.sqrt((power + PRIOR * shared) / (n + PRIOR)) + 1e-6


def _whitened(coarse: np.ndarray, mean: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """float32 [n, values]: rows of length 1, the mean grey value left out."""
    rows = ((coarse - mean) / spread).reshape(len(coarse), -1)[:, 1:]
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)


def _cropped(coefficients: np.ndarray, corner: tuple[int, ...]) -> np.ndarray:
    """Fingerprints of the images cropped to CROP of each axis, towards its start (-1) or end (1)."""
    rank, count = coefficients.ndim - 1, coefficients.shape[1]
    centres = pixel_centres(2 * count)
    for side in corner:
        seen = cosines((centres - 0.5) * CROP + 0.5 + side * (1 - CROP) / 4, count)
        again = seen.T @ cosines(centres, COARSE[rank]) / len(centres)
        coefficients = np.tensordot(coefficients, again, axes=(1, 0))
    return coefficients


def likeness(coefficients: np.ndarray, pairs: np.ndarray, workers: int = 1) -> np.ndarray:
    """float32 [pairs]: correlation of gradients after alignment, 1 for a perfect copy; 0 where even coarsely unlike.

    pairs: as `partners` gives them. workers: threads; NumPy lets go of the interpreter while it computes.
    """
    ways = mirrorings(coefficients.ndim - 1)

    def of_block(start: int) -> np.ndarray:
        block = pairs[start : start + PAIRS]
        a, b = (coefficients[block[:, side]].astype(np.float32) for side in (0, 1))
        for number in np.unique(block[:, 2]):
            chosen = block[:, 2] == number
            a[chosen] = mirrored(a[chosen], ways[number])
        return _likeness(a, b)

    with ThreadPoolExecutor(workers) as pool:
        return np.concatenate([np.zeros(0, np.float32), *pool.map(of_block, range(0, len(pairs), PAIRS))])


def _likeness(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    rank, n = a.ndim - 1, len(a)
    coarse, fine = GRID[rank]
    # Either may be the crop of the other: the one that shows more is aligned to the one that shows less.
    moved, still = np.concatenate([a, b]), np.concatenate([b, a])
    start = np.zeros((2 * n, 2, rank), np.float32)
    scores, place = _aligned(_faded(moved), _faded(still), coarse, STEPS[0], start)
    better = np.where(scores[:n] >= scores[n:], np.arange(n), np.arange(n, 2 * n))
    better = better[scores[better] >= COARSE_LIKENESS]
    out = np.zeros(n, np.float32)
    if len(better):
        out[better % n] = _aligned(moved[better], still[better], fine, STEPS[1], place[better])[0]
    return out


def _faded(coefficients: np.ndarray) -> np.ndarray:
    """The lowest COARSE coefficients, faded out towards the last as `fingerprints` does with all of them."""
    rank = coefficients.ndim - 1
    fade = np.exp(-FADE * (np.arange(COARSE[rank]) / COARSE[rank]) ** 2).astype(np.float32)
    low = coefficients[(slice(None), *[slice(COARSE[rank])] * rank)]
    return low * reduce(np.multiply, np.ix_(*[fade] * rank))


def _aligned(moved, still, grid: int, steps: int, place) -> tuple[np.ndarray, np.ndarray]:
    """Correlation of gradients [n] and the place it was found at; place: float32 [n, (stretch, shift), rank].

    Each step solves still = offset + gain m + bend m^2 + (slope of m by stretch and shift) . step, m the moved image.
    """
    rank, count = moved.ndim - 1, moved.shape[1]
    centres = pixel_centres(grid).astype(np.float32)
    n, here = len(moved), cosines(centres, count)
    target = _evaluated(still, [here[np.newaxis]] * rank).reshape(n, -1, 1)
    limit = np.array(FURTHEST, np.float32)[:, np.newaxis]
    for step in range(steps + 1):
        images, gradients, inside, offsets = _moved(moved, place, centres, count)
        columns = [np.ones_like(images), images, np.square(images)]
        for axis, gradient in enumerate(gradients):
            columns += [gradient * offsets[axis], gradient]
        basis = np.stack([column.reshape(n, -1) for column in columns], axis=1)
        weighted = basis * inside.reshape(n, 1, -1)
        normal = weighted @ basis.transpose(0, 2, 1)
        trace = np.trace(normal, axis1=1, axis2=2)[:, np.newaxis, np.newaxis]
        normal += np.eye(normal.shape[1], dtype=np.float32) * (1e-4 * trace / normal.shape[1] + 1e-12)
        solution = np.linalg.solve(normal, weighted @ target)[..., 0]
        gain, bend = np.maximum(solution[:, 1:2], 0.1), solution[:, 2:3]
        if step < steps:
            move = np.clip(solution[:, 3:] / gain, -0.04, 0.04).reshape(n, rank, 2).transpose(0, 2, 1)
            place = np.clip(place + move, -limit, limit)
    shape = (n, *[1] * rank)
    tone = np.maximum(gain.reshape(shape) + 2 * bend.reshape(shape) * images, 0)
    gradients = [gradient * tone for gradient in gradients]
    rim = (centres > MARGIN) & (centres < 1 - MARGIN)
    for axis in range(rank):
        inside = inside & rim.reshape([-1 if i == axis else 1 for i in range(rank)])
    own = np.concatenate([(gradient * inside).reshape(n, -1) for gradient in gradients], axis=1)
    theirs = _gradients(still, [here[np.newaxis]] * rank, [slopes(centres, count)[np.newaxis]] * rank)
    theirs = np.concatenate([(gradient * inside).reshape(n, -1) for gradient in theirs], axis=1)
    length = np.linalg.norm(own, axis=1) * np.linalg.norm(theirs, axis=1)
    return np.einsum("nv,nv->n", own, theirs) / np.maximum(length, 1e-12), place


def _moved(coefficients, place, centres, count: int):
    """Images [n, *grid] at stretched and shifted places, gradients, where there are pixels, offsets from the centre."""
    rank, n = coefficients.ndim - 1, len(coefficients)
    values, derivatives, inside = [], [], np.ones((n, *[len(centres)] * rank), bool)
    for axis in range(rank):
        at = 0.5 + (centres - 0.5) * (1 + place[:, 0, axis, np.newaxis]) + place[:, 1, axis, np.newaxis]
        values.append(cosines(at, count))
        derivatives.append(slopes(at, count))
        seen = (at >= -0.5 / len(centres)) & (at <= 1 + 0.5 / len(centres))
        inside &= seen.reshape([n, *[-1 if i == axis else 1 for i in range(rank)]])
    images = _evaluated(coefficients, values)
    gradients = _gradients(coefficients, values, derivatives)
    offsets = [(centres - 0.5).reshape([-1 if i == axis else 1 for i in range(rank)]) for axis in range(rank)]
    return images, gradients, inside, offsets


def _gradients(coefficients: np.ndarray, values: list[np.ndarray], derivatives: list[np.ndarray]) -> list[np.ndarray]:
    """[n, *grid] per axis."""
    rank = range(len(values))
    return [_evaluated(coefficients, [derivatives[i] if i == axis else values[i] for i in rank]) for axis in rank]


def _evaluated(coefficients: np.ndarray, bases: list[np.ndarray]) -> np.ndarray:
    """[n, *grid]: cosine series at the places of `bases`, one [n or 1, grid, K] per axis."""
    values = coefficients
    for basis in bases:  # the first axis goes in, its pixels come out last
        n, count = len(values), values.shape[1]
        flat = values.reshape(n, count, -1).transpose(0, 2, 1) @ basis.transpose(0, 2, 1)
        values = flat.reshape(n, *values.shape[2:], -1)
    return values
