"""`sth benchmark`: measurements, side by side on this machine."""

import sys
from importlib import import_module
from pathlib import Path

import click

from sth_core.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[2]
NEEDS_REPOSITORY = "Benchmarks need the repository: they are not part of the installed package."


class Benchmarks(click.Group):
    """One command for each module of the repository's benchmarks/, imported when it is used."""

    def list_commands(self, context: click.Context) -> list[str]:
        files = (REPOSITORY / "benchmarks").glob("*.py") if (REPOSITORY / "pyproject.toml").is_file() else ()
        return sorted(file.stem for file in files if "\ndef main(" in file.read_text(encoding="utf-8"))

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if not (names := self.list_commands(context)):
            raise UserError(
                "benchmarks are not part of the installed package: clone the repository, run `make setup` there, and "
                "use its .venv/bin/sth"
            )
        if name not in names:
            return None
        if str(REPOSITORY) not in sys.path:
            sys.path.append(str(REPOSITORY))
        command: click.Command = import_module(f"benchmarks.{name}").main
        command.epilog = NEEDS_REPOSITORY
        return command


@click.group("benchmark", cls=Benchmarks, epilog=NEEDS_REPOSITORY)
def benchmark_command() -> None:
    """Measure speed, memory and quality, side by side on this machine."""
