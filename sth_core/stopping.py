"""Ctrl-C and SIGTERM, heard at any time: by the main thread, by threads that decode, by the processes of a pool.

While `hear_signals` listens, the first signal raises `Interrupted` in the main thread, except in a block of
`uninterrupted`. Other threads receive no signals: they call `raise_if_stopping` between two frames. A second signal
ends the process at once.
"""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import active_children, parent_process
from typing import Any

import psutil

SIGNALS = (signal.SIGTERM, signal.SIGINT)
SECONDS_OF_ONE_REQUEST = 0.5  # `timeout` and torchrun send two signals for one request
SECONDS_TO_SAY_SO = 0.5  # for `on_stop`, before the main thread is interrupted
SECONDS_TO_END = 1.0  # of a pool's process whose call cannot be interrupted; then it ends itself


class Interrupted(KeyboardInterrupt):
    """The process was asked to stop by the signal `number`."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@dataclass
class StopRequest:
    """What this process was asked: `number` is the first signal, 0 if there was none."""

    number: int = 0
    raised: bool = False
    held_back: int = 0  # blocks of `uninterrupted` that are running
    listening: bool = False
    said: threading.Event = field(default_factory=threading.Event)  # `on_stop` was called


REQUEST = StopRequest()


def stop_requested() -> bool:
    return REQUEST.number != 0


def raise_if_stopping() -> None:
    """Raises Interrupted if the process was asked to stop, and nothing holds that back."""
    if REQUEST.number and not REQUEST.held_back:
        raise Interrupted(REQUEST.number)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """A block that a signal does not interrupt: `Interrupted` is raised at its end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    REQUEST.held_back += 1
    try:
        yield
    finally:
        REQUEST.held_back -= 1
    if not REQUEST.raised and not REQUEST.held_back:
        REQUEST.raised = stop_requested()
        raise_if_stopping()


@contextmanager
def hear_signals(on_stop: Callable[[], None] = lambda: None, *, ends_process: bool = False) -> Iterator[None]:
    """While the block runs, SIGTERM and Ctrl-C raise `Interrupted`; `on_stop` is called at once, in another thread.

    Python runs a signal's handler between two instructions of the main thread. A long step of a library would delay
    it, so another thread hears of the signal too. Where the process ends after the block (`ends_process`), threads
    still see the request. In another thread than the main one, and within another such block, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread() or REQUEST.listening:
        yield
        return
    REQUEST.number, REQUEST.raised, REQUEST.listening = 0, False, True
    REQUEST.said.clear()
    hearing, telling = socket.socketpair()
    telling.setblocking(False)
    threading.Thread(target=listen, args=(hearing, on_stop), daemon=True).start()
    wakeup_before = signal.set_wakeup_fd(telling.fileno(), warn_on_full_buffer=False)
    before = {number: signal.signal(number, interrupt) for number in SIGNALS}
    unraisable_before, sys.unraisablehook = sys.unraisablehook, show_unraisable
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup_before)
        sys.unraisablehook = unraisable_before
        telling.close()
        REQUEST.listening = False
        if not ends_process:
            REQUEST.number = 0


def interrupt(number: int, _: Any) -> None:
    """The handler of both signals, in the main thread."""
    REQUEST.number = REQUEST.number or number
    if not REQUEST.raised and not REQUEST.held_back:
        REQUEST.raised = True
        REQUEST.said.wait(SECONDS_TO_SAY_SO)
        raise Interrupted(REQUEST.number)


def listen(hearing: socket.socket, on_stop: Callable[[], None]) -> None:
    """Hear the signals as they come, until the other end of the socket is closed."""
    first = 0.0
    with hearing:
        while received := hearing.recv(1):
            if (number := received[0]) not in SIGNALS:
                continue
            if not first:
                first, REQUEST.number = time.monotonic(), REQUEST.number or number
                on_stop()
                REQUEST.said.set()
            elif time.monotonic() - first > SECONDS_OF_ONE_REQUEST:
                end_at_once(number)


def end_at_once(number: int) -> None:
    """End the processes that this one started, and this one."""
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            child.kill()
    os._exit(128 + number)


def show_unraisable(error: Any) -> None:
    """What Python prints of an error in a destructor; not of an interruption there."""
    if not stop_requested():
        sys.__unraisablehook__(error)


def stop_pools() -> None:
    """Ask the processes of this process's pools to stop."""
    for child in active_children():
        child.terminate()


@contextmanager
def without_ctrl_c() -> Iterator[None]:
    """The processes started in the block do not receive the terminal's Ctrl-C: this one tells them to stop."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def prepare_pool_process() -> None:
    """In a new process of a pool: it ends with the process that started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()


def end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def interruptible_call(function: Callable[..., Any], *arguments: Any) -> Any:
    """`function` of its arguments in a pool's process, which SIGTERM ends once the function has tidied up."""
    try:
        with hear_signals(end_soon):
            return function(*arguments)
    except Interrupted as error:
        os._exit(128 + error.number)


def end_soon() -> None:
    time.sleep(SECONDS_TO_END)
    os._exit(128 + signal.SIGTERM)
