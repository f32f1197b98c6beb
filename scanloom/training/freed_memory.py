"""What a process does with memory it has freed: by default glibc gives blocks of megabytes back to the kernel at once.

The next slice then gets its memory from the kernel again, page by page, each page filled with zeros first.
Preprocessing takes and frees megabytes per slice; on a virtual machine it spent a quarter of its CPU time on that.
"""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
KEPT_BYTES = 1 << 30
LARGEST_BLOCK = 1 << 25  # bytes; glibc takes no more


def keep_freed_memory() -> bool:
    """Keep up to 1 GB of freed memory for later use, in blocks of up to 32 MB; False where the C library cannot.

    Peak memory stays what it was: only what was in use before is kept.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False  # macOS, Windows, musl
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST_BLOCK) and mallopt(M_TRIM_THRESHOLD, KEPT_BYTES))
