"""`sth benchmark docs table` and `seeds`: what commands wrote as CSV, as the tables that the pages quote."""

from itertools import combinations, product
from pathlib import Path

import click
import pandas as pd

from analysis.statistics.effects import effect_of, training_spread
from benchmarks.measuring import print_head, print_row
from sth_core.errors import UserError
from workbench.cli.kinds import FILE


@click.command("table")
@click.argument("files", nargs=-1, required=True, metavar="[NAME=]FILE...")
@click.option("--columns", default="", help="Titles, separated by commas; else all.")
@click.option("--where", default="", help="Which rows, as pandas' `query` takes it.")
@click.option("--digits", default=3, show_default=True, help="After the point.")
@click.option("--cell", default="", help='"{value:+.1f} ({low:+.1f} to {high:+.1f})": one such column for each FILE.')
@click.option("--scale", default=1.0, show_default=True, help="100 for percent: all fractions are multiplied by it.")
def table_command(files: tuple[str, ...], columns: str, where: str, digits: int, cell: str, scale: float) -> None:
    """Print CSV files that a command wrote as a Markdown table.

    Files stand below each other; with --cell beside each other: a row for each combination of --columns, a column NAME
    for each FILE.
    """
    named = [(name or Path(file).stem, file) for name, _, file in (file.rpartition("=") for file in files)]
    tables = []
    for name, file in named:
        if not Path(file).is_file():
            raise UserError(f"no such file: {file}")
        table = pd.read_csv(file)
        table = table.query(where) if where else table
        fractions = table.select_dtypes("float").columns
        table[fractions] = table[fractions] * scale
        titles = columns.split(",") if columns else list(table.columns)
        if cell:
            texts = [cell.format_map(row) for row in table.to_dict("records")]
            table[name] = ["" if "nan" in text else text for text in texts]
            table = table[[*titles, name]].set_index(titles)
        tables.append(table if cell else table[titles])
    shown = pd.concat(tables, axis=1, sort=False).reset_index() if cell else pd.concat(tables)
    print_head(*shown.columns)
    for row in shown.astype(object).where(shown.notna(), "").itertuples(index=False):
        print_row(*(f"{value:.{digits}f}" if isinstance(value, float) else value for value in row))
    print()


@click.command("seeds")
@click.argument("file", type=FILE)
@click.option("--by", required=True, help="The study's axes, separated by commas; networks differ in the last one.")
@click.option("--values", default="top1,action,direction", show_default=True)
def seeds_command(file: Path, by: str, values: str) -> None:
    """Print a study's results.csv over seeds: mean ± standard deviation (range), and each difference of two networks.

    Intervals (95 %) are over trainings alone: those of this study's held-out clips, not of others.
    """
    table, axes = pd.read_csv(file), by.split(",")
    known = [name for name in values.split(",") if table[name].notna().any()]
    print_head(*axes, "seeds", *known)
    for names, rows in table.groupby(axes, sort=False):
        cells = [f"{v.mean():.1f} ± {v.std():.1f} ({v.min():.1f} to {v.max():.1f})" for v in (rows[n] for n in known)]
        print_row(*names, len(rows), *("" if "nan" in cell else cell for cell in cells))
    print()
    print_head(*axes[:-1], "difference", "of", "points (95 % over seeds)", "p")
    for names, rows in table.groupby(axes[:-1], sort=False) if axes[:-1] else [((), table)]:
        networks = rows.groupby(axes[-1], sort=False)
        for ((first, a), (second, b)), name in product(combinations(networks, 2), known):
            x, y = (some[name].dropna().to_numpy()[:, None, None] for some in (a, b))
            if min(len(x), len(y)) > 1:
                spreads = [*training_spread(x), *training_spread(y)]
                found = effect_of(float(y.mean() - x.mean()), spreads, len(x), len(x))
                interval = f"{found.value:+.1f} ({found.low:+.1f} to {found.high:+.1f})"
                print_row(*names, f"{second} minus {first}", name, interval, f"{found.p:.2g}")
    print()
