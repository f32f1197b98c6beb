"""The backend's own profiler around chosen updates: the one place that asks which backend runs to record it.

What it writes is read by TensorBoard's profile page and, for JAX, by Perfetto.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from scanloom.lazy import keras


@contextmanager
def recorder(profiled: range | None, folder: Path | None) -> Iterator[Callable[[int], None]]:
    """A function to call before each step, which begins to record at the first of `profiled` and ends after the last.

    The record goes to the folder `profile` beside `folder`. It ends with the block at the latest, whatever ends that.
    """
    running = False

    def before(step: int) -> None:
        nonlocal running
        wanted = profiled is not None and folder is not None and step in profiled
        if wanted and not running:
            _start(str(Path(folder).parent / "profile"))
        elif running and not wanted:
            _stop()
        running = wanted

    try:
        yield before
    finally:
        if running:
            _stop()


def _start(folder: str) -> None:
    if keras.backend.backend() == "jax":
        import jax

        jax.profiler.start_trace(folder)
    else:
        import tensorflow as tf

        tf.profiler.experimental.start(folder)


def _stop() -> None:
    if keras.backend.backend() == "jax":
        import jax

        jax.profiler.stop_trace()
    else:
        import tensorflow as tf

        tf.profiler.experimental.stop()
