"""`sth report`: saved views, figures and clips as one file to send to somebody."""

from pathlib import Path

import click

from sth_core.errors import UserError, first_few
from workbench.cli.kinds import FILE, RUNS, TEXT
from workbench.cli.terminal import notify, progress_bars, say
from workbench.cli.typed import command_line


@click.command("report")
@click.argument("runs", type=RUNS, nargs=-1, required=True)
@click.option("-o", "--out", type=FILE, required=True, help="The .html to write; the PDF has the same name.")
@click.option("--title", type=TEXT, default="Report", show_default=True, help="What stands above it.")
@click.option(
    "--view", "views", multiple=True, type=TEXT, metavar="NAME", help="A saved view; by default all of these runs."
)
@click.option("--no-views", is_flag=True, help="None of the saved views: clips with tags, or what all runs show.")
@click.option("--tag", "tags", multiple=True, type=TEXT, metavar="TAG", help="Add the clips with this tag.")
@click.option("--pdf/--no-pdf", default=True, help="Print it as a PDF too.")
@click.option("--overwrite", is_flag=True, help="Replace a report of this name.")
def report_command(
    runs: tuple[Path, ...], out: Path, title: str, views: tuple[str, ...], no_views: bool, tags: tuple[str, ...],
    pdf: bool, overwrite: bool,
) -> None:  # fmt: skip
    """Write one HTML file, and a PDF, with the views that were saved on RUNS: folders of runs, or single runs.

    Each view has its figures with their numbers, its clips with frames, explanation, scores, tags and notes, and how it
    is made again. Without saved views the report shows the attention of all runs, and what the first ones confuse.
    The HTML file loads nothing from elsewhere. Figures and PDF need Chrome or Chromium.
    """
    from analysis.report.report_sources import chosen_views, find_sources
    from analysis.report.written_report import ReportOptions, write_report
    from workbench.cli.fetched import on_this_machine
    from workbench.networks import network_for_report
    from workbench.roots import why_not_readable

    if out.suffix.lower() != ".html":
        raise UserError(f"-o must end in .html, got {out}; the PDF is written beside it")
    if views and no_views:
        raise UserError(f"--no-views leaves out the views that --view names ({first_few(views)}); give one of the two")
    here = [on_this_machine(folder) for folder in runs]
    sources = find_sources(here, network_for_report, why_not_readable)
    shown = [] if no_views else chosen_views(sources, views, notify)
    options = ReportOptions(title, tags, command_line(), pdf, overwrite)
    with progress_bars() as show:
        written = write_report(sources, shown, out, options, lambda d, n: show("writing the report", d, n, unit="part"))
    for sentence in written.said:
        say(sentence, err=True)
    say(f"{written.page}" + (f" and {written.pdf}" if written.pdf else ""))
