"""How `sth app` starts the web app's server: its flags, its environment, and who may use it."""

import errno
import os
import re
import socket
import sys
from pathlib import Path

import click
import psutil

from sth_core.errors import UserError
from sth_core.network_names import NetworkName
from workbench.networks import NETWORKS
from workbench.roots import ROOTS, RUNS

# In the environment of the server: its addresses, the one to print first, and whether it needs a token. It makes the
# token itself, because the processes that it starts inherit the environment, and all of the user's can read it.
ORIGINS, NEEDS_TOKEN = "STH_ORIGINS", "STH_NEEDS_TOKEN"
ORIGIN = re.compile(r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?")
SERVER = Path(__file__).resolve().with_name("server.py")
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


def serve(
    runs: Path, port: int, host: str = "localhost", roots: tuple[Path, ...] = (), *,
    networks: tuple[NetworkName, ...] = (), max_upload: int = 200, token: bool = True,
    more_origins: tuple[str, ...] = (),
) -> None:  # fmt: skip
    """Replace this process by the Streamlit server. `more_origins` are addresses by which a proxy leads to the app.

    Raises:
        UserError: a root is no folder, or its name holds the separator of paths; the address cannot be used; or an
            origin is none.
    """
    for origin in more_origins:
        if not ORIGIN.fullmatch(origin):
            raise UserError(f"--origin {origin} is no address such as https://lab.example.org or http://localhost:9000")
    for root in roots:
        if not root.is_dir() or os.pathsep in str(root.resolve()):
            raise UserError(f"--root {root} is no folder, or has {os.pathsep!r} in its name")
    check_address(host, port)
    runs.mkdir(parents=True, exist_ok=True)
    os.environ[RUNS] = str(runs.resolve())
    os.environ[ROOTS] = os.pathsep.join(str(root.resolve()) for root in roots)
    os.environ[NETWORKS] = "\n".join(network.absolute().name for network in networks)
    names = names_of(host)
    origins = [*(origin_of(name, port) for name in names), *more_origins]
    os.environ[ORIGINS] = " ".join(origins)
    os.environ[NEEDS_TOKEN] = "yes" if token else ""
    for name, value in MEMORY_SETTINGS.items():
        os.environ.setdefault(name, value)
    flags = [*FLAGS, f"server.port={port}", f"server.maxUploadSize={max_upload}"]
    flags.append(f"server.address={'127.0.0.1' if host in LOCAL else host}")
    flags.append(f"browser.serverAddress={names[0]}")  # or Streamlit asks one on the internet
    # By default pages of Streamlit's own hosting may send messages to an app.
    flags += [f"client.allowedOrigins={origin}" for origin in origins]
    click.echo("Starting the app ...")
    command = [sys.executable, "-m", "streamlit", "run", str(SERVER), *(f"--{flag}" for flag in flags)]
    os.chdir(
        SERVER.parent.parent
    )  # not the user's folder, whose packages Python would take; the settings lie beside SERVER
    sys.stdout.flush()
    os.execv(sys.executable, command)  # the server takes this process's place, and its signals


def names_of(host: str) -> list[str]:
    """What browsers may call this machine, the name to print first."""
    if host in LOCAL:
        return list(LOCAL)
    if host not in ALL_ADDRESSES:
        return [host]
    families = (socket.AF_INET, socket.AF_INET6)
    found = [one for some in psutil.net_if_addrs().values() for one in some if one.family in families]
    addresses = {one.address.split("%")[0] for one in found}  # without the interface
    name = socket.gethostname()
    return [name, f"{name}.local", *LOCAL, *sorted(addresses - set(LOCAL))]


def origin_of(name: str, port: int) -> str:
    """The address of this machine as a browser writes it."""
    return f"http://{f'[{name}]' if ':' in name else name}" + (f":{port}" if port != 80 else "")


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
