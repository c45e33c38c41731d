"""Predictions: which clips are misclassified, which classes are confused, and how confident the network is."""

import numpy as np
import pandas as pd
import streamlit as st

from analysis.attention.clip_profiles import most_confident_first
from analysis.report.column_titles import column_titles
from analysis.runs.correctness import counted_clips, is_correct, is_misclassified
from analysis.runs.run_directory import Run, failures
from analysis.statistics.accuracy import describe_groups, group_numbers
from analysis.statistics.clusters import describe_interval
from analysis.statistics.shares import share_interval
from sth_core.datasets.media import counted
from workbench.components import prediction_views
from workbench.components.cached import cached_overview, cached_result
from workbench.components.caveats import has_accuracy, show_caveats, show_no_accuracy
from workbench.components.class_report_view import show_class_report
from workbench.components.clip_filters import FilteredClips, choose_filters
from workbench.components.confusion_views import show_confusion
from workbench.components.context import choose_one, choose_run, escape_markdown, say_samples
from workbench.components.csv_files import show_table_csv
from workbench.components.gallery import show_gallery
from workbench.components.map_views import show_map
from workbench.components.plot_views import show_plots

ALL_CLIPS = "All clips"
VIEWS = ("Misclassified", "Confusion", "Per class", "Precision and recall", "Calibration", "Plot", "Map", ALL_CLIPS)


def show_predictions_page() -> None:
    st.title("Predictions")
    run = choose_run(sample=True)
    say_samples({run.name: run})
    table = cached_overview(run)
    show_accuracy(run, table)
    filtered = choose_filters(run, table)
    first = VIEWS[0] if has_accuracy(run) else ALL_CLIPS
    view = choose_one("View", VIEWS, "view", first, label_visibility="collapsed")
    if view == "Plot":
        show_plots(filtered)
    elif view == "Map":
        show_map(filtered)
    elif view == ALL_CLIPS:
        prediction_views.show_clip_table(filtered)
    elif show_no_accuracy(run):
        return
    elif view == "Confusion":
        show_confusion(filtered)
    elif view == "Per class":
        prediction_views.show_class_accuracy(filtered)
    elif view == "Precision and recall":
        show_class_report(filtered)
    elif view == "Calibration":
        prediction_views.show_calibration(filtered)
    else:
        show_misclassified(filtered)


def show_accuracy(run: Run, table: pd.DataFrame) -> None:
    n, wrong, groups, low, high = cached_result("accuracy", [run], lambda: counted_accuracy(table))
    unreadable = cached_result("failures", [run], lambda: failures(run))
    left, middle, right = st.columns(3)
    hint = "Share of the clips whose highest score is that of their label. The filters do not apply."
    left.metric("Accuracy", f"{1 - wrong / n:.1%}" if n else "-", help=hint)
    middle.metric("Misclassified", f"{wrong:,}" if n else "-")
    right.metric("Unreadable", f"{len(unreadable):,}")
    facts = [f"95 % interval: {describe_interval(low, high, '.1%')}, over {describe_groups(n, groups)}."] if n else []
    if device := run.meta.get("device"):
        facts.append(f"Computed in {run.meta['precision']} on {escape_markdown(device)}.")
    if facts:
        st.caption(" ".join(facts))
    show_caveats({"": run})
    if len(unreadable):
        with st.expander(f"{counted(len(unreadable), 'clip')} could not be read"):
            st.dataframe(unreadable, hide_index=True, column_config=column_titles(unreadable))
            show_table_csv(unreadable, "unreadable")


def counted_accuracy(table: pd.DataFrame) -> tuple[int, int, int, float, float]:
    """Of the clips that count: how many, how many misclassified ones, source videos, and the accuracy's interval."""
    counting = counted_clips(table)
    groups = group_numbers(counting)
    interval = share_interval(is_correct(counting), groups)
    return len(counting), int(is_misclassified(counting).sum()), len(np.unique(groups)), *interval


def show_misclassified(filtered: FilteredClips) -> None:
    wrong = is_misclassified(filtered.table)
    rows = filtered.cached("misclassified", lambda: most_confident_first(filtered.table, filtered.matches & wrong))
    if not len(rows):
        none = "No clip is misclassified." if not wrong.any() else "No misclassified clip matches these filters."
        st.success(none)
        return
    count = filtered.describe(len(rows), "not misclassified")
    st.caption(f"{count}, most confident first. Hold the pointer on a clip to play it.")
    show_gallery(filtered.run, filtered.table, rows, origin=filtered.origin("misclassified"))


show_predictions_page()
