"""How good the demo's networks are, on clips that neither training nor demo has seen.

    python -m benchmarks.networks [--clips 960] [-o demo/held-out] [--baseline FILE]

prints the table of workbench/networks/README.md. The baseline, the same network without temporal
kernels (p = 0 of Table 6), is not shipped; its row is there when its file is:

    sth train recipes/synthetic_motion.toml --set model.conv=2d --set optimisation.epochs=4 \\
        --data demo/training -o demo/networks/motion-rgb-p0
"""

import os
import platform
from functools import partial
from pathlib import Path

import click
import torch

from analysis.recording import record
from analysis.runs import attention_by_clip, open_run, predictions
from analysis.statistics import wilson_interval
from sth_core.checkpoint import load_checkpoint
from sth_core.datasets.synthetic import synthesize
from sth_core.network import count_parameters
from workbench.demo import BASELINE, NETWORKS, SHIPPED, order_accuracy
from workbench.progress import progress_bars

HELD_OUT_SEED = 2
BASELINE_FILE = Path("demo/networks/motion-rgb-p0/model.safetensors")
HEADER = (
    "| network | question | input | p | parameters | accuracy (95 % interval) | right pair | right order in the pair "
    "| mean α_T | trained by |\n|---|---|---|---|---|---|---|---|---|---|"
)


@click.command(help=__doc__)
@click.option("--clips", default=960, show_default=True)
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("demo/held-out"), show_default=True)
@click.option("--baseline", type=click.Path(path_type=Path), default=BASELINE_FILE)
def main(clips: int, out: Path, baseline: Path) -> None:
    data = out / "synthetic"
    files = [(network, SHIPPED / f"{network.name}.safetensors") for network in NETWORKS]
    if baseline.is_file():
        files.append((BASELINE, baseline))
    rows = []
    with progress_bars() as show:
        synthesize(data, clips, HELD_OUT_SEED, "val", progress=partial(show, "making clips"))
        for network, file in files:
            run = out / "runs" / network.name
            record(file, data, run, progress=partial(show, network.name))
            rows.append(row(network.name, network.command, file, run))
    print(f"{clips} clips, seed {HELD_OUT_SEED}; {os.cpu_count()} CPU cores ({platform.machine()}), "
          f"torch {torch.__version__}\n")  # fmt: skip
    print(HEADER, *rows, sep="\n")


def row(name: str, command: str, file: Path, folder: Path) -> str:
    run = open_run(folder)
    table = predictions(run)
    correct = int(table["correct"].sum())
    low, high = wilson_interval(correct, len(table))
    pair = order = alpha = "-"
    if run.meta["label"] == "motion":
        pair, order = (f"{share:.3f}" for share in order_accuracy(table))
    if run.meta["attention"]:
        alpha = f"{attention_by_clip(run)['alpha_temporal'].mean():.3f}"
    parameters = count_parameters(load_checkpoint(file).model)
    cells = (
        name, run.meta["label"], run.modality, run.p, f"{parameters / 1e6:.2f} M",
        f"{correct / len(table):.3f} ({low:.3f} to {high:.3f})", pair, order, alpha, f"`{command}`",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
