"""Whether the network waits for its clips: training and evaluation from disk and from memory.

\b
    sth benchmark training                               a small network and ResNet-50, on clips that it makes
    sth benchmark training --clips FOLDER RECIPE ...     of your own, any number of recipes
    sth benchmark training --steps 1000                  resident memory over so many steps, too
    sth benchmark training something_v1_8 --batch 32 --count 128 --passes 8 --rounds 3 --stored jpeg --stored mp4 \\
        --workers 4 --workers 16 --set optimisation.precision=bf16

Each row is a source of clips: memory (the same batches again and again, on a GPU already: the upper bound), clips that
were decoded once and are kept, and files that are read in each epoch, by each number of workers. They take turns of
some steps, so that a slow moment of the machine affects all; the table shows the median. With --workers a second table
shows what as many processes give that decode and do nothing else.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
import pandas as pd
import torch

from benchmarks.clips import decode_alone, make_dataset, make_frame_folders
from benchmarks.measuring import machine, print_head, print_row, resident, seconds, take_turns
from sth_core.datasets.clips import EvaluationClips, TrainClips
from sth_core.datasets.table import read_dataset
from sth_core.distributed import DistributedContext
from sth_core.errors import UserError
from sth_core.evaluation import run_over
from sth_core.memory import keep_freed_memory
from sth_core.network import channels_last, pick_device
from sth_core.optimisation import optimiser_of, set_train
from sth_core.precision import autocast
from sth_core.readers import Readers, pick_readers, reading_context
from sth_core.recipe import Recipe, build_model, load_recipe
from sth_core.staging import stack_on
from sth_core.trainer import Batch, Trainer
from sth_core.training_state import TrainingState
from sth_core.video.transforms import normalise
from workbench.cli.kinds import DEVICE, FOLDER, READERS, RECIPE

DEFAULT = (Path("ut_interaction"), Path("something_v1_8"))
STORED = ("mp4", "jpeg")
WARM_UP = 2  # steps of a turn that are not measured: their clips were read ahead during the turns of others
MEMORY, KEPT, DISK = "memory", "clips kept", "files, read anew"
MOST_EPOCHS = 100_000


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
@click.option(
    "--workers", "numbers", multiple=True, type=READERS, help="Workers that read clips; by default one a core."
)
@click.option("--stored", multiple=True, type=click.Choice(STORED), help="How the clips are stored.  [default: mp4]")
@click.option("--threads/--processes", default=None, help="What the workers are; by default as in training.")
@click.option("--passes", default=2, show_default=True, type=click.IntRange(1), help="Over the test clips, in a turn.")
@click.option("--device", default="auto", show_default=True, type=DEVICE)
@click.option("--set", "changes", multiple=True, metavar="SECTION.KEY=VALUE", help="Change a value of each recipe.")
def main(
    recipes: tuple[Path, ...], folder: Path | None, count: int, batch: int, turn: int, rounds: int, steps: int,
    numbers: tuple[int, ...], stored: tuple[str, ...], threads: bool | None, passes: int, device: str,
    changes: tuple[str, ...],
) -> None:  # fmt: skip
    keep_freed_memory()
    where = pick_device(device)
    changes = (*changes, f"optimisation.batch_size={batch}", "start.imagenet=false")
    changes += (f"optimisation.epochs={MOST_EPOCHS}",)
    if folder is None:
        changes = (*changes, 'data.format="folders"', 'data.group=""', "data.held_out=[]")
    with TemporaryDirectory() as temporary, ExitStack() as pools:
        data = {"": folder} if folder else made_datasets(Path(temporary), count, stored or STORED[:1])
        print(f"\nbatches of {batch}, {machine(str(where))}, median of {rounds} turns of {turn} steps\n")
        titles = ("training, clips/s", "of memory", "evaluation, clips/s", "of memory")
        print_head("recipe", "network", "fed from", *titles)
        for path in recipes or DEFAULT:
            recipe = load_recipe(path, changes)
            tables = {kind: read_dataset(place, recipe.data) for kind, place in data.items()}
            bench = TrainingBench(recipe, next(iter(tables.values())), where, passes)
            read = {}
            for kind, table in tables.items():
                for number in numbers or (None,):
                    readers = pools.enter_context(pick_readers(where, number, streams=2))
                    readers.processes = readers.processes if threads is None else not threads
                    name = f"{kind}, {readers.workers} workers".lstrip(", ") if numbers or stored else DISK
                    read[name] = (*bench.source(table), readers)
            ways = {name: bench.training(name, turn, *source) for name, source in read.items()}
            ways = {MEMORY: bench.training(MEMORY, turn), KEPT: bench.training(KEPT, turn)} | ways
            training = take_turns(ways, rounds)
            tested: dict[str, Callable[[], float]] = {MEMORY: bench.testing}
            tested |= {name: partial(bench.testing, *source) for name, source in read.items()}
            testing = take_turns(tested, rounds)
            p, m = recipe.preprocessing, recipe.model
            network = f"{m['backbone']} {m.get('conv', 'sth')}, {p.frames} x {p.crop}"
            for kind in training:
                rates = [(found[kind], found[kind] / found[MEMORY]) for found in (training, testing) if kind in found]
                cells = [f"{rate:.1f} | {share:.2f}" for rate, share in rates]
                print_row(path.stem, network, kind, *cells, *["- | -"] * (2 - len(cells)))
        if numbers:
            print_decoders(tables, numbers, recipe.preprocessing.frames)
        if steps:
            print_memory(load_recipe((recipes or DEFAULT)[0], changes), next(iter(data.values())), where, steps)


def made_datasets(folder: Path, count: int, stored: tuple[str, ...]) -> dict[str, Path]:
    """Three quarters of the clips are to train on, in two arbitrary classes."""
    place = ("train", "train", "train", "val")
    videos = make_dataset(folder / "mp4", count, 120, lambda i: f"{place[i % 4]}/{'ab'[i // 4 % 2]}")
    return {kind: videos if kind == "mp4" else make_frame_folders(videos, folder / kind) for kind in stored}


def print_decoders(tables: dict[str, pd.DataFrame], numbers: tuple[int, ...], frames: int) -> None:
    """How many clips a second processes decode that do nothing else."""
    print()
    print_head("clips", "processes that only decode", "clips/s")
    for kind, table in tables.items():
        paths = list(map(Path, table["path"]))
        for number in filter(None, numbers):
            with ProcessPoolExecutor(number, reading_context()) as pool:
                parts = [paths[i % len(paths) :] + paths[: i % len(paths)] for i in range(number)]
                decode = partial(decode_alone, frames=frames)
                deque(pool.map(decode, [part[:1] for part in parts for _ in range(2)]), maxlen=0)  # all have begun
                took = seconds(lambda: deque(pool.map(decode, parts), maxlen=0))  # noqa: B023
            print_row(kind or "files", number, f"{number * len(paths) / took:.1f}")


class TrainingBench:
    """A network, its optimiser and its clips."""

    def __init__(self, recipe: Recipe, table: pd.DataFrame, device: torch.device, passes: int = 2) -> None:
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
        self.classes, self.passes = classes, passes
        self.kept, self.tested = self.source(table)
        self.kept.load(memory=float("inf"))
        self.keep_whole_batches(self.kept)
        views = [views for i in range(len(val)) if (views := self.tested[i].views) is not None]
        size = self.settings.batch_size
        self.views = [stack_on(device, views[i : i + size]).flatten(0, 1) for i in range(0, len(views), size)]

    def source(self, table: pd.DataFrame) -> tuple[TrainClips, EvaluationClips]:
        """Whole batches to train on, and all clips to test with, some times over."""
        usable, recipe = table[table["problem"] == ""], self.recipe
        train, val = (usable[usable["split"] == split] for split in ("train", "val"))
        clips = TrainClips(train, self.classes, recipe.preprocessing, recipe.augment)
        self.keep_whole_batches(clips)
        tested = EvaluationClips(pd.concat([val] * self.passes), self.classes, recipe.preprocessing)
        return clips, tested

    def keep_whole_batches(self, clips: TrainClips) -> None:
        clips.rows = clips.rows[: len(clips.rows) // self.settings.batch_size * self.settings.batch_size]

    def training(
        self, kind: str, turn: int, clips: TrainClips | None = None, _: object = None, readers: Readers | None = None
    ) -> Callable[[], float]:
        """A function that measures the clips/s of a turn of so many steps."""
        trainer = self.trainer(clips or self.kept, readers)
        fixed = list(trainer.batches()) if kind == MEMORY else []

        def one_turn() -> float:
            set_train(self.state.model, self.settings.partial_bn)
            source = cycle(fixed) if kind == MEMORY else self.epochs(trainer)

            def steps(count: int) -> None:
                for _, batch in islice(source, count):
                    trainer.step(batch)

            steps(WARM_UP)
            took = seconds(partial(steps, turn), self.synchronize)
            trainer.close()
            return turn * self.settings.batch_size / took

        return one_turn

    def trainer(self, clips: TrainClips, readers: Readers | None = None) -> Trainer:
        readers = readers or pick_readers(self.distributed.device)
        return Trainer(self.settings, self.state, clips, self.tested, self.distributed, readers)

    def epochs(self, trainer: Trainer) -> Iterator[tuple[np.ndarray, Batch]]:
        """Epoch after epoch, as in training."""
        while True:
            self.state.step = 0  # as all ways to get clips share the state, and each step counts
            yield from trainer.batches()
            self.state.epoch += 1

    def testing(self, _: object = None, tested: EvaluationClips | None = None, readers: Readers | None = None) -> float:
        """The clips/s of an evaluation of all test clips, of those in memory by default."""
        model, p, size = self.state.model, self.recipe.preprocessing, self.settings.batch_size

        @torch.inference_mode()
        def evaluate() -> None:
            if tested:
                deque(run_over(model, tested, p, size, readers), maxlen=0)
                return
            model.eval()
            for _ in range(self.passes):
                for views in self.views:
                    model.forward_with_attention(normalise(views, p))

        with autocast(self.settings.precision, self.distributed.device):
            return self.passes * sum(map(len, self.views)) / seconds(evaluate, self.synchronize)

    def synchronize(self) -> None:
        if self.distributed.device.type == "cuda":
            torch.cuda.synchronize()


def print_memory(recipe: Recipe, data: Path, device: torch.device, steps: int) -> None:
    """Resident memory while clips are read anew in each epoch."""
    table = read_dataset(data, recipe.data)
    bench = TrainingBench(recipe, table, device)
    bench.kept.kept.clear()
    marks = sorted({max(1, steps * share // 10) for share in (1, 2, 4, 6, 8, 10)})
    trainer = bench.trainer(bench.source(table)[0])
    set_train(bench.state.model, bench.settings.partial_bn)
    print()
    print_head("step", "resident memory, MB")
    for step, (_, batch) in enumerate(islice(bench.epochs(trainer), steps), start=1):
        trainer.step(batch)
        if step in marks:
            print_row(step, f"{resident() / 1e6:.0f}")
