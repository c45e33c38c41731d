"""Figures at the size at which they are printed or projected: one column of a paper, two columns, slides.

Text has its size there, titles and captions are left to the document, and nothing overlaps or is cut.
"""

import html
import re
import textwrap
from typing import Any

import plotly.graph_objects as go

from analysis.report.colours import BAR_INTERVAL
from analysis.report.figure_sizes import WIDE_LETTER, FigureSize
from analysis.report.plots import SupplementFigure, cut, short_layers, with_escaped_text, with_subscripts

FONT = "Arial, Helvetica, 'Liberation Sans', sans-serif"


def at_size(item: SupplementFigure, size: FigureSize) -> go.Figure:
    """The figure for a file of this size, without title and caption; its layout has the width and height (pixels)."""
    narrow = size.name == "column" and item.narrow is not None
    figure = with_escaped_text(item.narrow if narrow else item.figure)
    font, inner = size.font, size.pixels - 5 * size.font  # the plot's width: without the vertical axis
    figure.update_layout(template="plotly_white", font={"family": FONT, "size": font, "color": "#000000"}, title=None)
    figure.update_layout(width=size.pixels, legend_font_size=font)
    axis = {"tickfont_size": font, "title_font_size": font, "title_standoff": 0.4 * font, "linecolor": "#444444"}
    figure.update_xaxes(**axis, showline=True, ticks="outside", ticklen=0.3 * font)
    figure.update_yaxes(**axis, gridcolor="#e0e0e0")
    line = font / 8
    for trace in figure.data:
        _draw_thick(trace, line)
    below = _fit_categories(figure, size, inner)
    above = _fit_legend(figure, size)
    if figure.layout.images:
        _fit_strips(figure, size, above)
    else:
        figure.update_layout(height=round(96 * size.height + above + below))
        margin = {"t": above + 0.8 * font, "b": below + 2.6 * font, "l": 4 * font, "r": font}
        figure.update_layout(margin=margin).update_yaxes(automargin=True).update_xaxes(automargin=True)
    return figure


def _draw_thick(trace: Any, line: float) -> None:
    """Lines, markers and intervals of a trace that are seen in print."""
    if trace.type == "scatter":
        if trace.fill == "toself":
            trace.opacity = 0.25
            return
        trace.line.width = min(trace.line.width or 9, 1.1 * line)
        trace.marker.size = 5 * line
        trace.marker.line.width = line if "open" in str(trace.marker.symbol) else 0
        trace.error_y.update(thickness=1.1 * line, width=2.5 * line)
    if trace.type == "bar":
        errors = trace.error_x if trace.orientation == "h" else trace.error_y
        errors.update(thickness=1.4 * line, width=3 * line, color="#222222" if errors.color is None else errors.color)
        if errors.color == BAR_INTERVAL:
            errors.color = "#222222"


def _fit_categories(figure: go.Figure, size: FigureSize, inner: float) -> float:
    """Short names of layers, wrapped names of bars, on the horizontal axis; returns their height beyond one line."""
    values = dict.fromkeys(str(x) for trace in figure.data if trace.type in ("scatter", "bar") for x in trace.x)
    if figure.layout.images or not values or all(re.fullmatch(r"[-\d.]+", value) for value in values):
        return 0
    names, pitch = list(values), inner / len(values)
    if any(trace.type == "bar" for trace in figure.data):
        return _fit_bars(figure, size, names, pitch)
    short = short_layers(names)
    longest = max(map(len, short))
    turned = size.letters(pitch) < longest + 1
    every = max(1, -(-int(1.3 * size.font) // max(1, int(pitch)))) if turned else 1
    figure.update_xaxes(
        type="category", tickvals=names[::every], ticktext=[html.escape(name) for name in short[::every]],
        tickangle=-90 if turned else 0,
    )  # fmt: skip
    return (min(longest, 24) * WIDE_LETTER - 1) * size.font if turned else 0


def _fit_bars(figure: go.Figure, size: FigureSize, names: list[str], pitch: float) -> float:
    text = size.font * WIDE_LETTER * 6
    bars = pitch * 0.8 / max(1, sum(trace.type == "bar" for trace in figure.data))
    for trace in figure.data:
        fits = bars > text or bars > 1.4 * size.font
        trace.update(textangle=0 if bars > text else -90, textfont_size=size.font, constraintext="none")
        trace.update(texttemplate=trace.texttemplate if fits else None)
    wrapped = [wrap(name, size.letters(pitch)) for name in names]
    lines = max(map(len, wrapped))
    turned = lines > 4
    shown = [cut(name, 24) for name in names] if turned else ["<br>".join(some) for some in wrapped]
    figure.update_xaxes(tickvals=names, ticktext=shown, tickangle=-90 if turned else 0, type="category", title=None)
    return size.font * (WIDE_LETTER * max(map(len, shown)) if turned else 1.3 * (lines - 1))


def _fit_legend(figure: go.Figure, size: FigureSize) -> float:
    """Names that fit into the figure's width, in columns; returns the legend's height in pixels."""
    shown = [trace for trace in figure.data if trace.name and trace.showlegend is not False]
    if len(shown) < 2:
        figure.update_layout(showlegend=False)
        return 0
    symbol, room = 40 + 0.5 * size.font, size.pixels - 12
    longest = size.letters(room - symbol)
    lines = 1
    for trace in shown:
        name = wrap(re.sub("<sub>(.)</sub>", r"_\1", trace.name), longest)
        lines = max(lines, len(name))
        trace.name = with_subscripts("<br>".join(name))
    named = [html.unescape(line) for trace in shown for line in re.sub("</?sub>", "", trace.name).split("<br>")]
    letters = max(map(len, named))
    entry = symbol + letters * WIDE_LETTER * size.font
    columns = max(1, int(room / entry))
    rows = -(-len(shown) // columns)
    figure.update_traces(legendgroup=None)  # groups stand below each other
    figure.update_layout(
        legend={
            "orientation": "h", "xref": "container", "x": 0, "xanchor": "left", "yref": "container", "y": 1,
            "yanchor": "top", "entrywidth": entry - symbol, "entrywidthmode": "pixels", "tracegroupgap": 0,
        }
    )  # fmt: skip
    return rows * (1.3 * size.font * lines + 6) + 4


def _fit_strips(figure: go.Figure, size: FigureSize, above: float) -> None:
    """Rows with a bar and a strip of frames: as high as the strip needs."""
    font, rows = size.font, len(figure.layout.images)
    strip = figure.layout.images[0].sizex * (size.pixels - 2 * font) / (8 * 4 / 3)  # eight frames, 4:3
    stacked = figure.layout.images[0].sizex == 1
    row = strip + (3.6 * font if stacked else 1.8 * font)
    height = min(round(rows * row + above + 4 * font), round(96 * size.tallest))
    figure.update_layout(height=height, showlegend=True)
    figure.update_layout(margin={"t": above + 0.4 * font, "b": 3.4 * font, "l": font, "r": font})
    room = (1 if stacked else 1 - figure.layout.images[0].sizex - 0.02) * (size.pixels - 2 * font)
    for name in figure.layout.annotations:
        name.update(text=cut(name.text, size.letters(room)), font_size=font)
    figure.update_traces(textfont_size=font, constraintext="none", selector={"type": "bar"})


def wrap(name: str, letters: int) -> list[str]:
    """The name in lines, as HTML in which no part of it is a tag."""
    lines = textwrap.wrap(html.unescape(name), letters, break_on_hyphens=True) or [""]
    return [html.escape(line, quote=False) for line in lines]
