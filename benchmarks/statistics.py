"""Seconds and memory to compute the supplement's figures from runs as large as Kinetics.

\b
    sth benchmark statistics                       240,000 clips x 400 classes x 16 layers
    sth benchmark statistics --clips 20000

Two runs are made (the same clips as RGB and Flow). The numbers of each figure are computed from their Parquet files in
a process of their own, several times; the table gives the median times and the peak memory of the process. Beside them
are DuckDB queries by hand (benchmarks/duckdb_by_hand.py), in processes that import DuckDB alone.
"""

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import duckdb

from analysis.attention.alpha_matrix import Alpha, read_once
from analysis.attention.alpha_tables import (
    alpha_class_layer_table,
    alpha_class_table,
    alpha_clip_table,
    alpha_layer_table,
)
from analysis.attention.conditions import Pair, group_conditions
from analysis.attention.hypotheses import compare_pair, evaluate_hypotheses, rise_with_depth, stack_values
from analysis.report.figures_5_to_8 import attention_by_layer
from analysis.runs.run_directory import Run, find_runs
from analysis.statistics.effects import mean_effect
from benchmarks.duckdb_by_hand import QUERIES
from benchmarks.made_runs import make_run
from benchmarks.measuring import costs, in_own_process, machine, print_head, print_row
from workbench.cli.kinds import FOLDER


def attention_of(run: Run) -> Alpha:
    return read_once()(run)


def all_numbers(runs: list[Run]) -> None:
    """What Figures 5 to 10 and the hypotheses need of all runs, each read once."""
    read = read_once()
    attention_by_layer(runs, read)
    alpha_class_table(read(runs[0]))
    alpha_class_layer_table(read(runs[0]))
    evaluate_hypotheses(runs, read)


NUMBERS: dict[str, tuple[str, Callable[[list[Run]], object]]] = {  # title, what is computed of two runs or the first
    "nothing": ("none: Python and its packages", lambda _: None),
    "layers": (
        "Figures 5, 6, 8: mean and interval of each layer",
        lambda runs: alpha_layer_table(attention_of(runs[0])),
    ),
    "mean": (
        "Figure 7: mean and interval over all layers",
        lambda runs: mean_effect(*stack_values([alpha_clip_table(attention_of(runs[0]))])),
    ),
    "classes": (
        "Figures 9, 10: alpha_T and accuracy of each class",
        lambda runs: alpha_class_table(attention_of(runs[0])),
    ),
    "map": ("heat map: each class and layer", lambda runs: alpha_class_layer_table(attention_of(runs[0]))),
    "rise": (
        "hypothesis of Figure 5: rise with depth",
        lambda runs: rise_with_depth(group_conditions(runs[:1])[0]),
    ),
    "pair": (
        "hypothesis of Figure 8: two runs, clip by clip",
        lambda runs: compare_pair(Pair("", group_conditions(runs[:1])[0], group_conditions(runs[1:])[0])),
    ),
    "all": ("all of them, of both runs, each read once", all_numbers),
}
BY_HAND = {name: [name] for name in QUERIES} | {"all": list(QUERIES)}


@click.command(help=__doc__)
@click.option("--clips", default=240_000, show_default=True, type=click.IntRange(100))
@click.option("--classes", default=400, show_default=True, type=click.IntRange(6))
@click.option("--layers", default=16, show_default=True, type=click.IntRange(2))
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1))
@click.option("--only", type=click.Choice(list(NUMBERS)), multiple=True, help="These numbers; by default all.")
@click.option("--runs", type=FOLDER, hidden=True, help="Of these runs, in this process.")
def main(clips: int, classes: int, layers: int, rounds: int, only: tuple[str, ...], runs: Path | None) -> None:
    if runs:
        print(*costs(partial(NUMBERS[only[0]][1], find_runs(runs)[::-1]), rounds))
        return
    with TemporaryDirectory() as folder:
        for i, modality in enumerate(("rgb", "flow")):
            print(f"making run {i + 1}/2", file=sys.stderr)
            make_run(Path(folder) / modality, clips, classes, layers, seed=i, modality=modality)
        size = sum(file.stat().st_size for file in Path(folder).rglob("*.parquet")) / 2e6
        runs_of = f"{clips:,} clips x {classes} classes x {layers} layers, {size:.0f} MB a run"
        print(f"\n{runs_of}; {machine()}, DuckDB {duckdb.__version__}, median of {rounds} rounds\n")
        print_head("numbers", "seconds", "CPU seconds", "peak resident memory, MB")
        for name in only or NUMBERS:
            title = NUMBERS[name][0]
            print_costs(title, in_own_process("statistics", "--only", name, "--runs", folder, "--rounds", rounds))
            if names := BY_HAND.get(name):
                what = "the three queries, of one run" if name == "all" else title.split(":")[0]
                print_costs(f"DuckDB by hand: {what}", by_duckdb(Path(folder) / "rgb", rounds, names))


def by_duckdb(run: Path, rounds: int, names: list[str]) -> list[str]:
    command = [sys.executable, "-m", "benchmarks.duckdb_by_hand", str(run), str(rounds), *names]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()


def print_costs(title: str, measured: list[str]) -> None:
    wall, processor, peak = map(float, measured)
    print_row(title, f"{wall:.2f}", f"{processor:.2f}", f"{peak / 1e6:.0f}")
