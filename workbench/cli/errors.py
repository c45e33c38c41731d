"""A user's mistake is one sentence on stderr and exit code 2, never a traceback."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from sth_core.errors import UserError


@contextmanager
def handle_errors() -> Iterator[None]:
    """Print a UserError or OSError of the block as a sentence and exit with 2; after Ctrl-C exit with 130.

    With STH_DEBUG in the environment the error is raised, for its traceback.
    """
    try:
        yield
    except (UserError, OSError) as error:
        if os.environ.get("STH_DEBUG"):
            raise
        click.echo(f"sth: {error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        click.echo("\nsth: stopped; the same command continues from here", err=True)
        sys.exit(130)
