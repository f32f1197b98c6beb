"""A line that says how much has arrived, how fast, and how long the rest takes."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

DELAY_S = 1  # what is done sooner needs no line


@contextmanager
def shown(unit: str) -> Iterator[Callable[[int, int], None]]:
    """A `progress(done, total)` that draws on stderr: twice a second on a terminal, every half minute in a log.

    unit: "B" for bytes, which are shown as kB, MB, ..., or a plural such as "patients".
    What is done at the first call was there before and does not count towards the speed.
    """
    often = sys.stderr.isatty()
    bar = tqdm(
        unit=unit if unit == "B" else f" {unit}",
        unit_scale=unit == "B",
        mininterval=0.5 if often else 30,
        maxinterval=10 if often else 60,
        dynamic_ncols=often,
        ascii=not often,
        delay=DELAY_S,
        file=sys.stderr,
    )
    began = False

    def progress(done: int, total: int) -> None:
        nonlocal began
        if not began:
            bar.initial = bar.n = bar.last_print_n = done
            began = True
        bar.total = total or None
        if done < bar.n:  # an item starts over
            bar.n = done
        bar.update(done - bar.n)

    try:
        yield progress
    finally:
        if began and bar.format_dict["elapsed"] >= DELAY_S:
            bar.refresh()  # the last line of a log shall be the last state
        bar.close()
