"""The steps of a training against a loop that is written out here; what one of several processes adds to a step."""

import math
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sth_core import trainer
from sth_core.distributed import SINGLE_PROCESS, DistributedContext
from sth_core.evaluation import Accuracy
from sth_core.network import VideoNetwork
from sth_core.optimisation import Optimisation, hash_seed, learning_rate, optimiser_of
from sth_core.trainer import NotFiniteStep, Trainer, stage_batch
from sth_core.training_state import EpochSums, TrainingState
from sth_core.video.transforms import Preprocessing, normalise
from tests.tiny import tiny_network

P = Preprocessing("rgb", frames=2, resize=36, crop=32)
ROWS, UNREADABLE = [0, 2, 3, 5, 7, 8, 9], 5
SETTINGS = Optimisation(
    epochs=3, batch_size=3, learning_rate=0.05, warmup_epochs=1, momentum=0.9, weight_decay=5e-4,
    label_smoothing=0.1, clip_gradient=1.0, seed=6,
)  # fmt: skip
CPU = torch.device("cpu")


def sample(row: int, random: np.random.Generator) -> tuple[np.ndarray, int] | None:
    return None if row == UNREADABLE else (random.integers(0, 256, (2, 32, 32, 3), np.uint8), row)


def read_ahead(wanted: Any, *_: Any, **__: Any) -> Iterator[tuple[np.ndarray, int] | None]:
    for row, seed in wanted:
        yield sample(row, np.random.default_rng(seed))


CLIPS: Any = SimpleNamespace(rows=ROWS, read_ahead=read_ahead, preprocessing=P)
VAL: Any = SimpleNamespace(preprocessing="of the val clips", rows=[])


def a_trainer(
    settings: Optimisation = SETTINGS, context: DistributedContext = SINGLE_PROCESS, scale: float = 0.0
) -> Trainer:
    """Of a network with dropout, in training mode; with a `scale` the loss is scaled as with fp16."""
    model = tiny_network(frames=2, dropout=0.5).train()
    scaler = torch.amp.GradScaler("cpu", init_scale=scale, enabled=scale > 0)
    return Trainer(settings, TrainingState(model, optimiser_of(model, settings), scaler), CLIPS, VAL, context)


def steps_by_hand(epoch: int) -> list[list[tuple[np.ndarray, int]]]:
    order = np.random.default_rng([6, epoch]).permutation(ROWS)
    shares = [order[:3], order[3:6], order[6:]]
    read = [[sample(row, np.random.default_rng([6, epoch, row])) for row in rows] for rows in shares]
    return [[clip for clip in clips if clip] for clips in read]


def trained_by_hand(settings: Optimisation) -> tuple[nn.Module, list[float]]:
    """Two epochs: the network, and the mean loss of each step."""
    model, losses = tiny_network(frames=2, dropout=0.5).train(), []
    optimiser = optimiser_of(model, settings)
    for epoch in (0, 1):
        for step, clips in enumerate(steps_by_hand(epoch)):
            optimiser.zero_grad()
            total = 0.0
            for number in range(settings.accumulate):
                part = clips[number :: settings.accumulate]
                if not part:
                    continue
                torch.manual_seed(hash_seed(6, epoch, step, number))
                logits = model(normalise(torch.from_numpy(np.stack([clip for clip, _ in part])), P))
                labels = torch.tensor([label for _, label in part])
                loss = F.cross_entropy(logits, labels, label_smoothing=0.1, reduction="sum") / len(clips)
                loss.backward()
                total += float(loss.detach())
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(settings, epoch + step / 3)
            optimiser.step()
            losses.append(total)
    return model, losses


