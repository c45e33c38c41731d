"""Whole commands: `sth record` with STH, TSM and the 2D network, from the command line to the run directory.

\b
    sth benchmark commands [--device cuda --precision bf16]

Each round starts each command once as a process of its own, in another order. CPU time is that of the process and all
that it starts. Starting Python and decoding the clips is the same work for all networks.
"""

import resource
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from benchmarks.clips import make_dataset
from benchmarks.convolutions import build
from benchmarks.measuring import LEGEND, Times, clock_of, machine, print_head, print_row, take_turns
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
        ways: dict[str, partial[float]] = {}
        found: dict[str, list[tuple[float, float]]] = {}
        for name in COMPARED:
            checkpoint = Path(folder) / f"{len(ways)}.safetensors"
            model = build(name, backbone, frames)
            classes = [f"class {i}" for i in range(model.config.num_classes)]
            p = Preprocessing("rgb", frames=frames, resize=side * 8 // 7, crop=side)
            save_checkpoint(checkpoint, model, classes, p)
            words = ("record", checkpoint, "--data", data, "--device", where, "--precision", used,
                     "--batch-size", batch_size)  # fmt: skip
            found[name] = []
            ways[name] = partial(seconds_of, words, Path(folder), found[name])
        for way in ways.values():  # the index of a file's frames is cached then
            way()
        for measured in found.values():
            measured.clear()
        take_turns(ways, rounds)
    took = {name: Times(*(tuple(column) for column in zip(*measured, strict=True))) for name, measured in found.items()}
    clock = clock_of(where.type)
    by = "CPU time, " if clock == "cpu" else ""
    size = f"{clips} clips, {frames} frames of {side} x {side}, batches of {batch_size}, {used}"
    print(f"\nsth record, {backbone}, {size}; {machine(str(where))}, median of {rounds} rounds\n")
    print_head("network", "seconds", "CPU seconds", f"{by}x TSM", f"{by}x 2D")
    for name, times in took.items():
        others = ("TSM", "2D (TSN)")
        ratios = ("1.00" if other == name else f"{took[other].over(times, clock):.2f}" for other in others)
        print_row(name, f"{times.median('wall'):.2f}", f"{times.median('cpu'):.2f}", *ratios)
    print(f"\n{LEGEND}")


def seconds_of(words: tuple[object, ...], folder: Path, found: list[tuple[float, float]]) -> float:
    """The time of `sth` with these words and a new folder for its results; it is added to `found`."""
    with TemporaryDirectory(dir=folder) as out:
        command = [sys.executable, "-m", "workbench", *map(str, words), "--out", str(Path(out) / "run")]
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    found.append((wall, cpu))
    return wall
