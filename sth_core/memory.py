"""Memory of a process: to be kept for the next tensor, or given back."""

import ctypes


def keep_freed_memory() -> bool:
    """Let the C library keep what is freed, for the next tensor, instead of giving it back to the system.

    Activations of a few megabytes are otherwise returned and asked for again in each layer, and the
    system clears every page before it hands it out, which takes time, most of all on a virtual
    machine. The process then holds what it once needed at most. Only glibc (Linux) can; returns
    whether it could.
    """
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    largest = 2**31 - 1
    return bool(mallopt(trim_threshold, largest) and mallopt(mmap_threshold, largest))


def give_back_freed_memory() -> bool:
    """Give back to the system, once, what has been freed: after a large table was read, most of what that took. Only
    glibc can; returns whether there was any."""
    try:
        return bool(ctypes.CDLL("libc.so.6").malloc_trim(0))
    except (OSError, AttributeError):
        return False
