"""The only door to the terminal: sentences, tables and progress; of several processes only the first prints.

Names are printed as they are: no text is markup, and what would change the line around it is escaped.
"""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Table

from sth_core.errors import visible
from sth_core.files import naming
from workbench.pace import Pace

NO_TERMINAL = 120  # columns of a table that goes to a file
SECONDS_BETWEEN_LINES = 15.0  # in a log file, where a bar cannot move
Show = Callable[..., None]  # show(what, done, total, detail="", unit="clip")
OUTPUT = Path("the standard output")
console = Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else NO_TERMINAL)


def is_main_process() -> bool:
    """Whether this process prints; under torchrun only the first does."""
    return int(os.environ.get("RANK", "0")) == 0


def say(sentence: str, *, err: bool = False) -> None:
    """Print a sentence, in one line."""
    with naming(OUTPUT):
        click.echo(visible(sentence), err=err)


def notify(sentence: str) -> None:
    """Print a sentence above the progress bars, in one line."""
    if is_main_process():
        print_shown(visible(sentence))


def print_shown(shown: RenderableType) -> None:
    with naming(OUTPUT):
        console.print(shown, soft_wrap=isinstance(shown, str))


def print_table(columns: Iterable[str], rows: Iterable[Iterable[object]], title: str | None = None) -> None:
    """Print a table; fractions with three digits."""
    table = Table(*map(visible, columns), title=visible(title) if title else None)
    for row in rows:
        table.add_row(*(f"{value:.3f}" if isinstance(value, float) else visible(str(value)) for value in row))
    print_shown(table)


def print_unread(failures: Mapping[str, str]) -> None:
    """A line for each clip that could not be read: {clip_id: reason}."""
    for clip_id, reason in failures.items():
        say(f"not read: {clip_id}: {reason}")


@contextmanager
def progress_bars() -> Iterator[Show]:
    """Yields show(what, done, total, detail="", unit="clip"): one bar for each `what`, made when first shown.

    `unit` is what is counted, of which the speed is shown; "" shows none.
    Where the output is no terminal, lines are printed instead; of several processes only the first shows anything.
    """
    if not is_main_process() or not console.is_terminal:
        yield progress_lines() if is_main_process() else lambda *_, **__: None
        return
    columns = (
        TextColumn("{task.description:<28}", markup=False), BarColumn(bar_width=28), MofNCompleteColumn(),
        TextColumn("{task.fields[pace]}", markup=False), TextColumn("{task.fields[detail]}", markup=False),
    )  # fmt: skip
    with Progress(*columns, console=console) as progress:
        tasks: dict[str, tuple[TaskID, Pace]] = {}

        def show(what: str, done: int, total: int, detail: str = "", unit: str = "clip") -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(visible(what), total=total, detail="", pace=""), Pace()
            task, pace = tasks[what]
            pace.add(done)
            progress.update(task, completed=done, total=total, detail=visible(detail), pace=pace.describe(total, unit))

        yield show


def progress_lines() -> Show:
    """show(...) for a log: for each `what` the first and the last state, and one every 15 seconds."""
    paces: dict[str, Pace] = {}
    printed: dict[str, float] = {}  # time of the last line
    ended: set[str] = set()

    def show(what: str, done: int, total: int, detail: str = "", unit: str = "clip") -> None:
        now, pace = time.monotonic(), paces.setdefault(what, Pace())
        pace.add(done, now)
        soon = now - printed.get(what, -SECONDS_BETWEEN_LINES) < SECONDS_BETWEEN_LINES
        if soon and (done < total or what in ended):
            return
        printed[what] = now
        if done >= total:
            ended.add(what)
        parts = [f"{what}: {done}/{total}", pace.describe(total, unit), detail]
        print_shown(visible(", ".join(filter(None, parts))))

    return show