@pytest.mark.parametrize(("accumulate", "scale"), [(1, 0.0), (2, 0.0), (1, 1024.0)], ids=["plain", "parts", "scaled"])
def test_two_epochs_are_those_of_a_loop_by_hand(accumulate: int, scale: float) -> None:
    settings = replace(SETTINGS, accumulate=accumulate)
    tried, (model, losses) = a_trainer(settings, scale=scale), trained_by_hand(settings)
    assert tried.steps == 3
    found, clips = [], 0
    for _ in (0, 1):
        for rows, batch in tried.batches():
            assert len(batch) == len(rows) - (UNREADABLE in rows)
            found.append(tried.step(batch))
            clips += len(batch)
            assert tried.state.sums.clips == clips - 6 * tried.state.epoch
        tried.end_epoch(tried.epoch_metrics()[0], None)
    assert found == pytest.approx(losses, rel=1e-5)
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(tried.state.model.state_dict()[name], weight, rtol=1e-4, atol=1e-6)
    rates = [learning_rate(settings, epoch + 2 / 3) for epoch in (0, 1)]
    assert [row["learning_rate"] for row in tried.state.metrics] == rates
    weights = [len(clips) for epoch in (0, 1) for clips in steps_by_hand(epoch)]
    means = [np.average(losses[i : i + 3], weights=weights[i : i + 3]) for i in (0, 3)]
    assert [row["loss"] for row in tried.state.metrics] == pytest.approx(means, rel=1e-5)


def test_an_epoch_goes_on_with_the_step_that_is_left() -> None:
    tried = a_trainer()
    whole = list(tried.batches())
    assert sorted(row for rows, _ in whole for row in rows) == ROWS
    tried.state.step = 1
    for (rows, batch), (rows_before, batch_before) in zip(tried.batches(), whole[1:], strict=True):
        assert rows.tolist() == rows_before.tolist()
        assert all(np.array_equal(a[0], b[0]) for a, b in zip(batch, batch_before, strict=True))


def test_clips_are_read_on_not_begun_anew_at_an_epoch_and_where_one_was_left() -> None:
    """While the last steps of an epoch are trained on, the workers read the first clips of the next one."""
    tried, begun = a_trainer(), []
    tried.close()
    tried.clips = SimpleNamespace(**vars(CLIPS) | {"read_ahead": lambda *of, **how: begun.append(1) or read_ahead(*of)})
    for epoch in range(SETTINGS.epochs):
        tried.state.epoch, tried.state.step = epoch, 0
        found = [next(tried.batches())[0]]
        tried.state.step = 1
        found += [rows for rows, _ in tried.batches()]
        assert sorted(row for rows in found for row in rows) == ROWS
    assert begun == [1]


def test_the_time_that_steps_wait_for_their_clips_is_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    tried = a_trainer()
    tried.close()

    def slow(*of: Any, **how: Any) -> Iterator[tuple[np.ndarray, int] | None]:
        for one in read_ahead(*of):
            now[0] += 0.25
            yield one

    tried.clips = SimpleNamespace(**vars(CLIPS) | {"read_ahead": slow})
    monkeypatch.setattr(trainer.time, "perf_counter", lambda: now[0])
    for _ in tried.batches():
        now[0] += 8  # the step itself
    assert tried.waited == 0.25 * len(ROWS)


def test_processes_share_each_step() -> None:
    order = np.random.default_rng([6, 0]).permutation(ROWS)
    for rank in (0, 1):
        tried = a_trainer()
        tried.distributed = DistributedContext(rank, 2, CPU)
        assert [rows.tolist() for rows, _ in tried.batches()] == [
            order[start : start + 3][rank::2].tolist() for start in (0, 3, 6)
        ]


class Synchronised(nn.Module):
    """Stands in for DistributedDataParallel: what is asked of it, in order."""

    def __init__(self, model: nn.Module, devices: list[torch.device] | None) -> None:
        super().__init__()
        self.model, self.devices, self.asked = model, devices, list[Any]()

    def no_sync(self) -> Any:
        self.asked.append("no_sync")
        return nullcontext()

    def forward(self, x: Tensor) -> Tensor:
        self.asked += [torch.initial_seed(), tuple(x.shape)]
        return self.model(x)


@pytest.fixture
def second(monkeypatch: pytest.MonkeyPatch) -> Trainer:
    """Of process 1 of 2, which takes a step in three parts; its network is in eval mode, so that clips stay apart."""
    monkeypatch.setattr(trainer, "DistributedDataParallel", Synchronised)
    found = a_trainer(replace(SETTINGS, accumulate=3), DistributedContext(1, 2, CPU))
    found.state.model.eval()
    return found


