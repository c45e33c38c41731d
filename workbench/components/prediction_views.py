"""The parts of the predictions page: confusion matrix, one of its cells, accuracy per class, calibration."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
from numpy.typing import NDArray

from analysis.attention.alpha_matrix import has_attention
from analysis.attention.clip_profiles import confusion_profile
from analysis.report.plots import COLOURS, styled
from analysis.runs.run_directory import Run
from analysis.statistics.accuracy import accuracy_per_class
from analysis.statistics.calibration import calibration_bins, calibration_error
from analysis.statistics.confusion import confused_pairs, confusion_cells
from workbench.components.chart import chart
from workbench.components.context import CLIP_PAGE, alpha_of, computed, name_of, plain, table_of
from workbench.components.gallery import address, gallery, link, page_number
from workbench.components.matrix import confusion_matrix

MOST_BARS = 40
MOST_ROWS = 2000  # of a table that are sent to the browser at once


def show_confusion(run: Run) -> None:
    """The matrix, whose squares open a cell, and the pairs that are confused most."""
    classes: list[str] = run.meta["classes"]
    cells = computed("confusion", [run], lambda: confusion_cells(table_of(run)))

    def choose(label: str, said: str) -> None:
        st.session_state.update(label=label, said=said)

    left, right = st.columns([3, 2])
    with left:
        here = (st.session_state.get("label"), st.session_state.get("said"))
        confusion_matrix(name_of(run), cells, classes, here, choose)
        st.caption(
            f"n = {int(cells['n'].sum())} clips, {len(classes)} classes; rows: label, columns: predicted. **How to "
            "read this:** off the diagonal are mistakes; the colour is the share of the label's clips. Click a square "
            "to see its clips, drag over a part to enlarge it; by keyboard: arrows, Shift and arrows, Enter."
        )
    with right:
        pairs = confused_pairs(cells)
        st.markdown("**Most confused**")
        if pairs.empty:
            st.caption("Nothing is confused.")
            return
        picked = st.dataframe(
            pairs.head(200).astype({"label": str, "prediction": str}), hide_index=True, height=420, key="pairs",
            on_select="rerun", selection_mode="single-row",
            column_config={
                "share": st.column_config.NumberColumn("of the label", format="percent"),
                "reverse": st.column_config.NumberColumn("other way", help="Clips that are taken the other way round."),
            },
        )  # fmt: skip
        rows = picked["selection"]["rows"]
        if rows and rows[0] < len(pairs):
            pair = pairs.iloc[rows[0]]
            st.button(
                f"Show {plain(str(pair['label']))}, taken for {plain(str(pair['prediction']))}",
                icon=":material/grid_on:",
                on_click=choose, args=(str(pair["label"]), str(pair["prediction"])),
            )  # fmt: skip


def show_cell(run: Run, clips: pd.DataFrame, rows: NDArray[np.intp], label: str, said: str) -> None:
    """A cell's clips, which are these rows, and its attention against that of the other clips of its row."""
    st.subheader(f"{plain(label)}, taken for {plain(said)}" if label != said else f"{plain(label)}, recognised")
    if not len(rows):
        st.info("No clip is in this cell.")
        return
    st.page_link(
        CLIP_PAGE, label=f"Open the first of its {len(rows)} clips", icon=":material/movie:",
        query_params=link(run, clips["clip_id"].iloc[rows[0]]),
    )  # fmt: skip
    if has_attention(run):
        profile = computed("cell", [run], lambda: confusion_profile(alpha_of(run), label, said), label, said)
        chart(cell_figure(profile, label, said), key="cell_profile", alt="alpha_T by layer of this cell")
        st.caption(
            "α_T by layer, mean over clips (shaded: 95 % over source videos). **How to read this:** where the cell "
            "leaves its row's band, the network weighed time otherwise in these clips than in the others of the class."
        )
    gallery(run, clips, rows, "cell")


def cell_figure(profile: pd.DataFrame, label: str, said: str) -> go.Figure:
    figure = go.Figure()
    names = {"cell": f"{label}, said {said}", "row": f"other clips of {label}"}
    for part, colour in (("row", COLOURS[0]), ("cell", COLOURS[1])):
        some = profile[profile["part"] == part]
        if some.empty:
            continue
        figure.add_scatter(
            x=[*some["layer"], *some["layer"][::-1]], y=[*some["high"], *some["low"][::-1]], fill="toself",
            line_width=0, mode="lines", fillcolor=colour, opacity=0.15, hoverinfo="skip", showlegend=False,
        )  # fmt: skip
        figure.add_scatter(
            x=some["layer"], y=some["alpha_temporal"], mode="lines+markers", line_color=colour,
            name=f"{names[part]} (n = {some['n'].max()})",
        )  # fmt: skip
    return styled(figure, "layer, from input to output", "α_T").update_layout(height=340)


