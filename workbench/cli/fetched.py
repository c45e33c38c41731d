"""Runs of object storage, fetched onto this machine: the commands that need notes and saved views work on these."""

from pathlib import Path

from analysis.runs.mirror import Mirror, nearest_mirror, refresh
from workbench.cli.terminal import notify, progress_bars, say


def fetch_mirror(mirror: Mirror) -> None:
    """Fetch what the mirror lacks, and say so. Raises UserError: as of `refresh`."""
    say(f"Fetching the runs of {mirror.url} into {mirror.folder}; notes and saved views stay there")
    with progress_bars() as show:
        fetched = refresh(mirror, lambda done, total, _: show("fetching", done, total, unit="file"))
    for sentence in fetched.left_out:
        notify(f"left out: {sentence}")
    say(f"{fetched.files} files were fetched, the others were there")


def on_this_machine(runs: Path) -> Path:
    """The folder itself; for a URL the one that its runs are fetched into, where the app keeps what people add to them.

    Raises UserError: the storage cannot be read or holds no run, or this machine has no room."""
    if found := nearest_mirror(runs):
        mirror, runs = found
        fetch_mirror(mirror)
    return runs
