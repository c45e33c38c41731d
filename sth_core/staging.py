"""Clips that are copied to a GPU while it computes on those before: from pinned memory, in a stream of their own."""

from collections.abc import Callable, Generator, Iterable, Sequence
from functools import cache, partial
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from sth_core.prefetch import prefetch

Batch = TypeVar("Batch")
Staged = TypeVar("Staged")


def stack_on(device: torch.device, clips: Sequence[Tensor | np.ndarray]) -> Tensor:
    """Clips (T, H, W, C) of one size -> (N, T, H, W, C) on a device.

    On a GPU the copy is done when this returns, and has not waited for what the GPU computes: to be called by another
    thread than the one that computes."""
    tensors = [torch.as_tensor(clip) for clip in clips]
    if device.type != "cuda":
        return torch.stack(tensors).to(device)
    pinned = torch.empty((len(tensors), *tensors[0].shape), dtype=tensors[0].dtype, pin_memory=True)
    torch.stack(tensors, out=pinned)
    stream = copy_stream(device)
    with torch.cuda.stream(stream):
        copied = pinned.to(device, non_blocking=True)
    stream.synchronize()
    copied.record_stream(torch.cuda.default_stream(device))  # its memory is not used again before that stream is done
    return copied


@cache
def copy_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)


def staged(
    stage: Callable[[torch.device, Batch], Staged], batches: Iterable[Batch], device: torch.device
) -> Generator[Staged, None, None]:
    """Each batch as `stage` returns it; for a GPU another thread does that while the batch before is computed on."""
    if device.type == "cuda":
        return prefetch(partial(stage, device), batches, workers=1, ahead=1)
    return (stage(device, batch) for batch in batches)
