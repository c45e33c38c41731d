"""`sth results`: the accuracies of many runs, and the paper's."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from sth_core.errors import UserError
from workbench.cli.kinds import FILE, RUNS
from workbench.cli.terminal import notify, print_shown, print_table, say

if TYPE_CHECKING:
    import pandas as pd


@click.command("results")
@click.argument("folder", type=RUNS, required=False)
@click.option("--csv", "file", type=FILE, help="Write the runs' table to this file too.")
def results_command(folder: Path | None, file: Path | None) -> None:
    """Print the results of the runs in FOLDER, and the paper's Tables 2 to 5."""
    from analysis.report.seed_summary import runs_not_in_means, summarize_seeds
    from analysis.runs.left_out import split_usable
    from analysis.runs.run_directory import find_runs, location
    from analysis.statistics.clusters import describe_interval
    from analysis.statistics.results import run_results, with_left_out
    from sth_core.files import write_csv
    from sth_core.outputs import refuse_replacing, writing_file

    refuse_replacing([("--csv", file, ".csv")])
    if file and folder is None:
        raise UserError(f"--csv {file} is for the table of runs, and no folder is given: sth results FOLDER --csv FILE")
    print_paper_results()
    if folder is None:
        return
    folder = location(folder)  # as the user spelt a URL
    usable, left_out = split_usable(find_runs(folder))
    for path, reason in left_out.items():
        notify(f"left out: {path}: {reason}")
    runs = run_results(usable)
    if runs.empty:
        raise UserError(f"no runs that can be used in {folder}; `sth evaluate` and `sth record` make them")
    print_over_seeds(summarize_seeds(usable, runs), runs_not_in_means(usable))
    rows = []
    for row in runs.itertuples():
        network = f"{row.network} {row.conv}, {row.modality}"
        top1, top5 = "-", "-"
        if row.n:
            top1, top5 = f"{row.top1:.1f} ({describe_interval(row.top1_low, row.top1_high, '.1f')})", f"{row.top5:.1f}"
        rows.append((row.run, row.dataset, network, row.p, row.frames, row.views, top1, top5, row.n, row.unread))
    columns = ("run", "dataset", "network", "p", "frames", "views", "top-1", "top-5", "n", "unread")
    print_table(columns, rows, title=f"Runs in {folder}, % (95 % interval over source videos, or clips without groups)")
    for (precision, device), some in runs.dropna(subset="device").groupby(["precision", "device"], sort=False):
        notify(f"{', '.join(some['run'])}: computed in {precision} on {device}")
    for sentence, some in runs[runs["note"] != ""].groupby("note", sort=False):
        notify(f"{', '.join(some['run'])}: {sentence}")
    if file:
        with writing_file(file):
            write_csv(file, with_left_out(runs, left_out))
        say(f"table: {file}")


def print_paper_results() -> None:
    """The paper's Tables 2 to 5; bold where a method is STH."""
    from analysis.statistics.results import paper_results

    for (number, dataset), rows in paper_results().groupby(["table", "dataset"], sort=False):
        title = f"The paper's Table {number}: {dataset}, % on val"
        named = {"method": "method", "backbone": "backbone", "pretrain": "pretrain", "frames": "frames"}
        named |= {"top1": "top-1", "top5": "top-5"} | ({"test_top1": "top-1 on test"} if number == 2 else {})
        table = Table(*named.values(), title=title)
        cells = rows[list(named)].astype(object)
        for row in cells.where(cells.notna(), "").itertuples(index=False):
            table.add_row(*map(str, row), style="bold" if row.method.startswith("STH") else "")
        print_shown(table)


def print_over_seeds(table: "pd.DataFrame", not_used: dict[str, str]) -> None:
    """Print `summarize_seeds`' table, and why runs are not in it; nothing if no two runs differ in the seed alone."""
    if table.empty:
        return
    rows = []
    for row in table.itertuples():
        values = ((row.top1, row.top1_sd), (row.action, row.action_sd), (row.direction, row.direction_sd))
        cells = ["" if math.isnan(mean) else f"{mean:.1f} ± {sd:.1f}" for mean, sd in values]
        rows.append(
            (row.dataset, f"{row.network} {row.conv}, {row.modality}", row.p, row.start, *cells, row.seeds, row.n)
        )
    columns = ("dataset", "network", "p", "start", "top-1", "action", "direction", "seeds", "n")
    print_table(columns, rows, title="Mean over seeds, % (± standard deviation)")
    for name, why in not_used.items():
        notify(f"not in the mean over seeds: {name}: {why}")