def show_classes(run: Run) -> None:
    """Accuracy per class with intervals: the worst ones as bars, all in a table."""
    per_class = computed("classes", [run], lambda: accuracy_per_class(table_of(run), run.meta["classes"]))
    some = per_class[per_class["n"] > 0].sort_values("accuracy").head(MOST_BARS).iloc[::-1]
    figure = go.Figure(
        go.Bar(
            x=some["accuracy"], y=some["label"], orientation="h", marker_color=COLOURS[0],
            error_x={"type": "data", "symmetric": False, "array": some["high"] - some["accuracy"],
                     "arrayminus": some["accuracy"] - some["low"], "thickness": 1.2},
            customdata=some[["n"]], hovertemplate="%{y}: %{x:.1%}, n = %{customdata[0]}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_layout(
        xaxis={"title": "accuracy", "range": [0, 1.02], "tickformat": ".0%"}, yaxis={"automargin": True},
        height=120 + 26 * len(some), margin={"t": 10},
    )  # fmt: skip
    chart(figure, key="per_class", alt="Accuracy of each class with 95 % intervals")
    which = f"The {len(some)} classes of the lowest accuracy" if len(some) < len(per_class) else "Accuracy per class"
    st.caption(
        f"{which}; whiskers: 95 % (Wilson, over source videos); all clips of the run, whatever the filters. "
        "**How to read this:** where whiskers overlap much, the order may be chance."
    )
    st.dataframe(per_class, hide_index=True, key="per_class_numbers")


def show_calibration(run: Run) -> None:
    """Confidence against accuracy."""
    bins = computed("calibration", [run], lambda: calibration_bins(table_of(run)))
    figure = go.Figure()
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line={"color": "#999999", "dash": "dot"}, name="calibrated")
    figure.add_scatter(
        x=bins["confidence"], y=bins["accuracy"], mode="lines+markers", name="this run", line_color=COLOURS[0],
        marker_size=6 + 18 * np.sqrt(bins["n"] / bins["n"].max()), customdata=bins[["n"]],
        error_y={"type": "data", "symmetric": False, "array": bins["accuracy_high"] - bins["accuracy"],
                 "arrayminus": bins["accuracy"] - bins["accuracy_low"], "thickness": 1.2},
        hovertemplate="confidence %{x:.1%}: right %{y:.1%}, n = %{customdata[0]}<extra></extra>",
    )  # fmt: skip
    figure = styled(figure, "confidence (mean of a tenth)", "accuracy").update_layout(height=460)
    figure.update_xaxes(range=[0, 1.02], tickformat=".0%")
    figure.update_yaxes(range=[0, 1.02], tickformat=".0%")
    chart(figure, key="calibration", alt="Accuracy by confidence")
    st.caption(
        f"Expected calibration error {calibration_error(bins):.3f}, n = {int(bins['n'].sum())} clips (whiskers: 95 %, "
        "Wilson, over source videos; larger points hold more clips). **How to read this:** below the dotted line the "
        "network is surer than it is right."
    )


def show_table(run: Run, clips: pd.DataFrame, rows: NDArray[np.intp], columns: list[str]) -> None:
    """These rows of the clips as a table; more than `MOST_ROWS` are sorted here, and sent a page at a time."""
    n = len(rows)
    pages = -(-n // MOST_ROWS)
    ordered, page = rows, 1
    if pages > 1:
        with st.container(horizontal=True, vertical_alignment="bottom"):
            by = st.selectbox("Sort by", columns, key="sort", bind="query-params", width=220)
            down = st.toggle("Largest first", key="descending", bind="query-params")
            page = page_number(pages, "rows")
        ordered = clips[by].iloc[rows].sort_values(ascending=not down, kind="stable").index.to_numpy()
    first = (page - 1) * MOST_ROWS
    shown = clips[columns].iloc[ordered[first : first + MOST_ROWS]]
    which = f"{first + 1} to {first + len(shown)} of {n} clips" if pages > 1 else f"{n} clips"
    st.caption(f"{which}. Click a column's head to sort{' this page' * (pages > 1)}; the first column opens the clip.")
    shown = shown.astype({"label": str, "prediction": str}).reset_index(drop=True)
    shown.insert(0, "open", [address(run, clip_id) for clip_id in shown["clip_id"]])
    st.dataframe(
        shown, hide_index=True, key="clips", height=640,
        column_config={
            "open": st.column_config.LinkColumn("", display_text=":material/open_in_new:", width="small"),
            "confidence": st.column_config.ProgressColumn(min_value=0, max_value=1, format="%.3f"),
        },
    )  # fmt: skip
    st.download_button(
        "CSV", lambda: clips[columns].iloc[rows].to_csv(index=False), f"{run.name}_predictions.csv", "text/csv",
        help="All the clips that fit the filters.",
    )  # fmt: skip
