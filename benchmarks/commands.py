"""Whole commands: `sth record` with STH, TSM and the 2D network, from the command line to the run directory.

\b
    sth benchmark commands [--device cuda --precision bf16]

Each round starts each command once as a process of its own, in another order. CPU time is that of the process and all
that it starts. Starting Python and decoding the clips is the same work for all networks.
"""

import resource
import subprocess
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from benchmarks.clips import make_dataset
from benchmarks.convolutions import REFERENCES, build
from benchmarks.measuring import LEGEND, clock_of, machine, print_head, print_row, speeds, times_in_turns
from sth_core.checkpoint import save_checkpoint
from sth_core.network import pick_device
from sth_core.precision import precision_on
from sth_core.video.transforms import Preprocessing
from workbench.cli.options import device_option, precision_option

COMPARED = ("2D (TSN)", "TSM", "STH hybrid + attention")
SECOND = 30  # frames


@click.command(help=__doc__)
@device_option
@precision_option
@click.option("--backbone", default="resnet50", show_default=True)
@click.option("--frames", default=8, show_default=True, type=click.IntRange(1))
@click.option("--side", default=224, show_default=True, type=click.IntRange(32))
@click.option("--clips", default=24, show_default=True, type=click.IntRange(1))
@click.option("--batch-size", default=8, show_default=True, type=click.IntRange(1))
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1))
def main(
    device: str, precision: str, backbone: str, frames: int, side: int, clips: int, batch_size: int, rounds: int
) -> None:
    where = pick_device(device)
    used = precision_on(precision, where)
    with TemporaryDirectory() as folder:
        data = make_dataset(Path(folder) / "data", clips, 2 * SECOND, lambda _: "val/class 0")
        ways = {}
        for number, name in enumerate(COMPARED):
            checkpoint, model = Path(folder) / f"{number}.safetensors", build(name, backbone, frames)
            p = Preprocessing("rgb", frames=frames, resize=side * 8 // 7, crop=side)
            save_checkpoint(checkpoint, model, [f"class {i}" for i in range(model.config.num_classes)], p)
            words = ["record", checkpoint, "--data", data, "--device", where, "--precision", used]
            ways[name] = partial(run, [*words, "--batch-size", batch_size], Path(folder))
        for way in ways.values():  # the index of a file's frames is cached then
            way()
        took = times_in_turns(ways, rounds, cpu_clock=seconds_of_children)
    clock = clock_of(where.type)
    by = "CPU time, " if clock == "cpu" else ""
    size = f"{clips} clips, {frames} frames of {side} x {side}, batches of {batch_size}, {used}"
    print(f"\nsth record, {backbone}, {size}; {machine(str(where))}, median of {rounds} rounds\n")
    print_head("network", "seconds", "CPU seconds", f"{by}x TSM", f"{by}x 2D")
    for name, times in took.items():
        seconds = (f"{times.median(which):.2f}" for which in ("wall", "cpu"))
        print_row(name, *seconds, *speeds(took, name, REFERENCES, clock))
    print(f"\n{LEGEND}")


def run(words: list[object], folder: Path) -> None:
    """`sth` with these words, as a process of its own, and a new folder for its results."""
    with TemporaryDirectory(dir=folder) as out:
        command = [sys.executable, "-m", "workbench", *map(str, words), "--out", str(Path(out) / "run")]
        subprocess.run(command, check=True, capture_output=True)


def seconds_of_children() -> float:
    """The processor's time of all processes that this one has started, and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
