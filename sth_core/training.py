"""Training by a recipe: on one process or many, stopped at any moment and gone on with.

What happens in a step depends on the recipe, the seed and the number of the step alone, so that training
which goes on from a saved step ends with the same weights as one that was never stopped.
"""

import math
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from os import cpu_count
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from sth_core.checkpoint import save_checkpoint
from sth_core.datasets.clips import EvaluationClips, TrainClips
from sth_core.distributed import DistributedContext, distributed_context
from sth_core.errors import UserError
from sth_core.evaluation import accuracy
from sth_core.network import VideoNetwork, channels_last
from sth_core.optimisation import PRECISIONS, Optimisation, hash_seed, learning_rate, optimiser_of, set_train
from sth_core.pretrained import load_2d_weights, load_imagenet, read_pth, start_from, without_classifier
from sth_core.recipe import Recipe, Start, build_model
from sth_core.training_log import TrainingLog, write_failures, write_metrics
from sth_core.training_state import State, Sums, stop_signals
from sth_core.video.transforms import normalise

STEPS_AHEAD = 2  # batches that are read while one is trained on
Batch = list[tuple[np.ndarray, int]]


@dataclass(frozen=True)
class Progress:
    """Where training stands; `stage` is "reading" (clips) or "training" (steps)."""

    stage: str
    done: int
    total: int
    epoch: int = 0
    loss: float = math.nan
    accuracy: float = math.nan
    clips_per_second: float = math.nan


@dataclass(frozen=True)
class Trained:
    """Where the network lies and how it did on the clips held out."""

    checkpoint: Path
    accuracy: float
    clips: int
    failures: dict[str, str]


def train(
    recipe: Recipe,
    table: pd.DataFrame,
    out: Path,
    device: str = "auto",
    progress: Callable[[Progress], None] = lambda p: None,
    save_every: float = 300.0,
    memory: float | None = None,
) -> Trained:
    """Train on the split "train" of a table of clips, test on "val", write to `out`:

    model.safetensors (after the last epoch) and best.safetensors (the epoch with the best accuracy on val),
    metrics.csv (a row an epoch), tensorboard/ (a point a step), failures.parquet (clips that could not be
    read) and state.pt: the same call goes on from there. The state is saved every `save_every` seconds, after
    each epoch, and on SIGTERM and Ctrl-C.

    Clips are kept decoded if all fit into `memory` bytes (by default a quarter of the machine's), else read
    anew in each epoch. Under torchrun every process calls this with the same arguments.

    Raises:
        UserError: a split without readable clips, a class count or a p that does not fit, or a
            loss that is no longer a number.
        KeyboardInterrupt: stopped by SIGTERM or Ctrl-C, the state saved.
    """
    with distributed_context(device) as place, stop_signals() as stopped:
        return _train(recipe, table, out, place, progress, save_every, memory, stopped)


