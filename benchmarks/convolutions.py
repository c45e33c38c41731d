"""Speed of the convolutions that the paper compares, in the same ResNet-50.

\b
    sth benchmark convolutions                       inference on this machine's CPU, one clip
    sth benchmark convolutions --training            training steps, with peak memory
    sth benchmark convolutions --device cuda --dtype bf16 --batch 16

All networks are prepared alike: batch norms folded (`for_inference`), channels innermost, compiled by torch.compile
(unless --eager). Freed memory stays with the process. In each round every network runs once, so that a slow moment of
the machine affects all; the table shows the median. Its last column compares with bare convolutions: a network's
multiply-adds per second, as a share of those that the 2D network's convolutions reach alone.
"""

import gc
import sys
from collections.abc import Callable
from functools import partial

import click
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.measuring import in_own_process, machine, peak_resident, print_head, print_row, seconds, take_turns
from sth_core.complexity import layer_costs, total
from sth_core.inference import for_inference
from sth_core.memory import keep_freed_memory
from sth_core.network import VideoNetwork, channels_last, create_model
from sth_core.resumable import no_report
from workbench.cli.kinds import DEVICE

NETWORKS: dict[str, dict[str, object]] = {
    "2D (TSN)": {"conv": "2d"},
    "TSM": {"conv": "tsm"},
    "(2+1)D sequential": {"conv": "2plus1d_sequential"},
    "(2+1)D parallel": {"conv": "2plus1d_parallel"},
    "3D": {"conv": "3d"},
    "STH merge": {"conv": "sth_merge", "attention": False},
    "STH hybrid": {"conv": "sth", "attention": False},
    "STH hybrid + attention": {"conv": "sth", "attention": True},
}
CLASSES = 174
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
Step = Callable[[], object]


@click.command(help=__doc__)
@click.option("--device", default="cpu", show_default=True, type=DEVICE)
@click.option("--dtype", default="fp32", show_default=True, type=click.Choice(list(DTYPES)))
@click.option("--frames", default=8, show_default=True, type=click.IntRange(1))
@click.option("--batch", default=1, show_default=True, type=click.IntRange(1))
@click.option("--side", default=224, show_default=True, type=click.IntRange(32))
@click.option("--backbone", default="resnet50", show_default=True)
@click.option("--training", is_flag=True, help="Forward, backward and an SGD step, instead of inference.")
@click.option("--eager", is_flag=True, help="Without torch.compile (which needs a C++ compiler on a CPU).")
@click.option("--rounds", default=15, show_default=True, type=click.IntRange(1))
@click.option("--only", multiple=True, type=click.Choice(list(NETWORKS)), help="Some of the networks; TSM and 2D too.")
@click.option("--peak", type=click.Choice(list(NETWORKS)), hidden=True, help="Print one network's peak memory.")
def main(
    device: str, dtype: str, frames: int, batch: int, side: int, backbone: str, training: bool, eager: bool,
    rounds: int, only: tuple[str, ...], peak: str | None,
) -> None:  # fmt: skip
    keep_freed_memory()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    clips = some_clips(batch, frames, side, device, DTYPES[dtype])
    if peak:
        print(peak_memory(build(peak, backbone, frames), clips))
        return
    names = [name for name in NETWORKS if not only or name in (*only, "2D (TSN)", "TSM")]
    models = {name: build(name, backbone, frames).to(device) for name in names}
    costs = {name: total(layer_costs(model.config, side))[0] * batch for name, model in models.items()}
    steps: dict[str, Step] = {}
    for name, model in models.items():
        print(f"preparing {name}", file=sys.stderr)
        fast = None if training else for_inference(model).to(clips.dtype)
        steps[name] = forward_step(fast, clips, eager) if fast else training_step(model, clips)
    if not training:
        bare_convolutions = BareConvolutions(models["2D (TSN)"], clips)
        steps["bare"] = forward_step(bare_convolutions, bare_convolutions.inputs, eager)
    took = median_seconds(steps, rounds, device)
    how = "training" if training else "inference, " + ("eager" if eager else "torch.compile")
    size = f"batch {batch}, {frames} frames of {side} x {side}"
    print(f"\n{backbone}, {how}, {size}, {dtype}; {machine(device)}, median of {rounds} rounds\n")
    if training:
        words = ("--device", device, "--dtype", dtype, "--frames", frames, "--batch", batch, "--side", side)
        peaks = {n: int(in_own_process("convolutions", *words, "--backbone", backbone, "--peak", n)[0]) for n in names}
        last = {name: f"{peak / peaks['TSM']:.2f}" for name, peak in peaks.items()}
    else:
        bare = costs["2D (TSN)"] / took["bare"]
        last = {name: f"{costs[name] / took[name] / bare:.0%}" for name in names}
    titles = ("network", "G multiply-adds", "clips/s", "x TSM", "x 2D")
    print_head(*titles, "peak memory x TSM" if training else "of bare")
    for name in names:
        rates = (batch / took[name], took["TSM"] / took[name], took["2D (TSN)"] / took[name])
        print_row(name, f"{costs[name] / batch:.1f}", *(f"{rate:.2f}" for rate in rates), last[name])
    if not training:
        print(f"\nBare convolutions of the 2D network: {2 * bare:.0f} GFLOP/s (two operations a multiply-add).")


