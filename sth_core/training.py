"""Training by a recipe, on one process or many, that can be interrupted at any moment and resumed.

OUT/model.safetensors       the network after the last epoch
OUT/best.safetensors        that of the epoch with the best accuracy on the split "val"
OUT/metrics.csv             a row for each epoch
OUT/tensorboard/            a point for each step
OUT/clips.csv               the clips, with label, split and size
OUT/failures.parquet        the clips that could not be read
OUT/training.json           what is trained on what, and its accuracy
OUT/state.pt                from which the same call continues
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from sth_core.checkpoint import broken_weights, save_checkpoint
from sth_core.datasets.clips import EvaluationClips, TrainClips
from sth_core.datasets.found import Found
from sth_core.distributed import distributed_context
from sth_core.errors import UserError, first_few
from sth_core.files import write_csv
from sth_core.network import VideoNetwork, channels_last
from sth_core.optimisation import optimiser_of, set_train
from sth_core.out_of_memory import saying_out_of_memory
from sth_core.precision import HALF, arithmetic, computing_facts, replaced_precision
from sth_core.pretrained import load_2d_weights, load_imagenet, start_from, without_classifier
from sth_core.readers import pick_readers, usable_cores
from sth_core.recipe import Recipe, Start, build_model
from sth_core.resumable import Json, no_report, read_earlier, working_on
from sth_core.shards import read_failures, write_failures
from sth_core.stopping import hear_signals, uninterrupted
from sth_core.trainer import NotFiniteStep, Trainer
from sth_core.training_board import Board, training_board
from sth_core.training_clips import training_clips, write_kept
from sth_core.training_state import (
    BEST,
    FINISHED,
    NETWORK,
    STATE,
    TrainingState,
    resume_state,
    training_work,
    type_problem,
)
from sth_core.weight_files import read_pth

MUCH, SECONDS_TO_JUDGE = 0.2, 30.0  # the share of a training's time, and its seconds, after which it is told to wait


@dataclass(frozen=True)
class Progress:
    """How far training is; `stage` is "reading" (clips) or "training" (steps)."""

    stage: str
    done: int
    total: int
    epoch: int = 0
    loss: float = math.nan
    accuracy: float = math.nan
    clips_per_second: float = math.nan
    waiting: float = 0.0  # the share of the epoch's time in which the network waited for clips


@dataclass(frozen=True)
class Trained:
    """A trained network's file, its accuracy on the held-out clips (nan without any whose label it knows), their
    number, and the clips that could not be read."""

    checkpoint: Path
    accuracy: float
    clips: int
    failures: dict[str, str]


def train(
    recipe: Recipe,
    table: pd.DataFrame,
    out: Path,
    device: str = "auto",
    progress: Callable[[Progress], None] = no_report,
    *,
    save_every: float = 300.0,
    memory: float | None = None,
    workers: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    command: str = "",
    notify: Callable[[str], None] = no_report,
    found: Found | None = None,
) -> Trained:
    """Train on the split "train" of a table of clips, evaluate on "val", write to `out`. `found` is what the dataset's
    reader found; of it the checkpoint keeps where the splits and groups come from.

    The state is saved every `save_every` seconds, after each epoch, and on SIGTERM and Ctrl-C. A folder with another
    training is refused, unless `overwrite` moves that aside, or `resume` continues it and only settings of ADJUSTABLE
    differ. `notify` gets a sentence about either, and about a training that was finished before.

    Clips are kept decoded if all fit into `memory` bytes (by default a quarter of the machine's), else read
    again in each epoch by `workers` (`pick_readers`). Under torchrun every process calls this with the same arguments.

    Raises UserError: a split without readable clips, another training in `out`, or numbers that are not finite.
    Raises Interrupted: stopped by SIGTERM or Ctrl-C, the state saved."""
    data = training_clips(table, found, recipe.start.file if recipe.start.checkpoint else None)
    classes = data.classes
    for note in data.notes:
        notify(note)
    settings = recipe.optimisation
    with (
        distributed_context(device) as distributed,
        hear_signals(),
        arithmetic(settings.precision, distributed.device, deterministic=settings.deterministic, tuned=True),
        ExitStack() as opened,
    ):
        if note := replaced_precision(settings.precision, distributed.device):
            notify(note)
        state = first_state(recipe, classes, distributed.device, notify)
        work = training_work(out, recipe, state.model, data)
        earlier = {} if overwrite else read_earlier(work, resume)
        if earlier.get("finished") and not work.differences(earlier) and (out / NETWORK).is_file():
            done = finished_training(out, earlier)
            notify(f"the training in {out} was finished before; nothing was done")
            return done
        resume_state(state, work, earlier, distributed.device, notify)
        clips = TrainClips(data.train, classes, recipe.preprocessing, recipe.augment)
        if not clips.load(lambda done, total: progress(Progress("reading", done, total)), memory):
            notify("the decoded clips would not fit into the memory that is for them: each epoch reads them again")
        refuse_without_clips(clips, len(clips.table) - len(clips.failures))
        val_clips = EvaluationClips(data.val, classes, recipe.preprocessing)
        readers = opened.enter_context(pick_readers(distributed.device, workers, streams=2))  # of training and test
        trainer = Trainer(settings, state, clips, val_clips, distributed, readers, notify=notify)
        if trainer.compiling.wanted:
            notify("the network is compiled at its first step (torch.compile), which may take two minutes")
        opened.callback(trainer.close)
        run = TrainingRun(recipe, trainer, out, data.facts, progress, save_every, notify)
        distributed.wait_for_all()  # all have read what is in the folder before one writes there
        folder: AbstractContextManager[Json] = nullcontext({})
        if distributed.is_main:
            facts = {"adjustments": state.adjustments, **data.sources}
            facts |= computing_facts(settings.precision, distributed.device) | {"compiled": str(trainer.compiling)}
            folder = working_on(work, facts, command=command, overwrite=overwrite, resume=resume, notify=notify)
        with folder as meta:
            if distributed.is_main:
                write_kept(out, data.kept)
            trained = run.to_the_end()
            share = None if math.isnan(trained.accuracy) else trained.accuracy
            meta |= {"val_accuracy": share, "val_clips": trained.clips, "compiled": str(trainer.compiling)}
            meta |= {"evaluation": trainer.evaluated} if trainer.evaluated else {}
        return trained


def finished_training(out: Path, described: Json) -> Trained:
    """What a training that was finished before left in `out`. Raises UserError: its files are damaged."""
    if problem := type_problem({name: described.get(name) for name in FINISHED}, FINISHED, "it"):
        raise UserError(f"{out / 'training.json'} is damaged ({problem}); --overwrite moves the training aside")
    share = described["val_accuracy"]
    return Trained(out / NETWORK, math.nan if share is None else share, described["val_clips"], read_failures(out))


def first_state(
    recipe: Recipe, classes: list[str], device: torch.device, notify: Callable[[str], None] = no_report
) -> TrainingState:
    """The network before its first step."""
    settings = recipe.optimisation
    torch.manual_seed(settings.seed)
    model = build_model(recipe, len(classes))
    load_start_weights(model, classes, recipe.start, notify)
    channels_last(model.to(device))
    scaler = torch.amp.GradScaler(device.type, enabled=settings.precision == "fp16")
    return TrainingState(model, optimiser_of(model, settings), scaler)


def load_start_weights(
    model: VideoNetwork, classes: list[str], start: Start, notify: Callable[[str], None] = no_report
) -> None:
    """Give the network the weights that the recipe's [start] names."""
    if start.imagenet:
        load_imagenet(model)
    elif start.file.suffix in (".pth", ".pt", ".tar"):
        load_2d_weights(model, without_classifier(read_pth(start.file, notify=notify)), str(start.file))
    elif start.checkpoint:
        start_from(model, classes, start.file)


def refuse_without_clips(clips: TrainClips, count: float) -> None:
    if not count:
        raise UserError(f"none of the {len(clips.table)} training clips could be read: {clips.failures}")


@dataclass
class TrainingRun:
    """A training that reports its progress, writes into `out`, and can be stopped at any time."""

    recipe: Recipe
    trainer: Trainer
    out: Path
    data_facts: Json
    progress: Callable[[Progress], None]
    save_every: float
    notify: Callable[[str], None] = no_report
    saved_at: float = field(default_factory=time.monotonic)
    began: float = field(default_factory=time.monotonic)
    told: bool = False  # that the network waits for its clips

    def to_the_end(self) -> Trained:
        trainer, state, is_main = self.trainer, self.trainer.state, self.trainer.distributed.is_main
        with self.tensorboard() if is_main else nullcontext() as board, self.saved_if_stopped():
            while state.epoch < trainer.settings.epochs:
                with saying_out_of_memory(trainer.distributed.device, self.smaller_steps):
                    self.epoch(board)
        all_failures = state.train_failures | state.val_failures
        last = state.metrics[-1]
        if is_main:
            write_failures(self.out, all_failures)
            self.save_network(NETWORK)
        trainer.distributed.wait_for_all()
        return Trained(self.out / NETWORK, last["val_accuracy"], last["val_clips"], all_failures)

    def epoch(self, board: Board | None) -> None:
        """What is left of an epoch."""
        trainer, state, settings = self.trainer, self.trainer.state, self.trainer.settings
        set_train(state.model, settings.partial_bn)
        began, first, waited = time.perf_counter(), state.step, trainer.waited
        for rows, batch in trainer.batches():
            try:
                loss = trainer.step(batch)
            except NotFiniteStep as error:
                names = first_few(list(trainer.clips.table["clip_id"][rows]), settings.batch_size)
                where = f"in epoch {state.epoch + 1}, step {state.step + 1} (clips {names})"
                raise UserError(f"{error} {where}; {self.ways}") from error
            seconds = time.perf_counter() - began
            rate = (state.step - first) * settings.batch_size / seconds
            waiting = (trainer.waited - waited) / seconds
            done, total = state.epoch * trainer.steps + state.step, settings.epochs * trainer.steps
            mean_loss, accuracy = state.sums.mean_loss, state.sums.accuracy
            self.progress(Progress("training", done, total, state.epoch + 1, mean_loss, accuracy, rate, waiting))
            if board:
                lr = state.optimiser.param_groups[0]["lr"]
                for name, value in (("loss", loss), ("learning_rate", lr), ("clips_per_second", rate)):
                    board(f"step/{name}", value, done)
            self.say_if_waiting(waiting)
            self.save_when_due()
        for found in trainer.distributed.gather(trainer.clips.failures):
            state.train_failures |= found
        refuse_without_clips(trainer.clips, state.sums.clips)
        self.refuse_broken()
        metrics = trainer.epoch_metrics()
        with uninterrupted():
            trainer.end_epoch(*metrics)
            self.write_epoch(board)

    def say_if_waiting(self, share: float) -> None:
        """Say once that the network waits for its clips for this share of the time, and what helps."""
        clips, workers = self.trainer.clips, self.trainer.readers.workers
        if clips.kept or share < MUCH or time.monotonic() - self.began < SECONDS_TO_JUDGE or self.told:
            return
        self.told = True
        more = f"more --workers than {workers}, as this machine has {usable_cores()} cores; " * (
            workers < usable_cores()
        )
        self.notify(
            f"the network waits for its clips {100 * share:.0f} % of the time; what helps: {more}folders of JPEG "
            "frames instead of videos; more --memory, if the decoded clips fit into it"
        )

    @property
    def ways(self) -> str:
        """What to do when numbers are not finite."""
        o, saved = self.recipe.optimisation, self.saved
        return f"try a smaller learning_rate (now {o.learning_rate}) or clip_gradient (now {o.clip_gradient}); {saved}"

    @property
    def saved(self) -> str:
        kept = (self.out / STATE).is_file()
        return f"{self.out / STATE} keeps the last whole state" if kept else "nothing was saved yet"

    def smaller_steps(self) -> str:
        """What to do when a step does not fit into memory."""
        o, world = self.recipe.optimisation, self.trainer.distributed.world
        at_once = math.ceil(o.batch_size / (world * o.accumulate))
        ways = [f"optimisation.accumulate={2 * o.accumulate} (the same step in smaller parts)"] * (at_once > 1)
        ways += ["optimisation.precision=bf16"] * (o.precision not in HALF)
        tried = f"try --resume with --set {' or --set '.join(ways)}, or " if ways else "try "
        smaller = f"a smaller optimisation.batch_size (now {o.batch_size})" if at_once > 1 else "a smaller network"
        count = "1 clip does" if at_once == 1 else f"{at_once} clips at once do"
        return f"{count} not fit; {tried}{smaller} in another folder; {self.saved}"

    def refuse_broken(self) -> None:
        """Raises UserError: the network cannot be used any more, so it is not saved."""
        state = self.trainer.state
        if broken := broken_weights(state.model.state_dict()):
            raise UserError(f"after epoch {state.epoch + 1}, step {state.step}, {broken}; {self.ways}")

    def write_epoch(self, board: Board | None) -> None:
        """Write what an epoch adds to the folder; `board` is None in all processes but the first."""
        state = self.trainer.state
        if board:
            last = state.metrics[-1]
            for name in ("loss", "accuracy", "val_accuracy"):
                if not math.isnan(last[name]):
                    board(f"epoch/{name}", last[name], state.epoch * self.trainer.steps)
            write_csv(self.out / "metrics.csv", pd.DataFrame(state.metrics, dtype=object).fillna("nan"))
            if last["val_accuracy"] == state.best:
                self.save_network(BEST)
            state.save(self.out / STATE)

    def tensorboard(self) -> AbstractContextManager[Board]:
        """TensorBoard's files, which no longer show the steps that a killed process did not save."""
        state = self.trainer.state
        purge_step = state.epoch * self.trainer.steps + state.step + 1
        return training_board(self.out / "tensorboard", purge_step, self.notify)

    @contextmanager
    def saved_if_stopped(self) -> Iterator[None]:
        """Save the state if the block is interrupted. Several processes stop together, after a step or an epoch."""
        together = self.trainer.distributed.world > 1
        try:
            with uninterrupted() if together else nullcontext():
                yield
        except KeyboardInterrupt:
            if self.trainer.distributed.is_main:
                with uninterrupted():
                    self.save_state()
            raise

    def save_when_due(self) -> None:
        """Save the state from time to time. Of several processes all stop here if one is asked to."""
        if self.trainer.distributed.is_main and time.monotonic() - self.saved_at > self.save_every:
            self.save_state()
            self.saved_at = time.monotonic()
        self.trainer.distributed.stop_together()

    def save_state(self) -> None:
        self.refuse_broken()
        self.trainer.state.train_failures |= self.trainer.clips.failures
        self.trainer.state.save(self.out / STATE)

    def save_network(self, name: str) -> None:
        """Write the network as it is now, with the data and settings that it was trained with."""
        recipe, state, clips = self.recipe, self.trainer.state, self.trainer.clips
        training: dict[str, Any] = {"recipe": asdict(recipe), "seed": recipe.optimisation.seed, "epochs": state.epoch}
        training |= {key: state.metrics[-1][key] for key in ("val_accuracy", "val_clips")}
        training |= self.data_facts
        training["train_clips"] = len(clips.table) - len(state.train_failures)
        if state.adjustments:
            training["adjustments"] = state.adjustments
        save_checkpoint(self.out / name, state.model, clips.classes, recipe.preprocessing, recipe.data, training)
