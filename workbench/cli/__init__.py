"""The `sth` command. Each of its commands has a file in this folder, which is imported when the command is used."""

import os
import sys
from importlib import import_module
from typing import Any

import click

from sth_core.errors import UserError

COMMANDS = (
    "app", "benchmark", "cam", "complexity", "data", "demo", "evaluate", "figures", "fuse", "import", "intervene",
    "probe", "record", "results", "study", "train", "trust",
)  # fmt: skip


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
        """Print a user's mistake as one sentence and exit with 2 (with STH_DEBUG: raise it); with 130 after Ctrl-C."""
        try:
            return super().invoke(context)
        except (UserError, OSError) as error:
            if os.environ.get("STH_DEBUG"):
                raise
            click.echo(f"sth: {error}", err=True)
            sys.exit(2)
        except KeyboardInterrupt:
            click.echo("\nsth: stopped; the same command continues from here", err=True)
            sys.exit(130)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sth-workbench")
def main() -> None:
    """STH Workbench: spatio-temporal hybrid convolution, and tools to look inside video networks."""
