"""The time of Grad-CAM against one forward and backward pass, and of `sth cam` against the length of the clip.

\b
    sth benchmark explaining                         ResNet-50, and clips of 10 and 60 seconds
    sth benchmark explaining --device cuda --rounds 20

The passes take turns, one call each per round; the table gives medians. All use one network in eval mode and the same
clip. The overlays are the files of `sth cam` (video, sheet, recipe), with a small network, each in its own process: the
packages are loaded before the clock starts, and are part of the peak memory.

Captum is one of the dev packages. pytorch-grad-cam is measured where it is installed:

\b
    pip install --no-deps grad-cam ttach

Its dependencies are there but for an OpenCV that would overwrite opencv-contrib, and with it TV-L1 flow.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import cv2
import numpy as np
import torch
from torch import Tensor

from analysis.explain.cam_video import cam_video
from analysis.explain.gradcam import block_layers, cam_layers, default_layer, signed_maps
from analysis.explain.video_explanation import CamOptions
from benchmarks.clips import scene
from benchmarks.convolutions import CLASSES, Step, some_clips
from benchmarks.measuring import (
    LEGEND,
    clock_of,
    in_own_process,
    machine,
    peak_resident,
    print_head,
    print_row,
    times_in_turns,
)
from benchmarks.measuring import seconds as seconds_of
from benchmarks.other_cams import (
    HOW_TO_INSTALL,
    captum_maps,
    check_captum,
    grad_cam_maps,
    has_grad_cam,
    stock_call_error,
)
from sth_core.checkpoint import Checkpoint
from sth_core.datasets.table import Annotation
from sth_core.memory import keep_freed_memory
from sth_core.network import VideoNetwork, create_model, pick_device
from sth_core.precision import computing_in, precision_on
from sth_core.resumable import no_report
from sth_core.video.encoding import write_video
from sth_core.video.transforms import Preprocessing
from workbench.cli.kinds import FILE
from workbench.cli.options import device_option, precision_option

RATE = 30
DIFFERENT = 90  # frames, then they repeat, so that making them takes little time
BOTH = "forward and backward, all gradients"


@click.command(help=__doc__)
@device_option
@precision_option
@click.option("--backbone", default="resnet50", show_default=True)
@click.option("--width", default=64, show_default=True, type=click.IntRange(1))
@click.option("--frames", default=8, show_default=True, type=click.IntRange(1))
@click.option("--side", default=224, show_default=True, type=click.IntRange(32))
@click.option("--rounds", default=7, show_default=True, type=click.IntRange(1))
@click.option("--height", default=720, show_default=True, type=click.IntRange(16), help="Of the clips; they are 16:9.")
@click.option("--seconds", default=10, show_default=True, type=click.IntRange(1), help="Of the clip.")
@click.option("--longer", default=60, show_default=True, type=click.IntRange(1), help="Of the longer one.")
@click.option("--clip", type=FILE, hidden=True, help="Explain this one, in this process.")
def main(
    device: str, precision: str, backbone: str, width: int, frames: int, side: int, rounds: int, height: int,
    seconds: int, longer: int, clip: Path | None,
) -> None:  # fmt: skip
    if clip:
        print(explain_clip(clip), peak_resident())
        return
    check_captum()
    torch.manual_seed(0)
    where = pick_device(device)
    model = create_model(backbone, CLASSES, frames=frames, width=width).eval().to(where)
    clips = some_clips(1, frames, side, str(where), torch.float32)
    steps, clock = passes(model, clips, precision), clock_of(where.type)
    with computing_in(precision, where):
        for step in (*steps.values(), *steps.values()):
            step()
        times = times_in_turns(steps, rounds, torch.cuda.synchronize if where.type == "cuda" else no_report)
    size = f"one clip, {frames} frames of {side} x {side}, {precision_on(precision, where)}"
    print(f"\n{backbone} (STH, width {width}), {size}; {machine(str(where))}, median of {rounds} rounds\n")
    print_head(
        "what", "seconds", "seconds of CPU", f"x forward and backward, by {'CPU' if clock == 'cpu' else 'clock'}"
    )
    for name, of_step in times.items():
        seconds_each = (f"{of_step.median(which):.3f}" for which in ("wall", "cpu"))
        print_row(name, *seconds_each, f"{of_step.over(times[BOTH], clock):.2f}")
    print(f"\n{LEGEND}\n\n{compared(model, clips)}")
    size = f"{height * 16 // 9} x {height}, {RATE} frames a second"
    print(f"\nOverlays of {size}, H.264, by ResNet-18 of width 16, 8 frames of 224 x 224; {machine('cpu')}\n")
    print_head("clip", "seconds", "times real time", "peak resident memory, MB")
    with TemporaryDirectory() as folder:
        for length in (seconds, longer):
            path = Path(folder) / f"{length}.mp4"
            write_video(path, pictures(length * RATE, height), RATE)
            took, peak = in_own_process("explaining", "--clip", path)
            print_row(f"{length} s", f"{float(took):.2f}", f"{length / float(took):.2f}", f"{int(peak) / 1e6:.0f}")


def passes(model: VideoNetwork, clips: Tensor, precision: str) -> dict[str, Step]:
    """The passes that are compared: they explain class 0 of clips (B, T, C, H, W)."""
    layers = cam_layers(model, clips.shape[-1])
    blocks = tuple(layer.name for layer in block_layers(layers))
    targets = torch.zeros(len(clips), dtype=torch.int64)
    weights, maps = tuple(model.parameters()), partial(signed_maps, model, clips, targets, precision=precision)

    def gradients(of: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x = clips.clone().requires_grad_()
        return torch.autograd.grad(model(x)[:, 0].sum(), (x, *of))

    steps: dict[str, Step] = {
        BOTH: lambda: gradients(weights),
        "forward and backward, the input's gradient alone": lambda: gradients(()),
        f"{len(blocks)} blocks, one pass (signed_maps)": partial(maps, blocks),
        f"all {len(layers)} layers and their branches, one pass": maps,
    }
    if has_grad_cam():
        steps[f"pytorch-grad-cam, {len(blocks)} blocks, one pass"] = lambda: grad_cam_maps(model, clips, blocks)
    return steps | {f"Captum, one pass for each of {len(blocks)} blocks": lambda: captum_maps(model, clips, blocks)}


def compared(model: VideoNetwork, clips: Tensor) -> str:
    """How far the maps of pytorch-grad-cam are from ours, and what its call does with a clip, in words."""
    if not has_grad_cam():
        return f"pytorch-grad-cam is left out: not installed ({HOW_TO_INSTALL})."
    blocks = tuple(layer.name for layer in block_layers(cam_layers(model, clips.shape[-1])))
    ours = signed_maps(model, clips, torch.zeros(len(clips), dtype=torch.int64), blocks)
    theirs = grad_cam_maps(model, clips, blocks)
    apart = [
        float(np.abs(maps["joint"].flatten(0, 1).cpu().numpy() - other).max() / np.abs(other).max())
        for maps, other in zip(ours.values(), theirs, strict=True)
    ]
    error = stock_call_error(model, clips, blocks)
    return (
        f"The maps of pytorch-grad-cam, given frames (B*T, C, H, W), differ from ours by at most {max(apart):.1e} of a "
        f"map's largest value. Called on clips (B, T, C, H, W) it {f'fails ({error})' if error else 'gives maps'}."
    )


def pictures(count: int, height: int) -> Iterator[np.ndarray]:
    """(height, 16/9 height, 3) uint8 each, of even height and width."""
    different = list(scene(min(count, DIFFERENT), seed=0))
    for t in range(count):
        yield cv2.resize(different[t % len(different)], (2 * round(height * 8 / 9), height))


def explain_clip(path: Path) -> float:
    """Seconds from the video file to the overlay's files."""
    keep_freed_memory()
    torch.manual_seed(0)
    model = create_model("resnet18", CLASSES, width=16).eval()
    checkpoint = Checkpoint(model, [f"class {i}" for i in range(CLASSES)], Preprocessing(), Annotation(), {})
    how = CamOptions(default_layer(cam_layers(model, 224)))
    return seconds_of(partial(cam_video, checkpoint, path, path.with_name(f"{path.stem}-cam.mp4"), how, facts={}))
