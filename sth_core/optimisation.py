"""SGD: its parameter groups, the learning rate's schedule, partial batch norm."""

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import nn

from sth_core.values import PRECISIONS, BadValue, Between, Items, OneOf, check_fields

SCHEDULES = ("cosine", "step")
MOST_EPOCHS = 100_000
Count = Annotated[int, Between(1, 65_536)]
Share = Annotated[float, Between(0, 1, below=True)]
Seed = Annotated[int, Between(0, 2**63 - 1)]


@dataclass(frozen=True)
class Optimisation:
    """SGD with momentum and Nesterov's step (Section 4.2); warm-up, then a schedule.

    `batch_size` is that of a step, over all processes and its `accumulate` parts. The schedule is a
    "cosine" down to zero, or "step": a tenth after each of `decay_epochs`. `partial_bn` freezes all batch
    norms but the first (TSN). `precision` is that of the arithmetic (`sth_core.precision`); the weights stay in fp32.
    `compile` is whether torch.compile makes one program of it: "auto" where it pays (`forms.compiling_training`).
    With `deterministic`, two trainings with one seed on one GPU give one network; on a CPU they do in any case.
    `evaluate_every` is the number of epochs between evaluations on the held-out clips; 0 evaluates only at the end.

    Raises BadValue: a value out of range, or the schedule "step" without `decay_epochs`.
    """

    epochs: Annotated[int, Between(1, MOST_EPOCHS)]
    batch_size: Count
    learning_rate: Annotated[float, Between(0, 1000, above=True)]
    warmup_epochs: Annotated[float, Between(0, MOST_EPOCHS)]
    momentum: Share
    weight_decay: Share
    label_smoothing: Share
    clip_gradient: Annotated[float, Between(0, 10**9, above=True)]
    seed: Seed
    schedule: Annotated[str, OneOf(SCHEDULES)] = "cosine"
    decay_epochs: Annotated[tuple[Annotated[int, Between(0, MOST_EPOCHS)], ...], Items(0, 1000)] = ()
    accumulate: Count = 1
    partial_bn: bool = False
    precision: Annotated[str, OneOf(PRECISIONS)] = "fp32"
    compile: Annotated[str, OneOf(("auto",))] | bool = "auto"
    deterministic: bool = False
    evaluate_every: Annotated[int, Between(0, MOST_EPOCHS)] = 0

    def __post_init__(self) -> None:
        check_fields(self)
        if self.schedule == "step" and not self.decay_epochs:
            raise BadValue("schedule 'step' needs decay_epochs, such as [20, 40]")


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
