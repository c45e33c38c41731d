"""A training in progress: what is saved of it, and how it is told to stop."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from sth_core.errors import UserError
from sth_core.files import cannot_write, sync, temporary_beside
from sth_core.network import VideoNetwork


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

    def save(self, file: Path) -> None:
        plain = {key: getattr(self, key) for key in ("epoch", "step", "metrics", "best", "val_failures")}
        states = {key: getattr(self, key).state_dict() for key in ("model", "optimiser", "scaler")}
        try:
            with temporary_beside(file) as temporary:
                torch.save({"sums": vars(self.sums), **plain, **states}, temporary)
                sync(temporary)
        except RuntimeError as error:  # which torch raises when the disk is full
            raise cannot_write(file, error) from error

    def load(self, file: Path, device: torch.device) -> None:
        """Continue from what is saved there, with this call's settings of the optimiser (`lr` is set in each step).

        Raises:
            UserError: the file is damaged.
        """
        try:
            saved = torch.load(file, map_location=device, weights_only=True)
        except Exception as error:  # a damaged file ends the unpickler in any of a dozen ways
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(
                f"{file} is damaged ({reason}); delete it to train from the first epoch again, or give --overwrite"
            ) from error
        self.model.load_state_dict(saved["model"])
        now, before = self.optimiser.state_dict()["param_groups"], saved["optimiser"]["param_groups"]
        groups = [group | {"lr": earlier["lr"]} for group, earlier in zip(now, before, strict=True)]
        self.optimiser.load_state_dict(saved["optimiser"] | {"param_groups": groups})
        if saved["scaler"]:  # empty without fp16
            self.scaler.load_state_dict(saved["scaler"])
        for key in ("epoch", "step", "metrics", "best", "val_failures"):
            setattr(self, key, saved[key])
        self.sums = EpochSums(**saved["sums"])


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM and Ctrl-C set, instead of ending the process in the middle of a step."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped  # only the main thread receives signals
        return
    before = {number: signal.signal(number, lambda *_: stopped.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