@pytest.mark.parametrize(("clips", "sizes"), [(5, [2, 2, 1]), (2, [1, 1]), (1, [1])])
def test_a_process_adds_its_part_of_the_gradient_and_sends_it_once(second: Trainer, clips: int, sizes: list) -> None:
    """The mean over both processes is the gradient of the mean loss; here the other one adds nothing."""
    second.state.epoch, second.state.step = 1, 2
    batch = [one for row in ROWS if row != UNREADABLE and (one := sample(row, np.random.default_rng(row)))][:clips]
    loss, correct = second.backward(batch, 8.0)
    model = tiny_network(frames=2, dropout=0.5)
    logits = model(normalise(torch.from_numpy(np.stack([clip for clip, _ in batch])), P))
    labels = torch.tensor([label for _, label in batch])
    expected = F.cross_entropy(logits, labels, label_smoothing=0.1, reduction="sum")
    (2 * expected / 8).backward()
    assert loss == pytest.approx(float(expected.detach()), rel=1e-5)
    assert correct == sum(int(row.argmax()) == label for row, (_, label) in zip(logits, batch, strict=True))
    for ours, theirs in zip(second.state.model.parameters(), model.parameters(), strict=True):
        assert ours.grad is not None and theirs.grad is not None
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5 * float(theirs.grad.abs().max()))
    asked: list[Any] = []
    for part, size in enumerate(sizes):
        seed = hash_seed(6, 1, 2, 3 + part)
        asked += ["no_sync"] * (part < len(sizes) - 1) + [seed, (size, 2, 3, 32, 32)]
    assert isinstance(second.runner, Synchronised) and second.runner.asked == asked


def test_a_process_without_a_clip_adds_nothing_and_still_takes_part(second: Trainer) -> None:
    assert second.backward([], 3.0) == (0, 0)
    assert isinstance(second.runner, Synchronised) and second.runner.asked[1:] == [(1, 2, 3, 32, 32)]
    for weight in second.state.model.parameters():
        assert weight.grad is not None and not weight.grad.any()


def hooks(tried: Trainer) -> set[int]:
    return {len(w._post_accumulate_grad_hooks or ()) for w in tried.state.model.parameters()}


def test_the_network_is_compiled_and_synchronised_where_needed(second: Trainer, monkeypatch) -> None:
    assert isinstance(second.runner, Synchronised) and second.runner.devices is None
    assert second.runner.model is second.state.model and hooks(second) == {0}
    gpu = torch.device("cuda", 1)
    on_gpu: Any = a_trainer(context=DistributedContext(0, 2, gpu)).runner
    assert on_gpu.devices == [gpu]
    alone = a_trainer()
    assert alone.runner is alone.state.model and hooks(alone) == {1}  # between which Python hears signals
    monkeypatch.setattr(torch, "compile", lambda model, **_: nn.Sequential(model))
    compiled: Any = a_trainer(replace(SETTINGS, compile=True))
    assert compiled.runner[0] is compiled.state.model


def weights_of(tried: Trainer) -> list[Tensor]:
    return [value.clone() for value in tried.state.model.state_dict().values()]


def is_unchanged(tried: Trainer, before: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(before, weights_of(tried), strict=True))


def test_a_step_of_which_no_clip_can_be_read_is_counted_and_changes_nothing() -> None:
    tried = a_trainer()
    tried.state.step = 1
    before = weights_of(tried)
    assert math.isnan(tried.step([])) and is_unchanged(tried, before)
    assert (tried.state.step, tried.state.sums) == (2, EpochSums())


@pytest.mark.parametrize(
    ("patched", "value", "sentence"),
    [
        ("torch.nn.functional.cross_entropy", math.inf, "the loss is inf"),
        ("torch.nn.functional.cross_entropy", math.nan, "the loss is nan"),
        ("torch.nn.utils.clip_grad_norm_", math.inf, "the norm of the gradient is inf"),
    ],
)
def test_a_step_that_is_not_finite_is_refused_before_the_weights_change(patched, value, sentence, monkeypatch) -> None:
    tried, (_, batch) = a_trainer(), next(a_trainer().batches())
    before = [weight.detach().clone() for weight in tried.state.model.parameters()]
    broken = torch.tensor(value, requires_grad=True)
    monkeypatch.setattr(patched, lambda *_, **__: broken * 1)
    with pytest.raises(NotFiniteStep, match=f"^{sentence}$"):
        tried.step(batch)
    assert all(torch.equal(a, b) for a, b in zip(before, tried.state.model.parameters(), strict=True))
    assert (tried.state.step, tried.state.sums) == (0, EpochSums())


