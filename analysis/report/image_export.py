"""Figures as PDF, SVG and PNG, by an installed Chromium."""

import asyncio
import shutil
from pathlib import Path
from queue import Empty, SimpleQueue
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

import plotly.graph_objects as go

from analysis.report.installed_browser import installed_browser
from sth_core.files import temporary_beside, written_by_me

PICTURES = ("pdf", "svg", "png")
NO_KALEIDO = (
    "PDF, SVG and PNG cannot be drawn: they need the package kaleido. Install it with `pip install "
    "'sth-workbench[export]'`"
)
NO_BROWSER = (
    "PDF, SVG and PNG cannot be drawn: they need Chrome or Chromium. Install it with `apt install chromium` (Debian, "
    "Ubuntu) or with `plotly_get_chrome` (any system), or name the path of one in BROWSER_PATH"
)
START_SECONDS, PICTURE_SECONDS = 60, 10  # that a browser may take to start, and to draw a picture
DOTS_PER_INCH = 300  # of a PNG, at the size of the PDF


def why_no_pictures() -> str:
    """Why pictures cannot be drawn, without trying it; empty if a browser is there."""
    try:
        import kaleido  # noqa: F401 - an extra
    except ImportError:
        return NO_KALEIDO
    named = installed_browser()
    if named and not shutil.which(named):
        return f"{NO_BROWSER} (no program is at {named})"
    return "" if named or kaleido_browser() else NO_BROWSER


def kaleido_browser() -> str | None:
    """A browser that Kaleido finds itself, such as that of `plotly_get_chrome`."""
    from choreographer.browsers.chromium import Chromium

    return Chromium.find_browser(skip_local=False)


def draw_in_time(specs: list[dict[str, Any]], options: dict[str, Any]) -> None:
    """Draw by a new browser. Raises TimeoutError: it does not end in time; or what kaleido raises."""
    import kaleido

    seconds = START_SECONDS + PICTURE_SECONDS * len(specs)
    ended: SimpleQueue[BaseException | None] = SimpleQueue()

    def draw() -> None:
        try:
            asyncio.run(kaleido.write_fig_from_object(specs, cancel_on_error=True, kopts=options))
        except BaseException as error:
            ended.put(error)
        else:
            ended.put(None)

    Thread(target=draw, daemon=True).start()  # kaleido's own call would wait for it, and so would Python's end
    try:
        error = ended.get(timeout=seconds)
    except Empty:
        raise TimeoutError(f"the browser has drawn nothing for {seconds:g} seconds") from None
    if error:
        raise error


def write_pictures(figures: dict[str, go.Figure], out: Path, kinds: tuple[str, ...] = PICTURES) -> str:
    """Write out/NAME.KIND of each figure, all by one browser; returns why they could not be, empty if all are written.

    A figure's width and height are in CSS pixels (96 an inch), 1000 wide where the figure does not say.
    """
    if reason := why_no_pictures():
        return reason
    import kaleido

    class Unscaled(kaleido.PageGenerator):
        """Prints a figure on a page without margins, for which the browser would make it smaller."""

        header = kaleido.PageGenerator.header + "<style>@page { margin: 0 } img { display: block }</style>"

    with TemporaryDirectory(prefix=".pictures-", suffix=written_by_me(), dir=out) as temporary:
        specs: list[dict[str, Any]] = [
            {
                "fig": figure.to_dict(), "path": Path(temporary) / f"{name}.{kind}",
                "opts": {
                    "format": kind, "width": figure.layout.width or 1000, "height": figure.layout.height or 500,
                    "scale": DOTS_PER_INCH / 96 if kind == "png" else 1,
                },
            } for name, figure in figures.items() for kind in kinds
        ]  # fmt: skip
        options = {"path": installed_browser() or kaleido_browser(), "page_generator": Unscaled(mathjax=False)}
        try:
            try:
                draw_in_time(specs, options)
            except TimeoutError:  # a browser may die without a word, which kaleido does not notice: a new one draws
                draw_in_time(specs, options)
        except Exception as error:  # a browser that does not start, or that stops: whatever it says comes up here
            return f"{NO_BROWSER} ({(str(error).strip().splitlines() or [type(error).__name__])[0]})"
        drawn = [Path(str(spec["path"])) for spec in specs]
        if lost := [file.name for file in drawn if not file.is_file() or not file.stat().st_size]:
            return f"{NO_BROWSER} (the browser did not draw {', '.join(lost)})"
        for file in drawn:
            with temporary_beside(out / file.name) as beside:
                beside.write_bytes(file.read_bytes())
    return ""
