"""Large pictures are decoded a few at a time, by all threads and by all processes of a pool together: a decoder keeps
up to some twenty of them."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from multiprocessing.context import SpawnContext
from threading import Condition, get_ident
from typing import Protocol

from sth_core.memory import give_back_freed_memory
from sth_core.stopping import raise_if_stopping

LARGE = 2**22  # pixels; smaller ones take no turns
LONGEST = 300.0  # seconds of waiting: more memory is better than threads that wait for each other; processes never do
CHANGED = Condition()
DECODING: list[tuple[int, int]] = []  # (thread, pixels) of each large video that is open


class SharedCount(Protocol):
    """A whole number that processes share (`multiprocessing.Value`)."""

    value: int

    def get_lock(self) -> AbstractContextManager[object]: ...


SHARED: list[SharedCount] = []  # of a pool's process alone: the pixels that all of them decode at the same time


def shared_count(context: SpawnContext) -> SharedCount:
    """The count that `share_turns` takes, for the processes of one pool."""
    return context.Value("q", 0)  # type: ignore[return-value]


def share_turns(count: SharedCount) -> None:
    """From now on this process takes turns with all others that have the same count."""
    SHARED[:] = [count]


def try_to_take_turn(mine: tuple[int, int], most: int, *, at_once: bool) -> bool:
    """Add a video to those that are decoded if there is room, or `at_once`; the caller holds CHANGED."""
    thread, pixels = mine
    waits_for_nobody = at_once or any(other == thread for other, _ in DECODING)
    with ExitStack() as held:
        for count in SHARED:
            held.enter_context(count.get_lock())
        taken = sum(count.value for count in SHARED) if SHARED else sum(of_one for _, of_one in DECODING)
        if taken and taken + pixels > most and not waits_for_nobody:
            return False
        for count in SHARED:
            count.value += pixels
        DECODING.append(mine)
    return True


def leave_turn(mine: tuple[int, int]) -> None:
    """Remove a video from those that are decoded."""
    with CHANGED:
        DECODING.remove(mine)
        for count in SHARED:
            with count.get_lock():
                count.value -= mine[1]
        CHANGED.notify_all()


@contextmanager
def a_turn(pixels: int, most: int) -> Iterator[None]:
    """Wait until no more than `most` pixels of large pictures, with these, are decoded in this process, or in all of
    its pool (`share_turns`).

    A thread that has one open does not wait for itself. Raises Interrupted: the work is to stop."""
    if pixels < LARGE:
        yield
        return
    mine, began = (get_ident(), pixels), time.monotonic()
    with CHANGED:
        while not try_to_take_turn(mine, most, at_once=not SHARED and time.monotonic() - began >= LONGEST):
            raise_if_stopping()
            CHANGED.wait(0.2)
    try:
        yield
    finally:
        give_back_freed_memory()  # or each thread's part of the C library's memory keeps a decoder's pictures
        leave_turn(mine)
