"""Fetching many items at once over an unreliable network: parallel work, waits between attempts, progress."""

import random
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

from tqdm import tqdm

from scanloom.sources._report import FetchError

Item = TypeVar("Item")
Result = TypeVar("Result")

LONGEST_WAIT_S = 300.0  # also for a host that asks for more: the next attempt hears the same if it still holds


class Transient(Exception):
    """A failure that another attempt may not meet: a cut connection, an overloaded host.

    wait_s: how long the host asks to wait, None where it does not say.
    """

    def __init__(self, what: str, wait_s: float | None = None):
        super().__init__(what)
        self.wait_s = wait_s


def wait_before(attempt: int, backoff_s: float, asked_s: float | None = None) -> float:
    """Seconds to wait before attempt 1, 2, ...: what the host asks, else half to all of backoff_s * 2^(attempt - 1).

    The random part keeps many clients that were cut off together from coming back together.
    """
    doubled = min(backoff_s * 2.0 ** min(attempt - 1, 30), LONGEST_WAIT_S)
    jittered = doubled * random.uniform(0.5, 1.0)
    return min(max(asked_s, jittered), LONGEST_WAIT_S) if asked_s is not None else jittered


def with_retries(
    attempt: Callable[[], Result],
    *,
    what: str,
    retries: int,
    backoff_s: float,
    stop: threading.Event,
    gained: Callable[[], int] = lambda: 0,
) -> Result:
    """The result of `attempt`, called again after each Transient failure, at most `retries` times without any gain.

    gained: how far the item has come; an attempt that came further than any before starts the count anew, so that a
    large file over a connection that is cut every minute still arrives. Raises FetchError when giving up.
    """
    failures, furthest = 0, gained()
    while True:
        try:
            return attempt()
        except Transient as problem:
            reached = gained()
            failures = 1 if reached > furthest else failures + 1
            furthest = max(furthest, reached)
            if failures > retries:
                raise FetchError(
                    f"{what}: {problem}; gave up after {failures} attempts without progress. "
                    "What has arrived is kept: run again to go on"
                ) from None
            pause = wait_before(failures, backoff_s, problem.wait_s)
            if pause >= 1:
                tqdm.write(f"{what}: {problem}; once more in {pause:.0f} s", file=sys.stderr)
            if stop.wait(pause):
                raise


def in_parallel(work: Callable[[Item, threading.Event], Result], items: Iterable[Item], workers: int) -> list[Result]:
    """`work(item, stop)` of every item in threads, results in the items' order.

    A FetchError of one item lets the others finish and is raised at the end, together with those of others. Any other
    error (a full disk, Ctrl-C) sets `stop`, which the work is expected to watch, and is raised once all have stopped.
    """
    stop = threading.Event()
    problems: list[FetchError] = []

    def one(item: Item) -> Result | None:
        if stop.is_set():
            return None
        try:
            return work(item, stop)
        except FetchError as problem:
            problems.append(problem)
            return None
        except BaseException:
            stop.set()  # here, not where it is noticed: this thread would begin the next item meanwhile
            raise

    with ThreadPoolExecutor(max(1, workers)) as pool:
        futures = [pool.submit(one, item) for item in items]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            fatal = next((future.exception() for future in done if future.exception()), None)
        except BaseException as error:
            fatal = error
        if fatal is not None:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise fatal
    if problems:
        shown = "\n".join(str(problem) for problem in problems[:5])
        more = f"\n... and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise problems[0] if len(problems) == 1 else FetchError(f"{len(problems)} items failed:\n{shown}{more}")
    return [future.result() for future in futures]


class Meter:
    """Counts what has arrived, from any thread, and tells `progress(done, total)`."""

    def __init__(self, progress: Callable[[int, int], None] | None, done: int, total: int):
        self._progress, self.done, self.total = progress, done, total
        self._lock = threading.Lock()
        self.add(0)

    def add(self, done: int, total: int = 0) -> None:
        """So much more is done (less, where an item starts over); so much more is known to be there in all."""
        with self._lock:
            self.done += done
            self.total += total
            if self._progress is not None:
                self._progress(self.done, self.total)
