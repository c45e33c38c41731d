"""What a large dataset costs: GPU hours, cores, disk and network, calculated from what was measured.

\b
    sth benchmark scale        Kinetics-400 on 8 GPUs, Something-Something V2 on 4 nodes of 8 GPUs

Nothing is run. Speeds and sizes are those of docs/outputs (each line says which). That all GPUs together are as many
times as fast as one, and that twice the frames take twice the time, is assumed, not measured.
"""

import re
from dataclasses import dataclass

import click

from benchmarks.measuring import print_head, print_row
from benchmarks.quoted import read_output
from sth_core.recipe import load_recipe

MEASURED_FRAMES = 8  # of a clip, in every output that is read here
MEASURED_BATCH = 16  # of the outputs of a GPU
BYTES_OF_WEIGHT = 4  # a gradient in fp32, which processes exchange


@dataclass(frozen=True)
class Job:
    """A training: its recipe, the clips that its dataset has, the machines, and in which files the clips are."""

    title: str
    recipe: str
    train: int
    val: int
    nodes: int
    files: str  # a row of the output `decoding`
    source: str  # of the numbers of clips


GPUS_OF_NODE = 8
JOBS = (
    Job("Kinetics-400", "kinetics_16", 240_000, 20_000, 1, "H.264, mp4", "the paper, Section 4.1"),
    Job("Something-Something V2", "something_v2_8", 169_000, 25_000, 4, "VP9, webm", "the dataset's splits"),
)


def cell(output: str, row: tuple[str, ...], column: str) -> float:
    """The number in a table of docs/outputs/OUTPUT.md, in the first row that begins so. Raises KeyError."""
    titles: list[str] = []
    for line in read_output(output).body.splitlines():
        cells = [text.strip() for text in line.strip("|").split("|")] if line.startswith("|") else []
        if not cells:
            titles = []
        elif not titles:
            titles = cells
        elif column in titles and tuple(cells[: len(row)]) == row:
            return float(re.sub(r",(?=\d{3})", "", cells[titles.index(column)]))
    raise KeyError(f"docs/outputs/{output}.md has no {column} of {', '.join(row)}")


def parameters() -> float:
    """Millions of weights of the ResNet-50 with STH-Conv and attention, as printed by `sth complexity`."""
    lines = read_output("complexity").body.splitlines()
    [line] = [text for text in lines if text.startswith("│ STH hybrid + attention")][:1]
    return float(line.split("│")[5])


def rows_of(job: Job) -> list[tuple[str, str, str]]:
    """(what, how much, how it follows)"""
    recipe = load_recipe(job.recipe)
    gpus, epochs, o = job.nodes * GPUS_OF_NODE, recipe.optimisation.epochs, recipe.optimisation
    times = recipe.model["frames"] / MEASURED_FRAMES
    longer = f"; {times:g} x as many frames" if times != 1 else ""
    network = ("STH hybrid + attention",)
    training, inference = (cell(f"gpu-{name}", network, "clips/s") / times for name in ("training", "inference"))
    decoding = cell("decoding", (job.files, "sth, first time"), "ms of CPU a clip") * times / 1000
    jpeg = cell("decoding", ("JPEG folders", "sth, first time"), "ms of CPU a clip") * times / 1000
    stored = cell("recording", ("100,000", "means of α too"), "bytes per clip on disk")
    hours = job.train * epochs / training / 3600
    step = o.batch_size / gpus / training  # seconds
    exchanged = 2 * (gpus - 1) / gpus * parameters() * 1e6 * BYTES_OF_WEIGHT
    return [
        ("clips, training and held out", f"{job.train:,} and {job.val:,}", job.source),
        ("epochs, batch, frames", f"{epochs}, {o.batch_size}, {recipe.model['frames']}", f"recipe {job.recipe}"),
        ("clips a GPU has in a step", f"{o.batch_size / gpus:g}", f"batch / GPUs; measured with {MEASURED_BATCH}"),
        ("clips a second and GPU, training", f"{training:.0f}", f"gpu-training{longer}"),
        ("GPU hours, training, at least", f"{hours:.0f}", "clips x epochs / clips a second"),
        (f"hours on {gpus} GPUs, at least", f"{hours / gpus:.1f}", "if all are as fast together as alone"),
        (
            "cores a GPU needs, videos",
            f"{training * decoding:.1f}",
            f"clips/s x CPU time: decoding, {job.files}{longer}",
        ),
        ("cores a GPU needs, JPEG folders", f"{training * jpeg:.1f}", f"the same of JPEG folders{longer}"),
        (
            "gradients sent by a GPU in a step, MB",
            f"{exchanged / 1e6:.0f}",
            "complexity: weights x 4 bytes x 2 (GPUs - 1) / GPUs",
        ),
        ("... in a second, GB", f"{exchanged / step / 1e9:.2f}", "a step takes batch / GPUs / clips a second"),
        ("GPU minutes, recording the held-out clips", f"{job.val / inference / 60:.1f}", f"gpu-inference{longer}"),
        ("core hours, reading them", f"{job.val * decoding / 3600:.1f}", f"decoding, {job.files}{longer}"),
        ("cores a GPU needs to record, videos", f"{inference * decoding:.0f}", "clips/s of gpu-inference x CPU time"),
        ("a run of the held-out clips, MB", f"{job.val * stored / 1e6:.0f}", "recording: bytes per clip"),
        ("a run of all clips, MB", f"{(job.val + job.train) * stored / 1e6:.0f}", "recording: bytes per clip"),
    ]


@click.command(help=__doc__)
def main() -> None:
    for job in JOBS:
        print(f"{job.title}, {job.nodes} node{'s' * (job.nodes > 1)} of {GPUS_OF_NODE} GPUs\n")
        print_head("what", "how much", "from")
        for row in rows_of(job):
            print_row(*row)
        print()
    used = {name: read_output(name).head for name in ("gpu-training", "gpu-inference", "decoding", "recording")}
    for name, head in used.items():
        print(f"- {name}: {head['device']}, commit {head['commit']}, {head['date']}")
