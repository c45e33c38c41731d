"""Whether the network waits for its clips: training and evaluation from disk and from memory.

\b
    sth benchmark training                               a small network and ResNet-50, on clips that it makes
    sth benchmark training --clips FOLDER RECIPE ...     of your own, any number of recipes
    sth benchmark training --steps 1000                  resident memory over so many steps, too

Each row is a source of clips: memory (the same batches again and again, the upper bound), clips that were decoded once
and are kept, and files that are read in each epoch. They take turns of some steps, so that a slow moment of the machine
affects all; the table shows the median.
"""

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
import pandas as pd
import torch

from benchmarks.clips import make_dataset
from benchmarks.measuring import machine, print_head, print_row, resident, seconds, take_turns
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
from workbench.cli.kinds import DEVICE, FOLDER, RECIPE

DEFAULT = (Path("ut_interaction"), Path("something_v1_8"))
WARM_UP = 2  # steps of a turn that are not measured: their clips were read ahead during the turns of others
MEMORY, KEPT, DISK = "memory", "clips kept", "files, read anew"


@click.command(help=__doc__)
@click.argument("recipes", nargs=-1, type=RECIPE)
@click.option("--clips", "folder", type=FOLDER, help="A dataset's folder, whose labels stand where the recipes say.")
@click.option("--count", default=32, show_default=True, type=click.IntRange(4), help="Clips to make.")
@click.option("--batch", default=8, show_default=True, type=click.IntRange(1))
@click.option("--turn", default=6, show_default=True, type=click.IntRange(1), help="Steps of a turn.")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1))
@click.option(
    "--steps",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    help="Steps over which to look at the resident memory.",
)
@click.option("--device", default="auto", show_default=True, type=DEVICE)
@click.option("--set", "changes", multiple=True, metavar="SECTION.KEY=VALUE", help="Change a value of each recipe.")
def main(
    recipes: tuple[Path, ...], folder: Path | None, count: int, batch: int, turn: int, rounds: int, steps: int,
    device: str, changes: tuple[str, ...],
) -> None:  # fmt: skip
    keep_freed_memory()
    where = pick_device(device)
    changes = (*changes, f"optimisation.batch_size={batch}", "start.imagenet=false")
    if folder is None:
        changes = (*changes, 'data.format="folders"', 'data.group=""', "data.held_out=[]")
    with TemporaryDirectory() as temporary:
        # Three quarters of the clips are to train on, in two arbitrary classes.
        data = folder or make_dataset(
            Path(temporary), count, 120, lambda i: f"{'val' if i % 4 == 3 else 'train'}/{'ab'[i // 4 % 2]}"
        )
        print(f"\nbatches of {batch}, {machine(str(where))}, median of {rounds} turns of {turn} steps\n")
        titles = ("training, clips/s", "of memory", "evaluation, clips/s", "of memory")
        print_head("recipe", "network", "fed from", *titles)
        for path in recipes or DEFAULT:
            recipe = load_recipe(path, changes)
            bench = TrainingBench(recipe, read_dataset(data, recipe.data), where)
            training = take_turns({kind: bench.training(kind, turn) for kind in (MEMORY, KEPT, DISK)}, rounds)
            testing = take_turns({kind: partial(bench.testing, kind) for kind in (MEMORY, DISK)}, rounds)
            p, m = recipe.preprocessing, recipe.model
            network = f"{m['backbone']} {m.get('conv', 'sth')}, {p.frames} x {p.crop}"
            for kind in training:
                rates = [(found[kind], found[kind] / found[MEMORY]) for found in (training, testing) if kind in found]
                cells = [f"{rate:.1f} | {share:.2f}" for rate, share in rates]
                print_row(path.stem, network, kind, *cells, *["- | -"] * (2 - len(cells)))
        if steps:
            print_memory(load_recipe((recipes or DEFAULT)[0], changes), data, where, steps)


class TrainingBench:
    """A network, its optimiser and its clips."""

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
        """A function that measures the clips/s of a turn of so many steps."""
        trainer = self.trainer(self.kept if kind != DISK else self.read)
        fixed = list(trainer.batches())

        def one_turn() -> float:
            set_train(self.state.model, self.settings.partial_bn)
            source = cycle(fixed) if kind == MEMORY else self.epochs(trainer)

            def steps(count: int) -> None:
                for _, batch in islice(source, count):
                    trainer.step(batch)

            steps(WARM_UP)
            return turn * self.settings.batch_size / seconds(partial(steps, turn), self.synchronize)

        return one_turn

    def trainer(self, clips: TrainClips) -> Trainer:
        return Trainer(self.settings, self.state, clips, self.tested, self.distributed)

    def epochs(self, trainer: Trainer) -> Iterator[tuple[np.ndarray, Batch]]:
        """Epoch after epoch, as in training."""
        while True:
            self.state.step = 0  # as all ways to get clips share the state, and each step counts
            yield from trainer.batches()
            self.state.epoch += 1

    def testing(self, kind: str) -> float:
        """The clips/s of an evaluation of all test clips, twice."""
        model, p, size = self.state.model, self.recipe.preprocessing, self.settings.batch_size

        @torch.inference_mode()
        def evaluate_twice() -> None:
            if kind == DISK:
                for _ in range(2):
                    deque(run_over(model, self.tested, p, size), maxlen=0)
                return
            model.eval()
            for start in 2 * list(range(0, len(self.views), size)):
                clips = torch.cat(self.views[start : start + size]).to(self.distributed.device)
                model.forward_with_attention(normalise(clips, p))

        return 2 * len(self.views) / seconds(evaluate_twice, self.synchronize)

    def synchronize(self) -> None:
        if self.distributed.device.type == "cuda":
            torch.cuda.synchronize()


def print_memory(recipe: Recipe, data: Path, device: torch.device, steps: int) -> None:
    """Resident memory while clips are read anew in each epoch."""
    bench = TrainingBench(recipe, read_dataset(data, recipe.data), device)
    bench.kept.kept.clear()
    marks = sorted({max(1, steps * share // 10) for share in (1, 2, 4, 6, 8, 10)})
    trainer = bench.trainer(bench.read)
    set_train(bench.state.model, bench.settings.partial_bn)
    print()
    print_head("step", "resident memory, MB")
    for step, (_, batch) in enumerate(islice(bench.epochs(trainer), steps), start=1):
        trainer.step(batch)
        if step in marks:
            print_row(step, f"{resident() / 1e6:.0f}")
