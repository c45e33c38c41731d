"""`sth views`: the views that were saved in the app."""

from pathlib import Path

import click

from workbench.cli.kinds import RUNS
from workbench.cli.terminal import print_table, say


@click.command("views")
@click.argument("runs", type=RUNS)
def views_command(runs: Path) -> None:
    """List the views that were saved in the app on a folder of RUNS: name, link below the app's address, note."""
    from analysis.runs.mirror import nearest_mirror
    from analysis.runs.saved_views import saved_views, views_folder

    if found := nearest_mirror(runs):
        runs = found[1]
    views = saved_views(runs, lambda sentence: say(sentence, err=True))
    if views:
        print_table(("view", "link", "note", "saved"), ((v.name, v.link, v.note, v.saved) for v in views))
    say(f"{len(views)} saved, in {views_folder(runs)}")
