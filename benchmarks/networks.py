"""The accuracy of the demo's networks on the demo's clips, which are not in their training data.

\b
    sth benchmark networks [-o demo] [--baseline FILE]

It prints the table of workbench/networks/README.md. The baseline, the same network without temporal kernels (p = 0 of
Table 6), is not shipped; its row is printed if its file exists:

\b
    sth train recipes/synthetic_motion.toml --set model.conv=2d --set optimisation.epochs=3 \\
        --data demo/training -o demo/networks/motion-rgb-p0
"""

import os
import platform
from functools import partial
from pathlib import Path

import click
import torch

from analysis.attention.alpha_matrix import read_alpha
from analysis.runs.dataset_options import DatasetOptions
from analysis.runs.recording import record
from analysis.runs.run_directory import Run, open_run, predictions
from analysis.statistics.accuracy import group_numbers, share_interval
from sth_core.checkpoint import load_checkpoint
from sth_core.network import count_parameters
from workbench.cli.terminal import progress_bars
from workbench.demo import BASELINE, CLIP_SEED, CLIPS, NETWORKS, SHIPPED_NETWORKS, make_demo, order_accuracy

FOLDER = click.Path(path_type=Path)
HEADER = (
    "| network | question | input | p | parameters | accuracy (95 % interval) | correct pair "
    "| correct order in the pair | mean α_T | trained by |\n|---|---|---|---|---|---|---|---|---|---|"
)


@click.command(help=__doc__)
@click.option("-o", "--out", type=FOLDER, default=Path("demo"), show_default=True)
@click.option("--baseline", type=FOLDER, default=Path("demo/networks/motion-rgb-p0/model.safetensors"))
def main(out: Path, baseline: Path) -> None:
    with progress_bars() as show:
        make_demo(out, SHIPPED_NETWORKS, show)
        runs = [
            (network, SHIPPED_NETWORKS / f"{network.name}.safetensors", out / "runs" / network.name)
            for network in NETWORKS
        ]
        if baseline.is_file():
            run = out / "baseline" / BASELINE.name
            record(baseline, out / "synthetic", run, DatasetOptions(progress=partial(show, BASELINE.name)))
            runs.append((BASELINE, baseline, run))
    print(
        f"{CLIPS} clips, seed {CLIP_SEED}; {os.cpu_count()} CPU cores ({platform.machine()}), torch {torch.__version__}"
    )
    print(f"\n{HEADER}")
    for network, file, run in runs:
        print(row(network.name, network.command, file, open_run(run)))


def row(name: str, command: str, file: Path, run: Run) -> str:
    table = predictions(run)
    correct = table["correct"].to_numpy(bool)
    low, high = share_interval(correct, group_numbers(table))
    pair = order = alpha = "-"
    if run.meta["label"] == "motion":
        pair, order = (f"{share:.3f}" for share in order_accuracy(table))
    if run.meta["attention"]:
        alpha = f"{read_alpha(run).mean.mean():.3f}"
    parameters = count_parameters(load_checkpoint(file).model)
    cells = (
        name, run.meta["label"], run.modality, run.p, f"{parameters / 1e6:.2f} M",
        f"{correct.mean():.3f} ({low:.3f} to {high:.3f})", pair, order, alpha, f"`{command}`",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"
