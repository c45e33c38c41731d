"""`sth evaluate`: a network's accuracy by the paper's protocols."""

import click

from workbench.cli.options import DatasetArguments
from workbench.cli.record import record_dataset, view_options


@click.command("evaluate")
@view_options
def evaluate_command(dataset: DatasetArguments, clips: int, crops: str) -> None:
    """Evaluate a network by the paper's protocols: 1, 2 or 10 clips of a video, 1, 3 or 10 crops.

    The run directory keeps the scores of each view.
    """
    record_dataset(dataset, clips, int(crops), with_attention=False)
