"""What all commands have in common: paths, and errors that are sentences."""

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
