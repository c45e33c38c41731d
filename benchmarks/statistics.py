"""Seconds and memory to compute the supplement's figures from runs as large as Kinetics.

\b
    sth benchmark statistics                       240,000 clips x 400 classes x 16 layers
    sth benchmark statistics --clips 20000

Two runs are made (the same clips as RGB and Flow). The numbers of each figure are computed from their Parquet files in
a process of their own, several times; the table gives the median time and the peak memory of the process.
"""

import platform
import statistics
import sys
import time
from collections.abc import Callable
from os import cpu_count
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import duckdb

from analysis.attention.alpha_matrix import read_alpha
from analysis.attention.alpha_tables import (
    alpha_class_layer_table,
    alpha_class_table,
    alpha_clip_table,
    alpha_layer_table,
)
from analysis.attention.hypotheses import compare_conditions, group_conditions, rise_with_depth, stack_values
from analysis.runs.run_directory import Run, find_runs
from analysis.statistics.uncertainty import mean_effect
from benchmarks.made_runs import make_run
from benchmarks.measuring import in_own_process, peak_resident


def compared_pair(both: list[Run]) -> object:
    a, b = group_conditions(both)
    return compare_conditions(a, b)


NUMBERS: dict[str, tuple[str, Callable]] = {  # what is computed of (a run, both runs)
    "nothing": ("none: Python and its packages", lambda run, both: None),
    "layers": (
        "Figures 5, 6, 8: mean and interval of each layer",
        lambda run, _: alpha_layer_table(read_alpha(run)),
    ),
    "mean": (
        "Figure 7: mean and interval over all layers",
        lambda run, both: mean_effect(*stack_values([alpha_clip_table(read_alpha(run))])),
    ),
    "classes": (
        "Figures 9, 10: alpha_T and accuracy of each class",
        lambda run, _: alpha_class_table(read_alpha(run)),
    ),
    "map": ("heat map: each class and layer", lambda run, both: alpha_class_layer_table(read_alpha(run))),
    "rise": ("hypothesis of Figure 5: rise with depth", lambda run, both: rise_with_depth(group_conditions([run])[0])),
    "pair": (
        "hypothesis of Figure 8: two runs, clip by clip",
        lambda run, both: compared_pair(both),
    ),
}


@click.command(help=__doc__)
@click.option("--clips", default=240_000, show_default=True, type=click.IntRange(100))
@click.option("--classes", default=400, show_default=True, type=click.IntRange(6))
@click.option("--layers", default=16, show_default=True, type=click.IntRange(2))
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1))
@click.option("--only", type=click.Choice(list(NUMBERS)), multiple=True, help="These numbers; by default all.")
@click.option("--runs", type=click.Path(path_type=Path), hidden=True, help="Of these runs, in this process.")
def main(clips: int, classes: int, layers: int, rounds: int, only: tuple[str, ...], runs: Path | None) -> None:
    if runs:
        print(median_seconds(only[0], runs, rounds), peak_resident())
        return
    with TemporaryDirectory() as folder:
        for i, modality in enumerate(("rgb", "flow")):
            print(f"making run {i + 1}/2", file=sys.stderr)
            make_run(Path(folder) / modality, clips, classes, layers, seed=i, modality=modality)
        size = sum(file.stat().st_size for file in Path(folder).rglob("*.parquet")) / 2e6
        print(
            f"\n{clips:,} clips x {classes} classes x {layers} layers, {size:.0f} MB a run; {platform.machine()}, "
            f"{cpu_count()} cores, DuckDB {duckdb.__version__}, median of {rounds} rounds\n"
        )
        print("| numbers | seconds | peak resident memory, MB |\n|---|---|---|")
        for name in only or NUMBERS:
            words = ["--only", name, "--runs", folder, "--rounds", rounds]
            seconds, peak = in_own_process("statistics", *words)
            print(f"| {NUMBERS[name][0]} | {float(seconds):.2f} | {int(peak) / 1e6:.0f} |")


def median_seconds(name: str, folder: Path, rounds: int) -> float:
    both = find_runs(folder)
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        NUMBERS[name][1](both[-1], both)
        times.append(time.perf_counter() - began)
    return statistics.median(times)
