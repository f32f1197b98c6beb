"""A made-up `reads.csv` with the statistics of CQ500's, which may not be shipped (CC BY-NC-SA 4.0 and an agreement).

Chilamkurthy et al., Lancet 392, 2388 (2018); counted from the original file of 491 scans and three readers.
"""

import numpy as np
import pandas as pd

SCANS, BATCH_1 = 491, 214
READERS = ("R1", "R2", "R3")
# finding: positive to any reader, to the majority, to all three; Fleiss' kappa; majority in batch B1, in B2
PUBLISHED = {
    "ICH": (246, 205, 168, 0.783, 35, 170),
    "IPH": (173, 134, 106, 0.775, 29, 105),
    "IVH": (47, 28, 20, 0.696, 7, 21),
    "SDH": (97, 53, 26, 0.542, 9, 44),
    "EDH": (21, 13, 6, 0.615, 2, 11),
    "SAH": (100, 60, 38, 0.638, 9, 51),
    "BleedLocation-Left": (178, 131, 88, 0.690, 21, 110),
    "BleedLocation-Right": (177, 129, 89, 0.696, 22, 107),
    "ChronicBleed": (44, 19, 1, 0.298, 3, 16),
    "Fracture": (84, 39, 14, 0.437, 8, 31),
    "CalvarialFracture": (74, 34, 13, 0.451, 6, 28),
    "OtherFracture": (37, 12, 0, 0.219, 4, 8),
    "MassEffect": (180, 127, 85, 0.670, 28, 99),
    "MidlineShift": (116, 65, 40, 0.595, 18, 47),
}
FRACTURES_BY_READER = (65, 57, 15)


def _who(finding: str, singles: int, pairs: int) -> np.ndarray:
    """Which readers are positive on scans that one reader, then on scans that two readers call positive."""
    if finding == "Fracture":  # the readers differ: 65, 57 and 15 positive scans
        single = np.repeat([0, 1, 2], [26, 18, 1])
        left_out = np.full(pairs, 2)
    else:
        single, left_out = np.arange(singles) % 3, np.arange(pairs) % 3
    return np.concatenate([np.eye(3, dtype=int)[single], 1 - np.eye(3, dtype=int)[left_out]])


def _places() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """finding -> (scans where the majority is positive, scans to take the others from, first come first served).

    Bleedings lie among the 246 scans with ICH to any reader, with another majority than ICH's in all but 6 of its 205;
    17 of the 84 scans with a fracture lie outside, 13 with the majority's, as do 6 with mass effect to one reader.
    """
    scans = np.arange(SCANS)
    first, second = scans[:BATCH_1], scans[BATCH_1:]
    ich = np.concatenate([first[:35], second[:170]])
    bleeding = np.concatenate([ich, second[170:211]])
    outside = {"MassEffect": second[240:246], "Fracture": second[230:234]}
    begins = {"SDH": (26, 105), "SAH": (0, 113)}  # in each batch: behind IPH, so that hardly an ICH has no kind
    found = {}
    for finding, (_, _, _, _, in_1, in_2) in PUBLISHED.items():
        at_1, at_2 = begins.get(finding, (0, 0))
        agreed = np.concatenate([first[at_1 : at_1 + in_1], second[at_2 : at_2 + in_2]])
        found[finding] = agreed, np.concatenate([outside.get(finding, scans[:0]), bleeding])
    agreed = np.concatenate([first[40:43], first[:5], second[220:230], second[:21]])
    found["Fracture"] = agreed, found["Fracture"][1]
    singles = np.setdiff1d(found["Fracture"][1], agreed, assume_unique=True)[: 84 - 39]
    for finding, in_1, in_2, pool in (("CalvarialFracture", 6, 28, singles), ("OtherFracture", 4, 8, singles[::-1])):
        found[finding] = np.concatenate([agreed[:in_1], agreed[8 : 8 + in_2]]), pool
    return found


def table() -> pd.DataFrame:
    """name, Category and R1:ICH ... R3:MidlineShift, as text, 44 columns of 491 rows."""
    category = np.where(np.arange(SCANS) < BATCH_1, "B1", "B2")
    columns = {"name": [f"CQ500-CT-{number}" for number in range(SCANS)], "Category": category}
    reads, places = {}, _places()
    for finding, (any_, majority, unanimous, _, _, _) in PUBLISHED.items():
        agreed, pool = places[finding]
        others = np.setdiff1d(pool, agreed, assume_unique=True)[: any_ - majority]
        said = np.zeros((SCANS, 3), int)
        who = _who(finding, any_ - majority, majority - unanimous)
        said[agreed[:unanimous]] = 1
        said[agreed[unanimous:]] = who[any_ - majority :]
        said[others] = who[: any_ - majority]
        reads[finding] = said
    for number, reader in enumerate(READERS):
        columns |= {f"{reader}:{finding}": said[:, number].astype(str) for finding, said in reads.items()}
    return pd.DataFrame(columns)