def _train(
    recipe: Recipe,
    table: pd.DataFrame,
    out: Path,
    place: DistributedContext,
    progress: Callable[[Progress], None],
    save_every: float,
    memory: float | None,
    stopped: threading.Event,
) -> Trained:
    train_rows, val_rows = table[table["split"] == "train"], table[table["split"] == "val"]
    if train_rows.empty or val_rows.empty:
        counts = table["split"].value_counts().to_dict()
        raise UserError(f"training needs clips in the splits 'train' and 'val'; this dataset has {counts}")
    classes = sorted(set(train_rows.loc[train_rows["problem"] == "", "label"]))
    p, settings = recipe.preprocessing, recipe.optimisation
    torch.manual_seed(settings.seed)
    model = build_model(recipe, len(classes))
    load_start_weights(model, classes, recipe.start)
    channels_last(model.to(place.device))
    scaler = torch.amp.GradScaler(place.device.type, enabled=settings.precision == "fp16")
    state = State(model, optimiser_of(model, settings), scaler)

    clips = TrainClips(train_rows, classes, p, recipe.augment)
    clips.load(lambda done, total: progress(Progress("reading", done, total)), memory)
    if not clips.rows:
        raise UserError(f"none of the {len(train_rows)} training clips could be read: {clips.failures}")
    out.mkdir(parents=True, exist_ok=True)
    file, job = out / "state.pt", repr((recipe, sorted(clips.table["clip_id"]), classes))
    state.resume(file, job, place.device)
    place.wait_for_all()  # all have read the state before one writes it again

    runner: nn.Module = torch.compile(model) if settings.compile else model  # type: ignore[assignment]
    if place.world > 1:
        # It is said of 1 x 1 kernels, whose channels are innermost in either order of strides.
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
        runner = DistributedDataParallel(runner, [place.device] if place.device.type == "cuda" else None)
    val_clips = EvaluationClips(val_rows, classes, p)
    steps, saved = math.ceil(len(clips.rows) / settings.batch_size), time.monotonic()
    with TrainingLog(out, state.epoch * steps + state.step + 1) if place.first else nullcontext() as log:
        while state.epoch < settings.epochs:
            set_train(model, settings.partial_bn)
            began, first = time.perf_counter(), state.step
            for rows, batch in batches(clips, state, settings, steps, place):
                loss = train_step(runner, state, batch, clips, steps, settings, place)
                if not math.isfinite(state.sums.loss):
                    names = ", ".join(clips.table["clip_id"][rows])
                    raise UserError(
                        f"the loss is {state.sums.loss} in epoch {state.epoch + 1}, step {state.step + 1} "
                        f"(clips {names}); try a smaller learning_rate (now {settings.learning_rate}) or clip_gradient"
                    )
                state.step += 1
                rate = (state.step - first) * settings.batch_size / (time.perf_counter() - began)
                done, s = state.epoch * steps + state.step, state.sums
                shown = (state.epoch + 1, s.loss / max(1, s.clips), s.right / max(1, s.clips), rate)
                progress(Progress("training", done, settings.epochs * steps, *shown))
                if log:
                    log.step(done, loss, state.optimiser.param_groups[0]["lr"], rate)
                ending = place.any(stopped.is_set())
                if place.first and (ending or time.monotonic() - saved > save_every):
                    state.save(file, job)
                    saved = time.monotonic()
                if ending:
                    raise KeyboardInterrupt
            if not state.sums.clips:
                raise UserError(f"none of the {len(train_rows)} training clips could be read: {clips.failures}")
            end_epoch(state, val_clips, settings, place)
            if log:
                log.epoch(state.epoch * steps, state.metrics[-1])
                write_metrics(out, state.metrics)
                if state.metrics[-1]["val_accuracy"] == state.best:
                    save(out / "best.safetensors", recipe, state, clips, classes)
                state.save(file, job)
    together = {k: v for found in place.gathered(clips.failures) for k, v in found.items()} | state.val_failures
    if place.first:
        write_failures(out, together)
        save(out / "model.safetensors", recipe, state, clips, classes)
    place.wait_for_all()
    return Trained(
        out / "model.safetensors", state.metrics[-1]["val_accuracy"], state.metrics[-1]["val_clips"], together
    )


def load_start_weights(model: VideoNetwork, classes: list[str], start: Start) -> None:
    """Give the network the weights that the recipe's [start] names."""
    if start.imagenet:
        load_imagenet(model)
    elif start.file.suffix in (".pth", ".pt", ".tar"):
        load_2d_weights(model, without_classifier(read_pth(start.file)), str(start.file))
    elif start.checkpoint:
        start_from(model, classes, start.file)


def batches(
    clips: TrainClips, state: State, settings: Optimisation, steps: int, place: DistributedContext
) -> Iterator[tuple[np.ndarray, Batch]]:
    """This process's share of each step that is left of the epoch: rows, and the samples of those that can be read.

    The sample of a row depends on seed, epoch and row alone, not on which process or thread reads it.
    """
    epoch, size = state.epoch, settings.batch_size
    order = np.random.default_rng([settings.seed, epoch]).permutation(clips.rows)

    def read(row: int) -> tuple[np.ndarray, int] | None:
        return clips.sample(row, np.random.default_rng([settings.seed, epoch, row]))

    with ThreadPoolExecutor(cpu_count()) as pool:
        waiting: deque[tuple[np.ndarray, list[Future]]] = deque()
        try:
            for step in range(state.step, steps + STEPS_AHEAD):
                if step < steps:
                    rows = order[step * size : (step + 1) * size][place.rank :: place.world]
                    waiting.append((rows, [pool.submit(read, row) for row in rows]))
                if len(waiting) > STEPS_AHEAD or step >= steps:
                    if not waiting:
                        return
                    rows, futures = waiting.popleft()
                    yield rows, [sample for future in futures if (sample := future.result()) is not None]
        finally:
            for _, futures in waiting:
                for future in futures:
                    future.cancel()


