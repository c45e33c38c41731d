"""The folders that the app may read for its users: the folder of runs, and each `--root`."""

import os
from collections.abc import Sequence
from pathlib import Path

from sth_core.errors import UserError

OUTSIDE = "The file lies outside of the folders that this app may read; sth app --root names more:"
RUNS, ROOTS = "STH_RUNS", "STH_ROOTS"  # in the environment, by workbench/serve.py; roots are separated as in PATH


def runs_folder() -> Path:
    """The folder given to `sth app`; without one, the demo's."""
    return Path(os.environ.get(RUNS, "demo/runs"))


def allowed_roots() -> list[Path]:
    """The folder of runs, then those that `sth app --root` named."""
    return [runs_folder().resolve(), *named_roots()]


def named_roots() -> list[Path]:
    return [Path(root) for root in os.environ.get(ROOTS, "").split(os.pathsep) if root]


def may_read(path: str | Path) -> bool:
    """Whether the app may open a video that a run names: without a `--root` every one, else those inside the roots.

    A run's network is identified by its checksum instead.
    """
    if not named_roots():
        return True
    return any(Path(os.path.realpath(path)).is_relative_to(root.resolve()) for root in allowed_roots())


def why_not_readable(path: str | Path) -> str:
    """Why the app may not open a video that a run names, in a sentence; empty if it may.

    A path that begins in no folder, as imported predictions may have, is that of no video."""
    if not Path(path).is_absolute():
        return f"The video is not there: the run names it {path!s}, and does not say in which folder that is."
    return "" if may_read(path) else f"{OUTSIDE} {path}"


def resolve_inside(path: str | Path, roots: Sequence[Path]) -> Path:
    """The absolute path that `path` leads to, with its links and `..` resolved; it need not exist.

    Raises:
        UserError: it is not absolute, cannot be a path, or does not lie inside one of the roots.
    """
    allowed = ", ".join(map(str, roots))
    if not Path(path).is_absolute():
        raise UserError(f"{str(path)!r} is no absolute path; name one inside {allowed}")
    try:
        resolved = Path(path).resolve()
    except (OSError, ValueError, RuntimeError) as error:  # too long a name, a NUL byte, links in a circle
        raise UserError(f"{str(path)!r} cannot be a path; name one inside {allowed}") from error
    if not any(resolved.is_relative_to(root.resolve()) for root in roots):
        # The same sentence whether it exists or not: it must not tell which files lie outside.
        raise UserError(f"{str(path)!r} lies outside of the folders that this app may read: {allowed}")
    return resolved
