"""The confusion matrix on the Predictions page, and beside it the clips of the chosen cell."""

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from analysis.attention.alpha_matrix import has_signal
from analysis.attention.clip_profiles import confusion_profile, most_confident_first
from analysis.report.colours import MISCLASSIFIED, PLAIN, REFERENCE
from analysis.report.column_titles import column_titles
from analysis.report.plots import LAYER_AXIS, add_line, styled
from analysis.runs.run_directory import Run
from analysis.runs.signals import ALPHA, signal_of
from analysis.statistics.accuracy import units_of
from analysis.statistics.confusion import confused_pairs, confusion_cells
from sth_core.datasets.media import counted
from workbench.components.cached import cached_alpha, cached_result
from workbench.components.chart import chosen_points, show_chart
from workbench.components.clip_filters import CELL, UNCOUNTED, FilteredClips
from workbench.components.clip_links import show_link_to_layer
from workbench.components.clip_lists import ClipList, list_query
from workbench.components.context import CLIP_PAGE, escape_markdown, run_id
from workbench.components.csv_files import show_table_csv
from workbench.components.gallery import clip_query, show_gallery
from workbench.components.matrix import choose_cell, show_confusion_matrix

MOST_PAIRS = 200
CLIPS_OF_CELL = 6  # on a page beside the matrix


def show_confusion(filtered: FilteredClips) -> None:
    """The matrix of the clips that match all filters but those that choose a cell. Beside it: the clips of the cell, or
    where none is chosen, the largest cells off the diagonal."""
    run, beside = filtered.run, filtered.without(CELL)
    cells = beside.cached("confusion", lambda: confusion_cells(beside.clips))
    label, prediction = (st.session_state.get(key) for key in CELL)
    left, right = st.columns([3, 2])
    with left:
        show_confusion_matrix(run_id(run), cells, run.meta["classes"])
        st.caption(
            f"{beside.describe(int(cells['n'].sum()), UNCOUNTED)}, {counted(len(run.meta['classes']), 'class')}. "
            "Numbers: clips; colour: share of the label's clips that are shown. **How to read this:** orange squares "
            "are misclassified clips. Click a square to see its clips. Drag over a part to enlarge it. Keyboard: "
            "arrow keys (with Shift by ten) and Enter."
        )
    with right:
        if label or prediction:
            show_cell(filtered, label, prediction)
        else:
            show_confused_pairs(confused_pairs(cells))
    if label and prediction and has_signal(run) and filtered.matches.any():
        show_cell_profile(run, label, prediction)


def show_confused_pairs(pairs: pd.DataFrame) -> None:
    """The table of `confused_pairs`, with a button that opens the selected pair."""
    st.markdown("**Most confused**")
    if pairs.empty:
        st.caption("No clip that is shown is misclassified.")
        return
    selected = st.dataframe(
        pairs.head(MOST_PAIRS).astype({"label": str, "prediction": str}), hide_index=True, height=420, key="pairs",
        on_select="rerun", selection_mode="single-row",
        column_config=column_titles(pairs) | {
            "share": st.column_config.NumberColumn("share", format="percent", help="Of the label's clips."),
            "reverse": st.column_config.NumberColumn("reverse", help="Clips with label and prediction exchanged."),
        },
    )  # fmt: skip
    rows = selected["selection"]["rows"]
    if rows and rows[0] < len(pairs):
        label, prediction = pairs.iloc[rows[0]][["label", "prediction"]].astype(str)
        title = f"Show {escape_markdown(label)}, predicted {escape_markdown(prediction)}"
        st.button(title, icon=":material/grid_on:", on_click=choose_cell, args=(label, prediction))
    show_table_csv(pairs, "confused_pairs")
    if len(pairs) > MOST_PAIRS:
        st.caption(f"The first {MOST_PAIRS} of {len(pairs):,} pairs.")


def show_cell(filtered: FilteredClips, label: str | None, prediction: str | None) -> None:
    """The clips of a cell; of a row or a column if only one of the two is chosen."""
    rows = most_confident_first(filtered.table, filtered.matches)
    name = f"{escape_markdown(label or 'Any label')}, predicted {escape_markdown(prediction or 'any class')}"
    st.header(name, anchor=False)
    with st.container(horizontal=True, vertical_alignment="center"):
        if len(rows):
            title = f"Open the first of its {counted(len(rows), 'clip')}" if len(rows) > 1 else "Open its clip"
            query = clip_query(filtered.run, filtered.table["clip_id"].iloc[rows[0]])
            query |= list_query(filtered.run, ClipList(filtered.origin(), rows))
            st.page_link(CLIP_PAGE, label=title, icon=":material/movie:", query_params=query)
        st.button("Close", type="tertiary", icon=":material/close:", on_click=choose_cell, args=(None, None))
    if not len(rows):
        part = "cell" if label and prediction else "row" if label else "column"
        alone = len(filtered.filters) == bool(label) + bool(prediction)  # no other filter
        st.info(f"No clip is in this {part}." if alone else f"No clip of this {part} matches the filters.")
        return
    show_gallery(filtered.run, filtered.table, rows, "cell", 2, CLIPS_OF_CELL, origin=filtered.origin())


def show_cell_profile(run: Run, label: str, prediction: str) -> None:
    """The attention of a cell's clips compared with the other clips of the label."""
    cell = (label, prediction)
    profile = cached_result("cell", [run], lambda: confusion_profile(cached_alpha(run), *cell), *cell)
    name = signal_of(run).name
    figure = cell_alpha_figure(profile, label, prediction, name)
    alt = f"{name} by layer of this cell and of the label's other clips"
    for point in chosen_points(show_chart(figure, key="cell_profile", alt=alt, clicks=True)):
        of_cell = point["customdata"] == ["cell"]
        show_link_to_layer(run, str(point["x"]), label=label, prediction=prediction if of_cell else "")
    st.caption(
        f"Mean {name} by layer of all clips of the cell, whether they match the other filters or not (shaded: 95 % "
        f"intervals over {units_of(profile)}). **How to read this:** where the line of the cell lies outside the band, "
        f"{name} in these clips differs from that in the label's other clips. Click a point for a link to its clips."
    )


def cell_alpha_figure(profile: pd.DataFrame, label: str, prediction: str, axis: str) -> go.Figure:
    figure = go.Figure()
    names = {"cell": f"{label}, predicted {prediction}", "row": f"other clips of {label}"}
    for part, colour in (("row", PLAIN), ("cell", MISCLASSIFIED)):
        rows = profile[profile["part"] == part]
        if len(rows):
            name, band = f"{names[part]} (n = {rows['n'].max()})", (rows["low"], rows["high"])
            add_line(figure, rows["layer"], rows["alpha_temporal"], name, colour, band, customdata=rows[["part"]])
    if axis == ALPHA.name:
        figure.add_hline(y=0.5, line={"color": REFERENCE, "width": 1})
    return styled(figure, LAYER_AXIS, axis, height=340)
