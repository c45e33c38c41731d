"""`sth record`: a network's predictions and attention over a dataset; and what other commands share with it."""

import math
from typing import TYPE_CHECKING

import click

from sth_core.datasets.media import counted
from workbench.cli.options import Command, DatasetArguments, dataset_options
from workbench.cli.terminal import Show, is_main_process, progress_bars, say

if TYPE_CHECKING:
    from analysis.runs.run_directory import Run

CLIPS, CROPS = click.IntRange(1, 30), click.Choice(["1", "3", "10"])
CROPS_HELP = "1: the centre; 3: squares that cover the whole frame; 10: TSN's."
clips_option = click.option("--clips", default=1, show_default=True, type=CLIPS, help="Clips of a video.")
crops_option = click.option("--crops", default="1", show_default=True, type=CROPS, help=CROPS_HELP)


def view_options(command: Command) -> Command:
    """A checkpoint, a dataset, and how many views of each video: record and evaluate."""
    return dataset_options(out="The run directory to write.", auto_batch=True)(clips_option(crops_option(command)))


@click.command("record")
@view_options
@click.option("--vectors", is_flag=True, help="Keep α of every channel (of a transformer the share of every head) too.")
@click.option("--features", is_flag=True, help="Keep the features before the classifier, for the map of clips.")
def record_command(dataset: DatasetArguments, clips: int, crops: str, vectors: bool, features: bool) -> None:
    """Record a network's predictions and attention over a dataset."""
    record_dataset(dataset, clips, int(crops), vectors=vectors, features=features)


def record_dataset(
    dataset: DatasetArguments,
    clips: int,
    crops: int,
    *,
    with_attention: bool = True,
    vectors: bool = False,
    features: bool = False,
) -> None:
    """Write a run directory and print the accuracies."""
    from analysis.runs.caveats import accuracy_caveats
    from analysis.runs.recording import record
    from analysis.runs.run_directory import failures, open_run, predictions
    from analysis.statistics.accuracy import describe_groups, summarize_accuracy
    from analysis.statistics.clusters import describe_interval
    from sth_core.errors import NOT_FINITE
    from sth_core.memory import keep_freed_memory
    from sth_core.video.sampling import Protocol

    keep_freed_memory()
    with progress_bars() as show:
        options = dataset.reporting(show, f"{'recording' if with_attention else 'evaluating'} {dataset.out.name}")
        recorded = record(
            dataset.network, dataset.data, dataset.out, options, annotation=dataset.annotation,
            protocol=Protocol(clips, crops), with_attention=with_attention, vectors=vectors, features=features,
        )  # fmt: skip
    if not is_main_process():
        return
    run = open_run(dataset.out)
    table = predictions(run) if run.usable else None
    for row in summarize_accuracy(table, run.meta["classes"]).itertuples() if table is not None else ():
        if row.n:
            over = describe_groups(row.n, row.groups)
            say(f"{row.metric}: {row.value:.3f} ({describe_interval(row.low, row.high, '.3f')}, 95 % over {over})")
    for sentence in accuracy_caveats(run.meta, table):
        say(sentence)
    accuracy = "no accuracy" if math.isnan(recorded.accuracy) else f"accuracy {recorded.accuracy:.3f}"
    broken = int(failures(run)["reason"].eq(NOT_FINITE).sum())
    lost = f"{recorded.failures - broken} of them unreadable" + (f", {broken} without finite scores" if broken else "")
    say(f"{counted(recorded.clips, 'clip')}, {lost}; {accuracy}; run: {dataset.out}")


def open_dataset_run(dataset: DatasetArguments, show: Show) -> "Run":
    """The run in `dataset.out`, recorded now if it is not there or not finished."""
    from analysis.runs.recording import open_or_record

    options = dataset.reporting(show, f"recording {dataset.out.name}")
    return open_or_record(dataset.network, dataset.data, dataset.out, options, annotation=dataset.annotation)
