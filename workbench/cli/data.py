"""`sth data`: make, check and prepare datasets; each of its commands is in data_NAME.py."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from workbench.cli import DATA_COMMANDS, LazyGroup
from workbench.cli.options import PATH, Command

if TYPE_CHECKING:
    import pandas as pd

MOST_NAMED = 20  # clips that cannot be used, in the terminal
workers_option = click.option("--workers", type=click.IntRange(1), help="Processes; by default one for each core.")


@click.group("data", cls=LazyGroup, names=DATA_COMMANDS, prefix="data_")
def data_command() -> None:
    """Make, check and prepare datasets."""


def annotation_options(command: Command) -> Command:
    """The argument FOLDER, and options that say how it is annotated and by how many processes it is read."""
    for option in (
        workers_option,
        click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="A key of [data]: label, fold, ..."),
        click.option("--recipe", type=PATH, help="The recipe whose [data] says how to read the folder."),
        click.argument("folder", type=PATH),
    ):
        command = option(command)
    return command


def read_table(folder: Path, recipe: Path | None, changes: tuple[str, ...]) -> "pd.DataFrame":
    """The dataset's table of clips."""
    from sth_core.datasets.table import read_dataset
    from sth_core.recipe import load_annotation

    return read_dataset(folder, load_annotation(recipe, changes))
