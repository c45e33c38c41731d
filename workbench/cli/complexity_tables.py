"""Tables of parameters and multiply-adds for people."""

from pathlib import Path

import pandas as pd
import torch
from rich.console import Console
from rich.table import Table

from sth_core.checkpoint import load_checkpoint
from sth_core.complexity import compare_with_paper, layer_costs, total
from sth_core.errors import UserError
from sth_core.recipe import build_model, load_recipe

TITLES = {
    "6": "the share p of temporal kernels",
    "7": "spatio-temporal convolutions",
    "8": "dilation",
    "9": "what runs how fast",
}


def paper_table() -> pd.DataFrame:
    """Tables 6 to 9: a row of the paper, what it printed, what ours counts, and how they agree."""
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


def print_paper_table(table: pd.DataFrame, console: Console) -> None:
    """Four tables, each remark once below them."""
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
    console.print("ResNet-50, 174 classes, 224 x 224 pixels, 8 frames where nothing else is said; one clip.")


def layer_table(network: Path, changes: tuple[str, ...], classes: int) -> tuple[pd.DataFrame, str]:
    """Each layer of a checkpoint's or a recipe's network, and the total as a sentence."""
    if network.suffix != ".safetensors":
        recipe = load_recipe(network, changes)
        with torch.device("meta"):  # only its config is wanted
            config = build_model(recipe, classes, str(network)).config
        side = recipe.preprocessing.crop
    else:
        if changes:
            raise UserError("--set changes a recipe; a checkpoint is what it is")
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
