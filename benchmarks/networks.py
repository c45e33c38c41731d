"""The accuracy of the demo's networks on the demo's clips, which are not in their training data.

\b
    sth benchmark networks [-o demo] [--csv FILE]

It prints the tables of workbench/networks/README.md. The baseline, the same network without temporal kernels (p = 0 of
Table 6), and the networks of other seeds are not shipped; they are in the tables if OUT/networks has them (`sth demo
--retrain --seeds 3` makes them all): NAME.safetensors, with weights of 16 bits, or else NAME/model.safetensors, of 32.
With --csv, the accuracy and the alpha_T by layer of each seed are written to a file.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
import pandas as pd

from analysis.attention.alpha_matrix import read_alpha
from analysis.runs.correctness import is_correct
from analysis.runs.dataset_options import DatasetOptions
from analysis.runs.recording import open_or_record
from analysis.runs.run_directory import Run, open_run, predictions
from analysis.statistics.accuracy import group_numbers
from analysis.statistics.clusters import describe_interval
from analysis.statistics.shares import share_interval
from benchmarks.measuring import machine, print_head, print_row
from sth_core.checkpoint import load_checkpoint
from sth_core.files import write_csv
from sth_core.network import count_parameters
from workbench.cli.kinds import FOLDER, PATH
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


SEED_TITLES = ("network", "accuracy of seed 0, 1, ...", "mean ± SD over seeds", "mean α_T", "layers with one α_T")
MOST_SEEDS = 100
SAME = 1e-4  # a layer whose alpha_T has a smaller standard deviation over the clips has the same for every clip


@click.command(help=__doc__)
@click.option("-o", "--out", type=FOLDER, default=Path("demo"), show_default=True)
@click.option("--csv", type=PATH, help="Write the accuracy and the alpha_T of each seed.")
def main(out: Path, csv: Path | None) -> None:
    with progress_bars() as show:
        make_demo(out, SHIPPED_NETWORKS, show)
        seeds = {network: runs_of_seeds(network, out, show) for network in (*NETWORKS, BASELINE)}
    seeds = {network: runs for network, runs in seeds.items() if runs}
    print(f"{CLIPS} clips, seed {CLIP_SEED}; {machine('cpu')}\n")
    print_head(*TITLES)
    for network, runs in seeds.items():
        print_row(*cells(network, runs[0]))
    print()
    print_head(*SEED_TITLES)
    for network, runs in seeds.items():
        print_row(network.name, *seed_cells(runs))
    if csv:
        rows = [seed_row(network, seed, run) for network, runs in seeds.items() for seed, run in enumerate(runs)]
        write_csv(csv, pd.DataFrame(rows))


def runs_of_seeds(network: DemoNetwork, out: Path, show: Callable[..., None]) -> list[Run]:
    """A run of the network of each seed, from 0 on: of the shipped one, and of those that are in `out`/networks."""
    runs = [open_run(out / "runs" / network.name)] if network in NETWORKS else []
    for seed in range(len(runs), MOST_SEEDS):
        seeded = network.seeded(seed)
        folder, networks = out / "seeds" / seeded.name, out / "networks"
        of_16_bits, of_32 = networks / f"{seeded.name}.safetensors", networks / seeded.name / "model.safetensors"
        file = of_16_bits if of_16_bits.is_file() else of_32
        if not file.is_file():
            break
        options = DatasetOptions(progress=partial(show, seeded.name), overwrite=True)
        runs.append(open_or_record(file, out / "synthetic", folder, options))
    return runs


def seed_row(network: DemoNetwork, seed: int, run: Run) -> dict[str, object]:
    """A row of the CSV: network, seed, accuracy, and the mean alpha_T of each layer."""
    row: dict[str, object] = {"network": network.name, "seed": seed, "accuracy": is_correct(predictions(run)).mean()}
    if run.meta["attention"]:
        alpha = read_alpha(run)
        row |= dict(zip(alpha.layers["layer"], alpha.temporal.mean(0, "float64").round(5), strict=True))
    return row


def seed_cells(runs: list[Run]) -> tuple[object, ...]:
    """The cells of one network, of which each run is of another seed."""
    accuracies = pd.Series([is_correct(predictions(run)).mean() for run in runs])
    spread = f" ± {accuracies.std():.3f}" if len(runs) > 1 else ""
    alphas = [read_alpha(run) for run in runs if run.meta["attention"]]
    return (
        ", ".join(f"{accuracy:.3f}" for accuracy in accuracies),
        f"{accuracies.mean():.3f}{spread}",
        ", ".join(f"{alpha.mean.mean():.3f}" for alpha in alphas) or "-",
        ", ".join(str(int((alpha.temporal.std(0, "float64") < SAME).sum())) for alpha in alphas) or "-",
    )


def cells(network: DemoNetwork, run: Run) -> tuple[object, ...]:
    """A row of the table."""
    table = predictions(run)
    correct = is_correct(table)
    low, high = share_interval(correct, group_numbers(table))
    pair = order = alpha = "-"
    if run.meta["label"] == "motion":
        pair, order = (f"{share:.3f}" for share in order_accuracy(table))
    if run.meta["attention"]:
        alpha = f"{read_alpha(run).mean.mean():.3f}"
    parameters = f"{count_parameters(load_checkpoint(Path(run.meta['checkpoint'])).model) / 1e6:.2f} M"
    accuracy = f"{correct.mean():.3f} ({describe_interval(low, high, '.3f')})"
    numbers = (run.modality, run.p, parameters, accuracy, pair, order, alpha)
    return network.name, run.meta["label"], *numbers, f"`{network.command}`"
