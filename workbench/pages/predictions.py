"""Predictions: which clips are right and wrong, what is taken for what, and how sure the network is."""

import numpy as np
import pandas as pd
import streamlit as st

from analysis.attention.clip_profiles import most_confident_first
from analysis.runs.notes import clips_with
from analysis.runs.run_directory import failures
from analysis.statistics.accuracy import describe_groups, group_numbers, share_interval
from workbench.components.context import all_runs, choose_run, computed, counted, plain, table_of
from workbench.components.gallery import gallery
from workbench.components.notes import tag_filter
from workbench.components.prediction_views import show_calibration, show_cell, show_classes, show_confusion, show_table

VIEWS = ("Misclassified", "Confusion", "Per class", "Calibration", "All clips")
ANY = {
    "confidence": "Confidence", "margin": "Margin", "alpha_temporal": "α_T", "needs_order": "Needs order",
    "disagreement": "Views disagree",
}  # fmt: skip
HELP = {
    "margin": "How far the best score is above the second best.",
    "alpha_temporal": "Mean over the layers.",
    "needs_order": "How far the true class's score falls when the frames are shuffled (sth probe).",
    "disagreement": "The share of views that alone say something else.",
}

st.title("Predictions")
run = choose_run(all_runs())
table, classes = table_of(run), run.meta["classes"]
correct, n = int(table["correct"].sum()), len(table)
groups = computed("groups", [run], lambda: group_numbers(table))
low, high = computed("accuracy", [run], lambda: share_interval(table["correct"].to_numpy(bool), groups))
unreadable = failures(run)

left, middle, right = st.columns(3)
left.metric("Accuracy", f"{correct / n:.1%}", help="Share of clips whose highest score is their label's.")
left.caption(f"95 % interval {low:.1%} to {high:.1%}, over {describe_groups(n, groups.max() + 1)}")
middle.metric("Misclassified", n - correct)
right.metric("Unreadable", len(unreadable))
if len(unreadable):
    with st.expander(f"{len(unreadable)} clips could not be read"):
        st.dataframe(unreadable, hide_index=True)


def filtered() -> pd.Series:
    """Which clips fit the filters in the sidebar, each of which is in the URL."""
    kept = pd.Series(True, index=table.index)
    with st.sidebar:
        label = st.selectbox("Label", classes, index=None, placeholder="any", key="label", bind="query-params")
        said = st.selectbox("Predicted", classes, index=None, placeholder="any", key="said", bind="query-params")
        outcome = st.segmented_control(
            "Outcome", ["all", "correct", "wrong"], default="all", key="outcome", bind="query-params"
        )
        for column, title in ANY.items():
            values = table[column].dropna() if column in table else pd.Series(dtype=float)
            if values.empty or values.min() == values.max():
                continue
            ends = (0.0, 1.0) if column == "confidence" else (float(values.min()), float(values.max()))
            chosen = st.slider(title, *ends, ends, 0.01 if column == "confidence" else None, key=column,
                               bind="query-params", help=HELP.get(column))  # fmt: skip
            if chosen != ends:
                kept &= table[column].between(*chosen)
        search = st.text_input("Clip name contains", key="search", bind="query-params")
        if tags := tag_filter(run):
            kept &= table["clip_id"].isin(clips_with(run, tags))
    for column, value in (("label", label), ("prediction", said)):
        if value:
            kept &= table[column] == value
    if outcome in ("correct", "wrong"):
        kept &= table["correct"] == (outcome == "correct")
    if search:
        kept &= table["clip_id"].str.contains(search, case=False, regex=False)
    return kept


chosen = filtered()
view = st.segmented_control(
    "View", VIEWS, default=VIEWS[0], key="view", bind="query-params", label_visibility="collapsed"
)
label, said = st.session_state.get("label"), st.session_state.get("said")
if view == "Confusion":
    show_confusion(run)
    if label and said:
        show_cell(run, table, most_confident_first(table, chosen), label, said)
    elif label or said:
        st.caption("Choose both a label and a prediction, or click a square, to see a cell.")
elif view == "Per class":
    show_classes(run)
elif view == "Calibration":
    show_calibration(run)
elif view == "All clips":
    varying = [c for c in ANY if c in table and table[c].min() < table[c].max()]
    show_table(run, table, np.flatnonzero(chosen), ["clip_id", "label", "prediction", "correct", *varying])
else:
    wrong = most_confident_first(table, chosen & ~table["correct"])
    if not len(wrong):
        st.success("No clip is misclassified." if correct == n else "No misclassified clip fits these filters.")
    else:
        st.caption(f"{counted(len(wrong))}, the most confident mistake first. Hold the pointer on one to play it.")
        gallery(run, table, wrong)
st.sidebar.caption(f"{chosen.sum()} of {n} clips fit: {plain(run.name)}")
