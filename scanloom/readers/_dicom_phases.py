"""Several images at each place of a stack (time points, echoes, b-values, heart phases) told apart as phases.

A stack is split only where the phases are complete: every phase has every position once. What tells them apart is
looked for in the order of PHASE_COLUMNS; each column that divides the stack into complete parts divides it further,
until one image per position is left. A trigger time is different in every slice, so there it is the rank among the
images of one position that counts; so it is, last of all, with the instance numbers.
"""

import numpy as np
import pandas as pd

# Column of an image -> what the phases are then said to be.
PHASE_COLUMNS = {
    "temporal_position": "temporal position",
    "acquisition_number": "acquisition number",
    "echo_number": "echo number",
    "echo_time_ms": "echo time",
    "b_value": "b-value",
    "image_type": "image type",
}
TRIGGER_TIME = "trigger_time_ms"


def find_phases(images: pd.DataFrame, place: np.ndarray) -> tuple[np.ndarray | None, str]:
    """(phase of each image, from 0, or None; what tells the phases apart, or why nothing does).

    images: rows of one stack with instance_number, frame and those of PHASE_COLUMNS there are. place: int `[n]`,
    number of each image's position, 0 ... p-1.
    """
    n, places = len(images), int(place.max()) + 1
    count = np.bincount(place, minlength=places)
    if count.min() != count.max():
        return None, f"{n} images at {places} positions, {count.min()} to {count.max()} at each: phases are incomplete"
    phase, by = np.zeros(n, np.int64), []
    for column, name in PHASE_COLUMNS.items():
        finer = _finer(phase, _codes(images, column))
        if finer.max() > phase.max() and _balanced(finer, place):
            phase, by = finer, [*by, name]
    if _resolved(phase, place):
        return phase, " and ".join(by)
    for name, rank in (("trigger time", _trigger_rank), ("instance number", _instance_rank)):
        ranks = rank(images, phase, place)
        if ranks is not None:
            return _finer(phase, ranks), " and ".join([*by, name])
    return None, f"{n} images at {places} positions, {count[0]} at each: nothing tells the phases apart"


def _codes(images: pd.DataFrame, column: str) -> np.ndarray:
    """The column's values as sorted codes; all 0 where it is absent or unknown for an image."""
    values = images.get(column)
    if values is None or values.isna().any():
        return np.zeros(len(images), np.int64)
    return np.unique(values.to_numpy(), return_inverse=True)[1]


def _finer(phase: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Phases divided by `codes`, numbered in the order of (phase, code)."""
    return np.unique(phase * (codes.max() + 1) + codes, return_inverse=True)[1]


def _balanced(phase: np.ndarray, place: np.ndarray) -> bool:
    """Every phase has every position, all of one phase equally often."""
    table = np.zeros((phase.max() + 1, place.max() + 1), np.int64)
    np.add.at(table, (phase, place), 1)
    return bool((table > 0).all() and (table == table[:, :1]).all())


def _resolved(phase: np.ndarray, place: np.ndarray) -> bool:
    """Every phase has every position once."""
    return _balanced(phase, place) and len(phase) == (phase.max() + 1) * (place.max() + 1)


def _trigger_rank(images: pd.DataFrame, phase: np.ndarray, place: np.ndarray) -> np.ndarray | None:
    """Rank of each image's trigger time among those of its phase and position; None where two are the same."""
    time = images.get(TRIGGER_TIME)
    if (
        time is None
        or time.isna().any()
        or pd.DataFrame({"a": phase, "b": place, "t": time.to_numpy()}).duplicated().any()
    ):
        return None
    return time.reset_index(drop=True).groupby([phase, place]).rank().to_numpy().astype(np.int64) - 1


def _instance_rank(images: pd.DataFrame, phase: np.ndarray, place: np.ndarray) -> np.ndarray | None:
    """Number of the block of instance numbers (and frames) each image is in.

    Images were numbered phase by phase (blocks with all positions) or position by position (blocks of one position);
    anything else, or a number that is there twice, is None. So are images that are all at one position: numbers alone
    do not tell a film of one slice from a volume whose positions were lost.
    """
    numbers = images[["instance_number", "frame"]].assign(phase=phase)
    if place.max() == 0 or images.instance_number.isna().any() or numbers.duplicated().any():
        return None
    order = np.lexsort((images.frame.to_numpy(), images.instance_number.to_numpy(), phase))
    places = int(place.max()) + 1
    rank = np.zeros(len(images), np.int64)
    for number in range(int(phase.max()) + 1):
        mine = order[phase[order] == number]
        by_phase = place[mine].reshape(-1, places)
        by_place = place[mine].reshape(places, -1)
        if (np.sort(by_phase, axis=1) == np.arange(places)).all():
            rank[mine] = np.arange(len(mine)) // places
        elif (by_place == by_place[:, :1]).all():
            rank[mine] = np.arange(len(mine)) % by_place.shape[1]
        else:
            return None
    return rank
