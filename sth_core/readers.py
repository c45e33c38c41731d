"""Workers that read clips before they are asked for: threads, or processes that put what they read into shared memory.

A clip is read from its source and a seed alone, so that what is read, and in which order, depends on no worker.
"""

import os
import pickle
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import cycle, islice
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.context import BaseContext
from multiprocessing.sharedctypes import RawArray
from typing import Any, TypeVar

import numpy as np
import torch

from sth_core.errors import UserError
from sth_core.memory import keep_freed_memory
from sth_core.prefetch import begin_in_pool, call_in_turn, prefetch
from sth_core.stopping import raise_if_stopping, stop_pools, stop_requested, without_ctrl_c
from sth_core.video.turns import SharedCount, shared_count

Item = TypeVar("Item")
Result = TypeVar("Result")
ALIGNED = 64  # bytes between the beginnings of arrays
MOST_SHARED = 2**31  # bytes of clips that wait in shared memory; with larger clips fewer are read ahead
PRELOADED = "sth_core.datasets.clips"  # imported once; the processes are forked from the one that did
PROCESS_KILLED = (
    "a process that reads clips was killed, as when memory runs out; fewer --workers need less memory, and so does a "
    "smaller batch size"
)
SLOTS: list[np.ndarray] = []  # of a reading process alone: its view (slots, bytes) of the shared memory


@dataclass
class Readers:
    """`workers` threads or processes; 0 read in the calling thread. As a context it ends the processes.

    `streams` is how many calls of `ahead` give results at the same time, for which shared memory is taken."""

    workers: int
    processes: bool = False
    streams: int = 1
    pool: "Processes | None" = field(default=None, init=False)

    def __enter__(self) -> "Readers":
        return self

    def __exit__(self, *_: object) -> None:
        if self.pool:
            self.pool.close()
            self.pool = None

    def ahead(
        self, function: Callable[[Item], Result], items: Iterable[Item], *, ahead: int, held: int = 1, size: int = 0
    ) -> Generator[Result, None, None]:
        """`function` of each item, in order, at most `ahead` results before they are asked for.

        Of processes, a result's arrays lie in shared memory until `held` more results were taken; `size` is how many
        bytes they have, larger ones are sent. The function and the items are pickled then. Raises Interrupted: the
        process was asked to stop; UserError: a process was killed."""
        if not self.workers:
            return map_in_turn(function, items)
        if not self.processes:
            return prefetch(function, items, self.workers, ahead)
        if self.pool is None:
            self.pool = Processes(self.workers, self.streams * (ahead + held + 1), max(size, ALIGNED))
        return self.pool.ahead(function, items, ahead, held)


def pick_readers(device: torch.device, workers: int | None = None, streams: int = 1) -> Readers:
    """The workers that read clips for a network on this device: by default one for each core of the machine, of which
    each process of torchrun has its share.

    Beside a GPU they are processes: threads wait for Python's lock, which the thread that feeds the GPU needs too (16
    read 350 clips/s of JPEG folders on 16 cores, where OpenCV alone decodes 1,733). A network on the CPU takes all
    cores itself; there threads are as fast, and begin at once: on 2 cores both read 55 clips/s, the first of them after
    0.1 s by threads and after 8 s by processes, which import PyTorch."""
    sharing = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    number = max(1, usable_cores() // sharing) if workers is None else workers
    return Readers(number, device.type == "cuda", streams)


def usable_cores() -> int:
    """The cores that this process may use, which may be fewer than the machine has."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS and Windows
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def map_in_turn(function: Callable[[Item], Result], items: Iterable[Item]) -> Generator[Result, None, None]:
    for item in items:
        raise_if_stopping()
        yield function(item)


class Processes:
    """A pool of processes, with slots of shared memory for their results."""

    def __init__(self, workers: int, slots: int, size: int) -> None:
        context = reading_context()
        slots = max(0, min(slots, MOST_SHARED // size))
        memory = RawArray("B", max(1, slots * size))
        self.slots, self.free = np.frombuffer(memory, np.uint8)[: slots * size].reshape(slots, size), [*range(slots)]
        start = (shared_count(context), memory, slots, size)
        self.executor = ProcessPoolExecutor(workers, context, begin_reader, start)

    def close(self) -> None:
        if stop_requested():
            stop_pools()
        self.executor.shutdown(cancel_futures=True)

    def ahead(
        self, function: Callable[[Item], Result], items: Iterable[Item], ahead: int, held: int
    ) -> Generator[Result, None, None]:
        pickled, slots = pickle.dumps(function), self.take_slots(ahead + held + 1)
        ahead = len(slots) - held - 1 if len(slots) > held + 1 else ahead
        in_turn = cycle(slots if len(slots) > held + 1 else [None])  # a slot is used again after all others
        waiting: deque[tuple[Future[Packed], int | None]] = deque()
        remaining = iter(items)

        def begin(most: int) -> None:
            for item, slot in zip(islice(remaining, most), in_turn, strict=False):
                with without_ctrl_c():  # a process may be started here
                    waiting.append((self.executor.submit(read_into_slot, pickled, item, slot), slot))

        try:
            begin(ahead + 1)
            while waiting:
                future, slot = waiting.popleft()
                yield self.unpack(future.result(), slot)
                begin(1)
        except BrokenProcessPool as error:
            raise_if_stopping()
            raise UserError(PROCESS_KILLED) from error
        finally:
            for future, _ in waiting:
                future.cancel()
            wait([future for future, _ in waiting if not stop_requested()])  # none writes into a slot any more
            self.free += slots

    def take_slots(self, wanted: int) -> list[int]:
        """So many, or fewer if there are not as many free ones."""
        mine, self.free = self.free[:wanted], self.free[wanted:]
        return mine

    def unpack(self, packed: "Packed", slot: int | None) -> Any:
        """What a process read: its arrays are views of the slot."""
        pickled, places = packed
        buffers = [] if slot is None else [self.slots[slot, start:stop].data for start, stop in places]
        return pickle.loads(pickled, buffers=buffers)


Packed = tuple[bytes, list[tuple[int, int]]]  # a pickled result, and where in its slot the arrays lie


def reading_context() -> BaseContext:
    """Processes are forked from one that imports PyTorch once and has no threads; Windows must start each anew."""
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload([PRELOADED])
    return context


def begin_reader(count: SharedCount, memory: Any, slots: int, size: int) -> None:
    """In a new reading process: SIGTERM ends it at once, as it writes nothing that must be whole."""
    begin_in_pool(count)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    keep_freed_memory()
    torch.set_num_threads(1)
    SLOTS[:] = [np.frombuffer(memory, np.uint8)[: slots * size].reshape(slots, size)]


unpickled = lru_cache(maxsize=4)(pickle.loads)


def read_into_slot(function: bytes, item: Any, slot: int | None) -> Packed:
    """In a reading process: the result, its arrays in the slot if they fit, else among the bytes that are returned."""
    result, buffers = call_in_turn(unpickled(function), item), list[pickle.PickleBuffer]()
    pickled = pickle.dumps(result, protocol=5, buffer_callback=buffers.append)
    arrays, places, stop = [np.frombuffer(buffer.raw(), np.uint8) for buffer in buffers], [], 0
    for array in arrays:
        start = -(-stop // ALIGNED) * ALIGNED
        stop = start + len(array)
        places.append((start, stop))
    if slot is None or stop > SLOTS[0].shape[1]:
        return pickle.dumps(result, protocol=5), []
    for array, (start, stop) in zip(arrays, places, strict=True):
        SLOTS[0][slot, start:stop] = array
    return pickled, places
