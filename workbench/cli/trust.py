"""`sth trust`: which explanation of a network passes which test."""

import click

from sth_core.datasets.media import counted
from sth_core.errors import UserError
from workbench.cli.kinds import MANY, METHOD_NAMES, TEXT
from workbench.cli.options import DatasetArguments, dataset_options, seed_option
from workbench.cli.terminal import print_table, print_unread, progress_bars, say

OUT_HELP = "Where the page goes; by default <NETWORK's name>-trust, here."


@click.command("trust")
@dataset_options(out=OUT_HELP, out_suffix="-trust", batch=16, labelled=False)
@click.option(
    "--clips", default=60, show_default=True, type=click.IntRange(2, MANY), help="How many, evenly over classes."
)
@seed_option(0, "Which clips are drawn, and the random maps.")
@click.option(
    "--methods",
    "named",
    type=TEXT,
    default="gradcam,hirescam,layercam",
    show_default=True,
    metavar="NAMES",
    help=f"Of {', '.join(METHOD_NAMES)}; or `all`, which takes many more passes.",
)
def trust_command(dataset: DatasetArguments, clips: int, seed: int, named: str) -> None:
    """Test which explanations of a network can be trusted, and write one page with all verdicts.

    The page ranks Grad-CAM (both definitions, each branch), HiResCAM, Layer-CAM and other --methods: deletion and
    insertion in space, time and both against a random map and a centre prior; random weights; frame occlusion. It
    replaces attention too. When it was stopped, the same command continues.
    """
    from analysis.experiments.trust import trust
    from analysis.experiments.trust_tables import TrustResults, conclusion, ranking_table, trust_verdicts
    from analysis.explain.methods import chosen_methods
    from analysis.report.trust_page import SIGN, example_of, write_trust_page

    methods = chosen_methods(named)
    with progress_bars() as show:
        options = dataset.reporting(show, f"testing {dataset.network.stem}")
        failures = trust(dataset.network, dataset.data, dataset.out, options, clips=clips, seed=seed, methods=methods)
    print_unread(failures)
    results = TrustResults(dataset.out)
    if results.clips.empty:
        raise UserError(f"none of the {len(failures)} clips could be read")
    page = write_trust_page(dataset.out, example_of(dataset.network, dataset.data, results, methods))
    verdicts = trust_verdicts(results)
    rows = [(row.explanation, row.question, SIGN[row.verdict], row.detail) for row in verdicts.itertuples()]
    print_table(("explanation", "question", "verdict", ""), rows)
    ranking = ranking_table(results, verdicts)
    costs = [
        (r.explanation, r.belief, f"{r.value:+.3f}", f"{r.forwards:.0f} + {r.backwards:.0f}", f"{r.seconds:.2g}")
        for r in ranking.itertuples()
    ]
    print_table(("best first", "believe", "areas better by", "passes forward + backward", "seconds"), costs)
    say(conclusion(ranking, len(results.clips)))
    say(f"{counted(len(results.clips), 'clip')}; page: {page}")
