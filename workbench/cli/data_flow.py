"""`sth data flow`: a dataset's optical flow as images."""

from functools import partial
from pathlib import Path

import click

from workbench.cli.data import MOST_NAMED, annotation_options, read_table
from workbench.cli.options import PATH, command_line, overwrite_option
from workbench.cli.progress import notify, progress_bars

ALGORITHM_HELP = "tvl1 is what TSN used: tens of times slower on a CPU."


@click.command("flow")
@annotation_options
@click.option("-o", "--out", type=PATH, help="Where it goes; by default FOLDER/flow, where it is found.")
@click.option("--algorithm", default="dis", show_default=True, type=click.Choice(["dis", "tvl1"]), help=ALGORITHM_HELP)
@click.option("--bound", default=20.0, show_default=True, help="The largest motion kept, in pixels a frame.")
@click.option("--side", default=256, show_default=True, type=click.IntRange(16), help="Short side of the frames.")
@overwrite_option
def data_flow_command(
    folder: Path, out: Path | None, algorithm: str, bound: float, side: int, recipe: Path | None,
    changes: tuple[str, ...], workers: int | None, overwrite: bool,
) -> None:  # fmt: skip
    """Extract a dataset's optical flow, once, as JPEG images in TSN's layout.

    Training and recording find it in FOLDER/flow and do not compute it again. When it was stopped, the same command
    continues.
    """
    from sth_core.datasets.extraction import extract_flow
    from sth_core.datasets.media import FLOW_FOLDER
    from sth_core.errors import UserError
    from sth_core.training_log import write_failures
    from sth_core.video.flow import Extraction

    if bound <= 0:
        raise UserError(f"--bound must be above 0 pixels a frame, got {bound}")
    out = out or folder / FLOW_FOLDER
    table = read_table(folder, recipe, changes)
    with progress_bars() as show:
        failures = extract_flow(
            table, out, Extraction(algorithm, bound, side), workers, command=command_line(), overwrite=overwrite,
            progress=partial(show, "extracting flow"), notify=notify,
        )  # fmt: skip
    write_failures(out, failures)
    for clip_id, reason in list(failures.items())[:MOST_NAMED]:
        click.echo(f"not extracted: {clip_id}: {reason}")
    click.echo(f"flow of {len(table) - len(failures)} clips, {len(failures)} could not be read: {out}")
