"""Large pictures are decoded a few at a time, by all threads and by all processes of a pool together: a decoder keeps
up to some twenty of them."""

import gc
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from multiprocessing.context import BaseContext
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
KEPT: list[int] = []  # what of it is this process's, until its call ends


def shared_count(context: BaseContext) -> SharedCount:
    """The count that `share_turns` takes, for the processes of one pool."""
    return context.Value("q", 0)  # type: ignore[return-value]


def share_turns(count: SharedCount) -> None:
    """From now on this process takes turns with all others that have the same count."""
    SHARED[:] = [count]


def try_to_take_turn(mine: tuple[int, int], most: int, *, at_once: bool) -> bool:
    """Add a video to those that are decoded if there is room, or `at_once`; the caller holds CHANGED."""
    thread, pixels = mine
    waits_for_nobody = at_once or bool(KEPT) or any(other == thread for other, _ in DECODING)
    with ExitStack() as held:
        for count in SHARED:
            held.enter_context(count.get_lock())
        taken = sum(count.value for count in SHARED) if SHARED else sum(of_one for _, of_one in DECODING)
        if taken and taken + pixels > most and not waits_for_nobody:
            return False
        for count in SHARED:
            more = max(0, pixels - sum(KEPT))  # one after the other, as a rule
            count.value += more
            KEPT.append(more)
        DECODING.append(mine)
    return True


def leave_turn(mine: tuple[int, int]) -> None:
    """Remove a video from those that this process decodes; the pool's count keeps it (`sharing_until_the_end`)."""
    with CHANGED:
        DECODING.remove(mine)
        CHANGED.notify_all()


@contextmanager
def sharing_until_the_end() -> Iterator[None]:
    """One call of a pool's process: it keeps its turn until all that it decoded with is freed."""
    try:
        yield
    finally:
        if KEPT:
            free_decoders()
        for count in SHARED:
            with count.get_lock():
                count.value -= sum(KEPT)
        KEPT.clear()


def free_decoders() -> None:
    """PyAV's containers and streams refer to each other: only the garbage collector ends a decoder."""
    gc.collect()
    give_back_freed_memory()  # or each thread's part of the C library's memory keeps a decoder's pictures


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
    if SHARED:
        free_decoders()  # of the files that the call had open before
    try:
        yield
    finally:
        give_back_freed_memory()
        leave_turn(mine)
