"""The differences of accuracy of each pair of runs as a map; a click makes a pair A and B of the Compare page."""

from functools import partial
from html import unescape

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from analysis.attention.compare_runs import SharedClips
from analysis.report.colours import DIVERGING
from analysis.report.plots import styled
from analysis.statistics.accuracy import describe_groups
from analysis.statistics.clusters import SIGNIFICANCE_LEVEL, describe_interval, describe_p
from sth_core.datasets.media import counted
from workbench.components.chart import chosen_points, show_chart, with_clickable_cells

PAIRED = "McNemar's test, clustered by source video"  # `paired_effect`
HOVER = (
    "%{y} minus %{x}: %{customdata[0]} points<br>95 % interval of this pair alone: %{customdata[1]}<br>p = "
    "%{customdata[2]} (Holm)<br>correct only in the row's run: %{customdata[3]}, only in the column's: %{customdata[4]}"
)


def show_pairwise_differences(table: pd.DataFrame, titles: dict[str, str], common: SharedClips) -> None:
    pairs = (f"{titles[r.a]} minus {titles[r.b]}: {100 * r.difference:+.1f} points" for r in table.itertuples())
    alt = f"Pairwise differences of accuracy. {'; '.join(pairs)}"
    key = " ".join(["differences", *titles])  # of these runs: in another order another cell would seem chosen
    open_chosen = partial(open_pair, key, list(titles))
    figure = pairwise_differences_figure(table, titles)
    show_chart(figure, key=key, alt=alt, on_select=open_chosen, selection_mode="points")
    significant = int((table["p"] < SIGNIFICANCE_LEVEL).sum())
    n, groups = len(common.rows), len(np.unique(common.groups))
    st.caption(
        f"Accuracy of the row minus accuracy of the column, in points, over {describe_groups(n, groups)}. Click a "
        "square to make its runs A and B, whose clips are below. **How to read this:** orange means that the row's run "
        f"has the higher accuracy. \\* marks significant differences: {significant} of {counted(len(table), 'pair')} "
        f"(p < {SIGNIFICANCE_LEVEL}: {PAIRED}, with Holm's correction for all pairs). The interval under the pointer "
        "is that of one pair, without the correction: it may exclude 0 where there is no \\*."
    )


def open_pair(key: str, names: list[str]) -> None:
    """The runs of the clicked cell become A and B, all others stay compared."""
    for point in chosen_points(st.session_state[key]):
        a, b = (unescape(str(name)) for name in point["customdata"][-2:])
        st.session_state["a"], st.session_state["b"] = a, b
        st.session_state["more"] = [name for name in names if name not in (a, b)]


def pairwise_differences_figure(table: pd.DataFrame, titles: dict[str, str]) -> go.Figure:
    """A square for each ordered pair of runs: the difference in points, with an asterisk if it is significant. A
    point's custom data end with the names of the row's and the column's run."""
    back = table.assign(difference=-table["difference"], low=-table["high"], high=-table["low"])
    back = back.rename(columns={"a": "b", "b": "a", "only_a": "only_b", "only_b": "only_a"})
    cells = pd.concat([table, back], ignore_index=True)
    letters = {name: title.split(":")[0] for name, title in titles.items()}
    x, y, points = cells["b"].map(letters), cells["a"].map(titles), 100 * cells["difference"]
    text = [f"{round(value, 1) + 0.0:+.1f}" for value in points]
    reach = max(1.0, float(points.abs().max()))
    figure = go.Figure().add_heatmap(
        x=x, y=y, z=points, text=[t + " *" * (p < SIGNIFICANCE_LEVEL) for t, p in zip(text, cells["p"], strict=True)],
        texttemplate="%{text}", zmin=-reach, zmax=reach, colorscale=DIVERGING, xgap=2, ygap=2, hoverongaps=False,
        colorbar={"title": "points", "thickness": 14},
    )  # fmt: skip
    intervals = [describe_interval(100 * a, 100 * b, "+.1f") for a, b in zip(cells["low"], cells["high"], strict=True)]
    counts = (cells[name] for name in ("only_a", "only_b", "a", "b"))
    with_clickable_cells(
        figure, x, y, list(zip(text, intervals, map(describe_p, cells["p"]), *counts, strict=True)), HOVER
    )
    N = len(titles)
    height, margin = 90 + min(48, 24 + 96 // N) * N, {"t": 10, "b": 60, "r": 20}
    figure = styled(figure, "minus the accuracy of", "", height=height, margin=margin)
    figure.update_xaxes(categoryarray=list(letters.values()), showgrid=False, side="bottom")
    figure.update_yaxes(categoryarray=list(titles.values()), showgrid=False, autorange="reversed", automargin=True)
    return figure.update_xaxes(type="category").update_yaxes(type="category")
