"""Large pictures are decoded a few at a time: a decoder keeps up to some twenty of them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, get_ident

from sth_core.memory import give_back_freed_memory
from sth_core.stopping import raise_if_stopping

LARGE = 2**22  # pixels; smaller ones take no turns
LONGEST = 300.0  # seconds of waiting: more memory is better than threads that wait for each other
CHANGED = Condition()
DECODING: list[tuple[int, int]] = []  # (thread, pixels) of each large video that is open


@contextmanager
def a_turn(pixels: int, most: int) -> Iterator[None]:
    """Wait until no more than `most` pixels of large pictures, with these, are decoded in this process.

    A thread that has one open does not wait for itself. Raises Interrupted: the work is to stop."""
    if pixels < LARGE:
        yield
        return
    mine, began = (get_ident(), pixels), time.monotonic()
    with CHANGED:
        while (
            DECODING
            and sum(taken for _, taken in DECODING) + pixels > most
            and all(thread != mine[0] for thread, _ in DECODING)
            and time.monotonic() - began < LONGEST
        ):
            raise_if_stopping()
            CHANGED.wait(0.2)
        DECODING.append(mine)
    try:
        yield
    finally:
        give_back_freed_memory()  # or each thread's part of the C library's memory keeps a decoder's pictures
        with CHANGED:
            DECODING.remove(mine)
            CHANGED.notify_all()
