"""Figures as PDF, SVG and PNG, by an installed Chromium."""

from pathlib import Path
from tempfile import TemporaryDirectory

import plotly.graph_objects as go
import plotly.io

from sth_core.files import temporary_beside, written_by_me

PICTURES = ("pdf", "svg", "png")
NO_BROWSER = (
    "PDF, SVG and PNG were not written: they need Chrome or Chromium (Debian: apt install chromium; any system: "
    "plotly_get_chrome), or the path of one in BROWSER_PATH"
)


def write_pictures(figures: dict[str, go.Figure], out: Path, kinds: tuple[str, ...] = PICTURES) -> str:
    """Write out/NAME.KIND of each figure, all by one browser; returns why they could not be, empty if they were."""
    with TemporaryDirectory(prefix=".pictures-", suffix=written_by_me(), dir=out) as temporary:
        drawn = {Path(temporary) / f"{name}.{kind}": figure for name, figure in figures.items() for kind in kinds}
        heights = [figure.layout.height for figure in drawn.values()]
        try:  # 1000 pixels wide; a PNG has twice as many
            plotly.io.write_images(list(drawn.values()), list(drawn), width=1000, height=heights, scale=2)
        except Exception as error:  # no browser, or one that does not start: whatever it says comes up here
            reason = str(error).strip().splitlines()
            return NO_BROWSER if "Chrome" in str(error) or not reason else f"{NO_BROWSER} ({reason[0]})"
        for file in drawn:
            with temporary_beside(out / file.name) as beside:
                beside.write_bytes(file.read_bytes())
    return ""
