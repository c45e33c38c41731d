"""The views of the Predictions page: accuracy per class, calibration, all clips."""

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from analysis.attention.clip_profiles import most_confident_first
from analysis.report.clip_columns import varying_measures
from analysis.report.column_titles import column_title, column_titles
from analysis.report.plots import horizontal_bars
from analysis.report.run_figures import SHARE_AXIS, plot_calibration
from analysis.runs.correctness import has_scores, is_misclassified
from analysis.statistics.accuracy import accuracy_per_class, units_of_clips
from analysis.statistics.calibration import CONFIDENCE_BINS, calibration_bins, calibration_error, confidence_bins
from sth_core.datasets.media import counted
from workbench.components.chart import chosen_points, show_chart
from workbench.components.clip_filters import UNCOUNTED, FilteredClips
from workbench.components.clip_lists import ClipList
from workbench.components.context import escape_markdown
from workbench.components.csv_files import show_clips_csv, show_table_csv
from workbench.components.gallery import choose_page, show_gallery, show_linked_clips

MOST_BARS = 40
MOST_ROWS = 2000  # of a table that are sent to the browser at once


def show_class_accuracy(filtered: FilteredClips) -> None:
    """Accuracy per class with intervals: the lowest as bars, all in a table."""
    classes, clips = filtered.run.meta["classes"], filtered.clips
    per_class = filtered.cached("class_accuracy", lambda: accuracy_per_class(clips, classes))
    there = per_class[per_class["n"] > 0]
    count = filtered.describe(int(per_class["n"].sum()), UNCOUNTED)
    if there.empty:
        st.info(f"{count}: there is no accuracy.")
        return
    lowest = there.sort_values("accuracy").head(MOST_BARS)
    hover = "%{y}: %{x:.1%}, n = %{customdata[0]}<extra></extra>"
    figure = horizontal_bars(lowest, "label", "accuracy", "accuracy").update_xaxes(SHARE_AXIS)
    figure.update_layout(hovermode="y")  # anywhere in its row: the bar of a class that is never right has no length
    figure.update_traces(customdata=np.column_stack([lowest["n"], lowest.index]), hovertemplate=hover)
    event = show_chart(figure, key="per_class", alt="Accuracy of each class with 95 % intervals", clicks=True)
    some = f"The {len(lowest)} classes with the lowest accuracy, of {len(there)}"
    which = some if len(lowest) < len(there) else "Accuracy per class"
    without = len(per_class) - len(there)
    none = f" {counted(without, 'class')} without a clip: not drawn." if without else ""
    st.caption(
        f"{count}. {which} (whiskers: 95 % intervals over {units_of_clips(clips)}).{none} **How to read this:** where "
        "whiskers overlap much, the order of the classes may be chance. Click a bar, or tick a row of the table, to "
        "see the class's clips."
    )
    opened = st.container()
    config: dict[str, Any] = {**column_titles(per_class)}
    for name in ("accuracy", "low", "high"):
        config[name] = st.column_config.NumberColumn(column_title(name), format="percent")
    ticked = st.dataframe(
        per_class, hide_index=True, placeholder="-", key="per_class_numbers", column_config=config, on_select="rerun",
        selection_mode="multi-row",
    )  # fmt: skip
    show_table_csv(per_class, "per_class")
    numbers = [*(int(point["customdata"][1]) for point in chosen_points(event)), *ticked["selection"]["rows"]]
    chosen = {str(per_class["label"].iloc[number]) for number in numbers if number < len(per_class)}
    if chosen:
        of_class = filtered.matches & filtered.table["label"].astype(str).isin(chosen).to_numpy()
        with opened:
            show_chosen_clips(filtered, of_class, ", ".join(sorted(chosen)), "of_class")


