"""The freed memory of a process: kept for the next tensor, or returned to the system (with glibc, on Linux, only)."""

import ctypes
from contextlib import suppress


def keep_freed_memory() -> None:
    """Let the C library keep freed memory for the next tensor instead of returning it to the system.

    Otherwise activations of a few megabytes are returned and requested again in each layer, and the
    system clears every page before it hands it out, which takes time, most of all on a virtual
    machine. The process then keeps its peak memory.
    """
    with suppress(OSError, AttributeError):
        for option in (-1, -3):  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
            ctypes.CDLL("libc.so.6").mallopt(option, 2**31 - 1)


def give_back_freed_memory() -> None:
    """Return freed memory to the system once, as after reading a large table."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
