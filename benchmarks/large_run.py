"""Seconds and memory to open a run of up to ten million clips: what the pages of the app read of it at first.

\b
    sth benchmark large_run                        100,000, 1 and 10 million clips x 10 classes x 4 layers
    sth benchmark large_run --clips 20000

A run is made in a temporary folder (2.3 GB of 10 million clips) and removed. Each row is a process of its own. A page
waits for its row once; then the server keeps what was read.
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import duckdb
import pandas as pd

from analysis.attention.alpha_matrix import read_signal
from analysis.attention.clip_profiles import clip_overview
from analysis.attention.run_summary import summarize_run
from analysis.report.figures_5_to_8 import attention_by_layer
from analysis.runs.large_runs import sampled
from analysis.runs.run_directory import Run, open_run
from benchmarks.made_runs import make_run
from benchmarks.measuring import costs, in_own_process, machine, print_head, print_row
from workbench.cli.kinds import FOLDER

CLASSES, LAYERS = 10, 4
READ: dict[str, tuple[str, Callable[[Path], object]]] = {  # title, what is read of the run in a folder
    "nothing": ("none: Python and its packages", lambda _: None),
    "open": ("its description", open_run),
    "runs": ("Runs: accuracy with its interval, α by layer", lambda run: summarize_run(sampled(open_run(run)))),
    "attention": ("Attention: Figure 5", lambda run: attention_by_layer([sampled(open_run(run))])),
    "predictions": ("Predictions: clips with their α, without scores", lambda run: overview(sampled(open_run(run)))),
    "all-attention": ("`sth figures`: Figure 5 of all clips", lambda run: attention_by_layer([open_run(run)])),
    "all-predictions": ("Predictions with *Read all clips*", lambda run: overview(open_run(run))),
}


def overview(run: Run) -> pd.DataFrame:
    return clip_overview(run, read_signal(run))


@click.command(help=__doc__)
@click.option("--clips", "sizes", multiple=True, default=(100_000, 1_000_000, 10_000_000), type=click.IntRange(100))
@click.option("--only", type=click.Choice(list(READ)), multiple=True, help="These rows; by default all.")
@click.option("--run", type=FOLDER, hidden=True, help="Of this run, in this process.")
def main(sizes: tuple[int, ...], only: tuple[str, ...], run: Path | None) -> None:
    if run:
        print(*costs(partial(READ[only[0]][1], run), 1))
        return
    print(f"{CLASSES} classes, {LAYERS} layers; {machine()}, DuckDB {duckdb.__version__}\n")
    print_head("clips", "on disk, MB", "what is read", "seconds", "CPU seconds", "peak resident memory, MB")
    for clips in sizes:
        with TemporaryDirectory() as folder:
            print(f"making {clips:,} clips", file=sys.stderr)
            made = make_run(Path(folder) / "run", clips, CLASSES, LAYERS)
            size = sum(file.stat().st_size for file in made.rglob("*.parquet")) / 1e6
            for name in only or READ:
                wall, cpu, peak = map(float, in_own_process("large_run", "--only", name, "--run", made))
                print_row(f"{clips:,}", f"{size:.0f}", READ[name][0], f"{wall:.1f}", f"{cpu:.1f}", f"{peak / 1e6:.0f}")
