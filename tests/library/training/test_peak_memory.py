"""Memory of processes, machines and containers, and errors that are about it."""

import subprocess
import sys

import pytest

from scanloom.training import peak_memory


@pytest.mark.parametrize(
    ("text", "about_memory"),
    [
        # As TensorFlow, XLA, C++, Python and CUDA word it.
        ("ResourceExhaustedError: OOM when allocating tensor with shape[512,64,256,256]", True),
        ("XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory allocating 17179869184 bytes.", True),
        ("terminate called after throwing an instance of 'std::bad_alloc'", True),
        ("MemoryError: Unable to allocate 1.42 TiB for an array", True),
        ("CUDA_ERROR_OUT_OF_MEMORY", True),
        ("InvalidArgumentError: Depth of filter must be a multiple of depth of input", False),
        ("loss is nan at update 9", False),
    ],
)
def test_an_error_that_is_about_memory_is_told_by_its_text(text, about_memory):
    assert peak_memory.says_out_of_memory(text) is about_memory


def test_no_framework_is_loaded_to_ask_whether_an_error_is_about_memory():
    code = (
        "import sys; from scanloom.training.peak_memory import says_out_of_memory; says_out_of_memory('x');"
        "print([name for name in ('keras', 'tensorflow', 'jax', 'torch') if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"
