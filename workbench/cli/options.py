"""Options that several commands have, and the command as the user typed it."""

import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from analysis.runs.dataset_options import DatasetOptions
from workbench.cli.progress import notify

if TYPE_CHECKING:
    from sth_core.datasets.table import Annotation

Command = Callable[..., None]
PATH = click.Path(path_type=Path)
device_option = click.option(
    "--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, ...; auto: a GPU if there is one."
)
changes_option = click.option(
    "--set", "changes", multiple=True, metavar="SECTION.KEY=VALUE", help="Change a value of the recipe."
)
overwrite_option = click.option(
    "--overwrite", is_flag=True, help="Move results of other work in the folder to .replaced-N there, and start anew."
)
port_option = click.option("--port", default=8501, show_default=True, type=click.IntRange(1, 65535))


def command_line() -> str:
    """The command as typed, to be written beside its results."""
    return shlex.join(["sth", *sys.argv[1:]])


@dataclass(frozen=True)
class DatasetArguments:
    """A network over a split of a dataset: the argument and the options that all such commands have."""

    checkpoint: Path
    data: Path
    out: Path
    options: DatasetOptions
    label: str | None = None  # a column of the manifest; None: the one that the network was trained on

    def reporting(self, progress: Callable[[int, int], None]) -> DatasetOptions:
        """The options, with this progress."""
        return replace(self.options, progress=progress)

    @property
    def annotation(self) -> "Annotation | None":
        """The checkpoint's annotation with the label that was asked for; None if none was."""
        from sth_core.checkpoint import load_checkpoint

        return replace(load_checkpoint(self.checkpoint).annotation, label=self.label) if self.label else None


def dataset_options(
    *,
    out: str,
    out_suffix: str | None = None,
    batch_size: int = 8,
    smallest_batch: int = 1,
    batch_of: str = "Views",
    labelled: bool = True,
) -> Callable[[Command], Command]:
    """Gives a command the argument CHECKPOINT and the options of `DatasetArguments`, as its argument `dataset`.

    `out` is the help of --out, which is required without an `out_suffix`; with one the default is the checkpoint's
    name and that suffix. Without `labelled` there is no --label.
    """
    options = [
        click.argument("checkpoint", type=PATH),
        click.option("--data", type=PATH, required=True, help="A dataset's folder."),
        click.option("--split", default="val", show_default=True, help="Which clips."),
        device_option,
        click.option("--workers", default=2, show_default=True, type=click.IntRange(1), help="Threads that decode."),
        click.option("-o", "--out", type=PATH, required=out_suffix is None, help=out),
        click.option("--batch-size", default=batch_size, show_default=True, type=click.IntRange(smallest_batch),
                     help=f"{batch_of} at once."),
        overwrite_option,
    ]  # fmt: skip
    if labelled:
        options.append(click.option("--label", help="The manifest's column of labels; by default the one trained on."))

    def decorate(command: Command) -> Command:
        @wraps(command)
        def run(**values: Any) -> None:
            named = {field.name: values.pop(field.name) for field in fields(DatasetOptions) if field.name in values}
            options = DatasetOptions(**named, command=command_line(), notify=notify)
            given = {field.name: values.pop(field.name) for field in fields(DatasetArguments) if field.name in values}
            if given["out"] is None:
                given["out"] = Path(f"{given['checkpoint'].stem}{out_suffix}")
            command(dataset=DatasetArguments(**given, options=options), **values)

        for option in reversed(options):
            run = option(run)
        return run

    return decorate
