"""`sth import`: a checkpoint of somebody else's weights."""

from pathlib import Path

import click

from sth_core.errors import UserError
from workbench.cli.kinds import FILE, RECIPE
from workbench.cli.options import changes_option
from workbench.cli.terminal import notify, say


@click.command("import")
@click.argument("weights", type=FILE)
@click.argument("recipe", type=RECIPE)
@click.option("--classes", type=FILE, required=True, help="A text file, one class a line, in the network's order.")
@click.option("-o", "--out", type=FILE, required=True, help="The checkpoint to write (.safetensors).")
@click.option("--ema", is_flag=True, help="Take the weights' exponential moving average, where the file has both.")
@changes_option
def import_weights_command(
    weights: Path, recipe: Path, classes: Path, out: Path, ema: bool, changes: tuple[str, ...]
) -> None:
    """Make a checkpoint of the WEIGHTS file (.pth) of a 2D, TSN or TSM network; RECIPE describes the network.

    The file must hold tensors and plain values only: nothing that needs pickle is loaded.
    """
    from sth_core.checkpoint import save_checkpoint
    from sth_core.outputs import refuse_replacing, writing_file
    from sth_core.pretrained import load_2d_weights
    from sth_core.recipe import build_model, load_recipe
    from sth_core.weight_files import read_pth

    refuse_replacing([("-o", out, ".safetensors")], [weights, recipe, classes])
    if out.exists() and not is_imported(out):
        raise UserError(f"-o {out} exists, and `sth import` did not make it; choose another name")
    loaded = load_recipe(recipe, changes)
    try:
        names = [line.strip() for line in classes.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise UserError(f"{classes} is not UTF-8 text: {error}") from error
    if len(set(names)) != len(names) or not names:
        raise UserError(f"{classes} must name each class once, one a line; it has {len(names)} lines")
    model = build_model(loaded, len(names), str(recipe))
    done = load_2d_weights(model, read_pth(weights, averaged=ema, notify=notify), str(weights))
    facts = {"imported": weights.name} | ({"ema": True} if ema else {})
    with writing_file(out):
        save_checkpoint(out, model, names, loaded.preprocessing, loaded.data, facts)
    say(f"{len(done.taken)} tensors taken, {len(done.kept)} left at random; network: {out}")


def is_imported(file: Path) -> bool:
    """Whether `sth import` made this file, so that it can make it again."""
    from sth_core.checkpoint_metadata import read_facts

    try:
        return "imported" in read_facts(file).training
    except UserError:
        return False
