"""`sth import-predictions`: a run of somebody else's scores."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from sth_core.datasets.media import counted
from workbench.cli.kinds import FILE, FOLDER, TEXT
from workbench.cli.options import group_option, group_pattern_option, overwrite_option
from workbench.cli.terminal import notify, say
from workbench.cli.typed import command_line


@click.command("import-predictions")
@click.argument("file", type=FILE)
@click.option("-o", "--out", type=FOLDER, required=True, help="The run directory to write.")
@click.option("--name", default="", type=TEXT, help="What the network is called; by default the file's name.")
@click.option(
    "--data", type=FOLDER, help="A dataset's folder: its clips are joined by path or name, and have its labels."
)
@click.option("--label", type=TEXT, help="The column of labels of the dataset's manifest.")
@click.option("--split", default="", type=TEXT, help="Only clips of this split of the dataset.")
@click.option("--class-names", type=FILE, help="The names of the classes in order: one a line, or JSON.")
@click.option(
    "--clips", type=FILE, help="A list of the rows' clips, a path a line, such as an annotation file, if FILE has none."
)
@click.option(
    "--columns", default="", type=TEXT, metavar="ROLE=NAME,...",
    help="Which column is the path, label, prediction, confidence or scores; path=video,label=gt.",
)  # fmt: skip
@click.option("--logits", is_flag=True, help="The scores are outputs before the softmax, which is applied.")
@click.option(
    "--modality", default="rgb", show_default=True, type=click.Choice(("rgb", "flow", "rgb+flow")), help="Its input."
)
@group_option
@group_pattern_option
@overwrite_option
def import_predictions_command(
    file: Path, out: Path, label: str | None, group: str, group_pattern: str, **options: Any
) -> None:
    """Make a run of the scores of another program in FILE, without its network (for weights: `sth import`).

    FILE is a CSV, Parquet, JSON (also an object a line), .npy or .npz file, or the pickle that MMAction2's --dump
    writes, which is read without executing anything. It has a row for each clip: a path, a label if it is known, and a
    column score_CLASS for each class, a list of scores, or a prediction and its confidence.
    """
    from analysis.runs.importing import ImportOptions, import_predictions
    from sth_core.datasets.table import Annotation

    annotation = Annotation(group=group, group_pattern=group_pattern)
    annotation = replace(annotation, label=label) if label else annotation
    asked = ImportOptions(annotation=annotation, command=command_line(), notify=notify, **options)
    done = import_predictions(file, out, asked)
    accuracy = "no clip has a label" if math.isnan(done.accuracy) else f"accuracy {done.accuracy:.3f}"
    over = f" over {counted(done.labelled, 'clip')}" if done.labelled else ""
    unscored = f"; {done.failures:,} have scores that are not finite" if done.failures else ""
    say(f"{counted(done.clips, 'clip')}{unscored}; {accuracy}{over}; run: {out}")
