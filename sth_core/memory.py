"""The freed memory of a process: kept for the next tensor, or returned to the system."""

import ctypes


def keep_freed_memory() -> bool:
    """Let the C library keep freed memory for the next tensor instead of returning it to the system.

    Otherwise activations of a few megabytes are returned and requested again in each layer, and the
    system clears every page before it hands it out, which takes time, most of all on a virtual
    machine. The process then keeps its peak memory. Works with glibc (Linux) only; returns whether it did.
    """
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    largest = 2**31 - 1
    return bool(mallopt(trim_threshold, largest) and mallopt(mmap_threshold, largest))


def give_back_freed_memory() -> bool:
    """Return freed memory to the system once, as after reading a large table. Works with glibc only; returns whether
    any was returned."""
    try:
        return bool(ctypes.CDLL("libc.so.6").malloc_trim(0))
    except (OSError, AttributeError):
        return False
