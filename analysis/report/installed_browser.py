"""The Chromium or Chrome that draws pictures, and that the browser tests use."""

import os
import shutil
from pathlib import Path

# The first is the lightest: it has no windows to draw.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
NAMED_BY = ("STH_BROWSER", "BROWSER_PATH")  # the second is Kaleido's own
OF_PLAYWRIGHT = ("chromium*/chrome-*/headless_shell", "chromium*/chrome-*/chrome-headless-shell", "chromium*/*/chrome")


def installed_browser() -> str | None:
    """The path of a Chromium or Chrome: one that STH_BROWSER or BROWSER_PATH names, one on the path, or one that
    Playwright has installed. None if there is none."""
    named = next((os.environ[name] for name in NAMED_BY if os.environ.get(name)), None)
    return named or next(filter(None, map(shutil.which, NAMES)), None) or playwright_browser()


def playwright_browser() -> str | None:
    folder = Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH") or Path.home() / ".cache" / "ms-playwright")
    found = [path for pattern in OF_PLAYWRIGHT for path in sorted(folder.glob(pattern))]
    return str(found[-1]) if found else None
