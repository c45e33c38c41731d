"""A Chromium for the browser tests: one that is installed, else Playwright's own.

As a script: make sure that there is one.
"""

import os
import shutil
import subprocess
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def installed_browser() -> str | None:
    """The path of a Chromium or Chrome (STH_BROWSER goes first), or None: then Playwright's is used."""
    return os.environ.get("STH_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)


if __name__ == "__main__" and installed_browser() is None:
    print("no Chromium found: installing Playwright's", flush=True)
    sys.exit(subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"]).returncode)
