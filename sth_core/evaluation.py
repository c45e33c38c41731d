"""A network over a table of clips, one batch at a time."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor
from torch.utils.data import Dataset

from sth_core.datasets.clips import Sample, TestClips
from sth_core.network import VideoNetwork
from sth_core.video.transforms import Preprocessing, normalise


@dataclass(frozen=True)
class BatchResult:
    """The readable samples of a batch with their logits (B, K) and each layer's alpha (B, 2, C_out)."""

    samples: list[Sample]
    failed: list[Sample]
    logits: Tensor
    attention: dict[str, Tensor]


def read_ahead(clips: Dataset[Sample], total: int, workers: int, ahead: int) -> Iterator[Sample]:
    """All samples in order, read by `workers` threads, at most `ahead` of them before they are asked for.

    Threads, as decoding, resizing and optical flow release Python's lock.
    """
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Sample]] = deque()
        try:
            for row in range(total):
                waiting.append(pool.submit(clips.__getitem__, row))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


@torch.inference_mode()
def run_over(
    model: VideoNetwork,
    clips: TestClips,
    preprocessing: Preprocessing,
    batch_size: int = 8,
    workers: int = 2,
) -> Iterator[BatchResult]:
    """Run the network in eval mode over all clips, in order; the next batch is read meanwhile."""
    device = next(model.parameters()).device
    model.eval()
    samples = read_ahead(clips, len(clips), workers, ahead=batch_size + workers)
    while batch := list(islice(samples, batch_size)):
        readable = [s for s in batch if s.clip is not None]
        failed = [s for s in batch if s.clip is None]
        if not readable:
            yield BatchResult([], failed, torch.empty(0, model.config.num_classes), {})
            continue
        pixels = torch.stack([s.clip for s in readable if s.clip is not None]).to(device)
        logits, attention = model.forward_with_attention(normalise(pixels, preprocessing))
        yield BatchResult(readable, failed, logits.cpu(), {name: a.cpu() for name, a in attention.items()})


def accuracy(model: VideoNetwork, clips: TestClips, preprocessing: Preprocessing) -> float:
    """The share of readable clips whose largest logit is their label's."""
    right = total = 0
    for batch in run_over(model, clips, preprocessing):
        labels = torch.tensor([s.label for s in batch.samples])
        right += int((batch.logits.argmax(1) == labels).sum()) if len(labels) else 0
        total += len(labels)
    return right / max(1, total)
