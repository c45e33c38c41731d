"""`sth probe`: does a network need the order of time?"""

import shlex
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import click

from workbench.cli.options import FOLDER, friendly, over_a_dataset
from workbench.cli.progress import console, progress_bars


@click.command()
@over_a_dataset
@click.option("-o", "--out", "run", type=FOLDER, required=True, help="The run directory; recorded if it is not there.")
@click.option("--label", help="The manifest's column of labels; by default the one trained on.")
@click.option("--shuffles", default=3, show_default=True, type=click.IntRange(1), help="Random orders of each clip.")
@click.option("--batch-size", default=16, show_default=True, type=click.IntRange(1), help="Views at once.")
@friendly
def probe(
    checkpoint: Path, folder: Path, run: Path, split: str, label: str | None, shuffles: int, device: str,
    batch_size: int, workers: int,
) -> None:  # fmt: skip
    """See whether a network needs the order of time; writes one page with what each clip becomes.

    Each clip is played backward, shuffled, frozen, with frames dropped, sub-sampled, slow and fast; and is α_T high
    where order matters? Stopped at any moment, the same command goes on.
    """
    from rich.table import Table

    from analysis.experiments.probe_tables import probe_summary_sentence
    from analysis.experiments.probes import probe
    from analysis.report.probe_page import write_probe_page
    from analysis.runs.recording import recording
    from analysis.runs.run_directory import failures
    from sth_core.checkpoint import load_checkpoint

    annotation = replace(load_checkpoint(checkpoint).annotation, label=label) if label else None
    command = shlex.join(["sth", *sys.argv[1:]])
    with progress_bars() as show:
        opened = recording(
            checkpoint, folder, run, split, annotation, device, batch_size, workers, command,
            partial(show, f"recording {run.name}"),
        )  # fmt: skip
        what = f"probing {run.name}"
        unread = probe(opened, folder, device, batch_size, workers, shuffles, command, partial(show, what))
    unread = dict(failures(opened)[["clip_id", "reason"]].to_numpy()) | unread
    for clip_id, reason in unread.items():
        click.echo(f"not read: {clip_id}: {reason}")
    page, tables = write_probe_page(opened)
    shown = Table("probe", "clips", "accuracy", "change in points (95 %)", "p (Holm)")
    for row in tables["probes"].itertuples():
        change = "" if row.Index == 0 else f"{100 * row.change:+.1f} ({100 * row.low:+.1f} to {100 * row.high:+.1f})"
        shown.add_row(
            row.probe, str(row.n), f"{row.accuracy:.3f}", change, "" if row.Index == 0 else f"{row.p_holm:.2g}"
        )
    console.print(shown)
    click.echo(probe_summary_sentence(tables["agreement"]))
    click.echo(f"{opened.meta['clips']} clips, {len(unread)} of them unreadable; page: {page}")
