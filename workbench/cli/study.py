"""`sth study`: every combination of a study, trained and recorded."""

from pathlib import Path

import click

from workbench.cli.kinds import FOLDER, RECIPE, WORKERS
from workbench.cli.options import data_option, device_option, overwrite_option
from workbench.cli.results import print_over_seeds
from workbench.cli.terminal import notify, progress_bars, say
from workbench.cli.typed import command_line


@click.command("study")
@click.argument("study", type=RECIPE)
@data_option
@click.option("-o", "--out", type=FOLDER, required=True, help="Where the networks and runs go.")
@click.option("--jobs", default=1, show_default=True, type=WORKERS, help="How many to train at a time.")
@device_option
@overwrite_option
def study_command(study: Path, data: Path, out: Path, jobs: int, device: str, overwrite: bool) -> None:
    """Train and record every combination of STUDY with each seed.

    STUDY is a TOML file or the name of a shipped study (study_ut_interaction, ...).

    When it was stopped, the same command continues.
    """
    from analysis.report.seed_summary import runs_not_in_means, summarize_seeds
    from analysis.report.study_page import write_study_page
    from analysis.runs.left_out import split_usable
    from analysis.runs.run_directory import find_runs
    from analysis.statistics.results import run_results
    from sth_core.study import load_study
    from workbench.study_runner import run_study
    from workbench.training_data import check_study_data

    loaded = load_study(study)
    check_study_data(loaded, data, None if overwrite else out, notify)
    with progress_bars() as show:
        run_study(
            loaded, data.resolve(), out.resolve(), jobs, device, show,
            overwrite=overwrite, command=command_line(), notify=notify,
        )  # fmt: skip
    usable, left_out = split_usable(find_runs(out / "runs"))
    for path, reason in left_out.items():
        notify(f"left out: {path}: {reason}")
    print_over_seeds(summarize_seeds(usable, run_results(usable)), runs_not_in_means(usable))
    say(f"page: {write_study_page(out)}   runs: {out / 'runs'}   networks: {out / 'networks'}")
