"""The backend's own profiler around chosen updates: the one place that asks which backend runs to record it.

What it writes is read by TensorBoard's profile page and, for JAX, by Perfetto.
"""

from contextlib import contextmanager
from pathlib import Path

from scanloom.lazy import keras


@contextmanager
def recording(profiled: range | None, step: int, folder: Path | None):
    """Record from the first to the last step of `profiled` into the folder `profile` beside `folder`.

    A training that fails in between leaves no record.
    """
    if profiled is None or step not in profiled or folder is None:
        yield
        return
    if step == profiled[0]:
        _start(str(Path(folder).parent / "profile"))
    try:
        yield
    except BaseException:
        _stop()
        raise
    if step == profiled[-1]:
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
