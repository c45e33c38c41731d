"""TensorBoard's files of a training."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sth_core.files import naming
from sth_core.resumable import no_report

NEEDS = "no TensorBoard files are written, as tensorboard is not installed: pip install 'sth-workbench[tensorboard]'"
Board = Callable[[str, float, int], None]  # board(name, value, step)


@contextmanager
def training_board(folder: Path, purge_step: int, notify: Callable[[str], None] = no_report) -> Iterator[Board]:
    """A writer of points into `folder`, which no longer shows those from `purge_step` on. Without TensorBoard nothing
    is written, and `notify` is told so.

    Raises:
        OSError: with the folder's name. A point is written later and by another thread, so a later one may raise it.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter  # takes a second
    except ImportError:
        notify(NEEDS)
        yield lambda *_: None
        return

    with said_once():
        with naming(folder):
            board = SummaryWriter(folder, purge_step=purge_step)

        def add(name: str, value: float, step: int) -> None:
            with naming(folder):
                board.add_scalar(name, value, step)

        try:
            yield add
        except BaseException:
            with suppress(OSError):  # which would hide the first error
                board.close()
            raise
        with naming(folder):
            board.close()


@contextmanager
def said_once() -> Iterator[None]:
    """TensorBoard's thread prints no traceback: its error is raised again at the next point."""
    before = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        if not (isinstance(args.exc_value, OSError) and type(args.thread).__module__.startswith("tensorboard")):
            before(args)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before