def train_step(
    runner: nn.Module,
    state: State,
    batch: Batch,
    clips: TrainClips,
    steps: int,
    settings: Optimisation,
    place: DistributedContext,
) -> float:
    """One step of all processes on their shares of a batch: its mean loss; its sums are added to the epoch's."""
    for group in state.optimiser.param_groups:
        group["lr"] = learning_rate(settings, state.epoch + state.step / steps)
    (total,) = place.total(len(batch))
    state.optimiser.zero_grad(set_to_none=True)
    if total == 0:  # no process could read a clip
        return math.nan
    loss_sum = right = 0.0
    parts = [batch[i :: settings.accumulate] for i in range(min(settings.accumulate, len(batch)))]
    for i, part in enumerate(parts):
        # Dropout. Two processes, or one that accumulates two parts: the same numbers.
        torch.manual_seed(hash_seed(settings.seed, state.epoch, state.step, place.rank * settings.accumulate + i))
        pixels = torch.from_numpy(np.stack([clip for clip, _ in part])).to(place.device, non_blocking=True)
        labels = torch.tensor([label for _, label in part], device=place.device)
        synced = i == len(parts) - 1 or not isinstance(runner, DistributedDataParallel)
        with nullcontext() if synced else runner.no_sync():  # type: ignore[operator]
            dtype = PRECISIONS[settings.precision]
            with torch.autocast(place.device.type, dtype, enabled=dtype != torch.float32):
                logits = runner(normalise(pixels, clips.preprocessing))
                losses = F.cross_entropy(logits, labels, label_smoothing=settings.label_smoothing, reduction="sum")
            # DistributedDataParallel takes the mean over the processes.
            state.scaler.scale(losses * place.world / total).backward()
        loss_sum, right = loss_sum + losses.item(), right + (logits.argmax(1) == labels).sum().item()
    if not parts:  # the others wait for this one's gradients
        nothing = torch.zeros(1, *clips.shape, device=place.device)
        (runner(nothing).sum() * 0).backward()
    state.scaler.unscale_(state.optimiser)
    nn.utils.clip_grad_norm_(state.model.parameters(), settings.clip_gradient)
    state.scaler.step(state.optimiser)
    state.scaler.update()
    loss_sum, right = place.total(loss_sum, right)
    state.sums = Sums(state.sums.loss + loss_sum, state.sums.right + right, state.sums.clips + total)
    return loss_sum / total


def end_epoch(state: State, val_clips: EvaluationClips, settings: Optimisation, place: DistributedContext) -> None:
    """Add the epoch's row to the metrics, with the accuracy on the held-out clips when it is due."""
    s = state.sums
    row = {"epoch": state.epoch + 1, "loss": s.loss / max(1, s.clips), "accuracy": s.right / max(1, s.clips)}
    row |= {"learning_rate": state.optimiser.param_groups[0]["lr"], "val_accuracy": math.nan, "val_clips": 0}
    last = state.epoch + 1 == settings.epochs
    if last or (settings.evaluate_every and (state.epoch + 1) % settings.evaluate_every == 0):
        tested = accuracy(state.model, val_clips, val_clips.preprocessing, place)
        row["val_accuracy"], row["val_clips"], state.val_failures = tested.share, tested.clips, tested.failures
        state.best = max(state.best, tested.share)
    state.metrics.append(row)
    state.epoch, state.step, state.sums = state.epoch + 1, 0, Sums()


def save(path: Path, recipe: Recipe, state: State, clips: TrainClips, classes: list[str]) -> None:
    """Write the network as it is now, with what it was trained on and how."""
    training = {
        "recipe": recipe.plain(),
        "val_accuracy": state.metrics[-1]["val_accuracy"],
        "val_clips": state.metrics[-1]["val_clips"],
        "train_clips": len(clips.table) - len(clips.failures),
        "seed": recipe.optimisation.seed,
        "epochs": state.epoch,
    }
    save_checkpoint(path, state.model, classes, recipe.preprocessing, recipe.data, training)
