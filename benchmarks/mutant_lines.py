"""Which lines of some files run: each is written to a log when it runs for the first time since `forget`.

Processes that a test starts write to the same log, if `benchmarks/traced` is in PYTHONPATH.
"""

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

LOG, FILES = "STH_LINES_LOG", "STH_LINES_FILES"  # in the environment; files are separated as in PATH
SEEN: set[tuple[str, int]] = set()


def forget() -> None:
    SEEN.clear()


def record_lines() -> None:
    """Record the lines of FILES in LOG, in this process, from now on."""
    files, log = frozenset(os.environ[FILES].split(os.pathsep)), os.environ[LOG]

    def line(frame: FrameType, event: str, _: Any) -> Callable:
        place = (frame.f_code.co_filename, frame.f_lineno)
        if event == "line" and place not in SEEN:
            SEEN.add(place)
            with open(log, "a", encoding="utf-8") as file:  # noqa: PTH123
                file.write(f"{place[0]}\t{place[1]}\n")
        return line

    def call(frame: FrameType, event: str, _: Any) -> Callable | None:
        return line if frame.f_code.co_filename in files else None

    threading.settrace(call)
    sys.settrace(call)


def take_lines() -> dict[str, set[int]]:
    """{file: lines} that ran since the last call."""
    found: dict[str, set[int]] = {}
    log = Path(os.environ[LOG])
    for text in log.read_text(encoding="utf-8").splitlines() if log.exists() else ():
        file, _, line = text.rpartition("\t")
        found.setdefault(file, set()).add(int(line))
    log.unlink(missing_ok=True)
    forget()
    return found
