"""What commands have in common: paths, options, and errors that are sentences."""

import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from sth_core.errors import UserError

FOLDER = click.Path(path_type=Path)


def friendly(command: Callable[..., Any]) -> Callable[..., Any]:
    """A user's mistake is one sentence on stderr and exit code 2, never a traceback."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except (UserError, OSError) as error:
            if os.environ.get("STH_DEBUG"):
                raise
            click.echo(f"sth: {error}", err=True)
            sys.exit(2)
        except KeyboardInterrupt:
            click.echo("\nsth: stopped; the same command goes on from here", err=True)
            sys.exit(130)

    return run


def over_a_dataset(command: Callable[..., None]) -> Callable[..., None]:
    """The argument and the options of whatever runs a network over a dataset."""
    for option in (
        click.option("--workers", default=2, show_default=True, type=click.IntRange(1), help="Threads that decode."),
        click.option("--device", default="auto", show_default=True),
        click.option("--split", default="val", show_default=True, help="Which clips."),
        click.option("--data", "folder", type=FOLDER, required=True, help="A dataset's folder."),
        click.argument("checkpoint", type=FOLDER),
    ):
        command = option(command)
    return command
