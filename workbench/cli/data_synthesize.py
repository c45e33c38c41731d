"""`sth data synthesize`: the synthetic set."""

from functools import partial
from pathlib import Path

import click

from workbench.cli.data import workers_option
from workbench.cli.options import PATH
from workbench.cli.progress import progress_bars


@click.command("synthesize")
@click.argument("folder", type=PATH)
@click.option("--clips", default=240, show_default=True, type=click.IntRange(1), help="How many clips.")
@click.option("--seed", default=1, show_default=True, help="The same seed gives the same files.")
@click.option("--split", default="val", show_default=True, type=click.Choice(["train", "val", "test"]))
@workers_option
def data_synthesize_command(folder: Path, clips: int, seed: int, split: str, workers: int | None) -> None:
    """Write the synthetic set: H.264 clips, each with a motion and an appearance label."""
    from sth_core.datasets.synthetic import synthesize

    with progress_bars() as show:
        manifest = synthesize(folder, clips, seed, split, workers, partial(show, "making clips"))
    click.echo(f"{clips} clips and their labels: {manifest}")
