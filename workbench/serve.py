"""How `sth app` starts the web app's server: with which flags, in which environment, and for whom."""

import errno
import os
import secrets
import socket
import sys
from pathlib import Path

import click

from sth_core.errors import UserError

SERVER = Path(__file__).with_name("server.py")
LOCAL, EVERYWHERE = ("localhost", "127.0.0.1"), ("0.0.0.0", "::")
FREED = {  # so that memory which a session has freed goes back to the system
    "MALLOC_ARENA_MAX": "2",  # not a heap for each session's thread
    "ARROW_DEFAULT_MEMORY_POOL": "system",  # not Arrow's own
}


def serve(runs: Path, port: int, host: str = "localhost", roots: tuple[Path, ...] = (), max_upload: int = 200) -> None:
    """Run the Streamlit app until it is stopped; to another host than this one only who has the token gets in.

    Raises:
        UserError: a root is no folder, or has a name that cannot be handed on; or nothing can listen there.
    """
    for root in roots:
        if not root.is_dir() or os.pathsep in str(root.resolve()):
            raise UserError(f"--root {root} is no folder, or has {os.pathsep!r} in its name")
    if why := refusal(host, port):
        raise UserError(why)
    runs.mkdir(parents=True, exist_ok=True)
    os.environ["STH_RUNS"] = str(runs.resolve())
    os.environ["STH_ROOTS"] = os.pathsep.join(str(root.resolve()) for root in roots)
    os.environ.pop("STH_TOKEN", None)
    for name, value in FREED.items():
        os.environ.setdefault(name, value)
    flags = [
        ("server.port", str(port)),
        ("server.headless", "true"),
        ("server.fileWatcherType", "none"),
        ("server.enableXsrfProtection", "true"),
        ("server.enableCORS", "true"),  # the protection: no other site's pages may use this one
        ("server.maxUploadSize", str(max_upload)),
        ("browser.gatherUsageStats", "false"),
        ("client.showErrorDetails", "none"),
        ("client.toolbarMode", "minimal"),
        ("logger.hideWelcomeMessage", "true"),  # which names an address without the token
    ]
    if host in LOCAL:
        flags.append(("server.address", "127.0.0.1"))
        flags += [("server.allowedHosts", name) for name in LOCAL]  # not by a name that someone let point here
        address = f"http://localhost:{port}"
    else:
        token = os.environ["STH_TOKEN"] = secrets.token_urlsafe()
        name = socket.gethostname() if host in EVERYWHERE else host
        flags += [("server.address", host), ("browser.serverAddress", name)]  # or else a server on the net is asked
        address = f"http://{f'[{name}]' if ':' in name else name}:{port}/?token={token}"
    os.environ["STH_ADDRESS"] = address
    click.echo("Starting the app ...")
    command = [sys.executable, "-m", "streamlit", "run", str(SERVER), *(f"--{name}={value}" for name, value in flags)]
    os.chdir(SERVER.parent.parent)  # where .streamlit/config.toml lies
    sys.stdout.flush()
    os.execv(sys.executable, command)  # the server takes this process's place, and its signals


def refusal(host: str, port: int) -> str:
    """Why no server can listen there; empty if one can."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # not because a server has just stopped
        try:
            one.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return f"port {port} is taken, perhaps by another `sth app`; choose one with --port"
            return f"{host}, port {port} is nowhere that this machine can listen ({error.strerror or error})"
    return ""
