"""A training under way: what is saved of it, and how it is told to stop."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from sth_core.files import cannot_write, temporary_beside
from sth_core.network import VideoNetwork


@dataclass
class Sums:
    """Of the clips of an epoch so far, over all processes."""

    loss: float = 0.0
    right: float = 0.0
    clips: float = 0.0


@dataclass
class State:
    """All that a training under way consists of, apart from the recipe and the data."""

    model: VideoNetwork
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    epoch: int = 0
    step: int = 0  # the next one of the epoch
    sums: Sums = field(default_factory=Sums)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    best: float = -1.0
    val_failures: dict[str, str] = field(default_factory=dict)

    def save(self, file: Path, job: str) -> None:
        plain = {"epoch": self.epoch, "step": self.step, "metrics": self.metrics, "best": self.best}
        plain |= {"val_failures": self.val_failures}
        states = {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        try:
            with temporary_beside(file) as temporary:
                torch.save({"job": job, "sums": vars(self.sums), **plain, **states}, temporary)
        except RuntimeError as error:  # what a full disk is to torch
            raise cannot_write(file, error) from error

    def resume(self, file: Path, job: str, device: torch.device) -> None:
        """Go on from what is saved there, if it is of the same job."""
        if not file.is_file():
            return
        saved = torch.load(file, map_location=device, weights_only=True)
        if saved["job"] != job or "step" not in saved:
            return
        self.model.load_state_dict(saved["model"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.scaler.load_state_dict(saved["scaler"])
        self.epoch, self.step, self.metrics, self.best = (saved[k] for k in ("epoch", "step", "metrics", "best"))
        self.sums, self.val_failures = Sums(**saved["sums"]), saved["val_failures"]


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM and Ctrl-C set, instead of ending the process in the middle of a step."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped  # signals are the main thread's
        return
    before = {number: signal.signal(number, lambda *_: stopped.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
