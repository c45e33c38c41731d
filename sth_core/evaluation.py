"""Logits, attention and accuracy of a network over a table of clips, one batch at a time."""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import TypeVar

import torch
from torch import Tensor

from sth_core.datasets.clips import EvaluationClips, Sample
from sth_core.distributed import SINGLE_PROCESS, DistributedContext
from sth_core.errors import NOT_FINITE, UserError
from sth_core.network_contract import Network
from sth_core.precision import at_least_fp32
from sth_core.readers import Readers, pick_readers
from sth_core.staging import stack_on, staged
from sth_core.stopping import stop_requested
from sth_core.video.transforms import Preprocessing, normalise

Result = TypeVar("Result")
EVALUATED_AT_ONCE = 8  # clips
VALUES_AT_ONCE = 2**26  # of the network's input on a CPU: eight clips of 16 stacks of flow, 224 x 224 pixels, fit


@dataclass(frozen=True)
class BatchResult:
    """The samples of a batch that have scores, with the logits of their views (B, V, K), all finite, and each layer's
    alpha (B, 2, C_out), or with `shares` its attention across time (B, 2, heads), the mean over views, and if asked for
    the features before the classifier (B, F), also the mean; and those that failed: unreadable, or their scores are not
    finite."""

    samples: list[Sample]
    failed: list[Sample]
    view_logits: Tensor
    attention: dict[str, Tensor]
    features: Tensor | None = None

    @property
    def logits(self) -> Tensor:
        """(B, K): the mean over the views, as TSN and TSM take it."""
        return self.view_logits.mean(1)


def is_finite(logits: Tensor) -> Tensor:
    """Logits (B, ..., K) -> (B,): False for those that cannot be ranked."""
    return torch.isfinite(logits).flatten(1).all(1)


def refuse_not_finite(logits: Tensor, what: str) -> None:
    """Raises UserError: scores that cannot be ranked; `what` names the clip or video."""
    if not torch.isfinite(logits).all():
        raise UserError(f"{what}: {NOT_FINITE}; its weights, or the video, are broken")


