"""Plots of any columns of a run's clips on the Predictions page, and the clips of a region as a gallery."""

import html
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
from numpy.typing import NDArray

from analysis.report.colours import CORRECT, MISCLASSIFIED, PLAIN, REFERENCE
from analysis.report.plots import styled
from analysis.runs.correctness import NO_LABEL
from sth_core.datasets.media import counted
from workbench.components.chart import chosen_points, show_chart
from workbench.components.clip_columns import ANSWER, ANSWERS, NAMES, clip_names, column_numbers, number_columns
from workbench.components.clip_filters import FilteredClips
from workbench.components.context import linked_selectbox
from workbench.components.gallery import show_gallery
from workbench.components.plot_regions import drawn_note, region_rows, sample_of
from workbench.components.range_filter import scale_of

CLIPS = "clips"  # on the vertical axis: a histogram
BINS = 40
MOST_CLASSES = 40
SPREAD = 0.2  # of the points of a class, to both sides
ANSWER_COLOURS = {"correct": CORRECT, "misclassified": MISCLASSIFIED, "unknown label": REFERENCE}


def show_plots(filtered: FilteredClips) -> None:
    """A histogram, a scatter plot or boxes, by the columns on the two axes."""
    run, table = filtered.run, filtered.table
    numbers = number_columns(run, table)
    titles = {**numbers, **NAMES, CLIPS: "number of clips"}
    left, right = st.columns(2)
    across = [*numbers, *NAMES]
    x = linked_selectbox("Horizontal", across, "x", place=left, format_func=titles.__getitem__, default_in_url=False)
    up = [CLIPS, *(name for name in numbers if name != x)]
    y = linked_selectbox("Vertical", up, "y", place=right, format_func=titles.__getitem__, default_in_url=False)
    rows = np.flatnonzero(filtered.matches)
    if not len(rows):
        st.info("No clip matches these filters.")
        return
    if y != CLIPS and x in numbers:
        chosen = show_scatter(filtered, rows, x, y, titles)
    elif y != CLIPS:
        chosen = show_boxes(filtered, rows, x, y, titles)
    else:
        chosen = show_histogram(filtered, rows, x, titles)
    if len(chosen):
        st.markdown(f"**{counted(len(chosen), 'clip')}** of the selected part; a double click on the plot ends it")
        show_gallery(run, table, chosen, "plotted", origin=filtered.origin("a part of a plot"), opened=True)


def add_points(
    figure: go.Figure, table: pd.DataFrame, rows: NDArray[np.intp], x: NDArray[np.float64], y: NDArray[np.float64],
    numbers: str, names: Sequence[str] = (),
) -> None:  # fmt: skip
    """Draw these rows of the clips as points, in the colours of correct and misclassified ones. Custom data: the row,
    the clip's name, then its `names`; `numbers` is what stands below the name under the pointer."""
    answers, clips = answers_of_rows(table, rows), table["clip_id"].iloc[rows]
    data = np.column_stack([rows.astype(object), clips, *([names] if len(names) else [])])
    for answer in ANSWERS.values():
        some = answers == answer
        if some.any():
            figure.add_scatter(
                x=x[some], y=y[some], mode="markers", name=answer,
                marker={"color": ANSWER_COLOURS[answer], "size": 7, "opacity": 0.7}, customdata=data[some],
                hovertemplate=f"%{{customdata[1]}}<br>{numbers}<extra></extra>",
            )  # fmt: skip


def answers_of_rows(table: pd.DataFrame, rows: NDArray[np.intp]) -> NDArray[Any]:
    return clip_names(table.iloc[rows], ANSWER, NO_LABEL).to_numpy()


def show_histogram(filtered: FilteredClips, rows: NDArray[np.intp], x: str, titles: dict[str, str]) -> NDArray[np.intp]:
    """Bars of clips by a number, or by a name; the rows of the clips in the selected bars."""
    axis: NDArray[Any]
    if x in NAMES:
        of_row = clip_names(filtered.table.iloc[rows], x, NO_LABEL)
        often = of_row.value_counts()
        kept = often.index[:MOST_CLASSES]
        number, axis = kept.get_indexer(of_row), np.array([str(name) for name in kept], object)
        said = list(axis)
        left_out, why = int(often.iloc[MOST_CLASSES:].sum()), "of rarer names"
    else:
        values = column_numbers(filtered.run, filtered.table, x)
        scale = scale_of(values)  # of all clips, so that bars stay where they are when filters change
        finite = np.isfinite(values[rows])
        only = values[np.isfinite(values)][:1]  # without a scale all finite values are this one
        edges = np.linspace(scale.low, scale.high, BINS + 1) if scale else np.array([*(only - 0.5), *(only + 0.5)])
        axis = (edges[:-1] + edges[1:]) / 2
        number = np.where(finite, np.clip(np.searchsorted(edges, values[rows], "right") - 1, 0, len(axis) - 1), -1)
        said = [f"{low:.4g} to {high:.4g}" for low, high in pairwise(edges)]
        left_out, why = int((~finite).sum()), "without this number"
    figure = go.Figure()
    answers = answers_of_rows(filtered.table, rows)
    for answer in ANSWERS.values():
        counts = np.bincount(number[(answers == answer) & (number >= 0)], minlength=len(axis))
        if counts.any():
            figure.add_bar(
                x=axis, y=counts, name=answer, marker_color=ANSWER_COLOURS[answer],
                customdata=[[i, answer, words] for i, words in enumerate(said)],
                hovertemplate="%{customdata[2]}: %{y} %{customdata[1]}<extra></extra>",
            )  # fmt: skip
    styled(figure, titles[x], "clips", height=400)
    # Streamlit ignores clicks where dragging selects.
    figure.update_layout(barmode="stack", bargap=0.05, dragmode="pan", selectdirection="h")
    if x in NAMES:
        figure.update_xaxes(type="category")
    event = show_chart(figure, key=f"plot {x}", alt=f"Number of clips by {titles[x]}", lasso=True)
    count = filtered.describe(len(rows) - left_out, why)
    st.caption(
        f"{count}. **Click a bar** to see its clips, with Shift several; or choose *Box Select* above "
        "the plot, and drag over some."
    )
    chosen = np.zeros(len(rows), bool)
    for point in chosen_points(event):
        bar, answer, _ = point["customdata"]
        chosen |= (number == int(bar)) & (answers == answer)
    return rows[chosen]


