"""One process or several: torch.distributed, started by torchrun."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import PrefixStore  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from sth_core.errors import UserError
from sth_core.network import pick_device
from sth_core.stopping import REQUEST, Interrupted, stop_requested

TIMEOUT = timedelta(minutes=30)  # one process may wait for another to evaluate or to read all its clips


@dataclass(frozen=True)
class DistributedContext:
    """Which of how many processes this is, and its device."""

    rank: int
    world: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def wait_for_all(self) -> None:
        if self.world > 1:
            dist.barrier()

    def total(self, *values: float) -> list[float]:
        """The sum of each value over all processes."""
        if self.world == 1:
            return list(values)
        sums = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(sums)
        return sums.tolist()

    def stop_together(self) -> None:
        """Raises Interrupted in all processes if one of them was asked to stop."""
        if self.world > 1 and any(self.total(stop_requested())):
            raise Interrupted(REQUEST.number or signal.SIGTERM)

    def gather(self, value: Any) -> list[Any]:
        """The value of each process, in all of them."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values


SINGLE_PROCESS = DistributedContext(0, 1, torch.device("cpu"))


def own_gpu(device: str) -> str:
    """Under torchrun: the GPU of this process's local rank, if `device` is "cuda", or "auto" where there are GPUs; else
    `device` itself. Raises UserError: this machine has fewer GPUs than processes, or `device` is one GPU for all."""
    processes, gpus = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
    if device.startswith("cuda:") and processes > 1:
        raise UserError(f"torchrun started {processes} processes for the one GPU {device}; give --device cuda")
    if device != "cuda" and not (device == "auto" and torch.cuda.is_available()):
        return device
    if processes > max(1, gpus):
        ways = f"give torchrun --nproc-per-node {gpus}, or --device cpu" if gpus else "give --device cpu"
        has = "1 GPU" if gpus == 1 else f"{gpus} GPUs"
        raise UserError(f"torchrun started {processes} processes on this machine, which has {has}; {ways}")
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"


@contextmanager
def distributed_context(device: str = "auto") -> Iterator[DistributedContext]:
    """This process's rank and device; under torchrun it belongs to the process group until the block ends.

    On GPUs each process takes the one of its local rank (NCCL); on CPUs the processes communicate by gloo.
    Raises UserError: no such device, or not one GPU for each process of this machine.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield DistributedContext(0, 1, pick_device(device))
        return
    chosen = pick_device(own_gpu(device))
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    store, rank, world = next(rendezvous("env://"))
    if os.environ.get("GROUP_WORLD_SIZE") == "1":
        # On one node torchrun keeps its store when it starts the processes again, with their old addresses in it.
        store = PrefixStore(f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
    backend = "nccl" if chosen.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=TIMEOUT)
    try:
        yield DistributedContext(rank, world, chosen)
    finally:
        dist.destroy_process_group()
