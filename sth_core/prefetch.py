"""Results that threads compute before they are asked for, or processes in any order."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from multiprocessing import get_context
from typing import Any, TypeVar

from sth_core.stopping import (
    interruptible_call,
    prepare_pool_process,
    raise_if_stopping,
    stop_pools,
    stop_requested,
    without_ctrl_c,
)
from sth_core.video.turns import SharedCount, share_turns, shared_count, sharing_until_the_end

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetch(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int, ahead: int
) -> Generator[Result, None, None]:
    """`function` of each item, in order, computed by `workers` threads, at most `ahead` results before they are used.

    Threads, as decoding, resizing and optical flow release Python's lock. Closing the iterator cancels what has not
    begun and waits for what has; an exception is raised where its result would have come. Raises Interrupted: the
    process was asked to stop.
    """

    def compute(item: Item) -> Result:
        raise_if_stopping()
        return function(item)

    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(compute, item))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def begin_in_pool(count: SharedCount) -> None:
    """In a new process of a pool: it ends with the process that started it, and shares its turns with the others."""
    prepare_pool_process()
    share_turns(count)


def call_in_turn(function: Callable[..., Result], *arguments: Any) -> Result:
    with sharing_until_the_end():
        return function(*arguments)


def in_processes(
    function: Callable[..., Result], arguments: Mapping[Item, tuple[Any, ...]], workers: int | None
) -> Generator[tuple[Item, Result], None, None]:
    """(key, `function` of its arguments) as they are computed by `workers` processes, by default one for each core.

    Closing the iterator, and an exception, cancel what has not begun and wait for what has, unless this process was
    asked to stop: then the calls are interrupted. The processes are spawned, not forked: the caller may have threads,
    and Windows and macOS must spawn.
    """
    context = get_context("spawn")
    with ProcessPoolExecutor(workers or os.cpu_count(), context, begin_in_pool, (shared_count(context),)) as pool:
        try:
            with without_ctrl_c():
                futures = {
                    pool.submit(interruptible_call, call_in_turn, function, *of_key): key
                    for key, of_key in arguments.items()
                }
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            if stop_requested():
                stop_pools()
            pool.shutdown(cancel_futures=True)
