"""A process that stops when the one that started it has ended, also when that one was killed."""

import os
import signal
import threading
import time

PARENT = "STH_PARENT"  # in the environment of a process that is to stop with its parent: the parent's process id
SECONDS_BETWEEN_CHECKS = 1.0


def stop_with_parent() -> None:
    """If the environment names a parent, send this process SIGTERM once the parent has ended.

    Training then saves its state and stops, as when it is asked to.
    """
    parent = os.environ.pop(PARENT, None)  # the processes that this one starts have another parent
    if parent is None:
        return

    def watch() -> None:
        while os.getppid() == int(parent):  # an orphan gets another parent
            time.sleep(SECONDS_BETWEEN_CHECKS)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
