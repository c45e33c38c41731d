"""`sth benchmark`: measurements, side by side on this machine."""

from importlib import import_module
from pathlib import Path

import click

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


class Benchmarks(click.Group):
    """One command for each module of benchmarks/, imported when it is used."""

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted(file.stem for file in BENCHMARKS.glob("*.py") if "def main(" in file.read_text(encoding="utf-8"))

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in self.list_commands(context):
            return None
        command: click.Command = import_module(f"benchmarks.{name}").main
        return command


@click.group("benchmark", cls=Benchmarks)
def benchmark_command() -> None:
    """Measure how fast and how good, side by side on this machine."""
