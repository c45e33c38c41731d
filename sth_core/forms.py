"""Which form of an STH-Conv computes it: the one place where the device decides.

| form                               | where                                            | why                         |
|------------------------------------|--------------------------------------------------|-----------------------------|
| plain, `HybridConv.forward`        | wherever no other serves; where a tap reads the  | it is the reference and has |
|                                    | branches; training on a CPU                      | the branches                |
| grouped, `inference.GroupedKernels`| inference on a CPU, blocks of 32 channels or more| no multiplications by zero  |
| kernels, `gpu_conv`                | a GPU, in half precision or TF32                 | one read of an activation   |

Why not the plain form on a GPU: cuDNN 9 has no tensor-core kernel for the grouped 3 x 1 convolution of the temporal
part, and Eq. 3 reads and writes each activation some ten times. On an H100 (ResNet-50, batch 16, bf16) the plain form
reached 0.85 x TSM in inference and 0.63 x in training; docs/networks.md has the tables.

Here too: when torch.compile pays (`compiling_training`, `compiling_reading`), and in which type a network
`for_inference` keeps its weights (`weight_type`).
"""

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from warnings import warn

import torch
from torch import Tensor

from sth_core.convolution import HybridLayer, Tap
from sth_core.precision import HALF

MOST_BYTES = 512  # of one pixel's channels of one kernel type: what fits into a multiprocessor beside the weights
NARROWEST = 32  # channels of a block; a grouped convolution of narrower ones is no faster on a CPU
# Compiling a ResNet-50 for training takes one to two minutes. On an H100 (f60dfe6: bf16, 16 clips a step) a compiled
# step took 31 ms less than an eager one of TSM (64 and 33 ms), and 14 ms less of STH with attention (69 and 55 ms).
STEPS_TO_COMPILE = 5000
# For inference it takes some 20 s. There (bf16) a view took 1.5 ms eager and 0.6 ms compiled.
VIEWS_TO_COMPILE = 25_000
# The compiler chooses among its kernels by their time, and each adds in another order.
IN_ANOTHER_ORDER = "compiled kernels may add in another order in each training (deterministic)"


@dataclass(frozen=True)
class Compiling:
    """Whether a network is compiled by torch.compile, and why."""

    wanted: bool
    why: str

    def __str__(self) -> str:
        return f"{'yes' if self.wanted else 'no'}: {self.why}"


def compiling_training(
    asked: bool | str, device: torch.device, steps: int, *, deterministic: bool = False
) -> Compiling:
    """Whether a training of which so many steps are left is compiled; `asked` is the recipe's value. Of several
    processes each compiles its own network at the same time, so their number does not matter."""
    if asked != "auto":
        return Compiling(bool(asked), "the recipe asks for it" if asked else "the recipe turns it off")
    if problem := no_compiler(device):
        return Compiling(False, problem)
    if deterministic:
        return Compiling(False, IN_ANOTHER_ORDER)
    if steps < STEPS_TO_COMPILE:
        return Compiling(False, f"{steps:,} steps are left, and it pays from {STEPS_TO_COMPILE:,} on")
    return Compiling(True, f"{steps:,} steps are left")


def compiling_reading(device: torch.device, views: int, at_once: int, *, deterministic: bool = False) -> Compiling:
    """Whether a network that is run over so many views, so many at once, is compiled."""
    if problem := no_compiler(device):
        return Compiling(False, problem)
    if deterministic:
        return Compiling(False, IN_ANOTHER_ORDER)
    if at_once < 2:  # no speed of this was measured
        return Compiling(False, "the network gets one view at a time")
    if views < VIEWS_TO_COMPILE:
        return Compiling(False, f"{views:,} views are left, and it pays from {VIEWS_TO_COMPILE:,} on")
    return Compiling(True, f"{views:,} views are left")


def no_compiler(device: torch.device) -> str:
    """Why torch.compile is not tried on a device; empty where it is."""
    if device.type != "cuda":
        return "it is for a GPU"  # on a CPU it needs a C++ compiler, and convolutions take nearly all of the time
    return "" if find_spec("triton") else "Triton is not installed"


def weight_type(device: torch.device) -> torch.dtype:
    """Of a network `for_inference` in the arithmetic around the call. In 16 bits on a GPU, as autocast would convert
    each weight in each call; on a CPU autocast's own conversion is kept."""
    if device.type == "cuda" and torch.is_autocast_enabled("cuda"):
        return torch.get_autocast_dtype("cuda")
    return torch.float32


def grouped_are_faster(conv: HybridLayer) -> bool:
    """Whether `GroupedKernels` compute O_S faster than the padded kernel: measured on a CPU only."""
    if conv.groups > 1 or conv.weight_spatial.device.type != "cpu":
        return False
    power_of_two = conv.types > 1 and conv.types & (conv.types - 1) == 0
    return power_of_two and conv.block >= NARROWEST


def kernels_serve(conv: HybridLayer, x: Tensor, tap: Tap) -> bool:
    """Whether the kernels compute a layer that may be trained.

    Not with a tap that reads the branches, which they never write."""
    if x.device.type != "cuda" or conv.groups > 1 or type(tap).branches is not Tap.branches:
        return False
    dtype = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else x.dtype
    return kernels_can(dtype, max(conv.block, conv.out_channels // conv.types))  # the latter in the backward pass


def kernels_infer(conv: HybridLayer, dtype: torch.dtype) -> bool:
    """Whether the kernels compute a layer of `for_inference`."""
    return conv.weight_spatial.device.type == "cuda" and conv.groups == 1 and kernels_can(dtype, conv.block)


def kernels_can(dtype: torch.dtype, channels: int) -> bool:
    """Whether the kernels multiply such numbers, of so many channels of a kernel type.

    Not in true float32, for which there are no tensor cores."""
    multiplies = dtype in HALF.values() or (dtype == torch.float32 and torch.backends.cudnn.allow_tf32)
    return multiplies and channels * dtype.itemsize <= MOST_BYTES and kernels_work()


def kernels_work() -> bool:
    """Whether this machine's GPU runs the kernels and gets right numbers. If not, a warning says why, once."""
    return tried_kernels()


# As torch.compiler.assume_constant_result does, which would import the compiler, two seconds of each command.
kernels_work._dynamo_marked_constant = True  # type: ignore[attr-defined]


@cache
def tried_kernels() -> bool:
    if find_spec("triton") is None:
        warn("Triton is not installed; STH-Convs run in their plain form, which is slower on a GPU", stacklevel=2)
        return False
    try:
        from sth_core.gpu_conv import error_of_kernels

        error = error_of_kernels(torch.device("cuda"))
    except Exception as problem:  # a compiler, a driver and a GPU that nobody has tried
        warn(f"Triton's kernels do not run here ({problem}); STH-Convs run in their plain form", stacklevel=2)
        return False
    if not error < 0.02:
        warn(f"Triton's kernels are wrong here by {error:.1%}; STH-Convs run in their plain form", stacklevel=2)
    return error < 0.02
