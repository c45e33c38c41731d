"""Whether the network waits for its clips: training and evaluation from disk and from memory.

\b
    sth benchmark training                               a small network and ResNet-50, on clips that it makes
    sth benchmark training --clips FOLDER RECIPE ...     of your own, any number of recipes
    sth benchmark training --steps 1000                  resident memory over so many steps, too

Each row is a source of clips: memory (the same batches again and again, the upper bound), clips that were decoded once
and are kept, and files that are read in each epoch. They take turns of some steps, so that a slow moment of the machine
affects all; the table shows the median.
"""

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
import pandas as pd
import torch

from benchmarks.clips import CODECS, encode, scene
from benchmarks.measuring import resident
from sth_core.datasets.clips import EvaluationClips, TrainClips
from sth_core.datasets.table import read_dataset
from sth_core.distributed import DistributedContext
from sth_core.errors import UserError
from sth_core.evaluation import run_over
from sth_core.memory import keep_freed_memory
from sth_core.network import channels_last, pick_device
from sth_core.optimisation import optimiser_of, set_train
from sth_core.recipe import Recipe, build_model, load_recipe
from sth_core.trainer import Batch, Trainer
from sth_core.training_state import TrainingState
from sth_core.video.transforms import normalise
from workbench.cli.options import PATH

DEFAULT = (Path("ut_interaction"), Path("something_v1_8"))
WARM_UP = 2  # steps of a turn that are not measured: their clips were read ahead during the turns of others
MEMORY, KEPT, DISK = "memory", "clips kept", "files, read anew"


@click.command(help=__doc__)
@click.argument("recipes", nargs=-1, type=PATH)
@click.option("--clips", "folder", type=PATH, help="A dataset's folder, whose labels stand where the recipes say.")
@click.option("--count", default=32, show_default=True, type=click.IntRange(4), help="Clips to make.")
@click.option("--batch", default=8, show_default=True, type=click.IntRange(1))
@click.option("--turn", default=6, show_default=True, type=click.IntRange(1), help="Steps of a turn.")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1))
@click.option("--steps", default=0, show_default=True, help="Steps over which to look at the resident memory.")
@click.option("--device", default="auto", show_default=True)
@click.option("--set", "changes", multiple=True, metavar="SECTION.KEY=VALUE", help="Change a value of each recipe.")
def main(
    recipes: tuple[Path, ...],
    folder: Path | None,
    count: int,
    batch: int,
    turn: int,
    rounds: int,
    steps: int,
    device: str,
    changes: tuple[str, ...],
) -> None:
    keep_freed_memory()
    where = pick_device(device)
    changes = (*changes, f"optimisation.batch_size={batch}", "start.imagenet=false")
    if folder is None:
        changes = (*changes, 'data.format="folders"', 'data.group=""', "data.held_out=[]")
    with TemporaryDirectory() as temporary:
        data = folder or make_dataset(Path(temporary), count)
        name = torch.cuda.get_device_name(where) if where.type == "cuda" else f"{torch.get_num_threads()} threads"
        print(
            f"\nbatches of {batch}, {where.type} ({platform.machine()}, {name}, {os.cpu_count()} cores), "
            f"torch {torch.__version__}, median of {rounds} turns of {turn} steps\n"
        )
        print("| recipe | network | fed from | training, clips/s | of memory | evaluation, clips/s | of memory |")
        print("|---|---|---|---|---|---|---|")
        for path in recipes or DEFAULT:
            recipe = load_recipe(path, changes)
            bench = TrainingBench(recipe, read_dataset(data, recipe.data), where)
            training = take_turns({kind: bench.training(kind, turn) for kind in (MEMORY, KEPT, DISK)}, rounds)
            testing = take_turns({kind: bench.testing(kind, turn) for kind in (MEMORY, DISK)}, rounds)
            for kind, rate in training.items():
                tested = f"{testing[kind]:.1f} | {testing[kind] / testing[MEMORY]:.2f}" if kind in testing else "- | -"
                p, m = recipe.preprocessing, recipe.model
                network = f"{m['backbone']} {m.get('conv', 'sth')}, {p.frames} x {p.crop}"
                print(f"| {path.stem} | {network} | {kind} | {rate:.1f} | {rate / training[MEMORY]:.2f} | {tested} |")
        if steps:
            print_memory(load_recipe((recipes or DEFAULT)[0], changes), data, where, steps)


