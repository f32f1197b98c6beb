"""Series with several images at each position, told apart by formula-made stacks and by dcm2niix' own example."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanloom.readers._dicom_phases import find_phases

PLACES, PHASES = 4, 3


def stack(**columns):
    """Images of 4 positions and 3 phases, position by position; columns: function of (place, phase)."""
    place, phase = (part.ravel() for part in np.meshgrid(range(PLACES), range(PHASES), indexing="ij"))
    images = pd.DataFrame({"instance_number": np.nan, "frame": -1}, index=range(len(place)))
    for name, value in columns.items():
        images[name] = [value(*pair) for pair in zip(place, phase, strict=True)]
    return images, place, phase


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("temporal_position", lambda place, phase: 1.0 + phase, "temporal position"),
        ("acquisition_number", lambda place, phase: 5.0 + phase, "acquisition number"),
        ("echo_number", lambda place, phase: 1.0 + phase, "echo number"),
        ("echo_time_ms", lambda place, phase: 2.3 * (1 + phase), "echo time"),
        ("b_value", lambda place, phase: 500.0 * phase, "b-value"),
        ("image_type", lambda place, phase: "MPR"[phase], "image type"),
        # Each slice is triggered at its own moments: only their order says which phase it is.
        ("trigger_time_ms", lambda place, phase: 100.0 * phase + 7 * place, "trigger time"),
        ("instance_number", lambda place, phase: 1.0 + place + PLACES * phase, "instance number"),
        ("instance_number", lambda place, phase: 1.0 + phase + PHASES * place, "instance number"),
    ],
)
def test_each_attribute_tells_the_phases_apart(column, value, said):
    images, place, phase = stack(**{column: value})
    found, by = find_phases(images, place)
    assert by == said
    expected = np.array([{"M": 0, "P": 1, "R": 2}["MPR"[p]] for p in phase]) if column == "image_type" else phase
    assert found.tolist() == expected.tolist()


def test_two_attributes_together_tell_what_neither_does_alone():
    images, place, phase = stack(instance_number=lambda place, phase: 1.0 + place + PLACES * phase)
    twice = pd.concat([images.assign(echo_number=1.0), images.assign(echo_number=2.0)], ignore_index=True)
    found, by = find_phases(twice, np.tile(place, 2))
    assert by == "echo number and instance number"
    assert found.tolist() == [*phase, *(phase + PHASES)]


def test_an_attribute_that_changes_from_slice_to_slice_is_no_phase():
    images, place, phase = stack(
        acquisition_number=lambda place, phase: float(place), temporal_position=lambda place, phase: 1.0 + phase
    )
    found, by = find_phases(images, place)
    assert by == "temporal position"
    assert found.tolist() == phase.tolist()


def test_incomplete_phases_are_not_split():
    images, place, _ = stack(temporal_position=lambda place, phase: 1.0 + phase)
    found, why = find_phases(images.iloc[:-1], place[:-1])
    assert found is None
    assert why == "11 images at 4 positions, 2 to 3 at each: phases are incomplete"


def test_images_that_nothing_tells_apart_are_not_split():
    images, place, _ = stack(instance_number=lambda place, phase: 1.0 + place)
    assert find_phases(images, place) == (None, "12 images at 4 positions, 3 at each: nothing tells the phases apart")
    # Two images of each position in turn, then one of each: neither phase by phase nor position by position.
    mixed, place, _ = stack(instance_number=lambda place, phase: 2.0 * place + phase if phase < 2 else 8.0 + place)
    assert find_phases(mixed, place)[0] is None


def test_instance_numbers_alone_do_not_split_one_position():
    """All positions the same may be a film of one slice, or positions lost in anonymisation."""
    images = pd.DataFrame({"instance_number": [1.0, 2, 3], "frame": -1})
    assert find_phases(images, np.zeros(3, int))[0] is None
    found, by = find_phases(images.assign(trigger_time_ms=[0.0, 80, 40]), np.zeros(3, int))
    assert (found.tolist(), by) == ([0, 2, 1], "trigger time")


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 6), st.integers(2, 5), st.randoms(use_true_random=False), st.booleans())
def test_whatever_the_order_of_files_every_phase_has_every_position_once(places, phases, shuffle, by_time):
    pairs = [(place, phase) for place in range(places) for phase in range(phases)]
    shuffle.shuffle(pairs)
    place, phase = np.array(pairs).T
    images = pd.DataFrame({"instance_number": 1.0 + place + places * phase, "frame": -1})
    if by_time or places == 1:
        images["temporal_position"] = phase + 1.0
    found, _ = find_phases(images, place)
    assert found.tolist() == phase.tolist()
