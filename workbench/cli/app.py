"""`sth app`: the web app."""

from pathlib import Path

import click

from workbench.cli.kinds import FOLDER, TEXT
from workbench.cli.options import port_option

UPLOAD = click.IntRange(1, 100_000)  # MB; Streamlit keeps an upload in memory


@click.command("app")
@click.argument("runs", type=FOLDER)
@port_option
@click.option(
    "--host", default="localhost", type=TEXT, show_default=True, help="Another address: other machines, with a token."
)
@click.option("--root", "roots", multiple=True, type=FOLDER, help="A folder whose networks and datasets may be used.")
@click.option("--max-upload", default=200, show_default=True, type=UPLOAD, help="MB of an uploaded video.")
def app_command(runs: Path, port: int, host: str, roots: tuple[Path, ...], max_upload: int) -> None:
    """Browse a folder of RUNS in the web browser, and run networks on videos of your own.

    Served to this machine alone, unless --host says otherwise.
    """
    from workbench.serve import serve

    serve(runs, port, host, roots, max_upload)
