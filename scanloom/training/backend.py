"""How the Keras backend computes: with how many threads, compiled or as a plain graph, and repeatably to the bit."""

import functools
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
    """From here on, the same step gives the same bits (TensorFlow op determinism and sums in order; JAX on CPU needs
    nothing). To be called before the steps are built.

    The number of threads belongs to the bits: partial sums are added per thread.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
        _add_in_order()


def _add_in_order() -> None:
    """Let TensorFlow add the gradients of a tensor used three times or more, and the terms of a loss, from left to
    right.

    Its operation for such sums, AddN, begins with the first term whose memory nobody else reads any more (buffer
    forwarding in aggregate_ops.cc), so the last bits depend on what another thread has finished; op determinism does
    not cover it, measured with TensorFlow 2.21. Two terms have one sum, and so pairs are added instead. Gradients are
    summed by what the tape has registered, for which there is no public name; inside the body of a loop (a recurrent
    layer that is not unrolled) TensorFlow sums them itself, and this does not reach. Grappler's arithmetic optimisation
    would join the pairs again.
    """
    import tensorflow as tf
    from tensorflow.python import pywrap_tfe
    from tensorflow.python.eager import backprop

    registered = backprop._default_vspace

    def summed(gradients):
        # Tensor arrays have gradients that only AddN can sum.
        dense = all(isinstance(gradient, tf.Tensor) and gradient.dtype != tf.variant for gradient in gradients)
        return functools.reduce(tf.add, gradients) if dense else registered.aggregate_fn(gradients)

    pywrap_tfe.TFE_Py_RegisterVSpace(registered._replace(aggregate_fn=summed))
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})
