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


def machine_of(folder, files):
    """A made-up /proc/meminfo (8 GB available) and control groups in a folder."""
    (folder / "meminfo").write_text("MemTotal:       15625000 kB\nMemAvailable:    7812500 kB\n")
    for name, text in files.items():
        path = folder / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "meminfo", folder / "cgroup"


V1 = "memory/memory."
V1_UNLIMITED = "9223372036854771712\n"  # what version 1 says where no limit was set


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        # An audited container: 5000 MB allowed, 4401 MB charged, of which 3163 MB were files that can be dropped.
        (
            {
                "memory.max": "5000000000\n",
                "memory.current": "4401000000\n",
                "memory.stat": "anon 1238000000\nfile 3163000000\ninactive_file 2000000000\nactive_file 1163000000\n",
            },
            5000 - 1238,
        ),
        # Version 1 counts its subgroups into the usage, and their files under total_ alone.
        (
            {
                V1 + "limit_in_bytes": "5000000000\n",
                V1 + "usage_in_bytes": "4401000000\n",
                V1 + "stat": "inactive_file 8192\nactive_file 4096\n"
                "total_inactive_file 2000000000\ntotal_active_file 1163000000\n",
            },
            5000 - 1238,
        ),
        ({"memory.max": "5000000000\n", "memory.current": "4401000000\n"}, 5000 - 4401),
        ({"memory.max": "max\n", "memory.current": "1\n", "memory.stat": "inactive_file 1\n"}, 8000),
        ({V1 + "limit_in_bytes": V1_UNLIMITED, V1 + "usage_in_bytes": "1\n", V1 + "stat": "cache 1\n"}, 8000),
        ({}, 8000),
    ],
)
def test_files_in_the_page_cache_are_free_memory_in_a_container_as_on_a_machine(tmp_path, files, expected):
    """Expected: the limit less what is no file. Linux counts both lists of files into MemAvailable."""
    assert peak_memory.free_mb(*machine_of(tmp_path, files)) == pytest.approx(expected)


def test_nothing_is_known_of_free_memory_where_the_system_says_nothing(tmp_path):
    assert peak_memory.free_mb(tmp_path / "meminfo", tmp_path / "cgroup") is None
