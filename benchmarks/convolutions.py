"""Speed of the convolutions that the paper compares, in the same ResNet-50.

\b
    sth benchmark convolutions --device cpu          inference on this machine's CPU, one clip
    sth benchmark convolutions --training            training steps, with peak memory
    sth benchmark convolutions --precision bf16 --batch 16

All networks are prepared alike: batch norms folded (`for_inference`), channels innermost, compiled by torch.compile
(unless --eager), on a GPU with the algorithms that cuDNN finds fastest. There inference is also timed as a CUDA graph,
which starts all kernels of a pass at once. In each round every network runs once, so that a slow moment of the machine
affects all; the table shows the medians. On a CPU, ratios are those of the processor's time, on which other programs
have little influence. The last column compares with bare convolutions: a network's multiply-adds per second, as a share
of those that the 2D network's convolutions reach alone.
"""

import gc
import sys
from collections.abc import Callable
from functools import partial

import click
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.measuring import (
    LEGEND,
    Times,
    clock_of,
    in_own_process,
    machine,
    peak_resident,
    print_head,
    print_row,
    speeds,
    times_in_turns,
)
from sth_core.complexity import layer_costs, total
from sth_core.inference import for_inference
from sth_core.memory import keep_freed_memory
from sth_core.network import VideoNetwork, channels_last, create_model, pick_device
from sth_core.precision import HALF, arithmetic, autocast, precision_on
from sth_core.resumable import no_report
from workbench.cli.options import device_option, precision_option

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
BARE = "bare"
REFERENCES = ("TSM", "2D (TSN)")
Step = Callable[[], object]


@click.command(help=__doc__)
@device_option
@precision_option
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
    device: str, precision: str, frames: int, batch: int, side: int, backbone: str, training: bool, eager: bool,
    rounds: int, only: tuple[str, ...], peak: str | None,
) -> None:  # fmt: skip
    keep_freed_memory()
    where = pick_device(device)
    precision = precision_on(precision, where)
    with arithmetic(precision, where, tuned=True):
        clips = some_clips(batch, frames, side, str(where), HALF.get(precision, torch.float32))
        if peak:
            print(peak_memory(build(peak, backbone, frames), clips, precision, eager))
            return
        names = [name for name in NETWORKS if not only or name in (*only, *REFERENCES)]
        models = {name: build(name, backbone, frames).to(where) for name in names}
        macs = {name: total(layer_costs(model.config, side))[0] * batch for name, model in models.items()}
        steps: dict[str, Step] = {}
        for name, model in models.items():
            print(f"preparing {name}", file=sys.stderr)
            fast = None if training else for_inference(model, clips.dtype)
            steps[name] = forward_step(fast, clips, eager) if fast else training_step(model, clips, precision, eager)
        if not training:
            bare = BareConvolutions(models["2D (TSN)"], clips)
            steps[BARE] = forward_step(bare, bare.inputs, eager)
        took = timed(steps, rounds, where)
        graphs = {name: graph_step(steps[name]) for name in names} if where.type == "cuda" and not training else {}
        in_graphs = timed(graphs, rounds, where)
    how = f"{'training' if training else 'inference'}, {'eager' if eager else 'torch.compile'}"
    size = f"batch {batch}, {frames} frames of {side} x {side}"
    print(f"\n{backbone}, {how}, {size}, {precision}; {machine(str(where))}, median of {rounds} rounds\n")
    clock = clock_of(where.type)
    if training:
        words: list[object] = ["--device", device, "--precision", precision, "--frames", frames, "--batch", batch]
        words += ["--side", side, "--backbone", backbone, *["--eager"] * eager]
        peaks = {name: int(in_own_process("convolutions", *words, "--peak", name)[0]) for name in names}
        last = {name: f"{peak / peaks['TSM']:.2f}" for name, peak in peaks.items()}
    else:
        bare_rate = macs["2D (TSN)"] / took[BARE].median(clock)
        last = {name: f"{macs[name] / took[name].median(clock) / bare_rate:.0%}" for name in names}
    by = "CPU time, " if clock == "cpu" else ""
    graph_titles = ("in a CUDA graph: clips/s", "x TSM", "x 2D") if in_graphs else ()
    print_head(
        "network", "G multiply-adds", "clips/s", f"{by}x TSM", f"{by}x 2D", *graph_titles,
        "peak memory x TSM" if training else "of bare",
    )  # fmt: skip
    for name in names:
        cells = [
            cell
            for times in (took, in_graphs)
            if times
            for cell in (f"{batch / times[name].median('wall'):.2f}", *speeds(times, name, REFERENCES, clock))
        ]
        print_row(name, f"{macs[name] / batch:.1f}", *cells, last[name])
    print(f"\n{LEGEND}")
    if not training:
        rate = 2 * macs["2D (TSN)"] / took[BARE].median("wall")
        print(f"\nBare convolutions of the 2D network: {rate:.0f} GFLOP/s (two operations a multiply-add).")


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


def graph_step(step: Step) -> Step:
    """The same kernels, started at once."""
    for _ in range(3):
        step()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def training_step(model: VideoNetwork, clips: Tensor, precision: str, eager: bool) -> Step:
    channels_last(model.train())
    runner = model if eager else torch.compile(model)
    optimiser = torch.optim.SGD(model.parameters(), 1e-4, momentum=0.9)
    labels = torch.arange(len(clips), device=clips.device) % CLASSES

    def step() -> Tensor:
        with autocast(precision, clips.device):
            loss = F.cross_entropy(runner(clips), labels)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        return loss

    return step


class BareConvolutions(nn.Module):
    """The convolutions of a network alone, each on noise of the shape of its input there."""

    def __init__(self, model: VideoNetwork, clips: Tensor) -> None:
        super().__init__()
        fast = for_inference(model, clips.dtype)
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


def timed(steps: dict[str, Step], rounds: int, device: torch.device) -> dict[str, Times]:
    """The times of each step, after two that are not measured; none of no steps."""
    if not steps:
        return {}
    for step in (*steps.values(), *steps.values()):
        step()
    return times_in_turns(steps, rounds, torch.cuda.synchronize if device.type == "cuda" else no_report)


def peak_memory(model: VideoNetwork, clips: Tensor, precision: str, eager: bool) -> int:
    """Peak memory in bytes of two training steps."""
    gc.collect()
    before = peak_resident()
    step = training_step(model.to(clips.device), clips, precision, eager)
    for _ in range(2):
        step()
    return torch.cuda.max_memory_allocated() if clips.is_cuda else peak_resident() - before
