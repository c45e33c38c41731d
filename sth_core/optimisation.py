"""SGD: its parameter groups, the learning rate's schedule, partial batch norm."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from sth_core.errors import UserError

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SCHEDULES = ("cosine", "step")


@dataclass(frozen=True)
class Optimisation:
    """SGD with momentum and Nesterov's step (Section 4.2); warm-up, then a schedule.

    `batch_size` is that of a step, over all processes and its `accumulate` parts. The schedule is a
    "cosine" down to zero, or "step": a tenth after each of `decay_epochs`. `partial_bn` freezes all batch
    norms but the first (TSN). `precision` is fp32, bf16 or fp16 (autocast); the weights stay in fp32.
    `evaluate_every` is the number of epochs between evaluations on the held-out clips; 0 evaluates only at the end.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    warmup_epochs: float
    momentum: float
    weight_decay: float
    label_smoothing: float
    clip_gradient: float
    seed: int
    schedule: str = "cosine"
    decay_epochs: tuple[int, ...] = ()
    accumulate: int = 1
    partial_bn: bool = False
    precision: str = "fp32"
    compile: bool = False
    evaluate_every: int = 0

    def validate(self) -> None:
        """Raise UserError for a value that is out of range, or none of the possible ones."""
        for key in ("epochs", "batch_size", "accumulate"):
            if getattr(self, key) < 1:
                raise UserError(f"{key} must be at least 1, got {getattr(self, key)}")
        if self.schedule not in SCHEDULES:
            raise UserError(f"schedule must be one of {', '.join(SCHEDULES)}, got {self.schedule!r}")
        if self.schedule == "step" and not self.decay_epochs:
            raise UserError("schedule 'step' needs decay_epochs, such as [20, 40]")
        if self.precision not in PRECISIONS:
            raise UserError(f"precision must be one of {', '.join(PRECISIONS)}, got {self.precision!r}")


def learning_rate(settings: Optimisation, epoch: float) -> float:
    """Linear warm-up, then the schedule; `epoch` may be fractional."""
    if epoch < settings.warmup_epochs:
        return settings.learning_rate * (epoch + 0.02) / settings.warmup_epochs
    if settings.schedule == "step":
        return settings.learning_rate * 0.1 ** sum(epoch >= decay for decay in settings.decay_epochs)
    progress = (epoch - settings.warmup_epochs) / (settings.epochs - settings.warmup_epochs)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


def optimiser_of(model: nn.Module, settings: Optimisation) -> torch.optim.Optimizer:
    """SGD with weight decay for weights, none for biases and batch norm."""
    decayed = [w for w in model.parameters() if w.ndim > 1]
    others = [w for w in model.parameters() if w.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    m = settings.momentum
    return torch.optim.SGD(groups, lr=settings.learning_rate, momentum=m, nesterov=m > 0)


def set_train(model: nn.Module, partial_bn: bool) -> None:
    """Training mode; with `partial_bn` all batch norms but the first keep their statistics and weights (TSN)."""
    model.train()
    if partial_bn:
        for norm in [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)][1:]:
            norm.eval().requires_grad_(False)


def hash_seed(*numbers: int) -> int:
    return int(np.random.default_rng(numbers).integers(2**62))
