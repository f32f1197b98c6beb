"""How much memory this process took at most: in the machine's memory, and on the accelerator where there is one.

The one place that asks a backend by its name; everything else reaches it through Keras.
"""

import re
import resource
import sys
from pathlib import Path

from scanloom.lazy import keras

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


def free_mb() -> float | None:
    """Memory that can still be taken, MB: the machine's, or the container's where that is less. None: not known."""
    found = []
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        [line] = [line for line in meminfo.read_text().splitlines() if line.startswith("MemAvailable")]
        found.append(int(line.split()[1]) * 1024 / 1e6)
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            texts = [Path("/sys/fs/cgroup", name).read_text().strip() for name in (limit, used)]
        except OSError:
            continue
        if texts[0] != "max":
            found.append((int(texts[0]) - int(texts[1])) / 1e6)
    return min(found) if found else None


def kernel_kills() -> int | None:
    """How many processes of this container the kernel has killed for want of memory; None: not known."""
    for name in ("memory.events", "memory/memory.oom_control"):
        try:
            counts = dict(line.split() for line in Path("/sys/fs/cgroup", name).read_text().splitlines())
        except OSError:
            continue
        if "oom_kill" in counts:
            return int(counts["oom_kill"])
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
