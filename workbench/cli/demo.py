"""`sth demo`: clips, runs, figures and the app in one go."""

from pathlib import Path

import click

from workbench.cli.kinds import FOLDER
from workbench.cli.options import port_option, token_option
from workbench.cli.terminal import notify, print_table, progress_bars, say


@click.command("demo")
@click.option("-o", "--out", type=FOLDER, default=Path("demo"), show_default=True, help="Where everything goes.")
@click.option("--no-app", is_flag=True, help="Make it all, but do not serve it.")
@click.option("--retrain", is_flag=True, help="Train the networks anew first (hours on a laptop).")
@click.option(
    "--seeds", type=click.IntRange(1, 100), default=1, show_default=True, help="With --retrain: how many seeds."
)
@port_option
@token_option
def demo_command(out: Path, no_app: bool, retrain: bool, seeds: int, port: int, token: bool) -> None:
    """Make clips, record eight networks on them, draw the figures, and serve the app."""
    from sth_core.outputs import writing_into
    from workbench import demo
    from workbench.serve import check_address, serve

    if seeds > 1 and not retrain:
        raise click.UsageError(f"--seeds {seeds} is for --retrain: without it nothing is trained")
    if not no_app:
        check_address("localhost", port)  # before the work, not after it
    with writing_into(out), progress_bars() as show:
        networks = demo.retrain(out, show, notify, seeds=seeds) if retrain else demo.SHIPPED_NETWORKS
        table = demo.make_demo(out, networks, show, notify)
    print_table(table.columns, table.itertuples(index=False))
    say(f"runs: {out / 'runs'}   figures: {out / 'figures'}   clips: {out / 'synthetic'}")
    if not no_app:
        serve(out / "runs", port, token=token)
