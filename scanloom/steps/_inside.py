"""The values of a series that count, met slice by slice: range, mean and percentiles without a copy of them all."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from scanloom.readers._volume import Volume


class Inside(NamedTuple):
    """One channel (float32 [z, y, x]) and which of its pixels count (bool [z, y, x]; None: all)."""

    channel: np.ndarray
    mask: np.ndarray | None

    def __iter__(self) -> Iterator[np.ndarray]:
        """float32 [pixels] of each slice that has any."""
        for number, plane in enumerate(self.channel):
            found = plane.ravel() if self.mask is None else plane[self.mask[number]]
            if found.size:
                yield found

    def count(self) -> int:
        """How many values."""
        return self.channel.size if self.mask is None else int(np.count_nonzero(self.mask))

    def extremes(self) -> tuple[float, float]:
        """The smallest and the largest value; NaN where there is one."""
        lows, highs = zip(*((values.min(), values.max()) for values in self), strict=True)
        return float(np.min(lows)), float(np.max(highs))

    def mean(self) -> float:
        """The mean, summed in double precision."""
        return float(sum(values.sum(dtype=np.float64) for values in self) / self.count())

    def percentiles(self, percents: list[float]) -> list[float]:
        """Percentiles with linear interpolation between ranks, as numpy.percentile gives them; exact."""
        count = self.count()
        places = [percent / 100 * (count - 1) for percent in percents]
        ranks = {rank for place in places for rank in (int(place), min(int(place) + 1, count - 1))}
        found = self._of_ranks(sorted(ranks))
        pairs = ((found[int(place)], found[min(int(place) + 1, count - 1)], place % 1) for place in places)
        return [low + (high - low) * share for low, high, share in pairs]

    def _of_ranks(self, ranks: list[int]) -> dict[int, float]:
        """Rank (0: smallest) -> value, by a radix search: counts of the upper 16 bits, then of the lower ones."""
        upper = self._counts(lambda keys: keys >> 16).cumsum()
        found, lower = {}, {}
        for rank in ranks:
            high = int(np.searchsorted(upper, rank, side="right"))
            if high not in lower:
                lower[high] = self._counts(lambda keys, high=high: keys[keys >> 16 == high] & 0xFFFF).cumsum()
            before = int(upper[high - 1]) if high else 0
            low = int(np.searchsorted(lower[high], rank - before, side="right"))
            found[rank] = _value(high << 16 | low)
        return found

    def _counts(self, digits: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """How often each 16-bit digit of the sortable keys occurs."""
        counts = np.zeros(1 << 16, np.int64)
        for values in self:
            counts += np.bincount(digits(_keys(values)), minlength=1 << 16)
        return counts


def _keys(values: np.ndarray) -> np.ndarray:
    """uint32 in the order of the float32 values: the sign bit turned, and of negative numbers all bits."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    return np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))


def _value(key: int) -> float:
    """The float32 of one sortable key."""
    bits = key & 0x7FFFFFFF if key >> 31 else ~key & 0xFFFFFFFF
    return float(np.uint32(bits).view(np.float32))


def field_of_view(volume: Volume) -> np.ndarray | None:
    """bool [z, y, x]; None where all pixels count: without padding, or where there is nothing but padding."""
    padding = volume.padding_mask
    return None if padding is None or padding.all() else ~padding


def inside(volume: Volume, mask: np.ndarray | None = None) -> list[Inside]:
    """Per channel the values within `mask` (bool [z, y, x]), or within the field of view."""
    mask = field_of_view(volume) if mask is None else mask
    return [Inside(channel, mask) for channel in np.moveaxis(volume.with_channels(), -1, 0)]
