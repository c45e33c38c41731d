"""What all plots share: colours, layout, intervals, and names that Plotly must not take for HTML."""

import base64
import html
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from sth_core.files import temporary_beside

# Okabe & Ito's colours, told apart with any colour vision; two grays for their black and yellow, of which one cannot be
# seen in the app's dark theme and the other not on paper.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#777777", "#AAAAAA")
DASHES = ("solid", "dash", "dot", "dashdot")


@dataclass(frozen=True)
class SupplementFigure:
    """A figure of the paper's supplement, drawn from our runs: `name` is that of its files, `data` what it plots."""

    name: str
    title: str
    caption: str
    figure: go.Figure
    data: pd.DataFrame


def styled(figure: go.Figure, x: str, y: str) -> go.Figure:
    """The figure with titles on its axes and its legend above it."""
    return figure.update_layout(
        xaxis_title=x, yaxis_title=y, height=440, barmode="group",
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0, "title": ""}, margin={"t": 40, "r": 20},
    )  # fmt: skip


def error_bars(table: pd.DataFrame, value: str, low: str = "low", high: str = "high") -> dict[str, Any]:
    """Plotly's error bars around the column `value`, from `low` to `high`."""
    up, down = table[high] - table[value], table[value] - table[low]
    return {"type": "data", "array": up, "arrayminus": down, "thickness": 1.2}


def horizontal_bars(
    table: pd.DataFrame, names: str, value: str, title: str, *, low: str = "low", high: str = "high",
    colours: str | list[str] = COLOURS[0],
) -> go.Figure:  # fmt: skip
    """A bar with its interval for each row of a table, the first row on top; `title` is that of the values' axis."""
    bars = go.Bar(
        x=table[value], y=table[names], orientation="h", error_x=error_bars(table, value, low, high),
        marker_color=colours,
    )  # fmt: skip
    figure = styled(go.Figure(bars), title, "").update_layout(height=120 + 26 * len(table), margin_t=10)
    return figure.update_yaxes(autorange="reversed", automargin=True, type="category")


def add_band(
    figure: go.Figure, x: Iterable, low: Iterable, high: Iterable, *, colour: str, group: str, **place: int
) -> None:
    """Shade the interval from `low` to `high`; `group` is the `legendgroup` of its line, `place` row and col."""
    x = list(x)
    figure.add_scatter(
        x=[*x, *x[::-1]], y=[*high, *list(low)[::-1]], fill="toself", mode="lines", line_width=0, fillcolor=colour,
        opacity=0.13, hoverinfo="skip", showlegend=False, legendgroup=group, **place,
    )  # fmt: skip


def with_escaped_text(figure: go.Figure) -> go.Figure:
    """A copy that shows the names of classes and runs as they are: Plotly takes some of HTML in them for HTML."""
    figure = go.Figure(figure)
    for trace in figure.data:
        for part in ("x", "y", "text", "name", "legendgroup", "customdata"):
            if part in trace and trace[part] is not None:
                trace[part] = _escaped(trace[part])
    for axis in (figure.layout.xaxis, figure.layout.yaxis):
        if axis.ticktext is not None:
            axis.ticktext = _escaped(axis.ticktext)
    return figure


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return html.escape(value, quote=False)
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufM":
        return value
    if isinstance(value, np.ndarray | list | tuple):
        return [_escaped(one) for one in value]
    return value


def on_paper(figure: go.Figure) -> go.Figure:
    """The figure for a file: `with_escaped_text`, and on white. The app draws it in its own colours."""
    return with_escaped_text(figure).update_layout(template="plotly_white")


def write_figure(path: Path, figure: go.Figure) -> None:
    """Write an HTML page of this figure alone, with plotly.min.js beside it."""
    with temporary_beside(path) as temporary:
        figure.write_html(temporary, include_plotlyjs="directory", div_id=path.stem)


def jpeg_uri(image: NDArray[np.uint8], quality: int = 85) -> str:
    """An RGB image (H, W, 3) as a data URI, which a page or a figure can hold."""
    ok, encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert ok
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()