def make_dataset(folder: Path, count: int) -> Path:
    """H.264 clips of 340 x 256, three quarters of them to train on, in two arbitrary classes."""
    suffix, codec, options = CODECS["H.264, mp4"]
    for i in range(count):
        print(f"making clip {i + 1}/{count}", file=sys.stderr)
        place = folder / ("val" if i % 4 == 3 else "train") / "ab"[i // 4 % 2]
        place.mkdir(parents=True, exist_ok=True)
        encode(place / f"{i}{suffix}", list(scene(120, seed=i)), codec, options)
    return folder


class TrainingBench:
    """A network, its optimiser and its clips.

    `training` and `testing` return functions that measure one turn, in clips/s.
    """

    def __init__(self, recipe: Recipe, table: pd.DataFrame, device: torch.device) -> None:
        self.recipe, self.settings = recipe, recipe.optimisation
        self.distributed = DistributedContext(0, 1, device)
        train, val = (table[(table["split"] == split) & (table["problem"] == "")] for split in ("train", "val"))
        if len(train) < self.settings.batch_size or val.empty:
            raise UserError(
                f"needs at least {self.settings.batch_size} clips to train on and one to test with, "
                f"has {len(train)} and {len(val)}"
            )
        classes = sorted(set(train["label"]))
        torch.manual_seed(0)
        model = channels_last(build_model(recipe, len(classes)).to(device))
        scaler = torch.amp.GradScaler(device.type, enabled=False)
        self.state = TrainingState(model, optimiser_of(model, self.settings), scaler)
        self.kept, self.read = (TrainClips(train, classes, recipe.preprocessing, recipe.augment) for _ in range(2))
        self.kept.load(memory=float("inf"))
        for clips in (self.kept, self.read):  # whole batches only
            clips.rows = clips.rows[: len(clips.rows) // self.settings.batch_size * self.settings.batch_size]
        self.tested = EvaluationClips(val, classes, recipe.preprocessing)
        self.views = [views for i in range(len(val)) if (views := self.tested[i].views) is not None]

    def training(self, kind: str, turn: int) -> Callable[[], float]:
        trainer = self.trainer(self.kept if kind != DISK else self.read)
        fixed = list(trainer.batches())

        def one_turn() -> float:
            set_train(self.state.model, self.settings.partial_bn)
            source = cycle(fixed) if kind == MEMORY else self.epochs(trainer)
            for done, (_, batch) in enumerate(islice(source, WARM_UP + turn)):
                if done == WARM_UP:
                    began = self.now()
                trainer.step(batch)
            return turn * self.settings.batch_size / (self.now() - began)

        return one_turn

    def trainer(self, clips: TrainClips) -> Trainer:
        return Trainer(self.settings, self.state, clips, self.tested, self.distributed)

    def epochs(self, trainer: Trainer) -> Iterator[tuple[np.ndarray, Batch]]:
        """Epoch after epoch, as in training."""
        while True:
            yield from trainer.batches()
            self.state.epoch += 1

    def testing(self, kind: str, turn: int) -> Callable[[], float]:
        model, p, size = self.state.model, self.recipe.preprocessing, self.settings.batch_size

        @torch.inference_mode()
        def from_memory() -> int:
            model.eval()
            for start in range(0, len(self.views), size):
                model.forward_with_attention(
                    normalise(torch.cat(self.views[start : start + size]).to(self.distributed.device), p)
                )
            return len(self.views)

        def from_disk() -> int:
            return sum(len(b.samples) for b in run_over(model, self.tested, p, size, os.cpu_count() or 1))

        def one_turn() -> float:
            began = self.now()
            return sum((from_memory if kind == MEMORY else from_disk)() for _ in range(2)) / (self.now() - began)

        return one_turn

    def now(self) -> float:
        if self.distributed.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def take_turns(ways: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """The median rate of each; the turns of a round follow each other."""
    rates: dict[str, list[float]] = {kind: [] for kind in ways}
    for i in range(rounds):
        print(f"round {i + 1}/{rounds}", file=sys.stderr)
        for kind, turn in ways.items():
            rates[kind].append(turn())
    return {kind: statistics.median(values) for kind, values in rates.items()}


def print_memory(recipe: Recipe, data: Path, device: torch.device, steps: int) -> None:
    """Resident memory while clips are read anew in each epoch."""
    bench = TrainingBench(recipe, read_dataset(data, recipe.data), device)
    bench.kept.kept.clear()
    marks = sorted({max(1, steps * share // 10) for share in (1, 2, 4, 6, 8, 10)})
    trainer = bench.trainer(bench.read)
    set_train(bench.state.model, bench.settings.partial_bn)
    print("\n| step | resident memory, MB |\n|---|---|")
    for step, (_, batch) in enumerate(islice(bench.epochs(trainer), steps), start=1):
        trainer.step(batch)
        if step in marks:
            print(f"| {step} | {resident() / 1e6:.0f} |")
