"""`sth trust`: which explanation of a network passes which test."""

import click

from sth_core.errors import UserError
from workbench.cli.kinds import MANY
from workbench.cli.options import DatasetArguments, dataset_options, seed_option
from workbench.cli.terminal import print_table, print_unread, progress_bars, say

OUT_HELP = "Where the page goes; by default <NETWORK's name>-trust, here."


@click.command("trust")
@dataset_options(out=OUT_HELP, out_suffix="-trust", batch=16, labelled=False)
@click.option(
    "--clips", default=60, show_default=True, type=click.IntRange(2, MANY), help="How many, evenly over classes."
)
@seed_option(0, "Which clips are drawn, and the random maps.")
def trust_command(dataset: DatasetArguments, clips: int, seed: int) -> None:
    """Test which explanations of a network can be trusted, and write one page with all verdicts.

    Grad-CAM in both definitions and per branch: deletion and insertion in space, time and both against a random map
    and a centre prior; random weights; frame occlusion; and attention replaced. When it was stopped, the same command
    continues.
    """
    from analysis.experiments.trust import trust
    from analysis.experiments.trust_tables import TrustResults, trust_verdicts
    from analysis.report.trust_page import SIGN, example_of, write_trust_page

    with progress_bars() as show:
        options = dataset.reporting(show, f"testing {dataset.network.stem}")
        failures = trust(dataset.network, dataset.data, dataset.out, options, clips=clips, seed=seed)
    print_unread(failures)
    results = TrustResults(dataset.out)
    if results.clips.empty:
        raise UserError(f"none of the {len(failures)} clips could be read")
    page = write_trust_page(dataset.out, example_of(dataset.network, dataset.data, results))
    verdicts = trust_verdicts(results).itertuples()
    rows = [(row.explanation, row.question, SIGN[row.verdict], row.detail) for row in verdicts]
    print_table(("explanation", "question", "verdict", ""), rows)
    say(f"{len(results.clips)} clips; page: {page}")
