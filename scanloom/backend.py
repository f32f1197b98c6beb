"""How the Keras backend computes: with how many threads, compiled or as a plain graph, and repeatably to the bit."""

import os

from scanloom.lazy import keras


def limit_threads(threads: int) -> None:
    """Let the backend compute with this many threads. To be called before its first computation.

    TensorFlow: as many threads inside an operation; two operations at once at most. JAX on CPU: NPROC, which XLA reads.
    """
    if threads < 1:
        raise ValueError(f"threads must be at least 1, not {threads}")
    os.environ["NPROC"] = str(threads)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(min(2, threads))


def compiles() -> bool:
    """Whether steps are compiled by XLA, for `jit_compile`: JAX knows nothing else.

    TensorFlow's graphs with oneDNN were measured faster on CPUs than XLA for all but tiny networks, much faster in 3D,
    and they begin at once (benchmarks/README.md). On GPUs nothing was measured.
    """
    return keras.backend.backend() == "jax"


def make_deterministic() -> None:
    """From here on, the same step gives the same bits (TensorFlow op determinism; JAX on CPU needs nothing).

    The number of threads belongs to the bits: partial sums are added per thread.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
