"""`sth intervene`: does a network's attention matter?"""

import click

from workbench.cli.options import DatasetArguments, dataset_options, seed_option
from workbench.cli.record import open_dataset_run
from workbench.cli.terminal import progress_bars, say


@click.command("intervene")
@dataset_options(out="The run directory; recorded if it is not there.", smallest=2, batch_of="Clips", labelled=False)
@seed_option(0, "Which other clip's attention is borrowed.")
def intervene_command(dataset: DatasetArguments, seed: int) -> None:
    """Replace attention, and measure what that costs: per layer, stage and class.

    α becomes one half, all spatial, all temporal, the dataset's mean or another clip's, at each layer, in each
    stage and everywhere. When it was stopped, the same command continues.
    """
    from analysis.experiments.interventions import intervene
    from analysis.report.intervention_page import (
        clips_without_effects,
        summarize_interventions,
        write_intervention_page,
    )

    with progress_bars() as show:
        run = open_dataset_run(dataset, show)
        options = dataset.reporting(show, f"replacing α of {dataset.out.name}")
        intervene(run, dataset.data, options, network=dataset.network, seed=seed)
    page, places = write_intervention_page(run)
    say(summarize_interventions(places))
    if left_out := clips_without_effects(run):
        say(left_out)
    say(f"page: {page}")
