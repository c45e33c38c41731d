"""Progress in the terminal: what, how far, how long yet."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

NO_TERMINAL = 120  # columns of a table that goes to a file
SECONDS_BETWEEN_LINES = 15.0  # in a log file, where a bar cannot move
console = Console(highlight=False, width=None if sys.stdout.isatty() else NO_TERMINAL)


@contextmanager
def progress_bars() -> Iterator[Callable[..., None]]:
    """Yields show(what, done, total, detail=""): one bar for each `what`, made when first shown.

    Where the output is no terminal, a line now and then says the same.
    """
    if not console.is_terminal:
        yield lines()
        return
    columns = (
        TextColumn("{task.description:<28}", markup=False),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[detail]}", markup=False),
    )
    with Progress(*columns, console=console) as progress:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, total: int, detail: str = "") -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total, detail="")
            progress.update(tasks[what], completed=done, total=total, detail=detail)

        yield show


def lines() -> Callable[..., None]:
    """show(...) for a log: the first, the last and every 15 seconds a line for each `what`."""
    began: dict[str, tuple[float, int]] = {}  # when, and what was done by then
    said: dict[str, float] = {}

    def show(what: str, done: int, total: int, detail: str = "") -> None:
        now = time.monotonic()
        start, before = began.setdefault(what, (now, done))
        if done < total and now - said.get(what, -SECONDS_BETWEEN_LINES) < SECONDS_BETWEEN_LINES:
            return
        said[what] = now
        left = (now - start) / (done - before) * (total - done) if done > before else 0.0
        console.print(f"{what}: {done}/{total}" + (f", {left:.0f} s left" if left else ""), detail, markup=False)

    return show
