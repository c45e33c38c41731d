"""How a figure shows itself in Jupyter: drawn from its traces, without a browser and without JavaScript."""

from html import escape

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from sth_core.notebook_html import BLUE, Line, card, legend, line_chart, round_ticks

DASHES = {"dash": "7 4", "dot": "2 3", "longdash": "11 4", "dashdot": "7 3 2 3", "longdashdot": "11 3 2 3"}
MOST_NAMED, MOST_ROWS, ROOM = 4, 12, 0.1  # names of the x axis that are written out; rows; above and below the values


def figure_html(title: str, caption: str, figure: go.Figure, data: pd.DataFrame) -> str:
    """Its lines or bars with their intervals; where it has none over names, the first of its numbers."""
    lines = drawn_lines(figure)
    if not lines:
        return card(title, [caption], str(data.head(MOST_ROWS)._repr_html_() or ""))  # type: ignore[operator]
    values = np.concatenate([np.concatenate([line.values, line.low, line.high]) for line in lines])
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    room = ROOM * max(high - low, 0.01)
    names = list(dict.fromkeys(name for line in lines for name in line.over))
    written = ", ".join(names) if len(names) <= MOST_NAMED else f"{names[0]} to {names[-1]}"
    chart = line_chart(lines, (low - room, high + room), round_ticks(low - room, high + room), height=220)
    axis = f'<div style="font-size:0.85em;opacity:0.85">From left to right: {escape(written)}</div>'
    return card(title, [caption], legend(lines), chart, axis)


def drawn_lines(figure: go.Figure) -> list[Line]:
    """The traces of a figure that have a name and a value for each of some names; bars become points."""
    found = []
    for trace in figure.data:
        if not trace.name or trace.type not in ("scatter", "bar") or trace.x is None or trace.y is None:
            continue
        if not len(trace.x) or not all(isinstance(x, str) for x in trace.x):
            continue
        values, bar = np.asarray(trace.y, float), trace.type == "bar"
        up, down = trace.error_y.array, trace.error_y.arrayminus
        unknown = np.full(len(values), np.nan)
        symbol = "" if bar else str(trace.marker.symbol or "")
        found.append(Line(
            trace.name, [str(x) for x in trace.x], [*values],
            [*(unknown if down is None else values - np.asarray(down, float))],
            [*(unknown if up is None else values + np.asarray(up, float))],
            colour=(trace.marker.color if bar else trace.line.color) or BLUE, joined=not bar,
            dash="" if bar else DASHES.get(trace.line.dash or "", ""), filled="open" not in symbol,
            diamond="diamond" in symbol,
        ))  # fmt: skip
    return found
