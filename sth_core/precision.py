"""The precision of a network's arithmetic, and whether the same call gives the same numbers again.

On a GPU, PyTorch rounds the inputs of fp32 convolutions to TF32 (10 bits of mantissa) unless told otherwise. Here
"fp32" is true fp32 on every device, and "tf32" says what it is. "bf16" and "fp16" are autocast: the weights stay in
fp32, matrix products and convolutions are computed in 16 bits.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext

import torch
from torch import Tensor

from sth_core.errors import UserError, did_you_mean
from sth_core.values import PRECISIONS

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
NONE_DETERMINISTIC = "does not have a deterministic implementation"  # in PyTorch's message, after the operation
AMPERE = 8  # the first generation of GPUs with TF32
# cuBLAS needs a workspace of a fixed size to give the same sums each time; it is read when its first product is asked.
CUBLAS_WORKSPACE = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def precision_on(precision: str, device: torch.device) -> str:
    """What a device computes if it is asked for `precision`: "fp32" for "tf32" where there is no TF32.
    Raises UserError: there is no such precision."""
    if precision not in PRECISIONS:
        near = did_you_mean(precision, PRECISIONS)
        raise UserError(f"unknown precision {precision!r}{near}; possible: {', '.join(PRECISIONS)}")
    return "fp32" if precision == "tf32" and not has_tf32(device) else precision


def has_tf32(device: torch.device) -> bool:
    return device.type == "cuda" and torch.version.hip is None and torch.cuda.get_device_capability(device)[0] >= AMPERE


def replaced_precision(precision: str, device: torch.device) -> str:
    """A sentence if the device computes in another precision than was asked for; else empty."""
    used = precision_on(precision, device)
    return "" if used == precision else f"{device_name(device)} has no {precision}: {used} is computed instead"


@contextmanager
def computing_in(precision: str, device: torch.device) -> Iterator[None]:
    """While the block runs, this thread computes on `device` in `precision`. Not for backward passes of training, which
    autocast would change: there `arithmetic` and `autocast` are apart.

    The TF32 flags are those of the process: two threads that compute on a GPU at once must ask for the same.
    Raises UserError: there is no such precision."""
    with arithmetic(precision, device), autocast(precision, device):
        yield


@contextmanager
def arithmetic(
    precision: str, device: torch.device, *, deterministic: bool = False, tuned: bool = False
) -> Iterator[None]:
    """While the block runs, fp32 products on a GPU are rounded to TF32 unless `precision` is "fp32"; with
    `deterministic` only algorithms run that give the same numbers each time; with `tuned`, and without
    `deterministic`, a GPU's convolutions are those that were fastest when cuDNN tried them at their first call."""
    with ExitStack() as stack:
        if device.type == "cuda":
            stack.enter_context(tf32(precision_on(precision, device) != "fp32"))
        if deterministic:
            stack.enter_context(deterministic_algorithms())
        elif tuned and device.type == "cuda":
            stack.enter_context(tuned_convolutions())
        yield


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Autocast to bf16 or fp16; for fp32 and TF32 none, also where a block around it has one."""
    dtype = HALF.get(precision_on(precision, device))
    return torch.autocast(device.type, dtype, enabled=dtype is not None)


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """The block's numbers keep their type; also on the meta device, which has no autocast to turn off."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Whether matrix products and convolutions on a GPU may round their fp32 inputs to TF32."""
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    try:
        products.allow_tf32 = convolutions.allow_tf32 = allowed
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before


@contextmanager
def tuned_convolutions() -> Iterator[None]:
    """cuDNN tries its algorithms for each new shape, and keeps the fastest."""
    before = torch.backends.cudnn.benchmark
    try:
        torch.backends.cudnn.benchmark = True
        yield
    finally:
        torch.backends.cudnn.benchmark = before


@contextmanager
def deterministic_algorithms() -> Iterator[None]:
    """Only algorithms that give the same numbers each time. Raises UserError: an operation has none."""
    cudnn = torch.backends.cudnn
    before = torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark
    os.environ.setdefault(*CUBLAS_WORKSPACE)
    try:
        torch.use_deterministic_algorithms(True)
        cudnn.deterministic, cudnn.benchmark = True, False  # benchmark may choose another algorithm each time
        yield
    except RuntimeError as error:
        if NONE_DETERMINISTIC not in str(error):
            raise
        raise UserError(f"{str(error).split('.')[0]}; leave deterministic out for this network") from error
    finally:
        enabled, cudnn.deterministic, cudnn.benchmark = before
        torch.use_deterministic_algorithms(enabled)


def at_least_fp32(x: Tensor) -> Tensor:
    """A tensor for reading: 16 bits as fp32, others as they are."""
    return x.float() if x.dtype in HALF.values() else x


def device_name(device: torch.device) -> str:
    """ "cpu", or the device with the GPU's name: "cuda (NVIDIA H100 80GB HBM3)"."""
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)


def computing_facts(precision: str, device: torch.device) -> dict[str, str]:
    """What a work's file says of the arithmetic: on which device, in which precision, by which version of CUDA."""
    facts = {"device": device_name(device), "precision": precision_on(precision, device)}
    if device.type == "cuda":
        facts |= {"cuda": str(torch.version.cuda or torch.version.hip), "cudnn": str(torch.backends.cudnn.version())}
    return facts
