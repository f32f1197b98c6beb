import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanloom.readers._volume import Volume
from scanloom.steps import select_slices


def stack(n) -> Volume:
    return Volume(
        np.arange(n, dtype=np.float32).reshape(n, 1, 1), "HU", (5.0, 1.0, 1.0), padding_mask=np.zeros((n, 1, 1), bool)
    )


@pytest.mark.parametrize(
    ("n", "every", "share", "expected"),
    [
        (10, 1, 1.0, list(range(10))),
        (10, 1, 0.4, [3, 4, 5, 6]),
        (9, 2, 1.0, [0, 2, 4, 6, 8]),
        (9, 3, 0.5, [4]),
        (1, 5, 0.1, [0]),
    ],
)
def test_the_middle_is_kept(n, every, share, expected):
    out = select_slices.apply(stack(n), select_slices.Settings(every=every, central_share=share))
    assert out.slice_index.tolist() == expected
    assert out.values.ravel().tolist() == expected


@given(st.integers(1, 60), st.integers(1, 9), st.floats(0.01, 1))
def test_at_least_one_slice_is_left_and_numbers_stay_right(n, every, share):
    out = select_slices.apply(stack(n), select_slices.Settings(every=every, central_share=share))
    assert out.slices >= 1
    assert out.values.ravel().tolist() == out.slice_index.tolist()
    assert out.spacing_mm[0] == 5.0 * every
