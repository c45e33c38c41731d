"""Runs of which a file leads out of the folders that the app may read: they are not shown, and said."""

from pathlib import Path

from analysis.runs.run_directory import Run
from workbench.roots import may_read


def within_roots(run: Run) -> Run:
    """The run; one of which a link leads out of the roots has a `problem` that names it instead of its description."""
    link = link_outside(run.path)
    if link is None:
        return run
    where = "the run" if link == run.path else link.relative_to(run.path)
    why = (
        f"{where} is a link out of the folders that this app may read; add the folder it leads to with `sth app --root`"
    )
    return Run(run.path, {}, why)


def link_outside(run: Path) -> Path | None:
    """The run's folder, or the first link in it, that the app may not follow (`may_read`)."""
    if not isinstance(run, Path) or may_read("/"):  # without a --root
        return None
    inside = sorted(path for depth in ("*", "*/*", "*/*/*") for path in run.glob(depth))
    links = [path for path in inside if path.is_symlink()]
    return next((path for path in (run, *links) if not may_read(path)), None)
