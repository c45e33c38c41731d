"""`sth app`: the web app."""

from pathlib import Path

import click

from sth_core.network_names import NetworkName
from workbench.cli.kinds import FOLDER, NETWORK, RUNS, TEXT
from workbench.cli.options import port_option, token_option

UPLOAD = click.IntRange(1, 100_000)  # MB; Streamlit keeps an upload in memory


@click.command("app")
@click.argument("runs", type=RUNS)
@port_option
@click.option("--host", default="localhost", type=TEXT, show_default=True, help="Another address: other machines.")
@click.option("--root", "roots", multiple=True, type=FOLDER, help="A folder whose networks and datasets may be used.")
@click.option("--network", "networks", multiple=True, type=NETWORK, help="A network that the app may open: see record.")
@click.option("--max-upload", default=200, show_default=True, type=UPLOAD, help="MB of an uploaded video.")
@click.option(
    "--origin", "origins", multiple=True, type=TEXT, help="Another address that leads to the app, by a proxy or so."
)
@token_option
def app_command(
    runs: Path, port: int, host: str, roots: tuple[Path, ...], networks: tuple[NetworkName, ...], max_upload: int,
    origins: tuple[str, ...], token: bool,
) -> None:  # fmt: skip
    """Browse a folder of RUNS in the web browser, and run networks on videos of your own.

    Served to this machine alone, unless --host says otherwise, and to browsers that have opened the printed address.
    RUNS in object storage (s3://BUCKET/RUNS) are fetched first, and what has changed there every minute.
    """
    from analysis.runs.mirror import mirror_of
    from workbench.cli.fetched import fetch_mirror
    from workbench.serve import serve

    if mirror := mirror_of(runs):
        fetch_mirror(mirror)
        runs = mirror.folder
    serve(runs, port, host, roots, networks=networks, max_upload=max_upload, token=token, more_origins=origins)
