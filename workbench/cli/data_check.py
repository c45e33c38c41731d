"""`sth data check`: which clips of a dataset cannot be used."""

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from workbench.cli.data import MOST_NAMED, annotation_options, read_table
from workbench.cli.options import PATH
from workbench.cli.progress import progress_bars
from workbench.cli.terminal import console

if TYPE_CHECKING:
    import pandas as pd


def split_table(checked: "pd.DataFrame") -> Table:
    """A line for each split."""
    from sth_core.datasets.entries import SPLITS

    table = Table(box=None, pad_edge=False)
    for heading in ("split", "clips", "unusable", "classes", "frames", "sizes"):
        table.add_column(heading, justify="left" if heading in ("split", "sizes") else "right")
    splits = set(checked["split"])
    for split in [s for s in (*SPLITS, *sorted(splits - set(SPLITS))) if s in splits]:
        clips = checked[checked["split"] == split]
        usable = clips[clips["problem"] == ""]
        frames = usable["frames"]
        lengths = f"{frames.min()} to {frames.max()}, median {frames.median():.0f}" if len(usable) else "-"
        sizes = (usable["width"].astype(str) + " x " + usable["height"].astype(str)).value_counts()
        shown = ", ".join(sizes.index[:2]) + (f" and {len(sizes) - 2} more" if len(sizes) > 2 else "")
        unusable, classes = len(clips) - len(usable), len(set(usable["label"]) - {""})
        table.add_row(split or "(none)", str(len(clips)), str(unusable), str(classes), lengths, shown)
    return table


@click.command("check")
@annotation_options
@click.option("-o", "--out", type=PATH, help="Where the report goes; by default <FOLDER's name>-check, here.")
def data_check_command(
    folder: Path, out: Path | None, recipe: Path | None, changes: tuple[str, ...], workers: int | None
) -> None:
    """Decode every clip of a dataset, before a day of training.

    Reports clips that cannot be read, clips that are there twice, and rare classes. Ends with exit code 1 if a clip
    cannot be used or is in two splits. When it was stopped, the same command continues.
    """
    from analysis.report.dataset_page import dataset_findings, write_dataset_page
    from sth_core.datasets.check import check_dataset, find_duplicates

    out = out or Path(f"{folder.resolve().name}-check")
    table = read_table(folder, recipe, changes)
    with progress_bars() as show:
        checked = check_dataset(table, out, workers, partial(show, "checking clips"))
    pairs = find_duplicates(checked)
    page = write_dataset_page(checked, pairs, folder.resolve().name, out)
    console.print(split_table(checked))
    for fine, sentence in dataset_findings(checked, pairs):
        console.print(f"{' ' if fine else '!'} {sentence}", markup=False, soft_wrap=True)
    unusable = checked[checked["problem"] != ""]
    for clip in unusable.head(MOST_NAMED).itertuples():
        console.print(f"    {clip.clip_id}: {clip.problem}", markup=False, soft_wrap=True)
    click.echo(f"report: {page}; tables: {out / 'clips.csv'}, {out / 'duplicates.csv'}")
    if len(unusable) or pairs["split_a"].ne(pairs["split_b"]).any():
        sys.exit(1)
