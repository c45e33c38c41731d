"""`sth train`: a network by a recipe."""

import json
import math
import shlex
from dataclasses import replace
from pathlib import Path

import click

from sth_core.values import PRECISIONS
from workbench.cli.kinds import FOLDER, RECIPE, NumberKind
from workbench.cli.options import (
    changes_option,
    data_option,
    device_option,
    group_option,
    group_pattern_option,
    overwrite_option,
    workers_option,
)
from workbench.cli.terminal import is_main_process, notify, print_unread, progress_bars, say
from workbench.cli.typed import command_line
from workbench.pace import report_training

SECONDS, GIGABYTES = NumberKind(0, 1e6), NumberKind(0, 1e6)


@click.command("train")
@click.argument("recipe", type=RECIPE)
@data_option
@click.option("-o", "--out", type=FOLDER, required=True, help="Where the network and its metrics go.")
@changes_option
@group_option
@group_pattern_option
@device_option
@click.option("--precision", type=click.Choice(PRECISIONS), help="As --set optimisation.precision=...")
@click.option(
    "--deterministic", is_flag=True, help="Two trainings with one seed give one network on a GPU too; slower there."
)
@click.option(
    "--save-every",
    default=300.0,
    show_default=True,
    type=SECONDS,
    help="Seconds between saves of the training's state.",
)
@click.option("--memory", type=GIGABYTES, help="GB for decoded clips; by default a quarter of the machine's.")
@workers_option
@click.option("--resume", is_flag=True, help="Continue the training in OUT with other epochs, learning_rate, ...")
@overwrite_option
def train_command(
    recipe: Path, data: Path, out: Path, changes: tuple[str, ...], group: str, group_pattern: str,
    device: str, precision: str | None, deterministic: bool, save_every: float, memory: float | None,
    workers: int | None, resume: bool, overwrite: bool,
) -> None:  # fmt: skip
    """Train a network by a RECIPE: a TOML file, or the name of a shipped one (own_videos, ...).

    When it was stopped, the same command continues from the last saved state and ends with the same network. A
    training is never overwritten by another: --resume continues it with other settings of [optimisation], --overwrite
    moves it aside. On several GPUs or machines: torchrun ... --no-python sth train ...
    """
    from analysis.report.model_card import write_model_card
    from analysis.report.training_curves import write_training_curves
    from analysis.runs.caveats import split_caveat
    from sth_core.memory import keep_freed_memory
    from sth_core.recipe import load_recipe
    from sth_core.training import train
    from workbench.training_data import open_training_data

    keep_freed_memory()
    given: dict[str, str | None] = {
        "data.group": group and json.dumps(group),
        "data.group_pattern": group_pattern and json.dumps(group_pattern),
        "optimisation.precision": precision,
        "optimisation.deterministic": "true" if deterministic else "",
    }
    changes += tuple(f"{key}={value}" for key, value in given.items() if value)
    loaded = load_recipe(recipe, changes)
    annotation, dataset = open_training_data(recipe, loaded.data, data)
    loaded = replace(loaded, data=annotation)
    notify(dataset.found.sentence)
    with progress_bars() as show:
        report = report_training(show, "reading clips", "training")
        trained = train(
            loaded, dataset.clips, out, device, report, save_every=save_every, resume=resume, overwrite=overwrite,
            memory=memory * 1e9 if memory is not None else None, workers=workers, command=command_line(), notify=notify,
            found=dataset.found,
        )  # fmt: skip
    if not is_main_process():
        return
    accuracy = f"accuracy {trained.accuracy:.3f} on {trained.clips} held-out clips"
    if math.isnan(trained.accuracy):
        accuracy = "no accuracy: no held-out clip has a label that a training clip has"
    say(f"{accuracy}; network: {trained.checkpoint}")
    found = dataset.found
    if caveat := split_caveat({"split_from": found.how_split, "groups_from": found.group_source}):
        say(caveat)
    say(f"curves: {write_training_curves(out / 'metrics.csv')}")
    say(f"model card: {write_model_card(trained.checkpoint, command=without_paths(recipe, changes))}")
    print_unread(trained.failures)


def without_paths(recipe: Path, changes: tuple[str, ...]) -> str:
    """The command for a card, which others read: it names no folder of this machine."""
    words = ["sth", "train", recipe.name, *(word for change in changes for word in ("--set", change))]
    return f"{shlex.join(words)} --data DATA -o OUT"
