"""A Chromium for the browser tests (an installed one, else Playwright's own), and the served app.

As a script: install Playwright's if no Chromium is installed.
"""

import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parent.parent))  # as a script
from analysis.report.installed_browser import installed_browser

# As root, as in a container, Chromium runs only without its sandbox; the pages are our own.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser of its own."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=installed_browser(), args=FLAGS)
        yield browser
        browser.close()


def free_port(host: str = "127.0.0.1") -> int:
    with socket.socket() as free:
        free.bind((host, 0))
        return int(free.getsockname()[1])


@contextmanager
def serving(runs: Path, *options: str) -> Iterator[tuple[str, int]]:
    """`sth app RUNS` on a free port: the address that it prints, and its process's number. Without options it needs no
    token, so that each new browser may open each address."""
    port = free_port()
    options = options or ("--no-token",)
    command = [sys.executable, "-u", "-m", "workbench", "app", str(runs), "--port", str(port), *options]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield printed_address(server), server.pid
    finally:
        end(server)


def printed_address(server: subprocess.Popen) -> str:
    """The address that `sth app` prints once it answers there; what it prints later is read and dropped.

    Raises:
        RuntimeError: it has stopped without.
    """
    assert server.stdout is not None
    for line in server.stdout:
        if found := re.search(r"STH Workbench: (http://\S+)", line):
            threading.Thread(target=server.stdout.read, daemon=True).start()  # a full pipe would stop the server
            return found[1]
    raise RuntimeError("the app stopped")


def end(server: subprocess.Popen, patience: float = 60) -> None:
    """Ask a server to stop; on a busy machine with many sessions open, that takes a while."""
    server.terminate()
    try:
        server.wait(patience)
    finally:
        server.kill()


IS_FUNCTION = re.compile(r"\s*(\w+|\([^)]*\))\s*=>")
POLL = """arg => new Promise((resolve, reject) => {
    const found = %s, last = performance.now() + %d
    const check = () => {
        const value = found(arg)
        if (value) resolve(value)
        else if (performance.now() > last) reject(new Error(`it did not become true: ${found}`))
        else requestAnimationFrame(check)
    }
    check()
})"""
APP = "document.querySelector('[data-testid=stApp]')"
DRAWN = f"{APP}?.dataset.testScriptState === 'notRunning' && !document.querySelector('[data-testid=stSkeleton]')"
# Of a script that is over before the browser has drawn that it runs, only what it changed is seen.
WATCH = f"""() => {{
    window.ran = false
    if (window.changed) return
    window.changed = performance.now()
    const ran = new MutationObserver(() => {{ window.ran = true }})
    ran.observe({APP}, {{ attributeFilter: ['data-test-script-state'] }})
    const changed = new MutationObserver(() => {{ window.changed = performance.now() }})
    changed.observe({APP}, {{ subtree: true, childList: true, characterData: true, attributes: true }})
    for (const act of ['click', 'keydown']) addEventListener(act, () => {{ window.acted = performance.now() }}, true)
}}"""
ANSWERED = f"""text => {{
    const now = performance.now(), last = window.ran ? now : now - window.changed > 2000 ? window.changed : 0
    return {DRAWN} && {APP}.textContent.includes(text) && last > window.acted && last - window.acted
}}"""


def until(page: Page, script: str, arg: object = None, patience: int = 120_000) -> Any:
    """Wait until an expression, or a function of `arg`, is true in the page, and return it.

    Playwright's own wait_for_function calls eval in the page, which the app's content security policy forbids.
    """
    function = script if IS_FUNCTION.match(script) else f"() => {script}"
    return page.evaluate(POLL % (function, patience), arg)


def watch(page: Page) -> None:
    """From now on `answered` waits for a script that is yet to begin."""
    page.evaluate(WATCH)


def settle(page: Page, patience: int = 120_000) -> None:
    """Wait until the page's script has ended and all is drawn."""
    until(page, DRAWN, patience=patience)


def answered(page: Page, text: str, patience: int = 120_000) -> float:
    """Seconds from the last click or key since `watch` until a script has run since, all is drawn, and the page shows
    `text`: by the browser's clock, as what drives the browser takes time of its own."""
    return float(until(page, ANSWERED, text, patience)) / 1000


if __name__ == "__main__" and installed_browser() is None:
    print("no Chromium found: installing Playwright's", flush=True)
    sys.exit(subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"]).returncode)