def show_chosen_clips(filtered: FilteredClips, chosen: NDArray[np.bool_], what: str, key: str) -> None:
    """The clips (a mask) of what was chosen in a plot, the misclassified first."""
    if not chosen.any():
        return
    wrong = is_misclassified(filtered.table)
    rows = np.concatenate([most_confident_first(filtered.table, chosen & some) for some in (wrong, ~wrong)])
    st.markdown(f"**{escape_markdown(what)}**: {counted(len(rows), 'clip')}, the misclassified first")
    show_gallery(filtered.run, filtered.table, rows, key, origin=filtered.origin(what), opened=True)


def show_calibration(filtered: FilteredClips) -> None:
    """Accuracy by confidence."""
    clips = filtered.clips
    bins = filtered.cached("calibration", lambda: calibration_bins(clips))
    count = filtered.describe(int(bins["n"].sum()), UNCOUNTED)
    if bins.empty:
        st.info(f"{count}: there is no calibration.")
        return
    event = show_chart(plot_calibration(bins), key="calibration", alt="Accuracy by confidence", clicks=True)
    st.caption(
        f"{count}. Expected calibration error {calibration_error(bins):.3f} (whiskers: 95 % intervals over "
        f"{units_of_clips(clips)}; larger points have more clips). **How to read this:** points below the gray line "
        "are overconfident: the confidence is higher than the accuracy. Click a point to see its clips."
    )
    lows = [point["customdata"][1] for point in chosen_points(event) if "customdata" in point]
    if not lows:
        return
    of_bin = filtered.matches & filtered.table["correct"].notna().to_numpy(bool) & has_scores(filtered.table)
    bin_of_clip = np.full(len(of_bin), -1)
    bin_of_clip[of_bin] = confidence_bins(filtered.table["confidence"].to_numpy()[of_bin])
    chosen = np.isin(bin_of_clip, [round(low * CONFIDENCE_BINS) for low in lows])
    names = [f"Confidence {low:.0%} to {low + 1 / CONFIDENCE_BINS:.0%}" for low in sorted(lows)]
    show_chosen_clips(filtered, chosen, ", ".join(names), "of_bin")


def sorted_rows(values: pd.Series, rows: NDArray[np.intp], *, descending: bool) -> NDArray[np.intp]:
    """These rows in the order of their values."""
    by = values.iloc[rows].reset_index(drop=True).sort_values(ascending=not descending, kind="stable")
    return rows[by.index]


def show_clip_table(filtered: FilteredClips) -> None:
    """The clips that match as a table. More than `MOST_ROWS` are sorted here and sent one page at a time."""
    run, clips, rows = filtered.run, filtered.table, np.flatnonzero(filtered.matches)
    columns = ["clip_id", "label", "prediction", "correct", *varying_measures(clips)]
    n, ordered, page = len(rows), rows, 1
    pages = -(-n // MOST_ROWS)
    if pages > 1:
        with st.container(horizontal=True, vertical_alignment="bottom"):
            by = st.selectbox("Sort by", columns, key="sort", bind="query-params", width=220, format_func=column_title)
            descending = st.toggle("Largest first", key="descending", bind="query-params")
            page = choose_page(pages, "rows")
        ordered = filtered.cached(f"by {by}, {descending}", lambda: sorted_rows(clips[by], rows, descending=descending))
    first = (page - 1) * MOST_ROWS
    shown = clips[columns].iloc[ordered[first : first + MOST_ROWS]]
    which = f"{first + 1:,} to {first + len(shown):,} of " * (pages > 1) + filtered.describe(n)
    st.caption(f"{which}. Click a column's title to sort{' this page' * (pages > 1)}. The first column opens the clip.")
    config: dict[str, Any] = {**column_titles(columns)}
    config["confidence"] = st.column_config.ProgressColumn("confidence", min_value=0, max_value=1, format="%.3f")
    listed = ClipList(filtered.origin(), ordered)
    show_linked_clips(run, shown.astype({"label": str, "prediction": str}), config, listed, key="clips", height=640)
    hint = "All clips that match the filters, with the columns of this table, their tags and their paths."
    show_clips_csv(run, clips, ordered, columns, key="predictions", hint=hint)
