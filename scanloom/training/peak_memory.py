"""How much memory this process took at most: in the machine's memory, and on the accelerator where there is one.

The one place that asks a backend by its name; everything else reaches it through Keras.
"""

import re
import resource
import sys
from pathlib import Path

from scanloom.lazy import keras

MEMINFO, CGROUPS = Path("/proc/meminfo"), Path("/sys/fs/cgroup")
MEMORY_RAN_OUT = re.compile(
    r"out[ _]of[ _]memory|OOM when|RESOURCE_EXHAUSTED|ResourceExhausted|bad_alloc|MemoryError", re.IGNORECASE
)


def host_mb() -> float:
    """Largest resident set so far, MB (1e6 bytes)."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not getrusage, which after exec still holds the peak of the process that started this one.
        [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def resident_mb(process: int) -> float:
    """Resident set of another process now, MB; 0 where it has gone or the system does not say."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * resource.getpagesize() / 1e6


def free_mb(meminfo: Path = MEMINFO, cgroups: Path = CGROUPS) -> float | None:
    """Memory that can still be taken, MB: the machine's, or the container's where that is less. None: not known.

    Cached files count as free, as in MemAvailable (both lists of files: Linux, Documentation/filesystems/proc.rst). A
    control group's usage has them in it (Documentation/admin-guide/cgroup-v2.rst, memory.current and memory.stat;
    cgroup-v1/memory.rst, where total_ includes subgroups as the usage does); `docker stats` subtracts inactive_file.
    """
    found = []
    if meminfo.exists():
        [line] = [line for line in meminfo.read_text().splitlines() if line.startswith("MemAvailable")]
        found.append(int(line.split()[1]) * 1024 / 1e6)
    for limit, used, stat, lists in (
        ("memory.max", "memory.current", "memory.stat", ("inactive_file", "active_file")),
        (
            "memory/memory.limit_in_bytes",
            "memory/memory.usage_in_bytes",
            "memory/memory.stat",
            ("total_inactive_file", "total_active_file"),
        ),
    ):
        try:
            allowed, taken = [Path(cgroups, name).read_text().strip() for name in (limit, used)]
        except OSError:
            continue
        if allowed != "max":
            counts = _counts(Path(cgroups, stat))
            cached = sum(counts.get(name, 0) for name in lists)
            found.append((int(allowed) - int(taken) + cached) / 1e6)
    return min(found) if found else None


def _counts(file: Path) -> dict[str, int]:
    """Lines `name number` of a control group's file; none where it cannot be read."""
    try:
        return {name: int(count) for name, count in map(str.split, file.read_text().splitlines())}
    except OSError:
        return {}


def kernel_kills() -> int | None:
    """How many processes of this container the kernel has killed for want of memory; None: not known."""
    for name in ("memory.events", "memory/memory.oom_control"):
        counts = _counts(CGROUPS / name)
        if "oom_kill" in counts:
            return counts["oom_kill"]
    return None


def says_out_of_memory(text: str) -> bool:
    """Whether an error's text (best with the name of its class) says that memory, of either kind, ran out."""
    return MEMORY_RAN_OUT.search(text) is not None


def accelerator() -> str:
    """Name of the device that computes: `cpu`, or what the backend calls its first accelerator."""
    if keras.backend.backend() == "jax":
        import jax

        device = jax.devices()[0]
        return "cpu" if device.platform == "cpu" else device.device_kind
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        found = tf.config.list_physical_devices("GPU")
        return tf.config.experimental.get_device_details(found[0]).get("device_name", "gpu") if found else "cpu"
    return "cpu"


def accelerator_mb() -> float | None:
    """Most memory that the backend's arrays took on the accelerator so far, MB; None without one."""
    if keras.backend.backend() == "jax":
        import jax

        statistics = jax.devices()[0].memory_stats()
        return statistics["peak_bytes_in_use"] / 1e6 if statistics and "peak_bytes_in_use" in statistics else None
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        if tf.config.list_physical_devices("GPU"):
            return tf.config.experimental.get_memory_info("GPU:0")["peak"] / 1e6
    return None
