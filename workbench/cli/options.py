"""Options that several commands have."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from analysis.runs.dataset_options import AUTO_BATCH, SPLIT_HELP, DatasetOptions
from sth_core.network_names import NetworkName
from sth_core.values import PRECISIONS
from workbench.cli.kinds import DEVICE, FILE, FOLDER, NETWORK, READERS, SEED, TEXT
from workbench.cli.terminal import Show, notify
from workbench.cli.typed import command_line

if TYPE_CHECKING:
    from sth_core.datasets.table import Annotation

Command = Callable[..., None]
LARGEST_BATCH = 65_536  # more fits no memory
SHARED = ("split", "device", "precision", "batch_size", "workers", "inside", "overwrite")  # fields of DatasetOptions
network_argument = click.argument("network", type=NETWORK)
network_options = (
    click.option("--weights", type=FILE, help="Other weights for the network: .safetensors, .pth."),
    click.option("--class-names", type=FILE, help="The names of its outputs: one a line, or JSON."),
)
data_option = click.option("--data", type=FOLDER, required=True, help="A dataset's folder.")
device_option = click.option(
    "--device",
    default="auto",
    show_default=True,
    type=DEVICE,
    help="cpu, cuda, cuda:1, ...; auto: a GPU if there is one.",
)
precision_option = click.option(
    "--precision", default="fp32", show_default=True, type=click.Choice(PRECISIONS),
    help="Of the network's arithmetic; on a GPU tf32, bf16 and fp16 are faster and less exact.",
)  # fmt: skip
changes_option = click.option(
    "--set", "changes", multiple=True, metavar="SECTION.KEY=VALUE", help="Change a value of the recipe."
)
overwrite_option = click.option(
    "--overwrite", is_flag=True, help="Move results of other work in the folder to .replaced-N there, and start anew."
)
group_pattern_option = click.option(
    "--group-pattern",
    default="",
    type=TEXT,
    metavar="REGEX",
    help="Finds a clip's group (its source video) in its path.",
)
group_option = click.option(
    "--group", default="", type=TEXT, metavar="COLUMN", help="The manifest's column of groups, such as source videos."
)
workers_option = click.option(
    "--workers", type=READERS, help="Processes (without a GPU: threads) that read clips; by default one for each core."
)
inside_option = click.option(
    "--inside", multiple=True, type=FOLDER, help="Read no video outside of these folders, links followed."
)
port_option = click.option("--port", default=8501, show_default=True, type=click.IntRange(1, 65535))
token_option = click.option(
    "--token/--no-token", default=True, help="With --no-token, every user of this machine (or network) can use the app."
)


def pop_network(values: dict[str, Any]) -> NetworkName:
    """The network of a command's `network_argument` and `network_options`."""
    more = {name: str(value) for name in ("weights", "class_names") if (value := values.pop(name))}
    found: NetworkName = replace(values.pop("network"), **more)
    return found


def seed_option(default: int, what: str) -> Callable[[Command], Command]:
    """--seed, whose help says `what` it decides."""
    return click.option("--seed", default=default, show_default=True, type=SEED, help=what)


class AutoBatchKind(click.IntRange):
    """A number of views, or "auto"."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return AUTO_BATCH if value == "auto" else super().convert(value, param, ctx)


@dataclass(frozen=True)
class DatasetArguments:
    """A network over a split of a dataset: the argument and the options that all such commands have."""

    network: NetworkName
    data: Path
    out: Path
    options: DatasetOptions
    label: str | None = None  # a column of the manifest; None: the one that the network was trained on
    group: str = ""  # a column of the manifest; empty: the one that the network was trained on
    group_pattern: str = ""

    def reporting(self, show: Show, what: str, unit: str = "clip") -> DatasetOptions:
        """The options, with progress shown as that of `what`, in items called `unit`."""
        return replace(self.options, progress=partial(show, what, unit=unit))

    @property
    def annotation(self) -> "Annotation | None":
        """The checkpoint's annotation with the label and groups that were asked for; None if none were."""
        from sth_core.open_network import open_network

        wanted = {key: value for key in ("label", "group", "group_pattern") if (value := getattr(self, key))}
        return replace(open_network(self.network).annotation, **wanted) if wanted else None


def dataset_options(
    *,
    out: str,
    out_suffix: str = "",
    batch: int = 8,
    smallest: int = 1,
    batch_of: str = "Views",
    labelled: bool = True,
    auto_batch: bool = False,
) -> Callable[[Command], Command]:
    """Gives a command the argument NETWORK and the options of `DatasetArguments`, as its argument `dataset`.

    `out` is the help of --out, which is required without an `out_suffix`; with one the default is the network's
    name and that suffix. Without `labelled` there is no --label; with `auto_batch`, --batch-size takes "auto".
    """
    batch_help = f"{batch_of} at once" + ("; auto: the most that fit into the GPU's memory." if auto_batch else ".")
    sizes = (AutoBatchKind if auto_batch else click.IntRange)(smallest, LARGEST_BATCH)
    options = [
        network_argument,
        *network_options,
        data_option,
        click.option("--split", default="", type=TEXT, help=SPLIT_HELP),
        device_option,
        precision_option,
        workers_option,
        click.option("-o", "--out", type=FOLDER, required=not out_suffix, help=out),
        click.option(
            "--batch-size",
            default=batch,
            show_default=True,
            type=sizes,
            help=batch_help,
        ),
        inside_option,
        overwrite_option,
    ]
    if labelled:
        options.append(
            click.option("--label", type=TEXT, help="The manifest's column of labels; by default the one trained on.")
        )
        options += [group_option, group_pattern_option]

    def decorate(command: Command) -> Command:
        @wraps(command)
        def run(data: Path, out: Path | None, **values: Any) -> None:
            shared = {name: values.pop(name) for name in SHARED}
            network = pop_network(values)
            out = out or Path(f"{network.stem}{out_suffix}")
            options = DatasetOptions(**shared, command=command_line(out=out), notify=notify)
            asked = {name: values.pop(name) for name in ("label", "group", "group_pattern") if name in values}
            command(dataset=DatasetArguments(network, data, out, options, **asked), **values)

        for option in reversed(options):
            run = option(run)
        return run

    return decorate
