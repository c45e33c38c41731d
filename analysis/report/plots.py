"""What all plots share: colours, layout, intervals, and names that Plotly must not take for HTML.

A table holds the 95 % interval of a column in two others, `low` and `high`, or with a prefix: `accuracy_low`, ...
"""

import base64
import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from analysis.report.colours import BAR_INTERVAL, PLAIN
from analysis.report.figure_html import figure_html
from sth_core.errors import visible

LAYER_WORDS = re.compile(r"[A-Za-z_]+")
LAYER_AXIS = "layer, from input to output"  # the title of an axis of layers
MOST_TICKS = 60  # of layers that can be read beside one another on a screen
SYMBOLS = (("α_T", "α<sub>T</sub>"), ("α_S", "α<sub>S</sub>"), ("O_T", "O<sub>T</sub>"), ("O_S", "O<sub>S</sub>"))


@dataclass(frozen=True)
class SupplementFigure:
    """A figure of the paper's supplement, drawn from our runs: `name` is that of its files, `data` what it plots."""

    name: str
    title: str
    caption: str
    figure: go.Figure
    data: pd.DataFrame
    narrow: go.Figure | None = None  # where it is drawn otherwise in one column of a paper

    def _repr_html_(self) -> str:
        """Its lines and points with their intervals, or its numbers where it has other parts: what Jupyter shows. The
        interactive figure is `figure`."""
        return figure_html(self.title, self.caption, self.figure, self.data)


def styled(figure: go.Figure, x: str, y: str, **layout: Any) -> go.Figure:
    """The figure with titles on its axes and its legend above it; `layout` overrides the common layout."""
    legend = {"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0, "title": ""}
    common = {"height": 440, "barmode": "group", "legend": legend, "margin": {"t": 40, "r": 20}}
    return figure.update_layout(xaxis_title=x, yaxis_title=y, **common).update_layout(**layout)


def error_bars(table: pd.DataFrame, value: str, prefix: str = "") -> dict[str, Any]:
    """Plotly's error bars of the column `value`."""
    up, down = table[f"{prefix}high"] - table[value], table[value] - table[f"{prefix}low"]
    return {"type": "data", "array": up, "arrayminus": down, "thickness": 1.2}


def horizontal_bars(
    table: pd.DataFrame, names: str, value: str, title: str, prefix: str = "", colours: str | list[str] = PLAIN
) -> go.Figure:
    """A bar with its interval for each row of a table, the first row on top; `title` is that of the values' axis."""
    errors = error_bars(table, value, prefix) | {"color": BAR_INTERVAL, "thickness": 2}
    marker = {"color": colours, "opacity": 0.5}  # pale, so that the half of an interval that lies on a bar is seen
    bars = go.Bar(x=table[value], y=table[names], orientation="h", error_x=errors, marker=marker)
    figure = styled(go.Figure(bars), title, "", height=120 + 26 * len(table), margin_t=10)
    return figure.update_yaxes(autorange="reversed", automargin=True, type="category")


def add_line(
    figure: go.Figure, x: Iterable, y: Iterable, name: str, colour: str, band: Sequence[Iterable] = (), **options: Any
) -> None:
    """Draw a line, with its `band` (low, high) shaded; `options` are those of Plotly's `add_scatter`."""
    x, group = list(x), options.setdefault("legendgroup", name)
    if band:
        low, high = band
        figure.add_scatter(
            x=[*x, *x[::-1]], y=[*high, *list(low)[::-1]], fill="toself", mode="lines", line_width=0, fillcolor=colour,
            opacity=0.13, hoverinfo="skip", showlegend=False, legendgroup=group,
            row=options.get("row"), col=options.get("col"),
        )  # fmt: skip
    figure.add_scatter(x=x, y=y, name=name, line_color=colour, **({"mode": "lines+markers"} | options))


def add_layer_means(
    figure: go.Figure, table: pd.DataFrame, colour: str, name: str = "", value: str = "alpha_temporal", **options: Any
) -> None:
    """Add a line through the layers' means (column `value`) with their intervals (low, high)."""
    options |= {"error_y": error_bars(table, value), "showlegend": bool(name), "hovertemplate": "%{x}: %{y:.3f}"}
    add_line(figure, table["layer"], table[value], name, colour, **options)


def with_escaped_text(figure: go.Figure) -> go.Figure:
    """A copy that shows the names of classes and runs as they are, and α_T with a real subscript: Plotly takes some of
    HTML in names for HTML, and names that are numbers or dates for places on a scale."""
    figure = go.Figure(figure)
    for trace in figure.data:
        for axis in ("x", "y"):
            if axis in trace and holds_names(trace[axis]):
                place = f"{axis}axis{(trace[f'{axis}axis'] or axis)[1:]}"
                figure.update_layout({place: {"type": "category"}})
        for part in ("x", "y", "text", "name", "legendgroup", "customdata"):
            if part in trace:
                trace[part] = _escaped(trace[part])
        if "name" in trace and trace.name:
            trace.name = with_subscripts(trace.name)
        if trace.hovertemplate and isinstance(trace.hovertemplate, str):
            trace.hovertemplate = with_subscripts(trace.hovertemplate)
        if "colorbar" in trace and trace.colorbar.title.text:
            trace.colorbar.title.text = with_subscripts(trace.colorbar.title.text)
    figure.layout.yaxis.ticktext = _escaped(figure.layout.yaxis.ticktext)
    _shorten_layers(figure)
    for axis in [*figure.select_xaxes(), *figure.select_yaxes()]:
        if axis.title.text:
            axis.title.text = with_subscripts(axis.title.text)
    return figure


def _shorten_layers(figure: go.Figure) -> None:
    """Below an axis of layers stand their short names; the whole ones stay in what is shown under the pointer."""
    for axis in figure.select_xaxes(selector={"title.text": LAYER_AXIS}):
        place = axis.plotly_name.replace("axis", "")
        drawn = [trace.x for trace in figure.data if (trace.xaxis or "x") == place and holds_names(trace.x)]
        names = list(dict.fromkeys(name for x in drawn for name in x))
        if names:
            every = -(-len(names) // MOST_TICKS)
            axis.update(tickvals=names[::every], ticktext=short_layers(names)[::every])


def short_layers(names: list[str]) -> list[str]:
    """layer1.0.conv1 as 1.0.1, where that tells the layers apart."""
    short = [".".join(filter(None, LAYER_WORDS.sub("", name).split("."))) for name in names]
    return short if all(short) and len(set(short)) == len(names) else [cut(name, 24) for name in names]


def cut(name: str, letters: int) -> str:
    name = html.unescape(name)
    return html.escape(name if len(name) <= letters else name[: letters - 1] + "…", quote=False)


def with_subscripts(text: str) -> str:
    """The paper's symbols as Plotly and HTML draw them: α<sub>T</sub> for α_T."""
    for symbol, drawn in SYMBOLS:
        text = text.replace(symbol, drawn)
    return text


def holds_names(values: Any) -> bool:
    return values is not None and len(values) > 0 and isinstance(values[0], str)


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return html.escape(visible(value), quote=False).replace("$", "&#36;")  # which MathJax would take
    if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.dtype.kind not in "biufM"):
        return [_escaped(one) for one in value]
    return value


def on_paper(figure: go.Figure) -> go.Figure:
    """The figure for a file: `with_escaped_text`, and on white. The app draws it in its own colours."""
    return with_escaped_text(figure).update_layout(template="plotly_white")


def jpeg_uri(image: NDArray[np.uint8], quality: int = 85) -> str:
    """An RGB image (H, W, 3) as a data URI, which a page or a figure can hold."""
    ok, encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert ok
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()
