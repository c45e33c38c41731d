"""Networks that do not fit into memory: what is said, and the largest batch that fits."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from sth_core.errors import UserError
from sth_core.network_contract import Network
from sth_core.precision import device_name
from sth_core.video.modality import CHANNELS
from sth_core.video.transforms import Preprocessing, normalise

# What libraries write in a RuntimeError: PyTorch for a CPU and for Apple's GPUs, cuDNN and cuBLAS.
SIGNS = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")
MOST_VIEWS = 1024  # at once: a GPU is busy long before
VIEWS_ON_A_CPU = 8  # larger batches are no faster there (docs/networks.md), and too large ones end the process


def is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in SIGNS)


@contextmanager
def saying_out_of_memory(device: torch.device, ways: Callable[[], str]) -> Iterator[None]:
    """Raises UserError instead of a library's error if the block needs more memory than there is; `ways` says what did
    not fit, and what to do."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        where = "this machine's memory" if isinstance(error, MemoryError) else f"the memory of {device_name(device)}"
        raise UserError(f"{where} is full: {ways()}") from error


def fewer_views(batch_size: int, precision: str, *, auto: bool = False) -> str:
    """The ways when so many views at once do not fit; `auto`: whether --batch-size auto can be given too."""
    ways = [f"--batch-size {batch_size // 2}"] * (batch_size > 1) + ["--batch-size auto"] * (batch_size > 1 and auto)
    ways += ["--precision bf16"] * (precision not in ("bf16", "fp16"))
    count = f"{batch_size} views at once do" if batch_size > 1 else "a single view does"
    return f"{count} not fit; try {' or '.join(ways) or 'a device with more memory, such as --device cpu'}"


def fitting_batch(model: Network, preprocessing: Preprocessing, side: int) -> int:
    """How many views (T, side, side, C) `model` takes at once: on a GPU the most that fit, found by trying; on a CPU 8.
    Raises UserError: not even one fits."""
    device, p = next(model.parameters()).device, preprocessing
    if device.type == "cpu":
        return VIEWS_ON_A_CPU

    @torch.inference_mode()
    def fits(count: int) -> bool:
        try:
            for _ in range(2):  # the second time as in a loop, beside what the first has left
                views = torch.zeros(count, p.frames, side, side, CHANNELS[p.modality], dtype=torch.uint8)
                model.forward_with_attention(normalise(views.to(device), p))
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            return False
        return True

    found = largest_batch(fits, MOST_VIEWS)
    if not found:
        raise UserError(f"the memory of {device_name(device)} is full: {fewer_views(1, 'fp32')}")
    return found


def largest_batch(fits: Callable[[int], bool], most: int) -> int:
    """The largest number up to `most` that fits, 0 if none does: by doubling it, then by halving the gap."""
    good, bad, tried = 0, most + 1, 1
    while bad - good > 1:
        if fits(tried):
            good = tried
        else:
            bad = tried
        tried = min(2 * good, most) if bad > most else (good + bad) // 2
    return good
