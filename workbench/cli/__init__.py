"""The `sth` command. Each of its commands has a file in this folder, which is imported when the command is used."""

from importlib import import_module
from typing import Any

import click

from workbench.cli.errors import handle_errors

COMMANDS = (
    "app", "benchmark", "cam", "complexity", "data", "demo", "evaluate", "figures", "fuse", "import", "intervene",
    "probe", "record", "results", "study", "train", "trust",
)  # fmt: skip
DATA_COMMANDS = ("check", "flow", "synthesize")
FILES = {"import": "import_weights"}  # of a command whose name is a Python keyword


class LazyGroup(click.Group):
    """A group whose command NAME is `{file}_command` of workbench/cli/{file}.py, where file is `prefix` + NAME."""

    def __init__(self, *args: Any, names: tuple[str, ...] = COMMANDS, prefix: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.names, self.prefix = names, prefix

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted(self.names)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in self.names:
            return None
        file = self.prefix + FILES.get(name, name)
        command: click.Command = getattr(import_module(f"workbench.cli.{file}"), f"{file}_command")
        return command

    def invoke(self, context: click.Context) -> Any:
        with handle_errors():
            return super().invoke(context)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sth-workbench")
def main() -> None:
    """STH Workbench: spatio-temporal hybrid convolution, and tools to look inside video networks."""
