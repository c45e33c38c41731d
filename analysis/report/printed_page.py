"""An HTML page as a PDF, printed by an installed Chromium."""

import subprocess
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from analysis.report.image_export import kaleido_browser
from analysis.report.installed_browser import installed_browser
from sth_core.files import temporary_beside

PATIENCE = 300  # seconds
NO_PRINTER = (
    "There is no PDF: it needs Chrome or Chromium. Install it with `apt install chromium` (Debian, Ubuntu), or name "
    "the path of one in BROWSER_PATH; or print the page in any browser"
)
# As root, as in a container, Chromium runs only without its sandbox; the page is our own, and loads nothing.
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage",
    "--no-pdf-header-footer", "--hide-scrollbars",
)  # fmt: skip


def print_page(page: Path, out: Path) -> str:
    """Print the page to `out`; returns why it could not be, empty if it is written.

    Raises UserError: nothing can be written there.
    """
    browser = installed_browser()
    with suppress(ImportError):
        browser = browser or kaleido_browser()
    if not browser:
        return NO_PRINTER
    with TemporaryDirectory(prefix="sth-print-") as folder:
        printed = Path(folder, "page.pdf")
        command = [browser, *FLAGS, f"--user-data-dir={folder}/profile", f"--print-to-pdf={printed}"]
        try:
            done = subprocess.run(
                [*command, page.resolve().as_uri()], capture_output=True, timeout=PATIENCE, check=False
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"{NO_PRINTER} ({browser}: {error})"
        if not printed.is_file() or not printed.stat().st_size:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            return f"{NO_PRINTER} ({browser} wrote none: {said[-1] if said else f'exit status {done.returncode}'})"
        with temporary_beside(out) as beside:
            beside.write_bytes(printed.read_bytes())
    return ""
