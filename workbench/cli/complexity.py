"""`sth complexity`: parameters and multiply-adds."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from sth_core.errors import UserError
from workbench.cli.options import PATH, changes_option
from workbench.cli.terminal import console, print_frame

if TYPE_CHECKING:
    import pandas as pd

TITLES = {
    "6": "the share p of temporal kernels",
    "7": "spatio-temporal convolutions",
    "8": "dilation",
    "9": "inference speed",
}


@click.command("complexity")
@click.argument("network", type=PATH, required=False)
@changes_option
@click.option("--classes", default=174, show_default=True, type=click.IntRange(1), help="Of a recipe's network.")
@click.option("--csv", "file", type=PATH, help="Write the table to this file too.")
def complexity_command(network: Path | None, changes: tuple[str, ...], classes: int, file: Path | None) -> None:
    """Count parameters and multiply-adds: the paper's Tables 6 to 9 beside ours, or NETWORK's layers.

    NETWORK is a checkpoint (.safetensors), a recipe (.toml) or the name of a shipped recipe.
    """
    from sth_core.files import write_csv

    if network is None:
        if changes:
            raise UserError("--set changes a recipe: name one, as in sth complexity ut_interaction --set ...")
        table = paper_table()
        print_paper_table(table)
    else:
        table, total = layer_table(network, changes, classes)
        print_frame(table)
        click.echo(total)
    if file:
        write_csv(file, table)
        click.echo(f"table: {file}")


def paper_table() -> "pd.DataFrame":
    """Tables 6 to 9: for each row of the paper its numbers, ours, and how they agree."""
    import pandas as pd

    from sth_core.complexity import compare_with_paper

    rows = [
        {
            "table": c.row.table,
            "network": c.row.label,
            "paper_gflops": c.row.gflops,
            "gflops": "-" if c.gflops is None else f"{c.gflops:.2f}",
            "paper_parameters_m": c.row.parameters,
            "parameters_m": "-" if c.parameters is None else f"{c.parameters:.2f}",
            "remark": c.remark,
        }
        for c in compare_with_paper()
    ]
    return pd.DataFrame(rows)


def print_paper_table(table: "pd.DataFrame") -> None:
    """Print four tables, and each remark once below them."""
    notes = list(dict.fromkeys(table["remark"]))
    for number, rows in table.groupby("table"):
        shown = Table(title=f"Table {number}: {TITLES[str(number)]}", title_justify="left")
        for column in ("network", "GFLOPs: paper", "ours", "parameters (M): paper", "ours", "note"):
            shown.add_column(column, justify="left" if column == "network" else "right")
        for row in rows.itertuples(index=False):
            note = str(notes.index(row.remark) + 1)
            shown.add_row(row.network, row.paper_gflops, row.gflops, row.paper_parameters_m, row.parameters_m, note)
        console.print(shown)
    for i, note in enumerate(notes, 1):
        console.print(f"{i:2d}  {note}", highlight=False)
    console.print("ResNet-50, 174 classes, 224 x 224 pixels, one clip; 8 frames unless the row names another number.")


def layer_table(network: Path, changes: tuple[str, ...], classes: int) -> "tuple[pd.DataFrame, str]":
    """Each layer of a checkpoint's or a recipe's network, and the total as a sentence."""
    import pandas as pd
    import torch

    from sth_core.checkpoint import load_checkpoint
    from sth_core.complexity import layer_costs, total
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
        config, side = checkpoint.model.config, checkpoint.preprocessing.crop
    try:
        costs = layer_costs(config, side)
    except RuntimeError as error:
        raise UserError(f"{network}: a crop of {side} x {side} pixels is too small for a {config.backbone}") from error
    table = pd.DataFrame(
        {
            "layer": [c.name for c in costs],
            "kind": [c.kind for c in costs],
            "output": [" x ".join(map(str, c.output)) for c in costs],
            "parameters": [c.parameters for c in costs],
            "multiply-adds": [c.multiply_adds for c in costs],
        }
    )
    gflops, parameters = total(costs)
    return table, (
        f"{gflops:.2f} G multiply-adds, {parameters:.2f} M parameters for a clip of {config.frames} frames "
        f"of {side} x {side} pixels"
    )
