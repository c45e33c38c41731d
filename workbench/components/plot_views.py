"""Plots of any columns of a run's clips on the Predictions page, and the clips of a region as a gallery."""

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from analysis.report.clip_columns import ANSWER, NAMES, clip_names
from analysis.report.clip_plots import CLIPS, MOST_POINTS, ClipPlot, plot_clips
from sth_core.datasets.media import counted
from workbench.components.chart import chosen_points, show_chart
from workbench.components.clip_columns import column_numbers, numbers_of_run
from workbench.components.clip_filters import FilteredClips
from workbench.components.context import linked_selectbox
from workbench.components.gallery import show_gallery
from workbench.components.plot_regions import region_rows

HOW_TO_CHOOSE = {  # by how the plot is drawn
    "bars": "**Click a bar** to see its clips, with Shift several; or choose *Box Select* above the plot, and drag "
    "over some.",
    "points": "**Draw around points** to see their clips.",
    "boxes": "**Drag over points** to see their clips.",
}
DRAGGING = {"bars": "pan", "points": "lasso", "boxes": "select"}  # Streamlit ignores clicks where dragging selects
EVERY = " A region takes all that lie in it."  # of a plot in which not all clips are drawn


def show_plots(filtered: FilteredClips) -> None:
    """A histogram, a scatter plot or boxes, by the columns on the two axes."""
    run, table = filtered.run, filtered.table
    numbers = numbers_of_run(run, table)
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
    kind = "bars" if y == CLIPS else "boxes" if x in NAMES else "points"
    plot = plot_clips(table, rows, x, y, titles, lambda column: column_numbers(run, table, column))
    plot.figure.update_layout(dragmode=DRAGGING[kind], selectdirection="h" if kind == "bars" else "any")
    event = show_chart(plot.figure, key=f"plot {x} {y}", alt=plot.alt, lasso=True)
    note = plot.note + EVERY * (kind != "bars" and len(plot.rows) > MOST_POINTS)
    st.caption(f"{filtered.describe(len(plot.rows), plot.why)}.{note} {HOW_TO_CHOOSE[kind]}")
    chosen = rows_of_bars(filtered, plot, event) if kind == "bars" else region_rows(event, plot.rows, plot.x, plot.y)
    if len(chosen):
        st.markdown(f"**{counted(len(chosen), 'clip')}** of the selected part; a double click on the plot ends it")
        show_gallery(run, table, chosen, "plotted", origin=filtered.origin("a part of a plot"), opened=True)


def rows_of_bars(filtered: FilteredClips, plot: ClipPlot, event: object) -> NDArray[np.intp]:
    """The rows of the clips in the selected bars."""
    answers = clip_names(filtered.table.iloc[plot.rows], ANSWER).to_numpy()
    chosen = np.zeros(len(plot.rows), bool)
    for point in chosen_points(event):
        bar, answer, _ = point["customdata"]
        chosen |= (plot.x == int(bar)) & (answers == answer)
    return plot.rows[chosen]
