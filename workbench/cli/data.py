"""`sth data`: make, check and prepare datasets."""

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from sth_core.datasets.media import counted
from workbench.cli.kinds import FOLDER, MANY, RECIPE, WORKERS, NumberKind
from workbench.cli.options import group_pattern_option, overwrite_option, seed_option
from workbench.cli.terminal import notify, print_shown, progress_bars, say
from workbench.cli.typed import command_line

if TYPE_CHECKING:
    import pandas as pd

    from sth_core.datasets.table import Dataset

BOUND = NumberKind(0, 1000, min_open=True)
LARGEST_SIDE = 4096
MOST_NAMED = 20  # clips that cannot be used, in the terminal
ALGORITHM_HELP = "tvl1 is what TSN used: tens of times slower on a CPU."
recipe_option = click.option("--recipe", type=RECIPE, help="The recipe whose [data] says how to read the folder.")
key_option = click.option(
    "--set", "changes", multiple=True, metavar="KEY=VALUE", help="A key of [data]: label, fold, ..."
)
processes_option = click.option("--workers", type=WORKERS, help="Processes; by default one for each core.")


@click.group("data")
def data_command() -> None:
    """Make, check and prepare datasets."""


def annotated_folder(command: Callable[..., None]) -> Callable[..., None]:
    """The argument FOLDER, and options that say how it is annotated and by how many processes it is read."""
    options = (recipe_option, key_option, group_pattern_option, processes_option)
    for option in reversed(options):
        command = option(command)
    return click.argument("folder", type=FOLDER)(command)


def annotated_dataset(
    data: Path, recipe: Path | None, changes: tuple[str, ...], group_pattern: str
) -> tuple[Path, "Dataset"]:
    """The dataset's own folder and its clips, after a line of what was found in it."""
    from sth_core.datasets.table import open_dataset
    from sth_core.recipe import load_annotation

    changes += (f"group_pattern={json.dumps(group_pattern)}",) * bool(group_pattern)
    annotation = load_annotation(recipe, changes)
    dataset = open_dataset(data, annotation)
    notify(dataset.found.sentence)
    return annotation.inside(data), dataset


@data_command.command("synthesize")
@click.argument("folder", type=FOLDER)
@click.option("--clips", default=240, show_default=True, type=click.IntRange(1, MANY), help="How many clips.")
@seed_option(1, "The same seed and number of clips give the same files.")
@click.option("--split", default="val", show_default=True, type=click.Choice(["train", "val", "test"]))
@processes_option
def data_synthesize_command(folder: Path, clips: int, seed: int, split: str, workers: int | None) -> None:
    """Write the synthetic set: H.264 clips, each with a motion and an appearance label."""
    from sth_core.datasets.synthetic import synthesize

    with progress_bars() as show:
        manifest = synthesize(folder, clips, seed, split, workers, partial(show, "making clips"))
    say(f"{counted(clips, 'clip')} and their labels: {manifest}")


@data_command.command("check")
@annotated_folder
@click.option("-o", "--out", type=FOLDER, help="Where the report goes; by default <FOLDER's name>-check, here.")
def data_check_command(
    folder: Path,
    out: Path | None,
    recipe: Path | None,
    changes: tuple[str, ...],
    group_pattern: str,
    workers: int | None,
) -> None:
    """Decode every clip of a dataset, before a day of training.

    Reports clips that cannot be read or begin without content, clips that are there twice or look like a clip of
    another split, uneven classes, and labels that can be told without looking. Ends with exit code 1 if a clip cannot
    be used or is in two splits. When it was stopped, the same command continues.
    """
    from analysis.report.dataset_findings import PASSES, dataset_findings
    from analysis.report.dataset_page import write_dataset_page
    from sth_core.datasets.check import check_dataset
    from sth_core.datasets.checked import CheckedDataset
    from sth_core.outputs import writing_into

    folder, dataset = annotated_dataset(folder, recipe, changes, group_pattern)
    out = out or Path(f"{folder.resolve().name}-check")
    with writing_into(out):
        with progress_bars() as show:
            clips = check_dataset(dataset.clips, out, workers, partial(show, "checking clips"))
        checked = CheckedDataset.compared(dataset.found, clips)
        page = write_dataset_page(checked, out)
    print_shown(split_table(clips))
    for finding in dataset_findings(checked):
        notify(f"{' ' if finding.tone == PASSES else '!'} {finding.text}")
    unusable = clips[clips["problem"] != ""]
    for clip in unusable.head(MOST_NAMED).itertuples():
        notify(f"    {clip.clip_id}: {clip.problem}")
    say(f"report: {page}; tables: {', '.join(str(out / f'{name}.csv') for name in checked.tables)}")
    if not checked.fit_to_train:
        sys.exit(1)


