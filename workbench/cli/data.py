"""`sth data`: make, check and prepare datasets."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
import pandas as pd

from workbench.cli.options import FOLDER, friendly
from workbench.cli.progress import console, progress_bars

NAMED = 20  # clips that cannot be used, in the terminal
Command = Callable[..., None]


@click.group()
def data() -> None:
    """Make, check and prepare datasets."""


@data.command()
@click.argument("folder", type=FOLDER)
@click.option("--clips", default=240, show_default=True, type=click.IntRange(1), help="How many clips.")
@click.option("--seed", default=1, show_default=True, help="The same seed gives the same files.")
@click.option("--split", default="val", show_default=True, type=click.Choice(["train", "val", "test"]))
@click.option("--workers", type=click.IntRange(1), help="Processes; by default one a core.")
@friendly
def synthesize(folder: Path, clips: int, seed: int, split: str, workers: int | None) -> None:
    """Write the synthetic set: H.264 clips, each with a motion and an appearance label."""
    from sth_core.datasets.synthetic import synthesize

    with progress_bars() as show:
        manifest = synthesize(folder, clips, seed, split, workers, partial(show, "making clips"))
    click.echo(f"{clips} clips and their labels: {manifest}")


def of_a_dataset(command: Command) -> Command:
    """The options that say how a folder is to be read, and by how many processes."""
    for option in (
        click.option("--workers", type=click.IntRange(1), help="Processes; by default one a core."),
        click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="A key of [data]: label, fold, ..."),
        click.option("--recipe", type=FOLDER, help="The recipe whose [data] says how to read the folder."),
    ):
        command = option(command)
    return command


def table_of(folder: Path, recipe: Path | None, changes: tuple[str, ...]) -> pd.DataFrame:
    from sth_core.datasets.table import read_dataset
    from sth_core.recipe import load_annotation

    return read_dataset(folder, load_annotation(recipe, changes))


@data.command()
@click.argument("folder", type=FOLDER)
@click.option("-o", "--out", type=FOLDER, help="Where the report goes; by default <FOLDER's name>-check, here.")
@of_a_dataset
@friendly
def check(folder: Path, out: Path | None, recipe: Path | None, changes: tuple[str, ...], workers: int | None) -> None:
    """Decode every clip of a dataset, before a day of training.

    Says what cannot be read, what is there twice and what is rare; ends with exit code 1 if a clip
    cannot be used or is in two splits. Stopped, it goes on from there.
    """
    from analysis.report.dataset_page import split_table, verdicts, write_check
    from sth_core.datasets.check import check_dataset, duplicates

    out = out or Path(f"{folder.resolve().name}-check")
    table = table_of(folder, recipe, changes)
    with progress_bars() as show:
        checked = check_dataset(table, out, workers, partial(show, "checking clips"))
    pairs = duplicates(checked)
    page = write_check(checked, pairs, folder.resolve().name, out)
    console.print(split_table(checked))
    for well, sentence in verdicts(checked, pairs):
        console.print(f"{' ' if well else '!'} {sentence}", markup=False, soft_wrap=True)
    unusable = checked[checked["problem"] != ""]
    for clip in unusable.head(NAMED).itertuples():
        console.print(f"    {clip.clip_id}: {clip.problem}", markup=False, soft_wrap=True)
    click.echo(f"report: {page}; tables: {out / 'clips.csv'}, {out / 'duplicates.csv'}")
    if len(unusable) or pairs["split_a"].ne(pairs["split_b"]).any():
        sys.exit(1)


@data.command()
@click.argument("folder", type=FOLDER)
@click.option("-o", "--out", type=FOLDER, help="Where it goes; by default FOLDER/flow, where it is found.")
@click.option(
    "--algorithm",
    default="dis",
    show_default=True,
    type=click.Choice(["dis", "tvl1"]),
    help="tvl1 is what TSN used: tens of times slower on a CPU.",
)
@click.option("--bound", default=20.0, show_default=True, help="The largest motion kept, in pixels a frame.")
@click.option("--side", default=256, show_default=True, type=click.IntRange(16), help="Short side of the frames.")
@of_a_dataset
@friendly
def flow(
    folder: Path,
    out: Path | None,
    algorithm: str,
    bound: float,
    side: int,
    recipe: Path | None,
    changes: tuple[str, ...],
    workers: int | None,
) -> None:
    """Extract a dataset's optical flow, once, as JPEG images in TSN's layout.

    Training and recording find it in FOLDER/flow and do not compute it again. Stopped, it goes on
    from there.
    """
    from sth_core.datasets.extraction import extract_flow
    from sth_core.datasets.media import FLOW_FOLDER
    from sth_core.errors import UserError
    from sth_core.training_log import write_failures
    from sth_core.video.flow import Extraction

    if bound <= 0:
        raise UserError(f"--bound must be above 0 pixels a frame, got {bound}")
    out = out or folder / FLOW_FOLDER
    table = table_of(folder, recipe, changes)
    how = Extraction(algorithm, bound, side)
    with progress_bars() as show:
        failures = extract_flow(table, out, how, workers, partial(show, "extracting flow"))
    write_failures(out, failures)
    for clip_id, reason in list(failures.items())[:NAMED]:
        click.echo(f"not extracted: {clip_id}: {reason}")
    click.echo(f"flow of {len(table) - len(failures)} clips, {len(failures)} could not be read: {out}")
