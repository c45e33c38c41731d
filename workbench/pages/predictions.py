"""Predictions: which clips are misclassified, which classes are confused, and how confident the network is."""

import numpy as np
import pandas as pd
import streamlit as st

from analysis.attention.clip_profiles import most_confident_first
from analysis.runs.correctness import counted_clips, is_correct, is_misclassified
from analysis.runs.notes import clips_with
from analysis.runs.run_directory import Run, failures
from analysis.runs.signals import TIME_SHARE
from analysis.statistics.accuracy import describe_groups, group_numbers
from analysis.statistics.clusters import describe_interval
from analysis.statistics.shares import share_interval
from workbench.components import prediction_views
from workbench.components.cached import cached_overview, cached_result
from workbench.components.caveats import has_accuracy, show_caveats, show_no_accuracy
from workbench.components.context import choose_one, choose_run, escape_markdown
from workbench.components.gallery import format_clip_count, show_gallery
from workbench.components.map_views import show_map
from workbench.components.notes import choose_tags

ALL_CLIPS = "All clips"
VIEWS = ("Misclassified", "Confusion", "Per class", "Calibration", "Map", ALL_CLIPS)
MEASURES = {  # title and help of each slider
    "confidence": ("Confidence", None),
    "margin": ("Margin", "The highest score minus the second highest."),
    "alpha_temporal": ("α_T", "Mean over the layers."),
    "time_share": ("Attention across time", TIME_SHARE.definition),
    "needs_order": (
        "Needs order", "Fall of the true class's score when the frames are shuffled (from `sth probe`)."
    ),
    "disagreement": ("Views disagree", "Share of the clip's views whose own prediction differs from the clip's."),
}  # fmt: skip


def show_predictions_page() -> None:
    st.title("Predictions")
    run = choose_run()
    table = cached_overview(run)
    show_accuracy(run, table)
    matches = choose_matching_clips(run, table)
    first = VIEWS[0] if has_accuracy(run) else ALL_CLIPS
    view = choose_one("View", VIEWS, "view", first, label_visibility="collapsed")
    if view == "Confusion":
        show_confusion_view(run, table, matches)
    elif view == "Per class":
        prediction_views.show_class_accuracy(run)
    elif view == "Calibration":
        prediction_views.show_calibration(run)
    elif view == "Map":
        show_map(run, table, matches, {name: MEASURES[name][0] for name in varying_measures(table)})
    elif view == ALL_CLIPS:
        columns = ["clip_id", "label", "prediction", "correct", *varying_measures(table)]
        prediction_views.show_clip_table(run, table, np.flatnonzero(matches), columns)
    else:
        show_misclassified(run, table, matches)
    st.sidebar.caption(f"{matches.sum()} of {len(table)} clips match: {escape_markdown(run.name)}")


def show_accuracy(run: Run, table: pd.DataFrame) -> None:
    n, wrong, groups, low, high = cached_result("accuracy", [run], lambda: counted_accuracy(table))
    unreadable = failures(run)
    left, middle, right = st.columns(3)
    hint = "Share of the clips whose highest score is that of their label."
    left.metric("Accuracy", f"{1 - wrong / n:.1%}" if n else "-", help=hint)
    if n:
        left.caption(f"95 % interval: {describe_interval(low, high, '.1%')}, over {describe_groups(n, groups)}")
    middle.metric("Misclassified", wrong if n else "-")
    right.metric("Unreadable", len(unreadable))
    show_caveats({"": run})
    if device := run.meta.get("device"):
        st.caption(f"Computed in {run.meta['precision']} on {escape_markdown(device)}.")
    if len(unreadable):
        with st.expander(f"{format_clip_count(len(unreadable))} could not be read"):
            st.dataframe(unreadable, hide_index=True)


def counted_accuracy(table: pd.DataFrame) -> tuple[int, int, int, float, float]:
    """Of the clips that count: how many, how many misclassified ones, source videos, and the accuracy's interval."""
    counted = counted_clips(table)
    groups = group_numbers(counted)
    interval = share_interval(is_correct(counted), groups)
    return len(counted), int(is_misclassified(counted).sum()), len(np.unique(groups)), *interval


def choose_matching_clips(run: Run, table: pd.DataFrame) -> pd.Series:
    """Which clips match the filters in the sidebar. Each filter is in the URL."""
    classes = run.meta["classes"]
    with st.sidebar:
        label = st.selectbox("Label", classes, index=None, placeholder="any", key="label", bind="query-params")
        prediction = st.selectbox("Predicted", classes, index=None, placeholder="any", key="said", bind="query-params")
        outcome = choose_one("Outcome", ["all", "correct", "misclassified"], "outcome")
        matches = choose_ranges(table)
        search = st.text_input("Clip name contains", key="search", bind="query-params")
        if tags := choose_tags(run):
            matches &= table["clip_id"].isin(clips_with(run, tags))
    for column, value in (("label", label), ("prediction", prediction)):
        if value:
            matches &= table[column] == value
    if outcome != "all":
        matches &= is_correct(table) if outcome == "correct" else is_misclassified(table)
    if search:
        matches &= table["clip_id"].str.contains(search, case=False, regex=False)
    return matches


def varying_measures(table: pd.DataFrame) -> list[str]:
    return [column for column in MEASURES if column in table and table[column].min() < table[column].max()]


def choose_ranges(table: pd.DataFrame) -> pd.Series:
    """Which clips lie in the ranges of the sliders; there is one for each measure that varies."""
    matches = pd.Series(True, index=table.index)
    for column in varying_measures(table):
        title, hint = MEASURES[column]
        ends, step = (float(table[column].min()), float(table[column].max())), None
        if column == "confidence":
            ends, step = (0.0, 1.0), 0.01
        chosen = st.slider(title, *ends, ends, step, key=column, bind="query-params", help=hint)
        if chosen != ends:
            matches &= table[column].between(*chosen)
    return matches


def show_confusion_view(run: Run, table: pd.DataFrame, matches: pd.Series) -> None:
    if show_no_accuracy(run):
        return
    prediction_views.show_confusion(run)
    label, prediction = st.session_state.get("label"), st.session_state.get("said")
    if label and prediction:
        prediction_views.show_cell(run, table, most_confident_first(table, matches), label, prediction)
    elif label or prediction:
        st.caption("To see a cell, click a square, or choose both a label and a predicted class in the sidebar.")


def show_misclassified(run: Run, table: pd.DataFrame, matches: pd.Series) -> None:
    if show_no_accuracy(run):
        return
    rows = most_confident_first(table, matches & is_misclassified(table))
    if len(rows):
        st.caption(f"{format_clip_count(len(rows))}, most confident first. Hold the pointer on a clip to play it.")
        show_gallery(run, table, rows)
    else:
        none_at_all = not is_misclassified(table).any()
        st.success("No clip is misclassified." if none_at_all else "No misclassified clip matches these filters.")


show_predictions_page()
