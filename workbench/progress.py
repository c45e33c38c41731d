"""Progress in the terminal: what, how far, how long yet."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

console = Console(highlight=False)


@contextmanager
def progress_bars() -> Iterator[Callable[..., None]]:
    """Yields show(what, done, total, detail=""): one bar for each `what`, made when first shown."""
    columns = (
        TextColumn("{task.description:<28}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[detail]}"),
    )
    with Progress(*columns, console=console) as progress:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, total: int, detail: str = "") -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total, detail="")
            progress.update(tasks[what], completed=done, total=total, detail=detail)

        yield show
