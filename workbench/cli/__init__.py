"""The `sth` command. Each of its commands has a file in this folder, which is imported when the command is used."""

import os
import signal
import sys
from importlib import import_module
from typing import Any

import click

from sth_core.errors import UserError
from sth_core.stopping import REQUEST, hear_signals, stop_pools, stop_requested

COMMANDS = (
    "app", "benchmark", "cam", "complexity", "data", "demo", "evaluate", "figures", "fuse", "import", "intervene",
    "probe", "record", "results", "study", "train", "trust",
)  # fmt: skip
RESUMED = ("data", "demo", "evaluate", "intervene", "probe", "record", "study", "train", "trust")


class LazyGroup(click.Group):
    """A group whose command NAME is `NAME_command` of workbench/cli/NAME.py."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        file = "import_weights" if name == "import" else name  # which is a Python keyword
        command: click.Command = getattr(import_module(f"workbench.cli.{file}"), f"{file}_command")
        return command

    def invoke(self, context: click.Context) -> Any:
        """Print a user's mistake as one sentence and exit with 2 (with STH_DEBUG: raise it).

        After Ctrl-C exit with 130, after SIGTERM with 143.
        """
        with hear_signals(say_stopping, ends_process=True):
            try:
                return super().invoke(context)
            except (Exception, KeyboardInterrupt) as error:
                if stop_requested() or isinstance(error, KeyboardInterrupt):  # which a library may have replaced
                    hint = "; the same command continues from here" if context.invoked_subcommand in RESUMED else ""
                    click.echo(f"sth: stopped{hint}", err=True)
                    sys.exit(128 + (REQUEST.number or signal.SIGINT))
                if not isinstance(error, UserError | OSError) or os.environ.get("STH_DEBUG"):
                    raise
                click.echo(f"sth: {error}", err=True)
                sys.exit(2)


def say_stopping() -> None:
    """Said as soon as the signal comes; what runs may need a moment to end."""
    if os.environ.get("RANK", "0") == "0":
        click.echo("\nsth: stopping ... (a second Ctrl-C ends it at once)", err=True)
    stop_pools()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sth-workbench")
def main() -> None:
    """STH Workbench: spatio-temporal hybrid convolution, and tools to look inside video networks."""
