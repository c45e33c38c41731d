"""torch.compile in a training by several processes: each compiles its own network, and all use it or none.

A process that turned back alone would exchange its gradients in another order, or compute them while the others wait.
So all compile before the first step, by a pass over zeros without an exchange, and tell each other how it went.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sth_core.compiled import BACKEND, reason_of
from sth_core.distributed import DistributedContext
from sth_core.out_of_memory import is_out_of_memory


class CompiledForSize(nn.Module):
    """A network that is computed by its compiled program for batches of `size` clips, and as it is for others, which
    would be compiled anew; `size` is 0 where nothing is compiled."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.size = model, 0
        self.programs = (torch.compile(model, backend=BACKEND, dynamic=False),)  # in a tuple: no second child module

    def forward(self, clips: Tensor) -> Tensor:
        return (self.programs[0] if len(clips) == self.size else self.model)(clips)


def compile_together(
    runner: DistributedDataParallel,
    clips: Tensor,
    distributed: DistributedContext,
    around: Callable[[], torch.autocast],
) -> str:
    """Compile the `CompiledForSize` inside `runner` for batches such as `clips`, inside the block `around`, in all
    processes. Returns why it is not done, in all of them, or "". Weights, statistics and gradients stay as they are."""
    chosen, failed = runner.module, ""
    chosen.size = len(clips)
    with unchanged(chosen, if_ended=True):
        try:
            with runner.no_sync(), around():
                runner(clips).sum().backward()
        except Exception as error:  # of any type, as in `compiled_or_not`
            if is_out_of_memory(error):
                raise
            failed = reason_of(error)
    runner.zero_grad(set_to_none=True)
    reasons = [reason for reason in distributed.gather(failed) if reason]
    if reasons:
        chosen.size = 0
    return reasons[0] if reasons else ""


@contextmanager
def unchanged(model: nn.Module, *, if_ended: bool) -> Iterator[None]:
    """Forward and backward passes: batch norm's statistics, which they change, are put back if the block does not end,
    and with `if_ended` in any case."""
    buffers = list(model.buffers())
    before = [buffer.clone() for buffer in buffers]
    ended = False
    try:
        yield
        ended = True
    finally:
        if if_ended or not ended:
            with torch.no_grad():
                for buffer, value in zip(buffers, before, strict=True):
                    buffer.copy_(value)
