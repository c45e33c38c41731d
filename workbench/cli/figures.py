"""`sth figures`: the supplement's figures."""

from pathlib import Path

import click

from analysis.report.figure_sizes import DEFAULT_SIZE, SIZES
from workbench.cli.kinds import FOLDER, RUNS
from workbench.cli.terminal import notify, print_table, say
from workbench.cli.typed import command_line


@click.command("figures")
@click.argument("runs", type=RUNS)
@click.option("-o", "--out", type=FOLDER, required=True, help="Where the figures go.")
@click.option(
    "--for", "size", type=click.Choice(list(SIZES)), default=DEFAULT_SIZE, show_default=True,
    help="The size of PDF, SVG and PNG: one column of a paper (3.25 in), two columns (6.9 in), or slides (12 in).",
)  # fmt: skip
def figures_command(runs: Path, out: Path, size: str) -> None:
    """Draw the supplement's Figures 5 to 10 from a folder of RUNS, and test the paper's hypotheses about them.

    Each as HTML, PDF, SVG and PNG, with its numbers (CSV) and its recipe (JSON), and one page with all: index.html.
    PDF, SVG and PNG have text of 8 points (of 20 on slides) and no caption; they need Chrome or Chromium.
    """
    from analysis.report.supplement import runs_without_figures, write_figures
    from analysis.runs.run_directory import find_runs, location
    from sth_core.errors import UserError

    runs = location(runs)  # as the user spelt a URL
    found = find_runs(runs)
    if not found and not runs.is_dir():
        raise UserError(f"no such folder of runs: {runs}")
    written = write_figures(found, out, command=command_line(), size=size)
    for sentence in written.left_out if written else [f"{p}: {why}" for p, why in runs_without_figures(found).items()]:
        notify(sentence)
    if not written:
        raise UserError(f"no run with attention in {runs}; make one with `sth record`")
    for page in written.figures:
        say(f"{page} (numbers: .csv, recipe: .json)")
    counts = ("comparisons", "hold", "do not", "undecided", "these networks only")
    columns = ("the paper says (Section 6.1)", "these runs say", *counts)
    print_table(columns, written.hypotheses.itertuples(index=False))
    if written.without_pictures:
        say(written.without_pictures, err=True)
    say(f"all of them: {written.page}")
