"""The views of the Predictions page: confusion matrix and its cells, accuracy per class, calibration, all clips."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
from numpy.typing import NDArray

from analysis.attention.alpha_matrix import has_signal
from analysis.attention.clip_profiles import confusion_profile
from analysis.report.colours import MISCLASSIFIED, PLAIN, REFERENCE
from analysis.report.plots import add_line, error_bars, horizontal_bars, styled
from analysis.runs.run_directory import Run
from analysis.runs.signals import SIGNALS, signal_of
from analysis.statistics.accuracy import accuracy_per_class, units_of, units_of_clips
from analysis.statistics.calibration import calibration_bins, calibration_error
from analysis.statistics.confusion import confused_pairs, confusion_cells
from sth_core.files import csv_text
from workbench.components.cached import cached_alpha, cached_overview, cached_result
from workbench.components.caveats import show_no_accuracy
from workbench.components.chart import LAYER_AXIS, show_chart
from workbench.components.context import CLIP_PAGE, escape_markdown, run_id
from workbench.components.gallery import choose_page, clip_query, show_gallery, show_linked_clips
from workbench.components.matrix import choose_cell, show_confusion_matrix

MOST_BARS = 40
SHARE_AXIS = {"range": [0, 1.02], "tickformat": ".0%"}
MOST_ROWS = 2000  # of a table that are sent to the browser at once


def show_confusion(run: Run) -> None:
    """The confusion matrix, and the list of its largest cells off the diagonal; both open a cell."""
    classes: list[str] = run.meta["classes"]
    cells = cached_result("confusion", [run], lambda: confusion_cells(cached_overview(run)))
    left, right = st.columns([3, 2])
    with left:
        show_confusion_matrix(run_id(run), cells, classes)
        st.caption(
            f"n = {int(cells['n'].sum())} clips, {len(classes)} classes. Rows: label; columns: predicted class; "
            "colour: share of the label's clips. **How to read this:** cells off the diagonal are misclassified clips. "
            "Click a square to see its clips. Drag over a part to enlarge it. Keyboard: arrow keys (with "
            "Shift by ten) and Enter."
        )
    with right:
        show_confused_pairs(confused_pairs(cells))


def show_confused_pairs(pairs: pd.DataFrame) -> None:
    """The table of `confused_pairs`, with a button that opens the selected pair."""
    st.markdown("**Most confused**")
    if pairs.empty:
        st.caption("No clip is misclassified.")
        return
    selected = st.dataframe(
        pairs.head(200).astype({"label": str, "prediction": str}), hide_index=True, height=420, key="pairs",
        on_select="rerun", selection_mode="single-row",
        column_config={
            "prediction": "predicted",
            "share": st.column_config.NumberColumn("of the label", format="percent"),
            "reverse": st.column_config.NumberColumn("reverse", help="Clips with label and prediction exchanged."),
        },
    )  # fmt: skip
    rows = selected["selection"]["rows"]
    if rows and rows[0] < len(pairs):
        label, prediction = pairs.iloc[rows[0]][["label", "prediction"]].astype(str)
        title = f"Show {escape_markdown(label)}, predicted {escape_markdown(prediction)}"
        st.button(title, icon=":material/grid_on:", on_click=choose_cell, args=(label, prediction))


def show_cell(run: Run, clips: pd.DataFrame, rows: NDArray[np.intp], label: str, prediction: str) -> None:
    """The clips of a cell (these rows), and its attention compared with the other clips of the label."""
    st.header(f"{escape_markdown(label)}, predicted {escape_markdown(prediction)}")
    if not len(rows):
        st.info("No clip is in this cell.")
        return
    label_of_link, query = f"Open the first of its {len(rows)} clips", clip_query(run, clips["clip_id"].iloc[rows[0]])
    st.page_link(CLIP_PAGE, label=label_of_link, icon=":material/movie:", query_params=query)
    if has_signal(run):
        cell = (label, prediction)
        profile = cached_result("cell", [run], lambda: confusion_profile(cached_alpha(run), *cell), *cell)
        name = signal_of(run).name
        figure = cell_alpha_figure(profile, label, prediction, name)
        show_chart(figure, key="cell_profile", alt=f"{name} by layer of this cell and of the label's other clips")
        st.caption(
            f"Mean {name} by layer (shaded: 95 % intervals over {units_of(profile)}). **How to read this:** where the "
            f"line of the cell lies outside the band, {name} in these clips differs from that in the label's other "
            "clips."
        )
    show_gallery(run, clips, rows, "cell")


def cell_alpha_figure(profile: pd.DataFrame, label: str, prediction: str, axis: str) -> go.Figure:
    figure = go.Figure()
    names = {"cell": f"{label}, predicted {prediction}", "row": f"other clips of {label}"}
    for part, colour in (("row", PLAIN), ("cell", MISCLASSIFIED)):
        rows = profile[profile["part"] == part]
        if len(rows):
            name, band = f"{names[part]} (n = {rows['n'].max()})", (rows["low"], rows["high"])
            add_line(figure, rows["layer"], rows["alpha_temporal"], name, colour, band)
    return styled(figure, LAYER_AXIS, axis, height=340)


def show_class_accuracy(run: Run) -> None:
    """Accuracy per class with intervals: the lowest as bars, all in a table."""
    if show_no_accuracy(run):
        return
    classes = run.meta["classes"]
    per_class = cached_result("class_accuracy", [run], lambda: accuracy_per_class(cached_overview(run), classes))
    lowest = per_class[per_class["n"] > 0].sort_values("accuracy").head(MOST_BARS)
    hover = "%{y}: %{x:.1%}, n = %{customdata[0]}<extra></extra>"
    figure = horizontal_bars(lowest, "label", "accuracy", "accuracy").update_xaxes(SHARE_AXIS)
    figure.update_traces(customdata=lowest[["n"]], hovertemplate=hover)
    show_chart(figure, key="per_class", alt="Accuracy of each class with 95 % intervals")
    some = f"The {len(lowest)} classes with the lowest accuracy"
    which = some if len(lowest) < len(per_class) else "Accuracy per class"
    st.caption(
        f"{which} (whiskers: 95 % intervals over {units_of_clips(cached_overview(run))}). The filters do not apply. "
        "**How to read this:** where whiskers overlap much, the order of the classes may be chance."
    )
    st.dataframe(per_class, hide_index=True, key="per_class_numbers")


def show_calibration(run: Run) -> None:
    """Accuracy by confidence."""
    if show_no_accuracy(run):
        return
    bins = cached_result("calibration", [run], lambda: calibration_bins(cached_overview(run)))
    figure = go.Figure()
    dotted = {"color": REFERENCE, "dash": "longdashdot"}
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line=dotted, name="perfect calibration")
    figure.add_scatter(
        x=bins["confidence"], y=bins["accuracy"], mode="lines+markers", name="this run", line_color=PLAIN,
        marker_size=6 + 18 * np.sqrt(bins["n"] / bins["n"].max()), customdata=bins[["n"]],
        error_y=error_bars(bins, "accuracy", "accuracy_"),
        hovertemplate="confidence %{x:.1%}: accuracy %{y:.1%}, n = %{customdata[0]}<extra></extra>",
    )  # fmt: skip
    figure = styled(figure, "mean confidence of the bin", "accuracy", height=460)
    figure.update_xaxes(SHARE_AXIS).update_yaxes(SHARE_AXIS)
    show_chart(figure, key="calibration", alt="Accuracy by confidence")
    st.caption(
        f"Expected calibration error {calibration_error(bins):.3f}, n = {int(bins['n'].sum())} clips (whiskers: 95 % "
        f"intervals over {units_of_clips(cached_overview(run))}; larger points have more clips). **How to read this:** "
        "points below the gray line are overconfident: the confidence is higher than the accuracy."
    )


def show_clip_table(run: Run, clips: pd.DataFrame, rows: NDArray[np.intp], columns: list[str]) -> None:
    """These rows of the clips as a table. More than `MOST_ROWS` are sorted here and sent one page at a time."""
    n, ordered, page = len(rows), rows, 1
    pages = -(-n // MOST_ROWS)
    if pages > 1:
        with st.container(horizontal=True, vertical_alignment="bottom"):
            by = st.selectbox("Sort by", columns, key="sort", bind="query-params", width=220)
            descending = st.toggle("Largest first", key="descending", bind="query-params")
            page = choose_page(pages, "rows")
        ordered = clips[by].iloc[rows].sort_values(ascending=not descending, kind="stable").index.to_numpy()
    first = (page - 1) * MOST_ROWS
    shown = clips[columns].iloc[ordered[first : first + MOST_ROWS]]
    which = f"{first + 1} to {first + len(shown)} of {n} clips" if pages > 1 else f"{n} clips"
    st.caption(f"{which}. Click a column's title to sort{' this page' * (pages > 1)}. The first column opens the clip.")
    config = {
        "prediction": "predicted",
        **{signal.column: signal.name for signal in SIGNALS.values()},
        "confidence": st.column_config.ProgressColumn(min_value=0, max_value=1, format="%.3f"),
    }
    show_linked_clips(run, shown.astype({"label": str, "prediction": str}), config, key="clips", height=640)
    st.download_button(
        "CSV", lambda: csv_text(clips[columns].iloc[rows]), f"{run.name}_predictions.csv", "text/csv",
        help="All clips that match the filters.",
    )  # fmt: skip
