"""`sth complexity`: parameters and multiply-adds."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from sth_core.errors import UserError
from workbench.cli.kinds import FILE, MANY, PATH
from workbench.cli.options import changes_option
from workbench.cli.terminal import print_shown, print_table, say

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = {
    "network": "network",
    "paper_gflops": "GFLOPs: paper",
    "gflops": "ours",
    "paper_parameters_m": "parameters (M): paper",
    "parameters_m": "ours",
    "paper_top1": "top-1",
    "paper_videos_per_second": "speed",
    "remark": "note",
}
TITLES = {
    "6": "the share p of temporal kernels",
    "7": "spatio-temporal convolutions",
    "8": "dilation",
    "9": "inference speed",
}


@click.command("complexity")
@click.argument("network", type=PATH, required=False)
@changes_option
@click.option("--classes", default=174, show_default=True, type=click.IntRange(1, MANY), help="Of a recipe's network.")
@click.option("--csv", "file", type=FILE, help="Write the table to this file too.")
def complexity_command(network: Path | None, changes: tuple[str, ...], classes: int, file: Path | None) -> None:
    """Count parameters and multiply-adds: the paper's Tables 6 to 9 beside ours, or NETWORK's layers.

    NETWORK is a checkpoint (.safetensors), a recipe (.toml) or the name of a shipped recipe.
    """
    from sth_core.files import write_csv
    from sth_core.outputs import refuse_replacing, writing_file

    if network is None and changes:
        raise UserError("--set changes a recipe: name one, as in sth complexity ut_interaction --set ...")
    refuse_replacing([("--csv", file, ".csv")], [network])
    table = print_layers(network, changes, classes) if network else print_paper_tables()
    if file:
        with writing_file(file):
            write_csv(file, table)
        say(f"table: {file}")


def print_paper_tables() -> "pd.DataFrame":
    """Print Tables 6 to 9, and each remark once below them; a row for each of the paper's: its numbers and ours."""
    import pandas as pd

    from sth_core.complexity import compare_with_paper

    table = pd.DataFrame(compare_with_paper())
    notes = list(dict.fromkeys(table["remark"]))
    for number, some in table.groupby("table"):
        shown = Table(title=f"Table {number}: {TITLES[str(number)]}", title_justify="left")
        some = some.drop(columns=["table", "paper_videos_per_second"] if number != "9" else "table")
        for column in (name for key, name in COLUMNS.items() if key in some):
            shown.add_column(column, justify="left" if column == "network" else "right")
        for row in some.itertuples(index=False):
            shown.add_row(*row[:-1], str(notes.index(row.remark) + 1))
        print_shown(shown)
    for i, note in enumerate(notes, 1):
        say(f"{i:2d}  {note}")
    say(
        "ResNet-50, 174 classes, 224 x 224 pixels, one clip; 8 frames unless the row names another number. Top-1: the "
        "paper's, %, on Something-Something V1. Speed: the paper's, videos a second on a GTX 1080TI, batches of 16. "
        "Three crops are of 224 x 224 pixels in the paper's counts; here they have the whole height (256 x 256), and "
        "cost 1.31 times as much."
    )
    return table


def print_layers(network: Path, changes: tuple[str, ...], classes: int) -> "pd.DataFrame":
    """Print the layers of a checkpoint's or a recipe's network and their total; a row for each layer."""
    import pandas as pd
    import torch

    from sth_core.checkpoint import load_checkpoint
    from sth_core.complexity import layer_costs, total
    from sth_core.network import VideoNetwork
    from sth_core.recipe import build_model, load_recipe

    if network.suffix != ".safetensors":
        recipe = load_recipe(network, changes)
        with torch.device("meta"):  # only its config is wanted
            config = build_model(recipe, classes, str(network)).config
        side = recipe.preprocessing.crop
    else:
        if changes:
            raise UserError("--set changes a recipe; a checkpoint's network cannot be changed")
        checkpoint = load_checkpoint(network)
        assert isinstance(checkpoint.model, VideoNetwork)  # a file has no other
        config, side = checkpoint.model.config, checkpoint.preprocessing.crop
    try:
        costs = layer_costs(config, side)
    except RuntimeError as error:
        raise UserError(f"{network}: a crop of {side} x {side} pixels is too small for a {config.backbone}") from error
    table = pd.DataFrame(costs).rename(columns={"name": "layer", "multiply_adds": "multiply-adds"})
    table["output"] = [" x ".join(map(str, shape)) for shape in table["output"]]
    print_table(table.columns, table.itertuples(index=False))
    gflops, parameters = total(costs)
    say(
        f"{gflops:.2f} G multiply-adds, {parameters:.2f} M parameters for a clip of {config.frames} frames "
        f"of {side} x {side} pixels"
    )
    return table
