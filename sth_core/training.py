"""Training by a recipe: one process, resumable after each epoch."""

import csv
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from sth_core.checkpoint import save_checkpoint
from sth_core.datasets.clips import TestClips, TrainClips
from sth_core.errors import UserError
from sth_core.evaluation import accuracy
from sth_core.files import temporary_beside, write_atomically
from sth_core.network import VideoNetwork, channels_last, pick_device
from sth_core.pretrained import load_2d_weights, load_imagenet, read_pth, start_from, without_classifier
from sth_core.recipe import Optimisation, Recipe, Start, build_model
from sth_core.video.transforms import normalise


@dataclass(frozen=True)
class Progress:
    """Where training stands; `stage` is "reading" (clips) or "training" (steps)."""

    stage: str
    done: int
    total: int
    epoch: int = 0
    loss: float = math.nan
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
    progress: Callable[[Progress], None] = lambda _: None,
) -> Trained:
    """Train on the split "train", test on "val", write `out`/model.safetensors and `out`/metrics.csv.

    After each epoch `out`/state.pt holds all that going on needs: the same call resumes there and
    ends with the same weights. The last epoch's network is kept; "val" picks nothing.

    Raises:
        UserError: a split without readable clips, a class count or a p that does not fit, or a
            loss that is no longer a number.
    """
    train_rows, val_rows = table[table["split"] == "train"], table[table["split"] == "val"]
    usable = train_rows[train_rows["problem"] == ""]
    if train_rows.empty or val_rows.empty:
        counts = table["split"].value_counts().to_dict()
        raise UserError(f"training needs clips in the splits 'train' and 'val'; this dataset has {counts}")
    classes = sorted(set(usable["label"]))
    p = recipe.preprocessing
    where = pick_device(device)
    settings = recipe.optimisation
    torch.manual_seed(settings.seed)
    model = build_model(recipe, len(classes))
    begin(model, classes, recipe.start)
    channels_last(model.to(where))
    optimiser = torch.optim.SGD(
        parameter_groups(model, settings.weight_decay),
        lr=settings.learning_rate,
        momentum=settings.momentum,
        nesterov=settings.momentum > 0,
    )

    clips = TrainClips(train_rows, classes, p, recipe.augment)
    clips.load(lambda done, total: progress(Progress("reading", done, total)))
    if not clips.rows:
        raise UserError(f"none of the {len(train_rows)} training clips could be read: {clips.failures}")
    out.mkdir(parents=True, exist_ok=True)
    write_failures(out, clips.failures)
    state, metrics = out / "state.pt", []
    job = repr((recipe, sorted(clips.table["clip_id"]), classes))  # another job's state is no place to go on from
    first_epoch = 0
    if state.is_file():
        saved = torch.load(state, map_location=where, weights_only=True)
        if saved["job"] == job:
            model.load_state_dict(saved["model"])
            optimiser.load_state_dict(saved["optimiser"])
            first_epoch, metrics = saved["epoch"], saved["metrics"]

    steps = math.ceil(len(clips.rows) / settings.batch_size)
    for epoch in range(first_epoch, settings.epochs):
        model.train()
        torch.manual_seed(hash_seed(settings.seed, epoch))  # dropout
        order = np.random.default_rng([settings.seed, epoch]).permutation(clips.rows)
        began, losses = time.perf_counter(), []
        for step in range(steps):
            rows = order[step * settings.batch_size : (step + 1) * settings.batch_size]
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(settings, epoch + step / steps)
            loss = train_step(model, optimiser, clips, rows, epoch, settings)
            if not math.isfinite(loss):
                names = ", ".join(clips.table["clip_id"][rows])
                raise UserError(
                    f"the loss is {loss} in epoch {epoch + 1}, step {step + 1} (clips {names}); "
                    f"try a smaller learning_rate (now {settings.learning_rate}) or clip_gradient"
                )
            losses.append(loss)
            rate = (step + 1) * settings.batch_size / (time.perf_counter() - began)
            done = epoch * steps + step + 1
            progress(Progress("training", done, settings.epochs * steps, epoch + 1, float(np.mean(losses)), rate))
        metrics.append({"epoch": epoch + 1, "loss": float(np.mean(losses))})
        with temporary_beside(state) as temporary:
            torch.save(
                {
                    "job": job,
                    "epoch": epoch + 1,
                    "model": model.state_dict(),
                    "optimiser": optimiser.state_dict(),
                    "metrics": metrics,
                },
                temporary,
            )

    val_clips = TestClips(val_rows, classes, p)
    score = accuracy(model, val_clips, p)
    with write_atomically(out / "metrics.csv") as file:
        writer = csv.DictWriter(file, ["epoch", "loss"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(metrics)
    training = {
        "recipe": recipe.plain(),
        "val_accuracy": score,
        "val_clips": len(val_rows),
        "train_clips": len(clips.rows),
        "seed": settings.seed,
    }
    checkpoint = out / "model.safetensors"
    save_checkpoint(checkpoint, model, classes, p, recipe.data, training)
    return Trained(checkpoint, score, len(val_rows), clips.failures)


def begin(model: VideoNetwork, classes: list[str], start: Start) -> None:
    """Give the network the weights that the recipe's [start] names."""
    if start.imagenet:
        load_imagenet(model)
    elif start.checkpoint.endswith((".pth", ".pt", ".tar")):
        load_2d_weights(model, without_classifier(read_pth(start.checkpoint)), start.checkpoint)
    elif start.checkpoint:
        start_from(model, classes, start.checkpoint)


def train_step(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    clips: TrainClips,
    rows: np.ndarray,
    epoch: int,
    settings: Optimisation,
) -> float:
    """One step on the clips at `rows`; the sample of a row depends on seed, epoch and row alone."""
    device = next(model.parameters()).device
    samples = [clips.sample(row, np.random.default_rng([settings.seed, epoch, row])) for row in rows]
    pixels = torch.from_numpy(np.stack([clip for clip, _ in samples])).to(device)
    labels = torch.tensor([label for _, label in samples], device=device)
    loss = F.cross_entropy(
        model(normalise(pixels, clips.preprocessing)), labels, label_smoothing=settings.label_smoothing
    )
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), settings.clip_gradient)
    optimiser.step()
    return loss.item()


def learning_rate(settings: Optimisation, epoch: float) -> float:
    """Linear warm-up, then a cosine from the full rate to zero; `epoch` may be fractional."""
    if epoch < settings.warmup_epochs:
        return settings.learning_rate * (epoch + 0.02) / settings.warmup_epochs
    progress = (epoch - settings.warmup_epochs) / (settings.epochs - settings.warmup_epochs)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Weight decay for weights, none for biases and batch norm."""
    decayed = [w for w in model.parameters() if w.ndim > 1]
    others = [w for w in model.parameters() if w.ndim <= 1]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def hash_seed(*numbers: int) -> int:
    return int(np.random.default_rng(numbers).integers(2**62))


def write_failures(out: Path, failures: dict[str, str]) -> None:
    rows = [{"clip_id": clip_id, "reason": reason} for clip_id, reason in failures.items()]
    with temporary_beside(out / "failures.parquet") as temporary:
        pd.DataFrame(rows, columns=["clip_id", "reason"]).to_parquet(temporary)
