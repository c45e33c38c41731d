"""`sth probe`: does a network use the frame order?"""

import click

from sth_core.datasets.media import counted
from workbench.cli.options import DatasetArguments, dataset_options
from workbench.cli.record import open_dataset_run
from workbench.cli.terminal import print_table, print_unread, progress_bars, say


@click.command("probe")
@dataset_options(out="The run directory; recorded if it is not there.", batch=16)
@click.option(
    "--shuffles", default=3, show_default=True, type=click.IntRange(1, 1000), help="Random orders of each clip."
)
def probe_command(dataset: DatasetArguments, shuffles: int) -> None:
    """Test whether a network uses the frame order, and write a page of the results.

    Each clip is played backward, shuffled, frozen, with frames dropped, sub-sampled, slow and fast. The page also
    shows whether α_T is high where the frame order matters. When it was stopped, the same command continues.
    """
    from analysis.experiments.probe_tables import probe_summary_sentence
    from analysis.experiments.probes import probe
    from analysis.report.probe_page import write_probe_page
    from analysis.runs.run_directory import failures
    from analysis.statistics.clusters import describe_interval, describe_p

    with progress_bars() as show:
        run = open_dataset_run(dataset, show)
        options = dataset.reporting(show, f"probing {dataset.out.name}")
        unread = probe(run, dataset.data, options, network=dataset.network, shuffles=shuffles)
    unread = dict(failures(run)[["clip_id", "reason"]].to_numpy()) | unread
    print_unread(unread)
    page, tables = write_probe_page(run)
    rows = []
    for row in tables["probes"].itertuples():
        interval = describe_interval(100 * row.low, 100 * row.high, "+.1f")
        change = "" if row.Index == 0 else f"{100 * row.change:+.1f} ({interval})"
        p = "" if row.Index == 0 else describe_p(row.p_holm)
        rows.append((row.probe, row.n, row.accuracy, change, p))
    print_table(("probe", "clips", "accuracy", "change in points (95 %)", "p (Holm)"), rows)
    say(probe_summary_sentence(tables["agreement"]))
    say(f"{counted(run.meta['clips'], 'clip')}, {len(unread):,} of them unreadable; page: {page}")