def build(name: str, backbone: str, frames: int) -> VideoNetwork:
    torch.manual_seed(0)
    return create_model(backbone, CLASSES, frames=frames, **NETWORKS[name])  # type: ignore[arg-type]


def some_clips(batch: int, frames: int, side: int, device: str, dtype: torch.dtype) -> Tensor:
    """(B, T, 3, H, W), the channels innermost."""
    pixels = torch.randn(batch * frames, 3, side, side, generator=torch.Generator().manual_seed(0))
    pixels = pixels.to(device, dtype).contiguous(memory_format=torch.channels_last)
    return pixels.unflatten(0, (batch, frames))


def forward_step(model: nn.Module, inputs: Tensor | list[Tensor], eager: bool) -> Step:
    """A forward pass, compiled by inductor with constant weights packed for the shapes of the inputs unless `eager`."""
    import torch._inductor.config as inductor

    inductor.freezing = True
    return torch.no_grad()(partial(model if eager else torch.compile(model), inputs))


def training_step(model: VideoNetwork, clips: Tensor) -> Step:
    channels_last(model.train())
    optimiser = torch.optim.SGD(model.parameters(), 1e-4, momentum=0.9)
    labels = torch.arange(len(clips), device=clips.device) % CLASSES
    half = clips.dtype != torch.float32

    def step() -> Tensor:
        with torch.autocast(clips.device.type, clips.dtype, enabled=half):
            loss = F.cross_entropy(model(clips), labels)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        return loss

    return step


class BareConvolutions(nn.Module):
    """The convolutions of a network alone, each on noise of the shape of its input there."""

    def __init__(self, model: VideoNetwork, clips: Tensor) -> None:
        super().__init__()
        fast = for_inference(model).to(clips.dtype)
        self.convs, self.inputs = nn.ModuleList(), list[Tensor]()

        def note(conv: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
            self.convs.append(conv)
            self.inputs.append(inputs[0].clone())

        handles = [m.register_forward_hook(note) for m in fast.modules() if isinstance(m, nn.Conv2d)]
        with torch.no_grad():
            fast(clips)
        for handle in handles:  # of a copy that only this class uses
            handle.remove()

    def forward(self, inputs: list[Tensor]) -> list[Tensor]:
        return [conv(x) for conv, x in zip(self.convs, inputs, strict=True)]


def median_seconds(steps: dict[str, Step], rounds: int, device: str) -> dict[str, float]:
    """Median seconds of each step, after two that are not measured."""
    for step in (*steps.values(), *steps.values()):
        step()
    synchronize = torch.cuda.synchronize if device != "cpu" else no_report
    return take_turns({name: partial(seconds, step, synchronize) for name, step in steps.items()}, rounds)


def peak_memory(model: VideoNetwork, clips: Tensor) -> int:
    """Peak memory in bytes of two training steps."""
    gc.collect()
    before = peak_resident()
    step = training_step(model.to(clips.device), clips)
    for _ in range(2):
        step()
    return torch.cuda.max_memory_allocated() if clips.is_cuda else peak_resident() - before
