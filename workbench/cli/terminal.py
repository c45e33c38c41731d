"""What commands print: the terminal, tables, and which process of several prints."""

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    import pandas as pd

NO_TERMINAL = 120  # columns of a table that goes to a file
console = Console(highlight=False, width=None if sys.stdout.isatty() else NO_TERMINAL)


def is_main_process() -> bool:
    """Whether this process prints; under torchrun only the first does."""
    return int(os.environ.get("RANK", "0")) == 0


def print_frame(table: "pd.DataFrame") -> None:
    """Print a data frame; fractions with three digits."""
    shown = Table(*table.columns)
    for row in table.itertuples(index=False):
        shown.add_row(*(f"{value:.3f}" if isinstance(value, float) else str(value) for value in row))
    console.print(shown)


def print_unread(failures: Mapping[str, str]) -> None:
    """A line for each clip that could not be read: {clip_id: reason}."""
    for clip_id, reason in failures.items():
        click.echo(f"not read: {clip_id}: {reason}")