def views_at_once(batch_size: int, p: Preprocessing, device: torch.device) -> int:
    """Of a batch: on a CPU fewer than its size if they are so large that VALUES_AT_ONCE would be exceeded. A GPU says
    when its memory is full; without that limit of its own a CPU takes the memory of all programs."""
    return batch_size if device.type != "cpu" else max(1, min(batch_size, VALUES_AT_ONCE // p.values_of(p.crop)))


@torch.inference_mode()
def run_over(
    model: Network,
    clips: EvaluationClips,
    preprocessing: Preprocessing,
    batch_size: int = EVALUATED_AT_ONCE,
    readers: Readers | None = None,
    *,
    shares: bool = False,
    with_features: bool = False,
) -> Iterator[BatchResult]:
    """Run the network, best `for_inference`, in eval mode over all clips, in order, while the next batches are read, by
    default by `pick_readers`. With `shares`, the attention is that of `Network.forward_with_shares`. The views of a
    result's samples are there until the next result."""
    device = next(model.parameters()).device
    model.eval()
    if readers is None:
        with pick_readers(device) as chosen:
            more = {"shares": shares, "with_features": with_features}
            yield from run_over(model, clips, preprocessing, batch_size, chosen, **more)
        return
    samples = clips.read_ahead(readers, ahead=batch_size + readers.workers, held=3 * batch_size)
    views, K, at_once = clips.protocol.views, model.num_classes, views_at_once(batch_size, preprocessing, device)
    batches = iter(lambda: list(islice(samples, batch_size)), [])
    computed = (
        (batch, [outputs_of_views(model, some, preprocessing, at_once, shares, with_features) for some in groups])
        for batch, groups in staged(partial(stage_views, at_once=at_once), batches, device)
    )
    for batch, of_batch in one_behind(computed) if device.type == "cuda" else computed:
        readable = [s for s in batch if s.views is not None]
        failed = [s for s in batch if s.views is None]
        logits = [torch.empty(0, views, K)]
        alphas: list[dict[str, Tensor]] = []
        features: list[Tensor] = []
        for of_views, attention, embedded in of_batch:
            logits += [clips.unmirror_logits(of_one)[None] for of_one in of_views.cpu().split(views)]
            alphas.append({name: a.unflatten(0, (-1, views)).mean(1).cpu() for name, a in attention.items()})
            if embedded is not None:
                features.append(embedded.unflatten(0, (-1, views)).mean(1).cpu())
        together = {name: torch.cat([a[name] for a in alphas]) for name in next(iter(alphas), {})}
        embeddings = torch.cat(features) if features else None
        yield without_not_finite(BatchResult(readable, failed, torch.cat(logits), together, embeddings))


def stage_views(device: torch.device, batch: list[Sample], at_once: int) -> tuple[list[Sample], list[Tensor]]:
    """The samples of a batch, and the views (V, T, H, W, C) of those that can be read, in groups, on the device."""
    groups = in_batches([s.views for s in batch if s.views is not None], at_once)
    return batch, [stack_on(device, some).flatten(0, 1) for some in groups]


def outputs_of_views(
    model: Network, views: Tensor, preprocessing: Preprocessing, at_once: int, shares: bool, with_features: bool
) -> tuple[Tensor, dict[str, Tensor], Tensor | None]:
    """Logits (V, K) of views; each layer's alpha (V, 2, C_out), or with `shares` its attention across time (V, 2,
    heads); and if asked for the features before the classifier (V, F). A GPU may still compute them. `at_once` views at
    a time, as a sample may have more than fit."""
    clips = [normalise(some, preprocessing) for some in views.split(at_once)]
    features = None
    if with_features:
        taps = [model.recorder(shares=shares) for _ in clips]
        parts = [(model(some, tap), tap.recorded) for some, tap in zip(clips, taps, strict=True)]
        found = [tap.features_before for tap in taps if tap.features_before is not None]
        features = torch.cat(found) if found else None
    else:  # a compiled network computes no other
        forward = model.forward_with_shares if shares else model.forward_with_attention
        parts = [forward(some) for some in clips]
    logits = torch.cat([at_least_fp32(of_part) for of_part, _ in parts])
    attention = {name: torch.cat([at_least_fp32(of_part[name]) for _, of_part in parts]) for name in parts[0][1]}
    return logits, attention, features


def one_behind(results: Iterable[Result]) -> Iterator[Result]:
    """Each result when the next has been begun, so that a GPU never waits until one is fetched from it."""
    waiting = deque[Result]()
    for result in results:
        waiting.append(result)
        if len(waiting) > 1:
            yield waiting.popleft()
    yield from waiting


def without_not_finite(batch: BatchResult) -> BatchResult:
    """The batch, its samples whose scores cannot be ranked among those that failed."""
    if (finite := is_finite(batch.view_logits)).all():
        return batch
    kept = [s for s, good in zip(batch.samples, finite, strict=True) if good]
    lost = [
        replace(s, views=None, failure=NOT_FINITE) for s, good in zip(batch.samples, finite, strict=True) if not good
    ]
    attention = {name: alpha[finite] for name, alpha in batch.attention.items()}
    features = None if batch.features is None else batch.features[finite]
    return BatchResult(kept, [*batch.failed, *lost], batch.view_logits[finite], attention, features)


def in_batches(samples: list[Tensor], views_at_once: int) -> Iterator[list[Tensor]]:
    """Samples (V, ...) in groups of at most `views_at_once` views, or of one sample; a group has one frame size."""
    group: list[Tensor] = []
    for sample in samples:
        fits = (len(group) + 1) * len(sample) <= views_at_once and group and group[0].shape == sample.shape
        if group and not fits:
            yield group
            group = []
        group.append(sample)
    if group:
        yield group


@dataclass(frozen=True)
class Accuracy:
    """Top-1 accuracy over the clips that have scores and whose label the network knows (nan without any), their number,
    and why others have none, by clip_id."""

    share: float
    clips: int
    failures: dict[str, str]


def accuracy(
    model: Network,
    clips: EvaluationClips,
    preprocessing: Preprocessing,
    distributed: DistributedContext = SINGLE_PROCESS,
    readers: Readers | None = None,
) -> Accuracy:
    """Top-1 accuracy over all clips, of which each process takes its share, of a network `for_inference`.
    Raises Interrupted: this process, or another one, was asked to stop."""
    correct = total = 0
    failures: dict[str, str] = {}
    mine = clips.shard(distributed.rank, distributed.world)
    for batch in run_over(model, mine, preprocessing, readers=readers):
        labels = torch.tensor([s.label for s in batch.samples], dtype=torch.int64)
        correct += int((batch.logits.argmax(1) == labels).sum()) if len(labels) else 0  # an unknown label is -1
        total += int((labels >= 0).sum())
        failures |= {mine.rows[s.row]["clip_id"]: s.failure for s in batch.failed}
        if distributed.world > 1 and stop_requested():
            break
    distributed.stop_together()
    all_correct, all_clips = distributed.total(correct, total)
    together = {clip: reason for found in distributed.gather(failures) for clip, reason in found.items()}
    return Accuracy(all_correct / all_clips if all_clips else math.nan, int(all_clips), together)