def test_with_fp16_a_gradient_that_is_not_finite_is_skipped_and_the_next_is_scaled_less() -> None:
    tried, (_, batch) = a_trainer(scale=3e38), next(a_trainer().batches())
    before = [weight.detach().clone() for weight in tried.state.model.parameters()]
    assert math.isfinite(tried.step(batch)) and tried.state.step == 1
    assert all(torch.equal(a, b) for a, b in zip(before, tried.state.model.parameters(), strict=True))
    assert tried.state.scaler.get_scale() == pytest.approx(1.5e38)


def test_an_interrupted_step_changes_nothing(monkeypatch) -> None:
    tried, (_, batch) = a_trainer(), next(a_trainer().batches())
    before = weights_of(tried)

    def interrupted(*_: object) -> None:
        assert not is_unchanged(tried, before)  # batch norm has seen the batch
        raise KeyboardInterrupt

    monkeypatch.setattr(Tensor, "backward", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tried.step(batch)
    assert is_unchanged(tried, before) and tried.state.step == 0


def test_bf16_is_used_in_the_forward_pass() -> None:
    tried, (_, batch) = a_trainer(replace(SETTINGS, precision="bf16")), next(a_trainer().batches())
    seen: list[torch.dtype] = []
    model = tried.state.model
    for module in (model.backbone.conv1, model.fc):  # the scores stay in fp32
        module.register_forward_hook(lambda *of: seen.append(of[2].dtype))
    tried.losses(batch)
    with warnings.catch_warnings(action="error"):  # there is no autocast to fp32
        a_trainer().losses(batch)
    assert seen == [torch.bfloat16, torch.float32]


@pytest.mark.parametrize(
    ("every", "due"), [(0, [3]), (1, [1, 2, 3]), (2, [2, 3]), (3, [3]), (5, [3])], ids=lambda value: str(value)
)
def test_when_the_held_out_clips_are_evaluated(every: int, due: list[int], monkeypatch) -> None:
    tried = a_trainer(replace(SETTINGS, evaluate_every=every))
    tried.state.optimiser.param_groups[0]["lr"] = 0.25
    shares = {1: 0.5, 2: 0.75, 3: 0.25}

    def accuracy(*of: object) -> Accuracy:
        assert isinstance(of[0], VideoNetwork) and not of[0].computes_branches  # for inference
        assert of[1:] == (VAL, "of the val clips", SINGLE_PROCESS, tried.readers)
        return Accuracy(shares[tried.state.epoch + 1], 7, {"c": f"in epoch {tried.state.epoch + 1}"})

    monkeypatch.setattr(trainer, "accuracy", accuracy)
    for epoch in (1, 2, 3):
        tried.state.sums, tried.state.step = EpochSums(8.0, 3.0, 4.0), 3
        row, found = tried.epoch_metrics()
        share, clips = (shares[epoch], 7) if epoch in due else (math.nan, 0)
        expected = {"epoch": epoch, "loss": 2.0, "accuracy": 0.75, "learning_rate": 0.25}
        assert row == pytest.approx(expected | {"val_accuracy": share, "val_clips": clips}, nan_ok=True)
        assert (found is not None) == (epoch in due)
        tried.end_epoch(row, found)
        assert (tried.state.epoch, tried.state.step, tried.state.sums) == (epoch, 0, EpochSums())
        assert tried.state.metrics[-1] is row and len(tried.state.metrics) == epoch
    assert tried.state.best == max(shares[epoch] for epoch in due)
    assert tried.state.val_failures == {"c": "in epoch 3"}


def test_the_clips_of_a_step_are_staged_on_a_gpu_with_their_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sth_core.trainer.stack_on", lambda device, clips: [f"{clip} on {device}" for clip in clips])
    rows, batch = np.array([3, 5]), [("a", 7), ("b", 8)]
    assert stage_batch(torch.device("cpu"), (rows, batch)) == (rows, batch)
    assert stage_batch(torch.device("cuda"), (rows, batch)) == (rows, [("a on cuda", 7), ("b on cuda", 8)])
