"""The accuracy of the demo's networks on the demo's clips, which are not in their training data.

\b
    sth benchmark networks [-o demo] [--baseline FILE]

It prints the table of workbench/networks/README.md. The baseline, the same network without temporal kernels (p = 0 of
Table 6), is not shipped; its row is printed if its file exists:

\b
    sth train recipes/synthetic_motion.toml --set model.conv=2d --set optimisation.epochs=3 \\
        --data demo/training -o demo/networks/motion-rgb-p0
"""

from functools import partial
from pathlib import Path

import click

from analysis.attention.alpha_matrix import read_alpha
from analysis.runs.correctness import is_correct
from analysis.runs.dataset_options import DatasetOptions
from analysis.runs.recording import record
from analysis.runs.run_directory import Run, open_run, predictions
from analysis.statistics.accuracy import group_numbers
from analysis.statistics.clusters import describe_interval
from analysis.statistics.shares import share_interval
from benchmarks.measuring import machine, print_head, print_row
from sth_core.checkpoint import load_checkpoint
from sth_core.network import count_parameters
from workbench.cli.kinds import FILE, FOLDER
from workbench.cli.terminal import progress_bars
from workbench.demo import (
    BASELINE,
    CLIP_SEED,
    CLIPS,
    NETWORKS,
    SHIPPED_NETWORKS,
    DemoNetwork,
    make_demo,
    order_accuracy,
)

TITLES = (
    "network", "question", "input", "p", "parameters", "accuracy (95 % interval)", "correct pair",
    "correct order in the pair", "mean α_T", "trained by",
)  # fmt: skip


@click.command(help=__doc__)
@click.option("-o", "--out", type=FOLDER, default=Path("demo"), show_default=True)
@click.option("--baseline", type=FILE, default=Path("demo/networks/motion-rgb-p0/model.safetensors"))
def main(out: Path, baseline: Path) -> None:
    with progress_bars() as show:
        make_demo(out, SHIPPED_NETWORKS, show)
        runs = [(n, SHIPPED_NETWORKS / f"{n.name}.safetensors", out / "runs" / n.name) for n in NETWORKS]
        if baseline.is_file():
            run = out / "baseline" / BASELINE.name
            record(baseline, out / "synthetic", run, DatasetOptions(progress=partial(show, BASELINE.name)))
            runs.append((BASELINE, baseline, run))
    print(f"{CLIPS} clips, seed {CLIP_SEED}; {machine('cpu')}\n")
    print_head(*TITLES)
    for network, file, run in runs:
        print_row(*cells(network, file, open_run(run)))


def cells(network: DemoNetwork, file: Path, run: Run) -> tuple[object, ...]:
    """A row of the table."""
    table = predictions(run)
    correct = is_correct(table)
    low, high = share_interval(correct, group_numbers(table))
    pair = order = alpha = "-"
    if run.meta["label"] == "motion":
        pair, order = (f"{share:.3f}" for share in order_accuracy(table))
    if run.meta["attention"]:
        alpha = f"{read_alpha(run).mean.mean():.3f}"
    parameters = f"{count_parameters(load_checkpoint(file).model) / 1e6:.2f} M"
    accuracy = f"{correct.mean():.3f} ({describe_interval(low, high, '.3f')})"
    numbers = (run.modality, run.p, parameters, accuracy, pair, order, alpha)
    return network.name, run.meta["label"], *numbers, f"`{network.command}`"
