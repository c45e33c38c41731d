"""How `sth app` starts the web app's server: its flags, its environment, and who may use it."""

import errno
import os
import secrets
import socket
import sys
from pathlib import Path

import click

from sth_core.errors import UserError
from workbench.access import TOKEN
from workbench.roots import ROOTS, RUNS

ADDRESS = "STH_ADDRESS"  # in the environment of the server: the address to print
SERVER = Path(__file__).with_name("server.py")
LOCAL, ALL_ADDRESSES = ("localhost", "127.0.0.1"), ("0.0.0.0", "::")
FLAGS = (
    "server.headless=true", "server.fileWatcherType=none", "browser.gatherUsageStats=false",
    "client.showErrorDetails=none", "client.toolbarMode=minimal", "server.enableXsrfProtection=true",
    "server.enableCORS=true",  # the protection: pages of other sites cannot use this one
    "logger.hideWelcomeMessage=true",  # it shows an address without the token
)  # fmt: skip
MEMORY_SETTINGS = {  # so that memory which a session has freed goes back to the system
    "MALLOC_ARENA_MAX": "2",  # not a heap for each session's thread
    "ARROW_DEFAULT_MEMORY_POOL": "system",  # not Arrow's own
}


def serve(runs: Path, port: int, host: str = "localhost", roots: tuple[Path, ...] = (), max_upload: int = 200) -> None:
    """Replace this process by the Streamlit server; on another host than localhost the app needs a token.

    Raises:
        UserError: a root is no folder, or its name holds the separator of paths; or the address cannot be used.
    """
    for root in roots:
        if not root.is_dir() or os.pathsep in str(root.resolve()):
            raise UserError(f"--root {root} is no folder, or has {os.pathsep!r} in its name")
    check_address(host, port)
    runs.mkdir(parents=True, exist_ok=True)
    os.environ[RUNS] = str(runs.resolve())
    os.environ[ROOTS] = os.pathsep.join(str(root.resolve()) for root in roots)
    os.environ.pop(TOKEN, None)
    for name, value in MEMORY_SETTINGS.items():
        os.environ.setdefault(name, value)
    flags = [*FLAGS, f"server.port={port}", f"server.maxUploadSize={max_upload}"]
    if host in LOCAL:
        flags.append("server.address=127.0.0.1")
        flags += [f"server.allowedHosts={name}" for name in LOCAL]  # not by another name that leads here
        address = f"http://localhost:{port}"
    else:
        token = os.environ[TOKEN] = secrets.token_urlsafe()
        name = socket.gethostname() if host in ALL_ADDRESSES else host
        flags += [f"server.address={host}", f"browser.serverAddress={name}"]  # or Streamlit asks one on the internet
        address = f"http://{f'[{name}]' if ':' in name else name}:{port}/?token={token}"
    os.environ[ADDRESS] = address
    click.echo("Starting the app ...")
    command = [sys.executable, "-m", "streamlit", "run", str(SERVER), *(f"--{flag}" for flag in flags)]
    os.chdir(SERVER.parent.parent)  # where .streamlit/config.toml lies
    sys.stdout.flush()
    os.execv(sys.executable, command)  # the server takes this process's place, and its signals


def check_address(host: str, port: int) -> None:
    """Raise a UserError if no server can listen there."""
    if not host.strip():
        raise UserError(f"this machine cannot listen at {host!r}, which is no address; name another --host")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the port of a server that has just stopped is free
        try:
            one.bind((host, port))
        except (OSError, UnicodeError, TypeError, ValueError) as error:  # a name that no host can have
            reason = getattr(error, "strerror", None) or error
            why = f"this machine cannot listen at {host!r}, port {port} ({reason}); name another --host"
            if getattr(error, "errno", None) == errno.EADDRINUSE:
                why = f"port {port} is taken, perhaps by another `sth app`; choose one with --port"
            raise UserError(why) from error
