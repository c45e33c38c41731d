"""The steps of a training, shared among processes.

A step depends on the recipe, the seed and its number alone, so that training that is resumed from a saved
step ends with the same weights as training without an interruption.
"""

import math
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import islice, tee
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from sth_core.compiled import BACKEND, CompiledNetwork, compiled_for_reading, compiled_or_not, form_facts
from sth_core.compiled_together import CompiledForSize, compile_together, unchanged
from sth_core.datasets.clips import EvaluationClips, TrainClips
from sth_core.distributed import DistributedContext
from sth_core.evaluation import EVALUATED_AT_ONCE, Accuracy, accuracy
from sth_core.forms import Compiling, compiling_training, weight_type
from sth_core.inference import for_inference
from sth_core.network_contract import Network
from sth_core.optimisation import Optimisation, hash_seed, learning_rate
from sth_core.precision import autocast
from sth_core.readers import Readers
from sth_core.resumable import no_report
from sth_core.staging import stack_on, staged
from sth_core.stopping import uninterrupted
from sth_core.training_state import EpochSums, TrainingState
from sth_core.video.modality import CHANNELS
from sth_core.video.transforms import normalise

STEPS_AHEAD = 2  # batches that are read while one is trained on
Batch = Sequence[tuple[np.ndarray | torch.Tensor, int]]  # a clip (T, H, W, C) uint8 and its class number


class NotFiniteStep(Exception):
    """A step whose loss or gradient is not finite; the message says which."""