def show_scatter(
    filtered: FilteredClips, rows: NDArray[np.intp], x: str, y: str, titles: dict[str, str]
) -> NDArray[np.intp]:
    """A point for each clip, by two numbers; the rows of the clips in the selected region."""
    across, up = (column_numbers(filtered.run, filtered.table, column)[rows] for column in (x, y))
    finite = np.isfinite(across) & np.isfinite(up)
    rows, across, up = rows[finite], across[finite], up[finite]
    drawn = sample_of(len(rows))
    figure = go.Figure()
    add_points(figure, filtered.table, rows[drawn], across[drawn], up[drawn], "%{x:.3f}, %{y:.3f}")
    styled(figure, titles[x], titles[y], height=440).update_layout(dragmode="lasso")
    event = show_chart(figure, key=f"plot {x} {y}", alt=f"{titles[y]} by {titles[x]} of each clip", lasso=True)
    r = np.corrcoef(across, up)[0, 1] if len(rows) > 2 and np.ptp(across) and np.ptp(up) else np.nan
    together = f" Pearson's r = {r:+.2f}." if np.isfinite(r) else ""
    count = filtered.describe(len(rows), "without one of the numbers")
    st.caption(f"{count}.{drawn_note(len(drawn), len(rows))}{together} **Draw around points** to see their clips.")
    return region_rows(event, rows, across, up)


def show_boxes(
    filtered: FilteredClips, rows: NDArray[np.intp], x: str, y: str, titles: dict[str, str]
) -> NDArray[np.intp]:
    """A box and its points for each class, highest median first; the rows of the selected clips."""
    up = column_numbers(filtered.run, filtered.table, y)[rows]
    name = clip_names(filtered.table.iloc[rows], x, NO_LABEL).to_numpy()
    finite = np.isfinite(up)
    medians = pd.Series(up[finite]).groupby(name[finite]).median().sort_values(ascending=False, kind="stable")
    kept = medians.index[:MOST_CLASSES]
    some = finite & np.isin(name, kept)
    rows, up, name = rows[some], up[some], name[some]
    place = kept.get_indexer(name) + np.random.default_rng(0).uniform(-SPREAD, SPREAD, len(rows))
    drawn = sample_of(len(rows))
    figure = go.Figure()
    quartiles = pd.Series(up).groupby(name).quantile([0.25, 0.5, 0.75]).unstack().loc[kept]
    figure.add_box(
        x=np.arange(len(kept)), q1=quartiles[0.25], median=quartiles[0.5], q3=quartiles[0.75], marker_color=PLAIN,
        width=0.6, showlegend=False, hoverinfo="skip",
    )  # fmt: skip
    numbers = "%{customdata[2]}: %{y:.3f}"
    add_points(figure, filtered.table, rows[drawn], place[drawn], up[drawn], numbers, name[drawn])
    styled(figure, titles[x], titles[y], height=440).update_layout(dragmode="select")
    shown = [html.escape(str(k)) for k in kept]
    figure.update_xaxes(tickvals=np.arange(len(kept)), ticktext=shown, range=[-0.6, len(kept) - 0.4], automargin=True)
    event = show_chart(figure, key=f"plot {x} {y}", alt=f"{titles[y]} of each {titles[x]}", lasso=True)
    more = f" The {MOST_CLASSES} with the highest medians, of {len(medians):,}." if len(medians) > len(kept) else ""
    count = filtered.describe(len(rows), "without the number, or of other names")
    st.caption(
        f"{count}.{more}{drawn_note(len(drawn), len(rows))} Boxes: median and quartiles; points of a class lie side by "
        "side at random. **Drag over points** to see their clips."
    )
    return region_rows(event, rows, place, up)
