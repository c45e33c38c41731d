"""`sth fuse`: the mean of several networks' scores."""

from pathlib import Path

import click

from sth_core.datasets.media import counted
from workbench.cli.kinds import FOLDER, RUNS, NumberKind
from workbench.cli.options import overwrite_option
from workbench.cli.terminal import notify, say
from workbench.cli.typed import command_line


@click.command("fuse")
@click.argument("runs", nargs=-1, required=True, type=RUNS)
@click.option("-o", "--out", type=FOLDER, required=True, help="The run directory to write.")
@click.option(
    "--weight", "weights", multiple=True, type=NumberKind(0, 1e6), help="One for each run; by default all are equal."
)
@overwrite_option
def fuse_command(runs: tuple[Path, ...], out: Path, weights: tuple[float, ...], overwrite: bool) -> None:
    """Fuse RUNS of the same clips into one, by the weighted mean of their scores.

    Two streams (RGB and flow), or networks of 8 and of 16 frames (the paper's STH_En).
    """
    from analysis.runs.left_out import left_out_sentence
    from analysis.runs.run_directory import open_run, predictions
    from analysis.statistics.accuracy import summarize_accuracy
    from analysis.statistics.clusters import describe_interval
    from analysis.statistics.fusion import fuse

    opened = [open_run(run) for run in runs]
    shares = list(weights) or [1.0] * len(runs)
    fused = fuse(opened, shares, out, command=command_line(), overwrite=overwrite, notify=notify)
    classes = opened[0].meta["classes"]
    for run in (*opened, open_run(out)):
        top = summarize_accuracy(predictions(run), classes).iloc[0]
        interval = describe_interval(top["low"], top["high"], ".3f")
        say(f"{run.name}: top-1 {top['value']:.3f} ({interval}, {counted(top['n'], 'clip')})")
    for reason, clips in fused.left_out.items():
        say(left_out_sentence(reason, clips))
    say(f"{counted(fused.clips, 'clip')}; run: {out}")