def split_table(checked: "pd.DataFrame") -> Table:
    """A line for each split."""
    from sth_core.datasets.entries import SPLITS

    table = Table(box=None, pad_edge=False)
    for heading in ("split", "clips", "unusable", "classes", "frames", "sizes"):
        table.add_column(heading, justify="left" if heading in ("split", "sizes") else "right")
    for split in sorted(set(checked["split"]), key=lambda s: (SPLITS.index(s) if s in SPLITS else len(SPLITS), s)):
        clips = checked[checked["split"] == split]
        usable = clips[clips["problem"] == ""]
        frames, classes = usable["frames"], len(set(usable["label"]) - {""})
        lengths = f"{frames.min()} to {frames.max()}, median {frames.median():.0f}" if len(usable) else "-"
        sizes = (usable["width"].astype(str) + " x " + usable["height"].astype(str)).value_counts()
        shown = ", ".join(sizes.index[:2]) + (f" and {len(sizes) - 2} more" if len(sizes) > 2 else "")
        table.add_row(split or "(none)", str(len(clips)), str(len(clips) - len(usable)), str(classes), lengths, shown)
    return table


@data_command.command("flow")
@annotated_folder
@click.option("-o", "--out", type=FOLDER, help="Where it goes; by default FOLDER/flow, where it is found.")
@click.option("--algorithm", default="dis", show_default=True, type=click.Choice(["dis", "tvl1"]), help=ALGORITHM_HELP)
@click.option(
    "--bound", default=20.0, show_default=True, type=BOUND, help="The largest motion kept, in pixels a frame."
)
@click.option(
    "--side", default=256, show_default=True, type=click.IntRange(16, LARGEST_SIDE), help="Short side of the frames."
)
@overwrite_option
def data_flow_command(
    folder: Path, out: Path | None, algorithm: str, bound: float, side: int, recipe: Path | None,
    changes: tuple[str, ...], group_pattern: str, workers: int | None, overwrite: bool,
) -> None:  # fmt: skip
    """Extract a dataset's optical flow, once, as JPEG images in TSN's layout.

    Training and recording find it in FOLDER/flow and do not compute it again. When it was stopped, the same command
    continues.
    """
    from sth_core.datasets.extraction import extract_flow
    from sth_core.datasets.media import FLOW_FOLDER
    from sth_core.video.flow import Extraction

    folder, dataset = annotated_dataset(folder, recipe, changes, group_pattern)
    out, table = out or folder / FLOW_FOLDER, dataset.clips
    with progress_bars() as show:
        failures = extract_flow(
            table, out, Extraction(algorithm, bound, side), workers, folder=folder, command=command_line(),
            overwrite=overwrite, progress=partial(show, "extracting flow"), notify=notify,
        )  # fmt: skip
    for clip_id, reason in list(failures.items())[:MOST_NAMED]:
        say(f"not extracted: {clip_id}: {reason}")
    say(f"flow of {counted(len(table) - len(failures), 'clip')}, {len(failures)} could not be read: {out}")
