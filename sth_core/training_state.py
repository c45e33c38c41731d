"""What a training's folder says of it: which training it is, and the state from which it resumes."""

from collections.abc import Callable
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from sth_core.errors import OtherWork, UserError
from sth_core.files import cannot_write, sync, temporary_beside
from sth_core.network import VideoNetwork
from sth_core.recipe import SECTIONS, Recipe
from sth_core.resumable import Json, Work, flatten_keys
from sth_core.training_clips import CLIPS_TABLE, TrainingClips, explained_differences, identity_of

STATE, NETWORK, BEST = "state.pt", "model.safetensors", "best.safetensors"
TRAINING_FILES = (STATE, NETWORK, BEST, "metrics.csv", CLIPS_TABLE, "failures.parquet", "curves.*", "tensorboard")
ADJUSTABLE = frozenset(
    f"optimisation.{key}"
    for key in (
        "epochs", "learning_rate", "schedule", "decay_epochs", "warmup_epochs", "momentum", "weight_decay",
        "label_smoothing", "clip_gradient", "evaluate_every", "compile", "precision",
    )
)  # fmt: skip
COUNTERS = ("epoch", "step", "metrics", "best", "val_failures")  # of a state, saved as they are


@dataclass
class EpochSums:
    """Over the clips of an epoch so far, of all processes."""

    loss: float = 0.0
    correct: float = 0.0
    clips: float = 0.0

    @property
    def mean_loss(self) -> float:
        return self.loss / max(1, self.clips)

    @property
    def accuracy(self) -> float:
        return self.correct / max(1, self.clips)


@dataclass
class TrainingState:
    """All that changes during a training; the recipe and the data stay."""

    model: VideoNetwork
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    epoch: int = 0
    step: int = 0  # the next one of the epoch
    sums: EpochSums = field(default_factory=EpochSums)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    best: float = -1.0
    val_failures: dict[str, str] = field(default_factory=dict)
    adjustments: list[Json] = field(default_factory=list)  # which settings were changed after which epoch, from and to

    def save(self, file: Path) -> None:
        plain = {key: getattr(self, key) for key in COUNTERS}
        states = {key: getattr(self, key).state_dict() for key in ("model", "optimiser", "scaler")}
        try:
            with temporary_beside(file) as temporary:
                torch.save({"sums": vars(self.sums), **plain, **states}, temporary)
                sync(temporary)
        except RuntimeError as error:  # which torch raises when the disk is full
            raise cannot_write(file, error) from error

    def load(self, file: Path, device: torch.device) -> None:
        """Continue from what is saved there, with this call's settings of the optimiser (`lr` is set in each step)."""
        try:
            saved = torch.load(file, map_location=device, weights_only=True)
        except Exception as error:  # a damaged file ends the unpickler in any of a dozen ways
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            ways = "delete it to train from the first epoch again, or give --overwrite"
            raise OtherWork(f"{file} is damaged ({reason})", ways) from error
        self.model.load_state_dict(saved["model"])
        now, before = self.optimiser.state_dict()["param_groups"], saved["optimiser"]["param_groups"]
        groups = [group | {"lr": earlier["lr"]} for group, earlier in zip(now, before, strict=True)]
        self.optimiser.load_state_dict(saved["optimiser"] | {"param_groups": groups})
        if saved["scaler"]:  # empty without fp16
            self.scaler.load_state_dict(saved["scaler"])
        for key in COUNTERS:
            setattr(self, key, saved[key])
        self.sums = EpochSums(**saved["sums"])


def training_work(out: Path, recipe: Recipe, model: VideoNetwork, clips: TrainingClips) -> Work:
    """What makes two trainings the same: all values of the recipe, the classes, each clip's label and split, and its
    file's size."""
    kept = clips.kept
    of_clips = identity_of(kept)
    config = {key: value for key, value in asdict(model.config).items() if key != "num_classes"}
    identity = asdict(recipe) | {"model": config, "classes": clips.classes} | of_clips
    keys = [(name, key) for name, section in SECTIONS.items() for key in fields(section)]
    defaults = flatten_keys({f"{name}.{key.name}": key.default for name, key in keys if key.default is not MISSING})
    defaults |= {"files_sha256": of_clips["files_sha256"]}  # which earlier versions did not write
    explained = explained_differences(out, kept)
    return Work(out, "training.json", "training", identity, TRAINING_FILES, defaults, ADJUSTABLE, explained)


def resume_state(
    state: TrainingState, work: Work, earlier: Json, device: torch.device, notify: Callable[[str], None]
) -> None:
    """Continue from what the folder holds.
    Raises UserError: the state is missing, is damaged, or has as many epochs as are wanted."""
    if not earlier:
        return
    state.adjustments = earlier.get("adjustments", [])
    if (work.folder / STATE).is_file():
        state.load(work.folder / STATE, device)
    elif (work.folder / NETWORK).is_file():
        missing = f"a network, but no {STATE} to resume it from"
        raise OtherWork(f"{work.folder} holds {missing}", "choose another folder, or give --overwrite")
    else:
        return
    changes = {key: list(values) for key, values in work.differences(earlier).items()}
    if not changes:
        return
    epochs = work.identity["optimisation"]["epochs"]
    if state.epoch >= epochs:
        raise UserError(
            f"the training in {work.folder} has {state.epoch} epochs already; to resume it with other values, "
            f"set optimisation.epochs to more (now {epochs})"
        )
    listed = ", ".join(f"{key} {now} (before: {old})" for key, (old, now) in changes.items())
    notify(f"resumed after {state.epoch} epochs and {state.step} steps with {listed}")
    state.adjustments = [*state.adjustments, {"epoch": state.epoch, "step": state.step, "changes": changes}]
