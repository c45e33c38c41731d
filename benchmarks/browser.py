"""A Chromium for the browser tests (one that is installed, else Playwright's own), and the served app.

As a script: make sure that there is one.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

# As root, as in a container, Chromium runs only without its sandbox; the pages are our own.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def installed_browser() -> str | None:
    """The path of a Chromium or Chrome (STH_BROWSER goes first), or None: then Playwright's is used."""
    return os.environ.get("STH_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)


def serve(runs: Path) -> tuple[subprocess.Popen[bytes], str]:
    """`sth app RUNS` on a free port, and its address once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "workbench", "app", str(runs), "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ,
    )
    address = f"http://127.0.0.1:{port}"
    for _ in range(300):
        if server.poll() is not None:
            raise RuntimeError("the app stopped")
        try:
            urllib.request.urlopen(f"{address}/_stcore/health", timeout=1)
            return server, address
        except OSError:
            time.sleep(0.2)
    server.terminate()
    raise RuntimeError("the app did not answer")


STATE = "document.querySelector('[data-testid=stApp]')?.dataset.testScriptState"
DRAWN = f"{STATE} === 'notRunning' && !document.querySelector('[data-testid=stSkeleton]')"
WATCH = """() => {
    window.ran = false
    new MutationObserver(() => { window.ran = true }).observe(
        document.querySelector('[data-testid=stApp]'), { attributeFilter: ['data-test-script-state'] })
}"""


def watch(page: "Page") -> None:
    """From now on `settle` waits for a script that is yet to begin."""
    page.evaluate(WATCH)


def settle(page: "Page", patience: int = 120_000) -> None:
    """Wait until the page's script has ended and all is drawn; after `watch`, a script that began since."""
    page.wait_for_function(f"window.ran !== false && {DRAWN}", timeout=patience)


if __name__ == "__main__" and installed_browser() is None:
    print("no Chromium found: installing Playwright's", flush=True)
    sys.exit(subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"]).returncode)
