"""A network over a table of clips, one batch at a time."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sth_core.datasets.clips import Sample
from sth_core.network import VideoNetwork
from sth_core.video.transforms import Preprocessing, normalise


@dataclass(frozen=True)
class BatchResult:
    """The readable samples of a batch with their logits (B, K) and each layer's alpha (B, 2, C_out)."""

    samples: list[Sample]
    failed: list[Sample]
    logits: Tensor
    attention: dict[str, Tensor]


@torch.inference_mode()
def run_over(
    model: VideoNetwork,
    clips: Dataset[Sample],
    preprocessing: Preprocessing,
    batch_size: int = 8,
    workers: int = 0,
) -> Iterator[BatchResult]:
    """Run the network in eval mode over all clips, in order."""
    device = next(model.parameters()).device
    model.eval()
    loader = DataLoader(clips, batch_size, num_workers=workers, collate_fn=list)
    for batch in loader:
        samples = [s for s in batch if s.clip is not None]
        failed = [s for s in batch if s.clip is None]
        if not samples:
            yield BatchResult([], failed, torch.empty(0, model.config.num_classes), {})
            continue
        pixels = torch.stack([s.clip for s in samples]).to(device)
        logits, attention = model.forward_with_attention(normalise(pixels, preprocessing))
        yield BatchResult(samples, failed, logits.cpu(), {name: a.cpu() for name, a in attention.items()})


def accuracy(model: VideoNetwork, clips: Dataset[Sample], preprocessing: Preprocessing) -> float:
    """The share of readable clips whose largest logit is their label's."""
    right = total = 0
    for batch in run_over(model, clips, preprocessing):
        labels = torch.tensor([s.label for s in batch.samples])
        right += int((batch.logits.argmax(1) == labels).sum()) if len(labels) else 0
        total += len(labels)
    return right / max(1, total)
