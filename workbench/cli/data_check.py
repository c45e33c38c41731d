"""`sth data check`: which clips of a dataset cannot be used."""

import sys
from functools import partial
from pathlib import Path

import click

from workbench.cli.data import MOST_NAMED, annotation_options, read_table
from workbench.cli.options import PATH
from workbench.cli.progress import progress_bars
from workbench.cli.terminal import console


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
    from analysis.report.dataset_page import split_table, verdicts, write_check
    from sth_core.datasets.check import check_dataset, duplicates

    out = out or Path(f"{folder.resolve().name}-check")
    table = read_table(folder, recipe, changes)
    with progress_bars() as show:
        checked = check_dataset(table, out, workers, partial(show, "checking clips"))
    pairs = duplicates(checked)
    page = write_check(checked, pairs, folder.resolve().name, out)
    console.print(split_table(checked))
    for well, sentence in verdicts(checked, pairs):
        console.print(f"{' ' if well else '!'} {sentence}", markup=False, soft_wrap=True)
    unusable = checked[checked["problem"] != ""]
    for clip in unusable.head(MOST_NAMED).itertuples():
        console.print(f"    {clip.clip_id}: {clip.problem}", markup=False, soft_wrap=True)
    click.echo(f"report: {page}; tables: {out / 'clips.csv'}, {out / 'duplicates.csv'}")
    if len(unusable) or pairs["split_a"].ne(pairs["split_b"]).any():
        sys.exit(1)
