"""What a training's folder holds: which training it is, and the state from which it resumes."""

import hashlib
from collections.abc import Callable
from dataclasses import MISSING, asdict, fields
from pathlib import Path

import pandas as pd
import torch

from sth_core.errors import UserError
from sth_core.network import VideoNetwork
from sth_core.recipe import SECTIONS, Recipe
from sth_core.resumable import Json, Work, flatten_keys
from sth_core.training_state import TrainingState

STATE, NETWORK, BEST = "state.pt", "model.safetensors", "best.safetensors"
TRAINING_FILES = (STATE, NETWORK, BEST, "metrics.csv", "failures.parquet", "curves.*", "tensorboard")
ADJUSTABLE = frozenset(
    f"optimisation.{key}"
    for key in (
        "epochs", "learning_rate", "schedule", "decay_epochs", "warmup_epochs", "momentum", "weight_decay",
        "label_smoothing", "clip_gradient", "evaluate_every", "compile", "precision",
    )
)  # fmt: skip


def training_work(out: Path, recipe: Recipe, model: VideoNetwork, classes: list[str], clips: pd.DataFrame) -> Work:
    """What makes two trainings the same: all values of the recipe, the classes, and each clip's label and split."""
    lines = sorted(clips[["clip_id", "label", "split"]].agg("\t".join, axis=1))
    config = {key: value for key, value in asdict(model.config).items() if key != "num_classes"}
    identity = recipe.plain() | {"model": config, "classes": classes}
    identity |= {"clips": len(lines), "clips_sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest()}
    defaults = {
        name: {f.name: f.default for f in fields(section) if f.default is not MISSING}
        for name, section in SECTIONS.items()
    }
    return Work(out, "training.json", "training", identity, TRAINING_FILES, flatten_keys(defaults), ADJUSTABLE)


def resume_state(
    state: TrainingState, work: Work, earlier: Json, device: torch.device, notify: Callable[[str], None]
) -> list[Json]:
    """Continue from what the folder holds; returns which settings were changed after which epoch, now and before.

    Raises:
        UserError: the state is missing, is damaged, or has as many epochs as are wanted.
    """
    file, adjustments = work.folder / STATE, earlier.get("adjustments", [])
    if not earlier or not file.is_file():
        if earlier and (work.folder / NETWORK).is_file():
            raise UserError(
                f"{work.folder} holds a network, but no {STATE} to resume it from; choose another folder, "
                "or give --overwrite"
            )
        return adjustments
    state.load(file, device)
    if not (differences := work.differences(earlier)):
        return adjustments
    epochs = work.identity["optimisation"]["epochs"]
    if state.epoch >= epochs:
        raise UserError(
            f"the training in {work.folder} has {state.epoch} epochs already; to resume it with other values, "
            f"set optimisation.epochs to more (now {epochs})"
        )
    changes = {key: list(values) for key, values in differences.items()}
    listed = ", ".join(f"{key} {now} (before: {old})" for key, (old, now) in changes.items())
    notify(f"resumed after {state.epoch} epochs and {state.step} steps with {listed}")
    return [*adjustments, {"epoch": state.epoch, "step": state.step, "changes": changes}]