@dataclass
class Trainer:
    """Trains `state.model` on `clips`, with all processes of the distributed context."""

    settings: Optimisation
    state: TrainingState
    clips: TrainClips
    val_clips: EvaluationClips
    distributed: DistributedContext
    readers: Readers = field(default_factory=partial(Readers, 0))
    waited: float = 0.0  # seconds in which no step was trained, as its clips were not read yet
    notify: Callable[[str], None] = no_report
    compiling: Compiling = field(init=False)
    program: list[nn.Module] = field(default_factory=list, init=False)  # the compiled network of one process, or none
    together: bool = field(default=False, init=False)  # whether several processes still have to compile theirs
    reader: CompiledNetwork | None = field(default=None, init=False)  # evaluates the held-out clips
    reading: Compiling | None = field(default=None, init=False)
    evaluated: dict[str, str] = field(default_factory=dict, init=False)  # `form_facts` of the last evaluation
    coming: Generator[tuple[np.ndarray, Batch], None, None] = field(init=False)  # batches that are read already
    following: tuple[int, int] = field(default=(0, 0), init=False)  # epoch and step of the next of them
    runner: nn.Module = field(init=False)  # the model, compiled and synchronised between processes where needed

    def __post_init__(self) -> None:
        model: nn.Module = self.state.model
        self.compiling = self.choose_compiling()
        if self.distributed.world > 1:
            self.together = self.compiling.wanted
            model = CompiledForSize(model) if self.together else model
            # A warning about 1 x 1 kernels, whose channels are innermost in either order of strides.
            warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
            device = self.distributed.device
            model = DistributedDataParallel(model, [device] if device.type == "cuda" else None)
        else:
            if self.compiling.wanted:
                model = torch.compile(model, backend=BACKEND, dynamic=False)  # type: ignore[assignment]
                self.program = [model]
            hear_signals_in_backward(self.state.model)
        self.runner = model
        self.coming = self.batches_from(*self.following)

    def choose_compiling(self) -> Compiling:
        settings, distributed = self.settings, self.distributed
        left = (settings.epochs - self.state.epoch) * self.steps - self.state.step
        return compiling_training(settings.compile, distributed.device, left, deterministic=settings.deterministic)

    @property
    def steps(self) -> int:
        """Of an epoch."""
        return math.ceil(len(self.clips.rows) / self.settings.batch_size)

    def batches(self) -> Iterator[tuple[np.ndarray, Batch]]:
        """This process's share of each step left of the epoch: rows, and the samples of those that can be read.

        While one is trained on the next are read, also those of the next epoch. The sample of a row depends on seed,
        epoch and row alone, not on which process or thread reads it.
        """
        here = (self.state.epoch, self.state.step)
        if self.following != here:
            self.coming.close()
            self.coming = self.batches_from(*here)
        for step in range(self.state.step, self.steps):
            began = time.perf_counter()
            rows, batch = next(self.coming)
            self.waited += time.perf_counter() - began
            self.following = (here[0], step + 1) if step + 1 < self.steps else (here[0] + 1, 0)
            yield rows, batch

    def batches_from(self, epoch: int, step: int) -> Generator[tuple[np.ndarray, Batch], None, None]:
        """This process's share of every step from this one on, to the training's end."""
        share = math.ceil(self.settings.batch_size / self.distributed.world)
        planned, plan = tee(self.plan(epoch, step))
        wanted = ((row, [self.settings.seed, of, row]) for of, rows in plan for row in rows.tolist())
        samples = self.clips.read_ahead(wanted, self.readers, ahead=STEPS_AHEAD * share, held=2 * share)
        with closing(samples):
            read = ((rows, [one for one in islice(samples, len(rows)) if one is not None]) for _, rows in planned)
            yield from staged(stage_batch, read, self.distributed.device)

    def close(self) -> None:
        """Read no further, until `batches` is called again."""
        self.coming.close()
        self.following = (-1, -1)

    def plan(self, epoch: int, step: int) -> Iterator[tuple[int, np.ndarray]]:
        """The epoch of each step, and the rows of this process's share of it."""
        size, distributed = self.settings.batch_size, self.distributed
        for of in range(epoch, max(epoch + 1, self.settings.epochs)):
            order = np.random.default_rng([self.settings.seed, of]).permutation(self.clips.rows)
            for first in range((step if of == epoch else 0) * size, len(order), size):
                yield of, order[first : first + size][distributed.rank :: distributed.world]

    def step(self, batch: Batch) -> float:
        """One step of all processes on their shares of a batch: its mean loss, which is added to the epoch's sums.

        An interrupted step changes nothing. Raises NotFiniteStep in all processes, before the weights are changed."""
        state, settings, distributed = self.state, self.settings, self.distributed
        for group in state.optimiser.param_groups:
            group["lr"] = learning_rate(settings, state.epoch + state.step / self.steps)
        (total,) = distributed.total(len(batch))
        if total == 0:  # no process could read a clip
            state.step += 1
            return math.nan
        loss_sum, correct = self.forward_and_backward(batch, total)
        with uninterrupted():
            loss_sum, correct = distributed.total(loss_sum, correct)
            if not math.isfinite(loss_sum):
                raise NotFiniteStep(f"the loss is {loss_sum}")
            state.scaler.unscale_(state.optimiser)
            norm = nn.utils.clip_grad_norm_(state.model.parameters(), settings.clip_gradient)
            if not state.scaler.is_enabled() and not torch.isfinite(norm):  # with fp16 the scaler skips such a step
                raise NotFiniteStep(f"the norm of the gradient is {norm.item()}")
            state.scaler.step(state.optimiser)
            state.scaler.update()
            sums = state.sums
            state.sums = EpochSums(sums.loss + loss_sum, sums.correct + correct, sums.clips + total)
            state.step += 1
        return loss_sum / total

    def forward_and_backward(self, batch: Batch, total: float) -> tuple[float, float]:
        """`backward`, by the compiled network, or by the network as it is, where torch.compile fails or would have to
        compile another size, as that of an epoch's last step."""
        if self.together:
            self.compile_together()
        if not self.program:
            return self.run_by(self.runner, batch, total)
        model, whole = self.state.model, min(self.settings.batch_size, len(self.clips.rows))
        if len(batch) < whole:
            return self.run_by(model, batch, total)
        ways = [partial(self.run_by, runner, batch, total) for runner in (self.program[0], model)]
        found, failed = compiled_or_not(*ways)
        if failed:
            self.fall_back(failed)
        return found

    def compile_together(self) -> None:
        """All processes compile their networks, for the first part of their share of a whole batch, or none does."""
        settings, distributed, p = self.settings, self.distributed, self.clips.preprocessing
        whole = min(settings.batch_size, len(self.clips.rows))
        share = len(range(distributed.rank, whole, distributed.world))
        parts = max(1, len(range(0, share, settings.accumulate)))
        pixels = torch.zeros(parts, p.frames, p.crop, p.crop, CHANNELS[p.modality], dtype=torch.uint8)
        clips = normalise(pixels.to(distributed.device), p)  # laid out as those of a step
        around = partial(autocast, settings.precision, distributed.device)
        failed = compile_together(self.runner, clips, distributed, around)  # type: ignore[arg-type]
        self.together = False
        if failed:
            self.fall_back(failed)

    def fall_back(self, failed: str) -> None:
        """To the network as it is, for the rest of the training."""
        self.program, self.compiling = [], Compiling(False, f"torch.compile fails ({failed})")
        self.notify(f"torch.compile fails here ({failed}); training goes on without it, which is slower")

    def run_by(self, runner: nn.Module, batch: Batch, total: float) -> tuple[float, float]:
        """`backward` by this form of the model, which is not changed if it does not end."""
        self.runner = runner
        self.state.optimiser.zero_grad(set_to_none=True)
        with unchanged(self.state.model, if_ended=False):
            return self.backward(batch, total)

    def backward(self, batch: Batch, total: float) -> tuple[float, float]:
        """Gradients of the mean loss over `total` clips, from this process's: (sum of their losses, how many correct).

        The batch is taken in `accumulate` parts; processes exchange their gradients in the last one.
        """
        state, settings, distributed = self.state, self.settings, self.distributed
        loss_sum = correct = 0.0
        parts = [batch[i :: settings.accumulate] for i in range(min(settings.accumulate, len(batch)))]
        for i, part in enumerate(parts):
            # For dropout: two processes, or one that accumulates two parts, draw the same numbers.
            number = distributed.rank * settings.accumulate + i
            torch.manual_seed(hash_seed(settings.seed, state.epoch, state.step, number))
            synchronised = i == len(parts) - 1 or not isinstance(self.runner, DistributedDataParallel)
            with nullcontext() if synchronised else self.runner.no_sync():  # type: ignore[operator]
                losses, correct_here = self.losses(part)
                # DistributedDataParallel takes the mean over the processes.
                state.scaler.scale(losses * distributed.world / total).backward()
            loss_sum, correct = loss_sum + losses.item(), correct + correct_here
        if not parts:  # the other processes wait for this one's gradients
            p = self.clips.preprocessing
            zeros = torch.zeros(1, p.frames, CHANNELS[p.modality], p.crop, p.crop, device=distributed.device)
            (self.runner(zeros).sum() * 0).backward()
        return loss_sum, correct

    def losses(self, part: Batch) -> tuple[torch.Tensor, float]:
        """The sum of the losses of some clips, and how many are classified correctly."""
        device = self.distributed.device
        pixels = torch.stack([torch.as_tensor(clip) for clip, _ in part]).to(device)  # staged clips are there already
        labels = torch.tensor([label for _, label in part], device=device)
        with autocast(self.settings.precision, device):
            logits = self.runner(normalise(pixels, self.clips.preprocessing))
            losses = F.cross_entropy(logits, labels, label_smoothing=self.settings.label_smoothing, reduction="sum")
        return losses, (logits.argmax(1) == labels).sum().item()

    def epoch_metrics(self) -> tuple[dict[str, Any], Accuracy | None]:
        """The epoch's row of the metrics, and the accuracy on the held-out clips when it is due."""
        state, settings = self.state, self.settings
        row = {"epoch": state.epoch + 1, "loss": state.sums.mean_loss, "accuracy": state.sums.accuracy}
        row |= {"learning_rate": state.optimiser.param_groups[0]["lr"], "val_accuracy": math.nan, "val_clips": 0}
        every = settings.evaluate_every or settings.epochs
        if row["epoch"] != settings.epochs and row["epoch"] % every:
            return row, None
        with autocast(settings.precision, self.distributed.device):
            network, clips = self.network_to_read(), self.val_clips
            found = accuracy(network, clips, clips.preprocessing, self.distributed, self.readers)
            assert self.reading
            self.evaluated = form_facts(network, self.reading)
        return row | {"val_accuracy": found.share, "val_clips": found.clips}, found

    def network_to_read(self) -> Network:
        """The network as it is now, for inference; compiled where all evaluations that are left together pay for it:
        one program serves them all, which gets the new weights."""
        settings, device = self.settings, self.distributed.device
        fast = for_inference(self.state.model, weight_type(device))
        if self.reading is None:
            left = math.ceil((settings.epochs - self.state.epoch) / (settings.evaluate_every or settings.epochs))
            views, how = left * len(self.val_clips.rows) // self.distributed.world, settings.deterministic
            network, self.reading = compiled_for_reading(fast, views, EVALUATED_AT_ONCE, self.notify, deterministic=how)
            self.reader = network if isinstance(network, CompiledNetwork) else None
        elif self.reader:
            self.reader.take_weights(fast)
        return self.reader or fast

    def end_epoch(self, row: dict[str, Any], found: Accuracy | None) -> None:
        """Add `epoch_metrics` to the state, and go on to the next epoch."""
        state = self.state
        if found:
            state.val_failures, state.best = found.failures, max(state.best, found.share)
        state.metrics.append(row)
        state.epoch, state.step, state.sums = state.epoch + 1, 0, EpochSums()


def stage_batch(device: torch.device, step: tuple[np.ndarray, Batch]) -> tuple[np.ndarray, Batch]:
    """The rows and samples of a step, their clips on a GPU."""
    rows, batch = step
    if device.type != "cuda" or not batch:
        return step
    clips = stack_on(device, [clip for clip, _ in batch])
    return rows, [(clip, label) for clip, (_, label) in zip(clips, batch, strict=True)]


def hear_signals_in_backward(model: nn.Module) -> None:
    """Python runs a signal's handler between two of its instructions, and the backward pass has none of its own."""
    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(lambda _: None)
