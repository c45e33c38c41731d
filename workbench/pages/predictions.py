"""Predictions: accuracy per class, every clip in a table, the misclassified ones as a gallery."""

import plotly.graph_objects as go
import streamlit as st

from analysis.figures import COLOURS
from analysis.runs import failures
from analysis.statistics import accuracy_per_class, wilson_interval
from workbench.components.context import CLIP_PAGE, all_runs, choose_run, plain, table_of
from workbench.components.gallery import gallery, link

st.title("Predictions")
run = choose_run(all_runs())
table = table_of(run)
correct, n = int(table["correct"].sum()), len(table)
low, high = wilson_interval(correct, n)
unreadable = failures(run)

left, middle, right = st.columns(3)
left.metric("Accuracy", f"{correct / n:.1%}", help="Share of clips whose highest score is their label's.")
left.caption(f"95 % interval {low:.1%} to {high:.1%}, n = {n} clips")
middle.metric("Misclassified", n - correct)
right.metric("Unreadable", len(unreadable))
if len(unreadable):
    with st.expander(f"{len(unreadable)} clips could not be read"):
        st.dataframe(unreadable, hide_index=True)

with st.sidebar:
    labels = st.multiselect("Label", run.meta["classes"], placeholder="any")
    said = st.multiselect("Predicted", run.meta["classes"], placeholder="any")
    outcome = st.segmented_control("Outcome", ["all", "correct", "wrong"], default="all") or "all"
    least, most = st.slider("Confidence", 0.0, 1.0, (0.0, 1.0), 0.01)
    search = st.text_input("Clip name contains")

chosen = table[table["confidence"].between(least, most)]
if labels:
    chosen = chosen[chosen["label"].isin(labels)]
if said:
    chosen = chosen[chosen["prediction"].isin(said)]
if outcome != "all":
    chosen = chosen[chosen["correct"] == (outcome == "correct")]
if search:
    chosen = chosen[chosen["clip_id"].str.contains(search, case=False, regex=False)]

wrong_tab, class_tab, table_tab = st.tabs(["Misclassified", "Per class", "All clips"])
with wrong_tab:
    wrong = chosen[~chosen["correct"]].sort_values("confidence", ascending=False)
    if wrong.empty:
        st.success("No clip is misclassified." if correct == n else "No misclassified clip fits these filters.")
    else:
        st.caption(f"{len(wrong)} clips, the most confident mistake first.")
        gallery(run, wrong)

with class_tab:
    per_class = accuracy_per_class(table, run.meta["classes"])
    ordered = per_class.sort_values("accuracy", ascending=False)
    figure = go.Figure(
        go.Bar(
            x=ordered["accuracy"], y=ordered["label"], orientation="h", marker_color=COLOURS[0],
            error_x={"type": "data", "symmetric": False, "array": ordered["high"] - ordered["accuracy"],
                     "arrayminus": ordered["accuracy"] - ordered["low"], "thickness": 1.2},
            customdata=ordered[["n"]], hovertemplate="%{y}: %{x:.1%}, n = %{customdata[0]}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_layout(
        xaxis={"title": "accuracy", "range": [0, 1.02], "tickformat": ".0%"}, yaxis={"automargin": True},
        height=120 + 28 * len(ordered), margin={"t": 10},
    )  # fmt: skip
    st.plotly_chart(figure, key="per_class", alt="Accuracy of each class with 95 % intervals")
    st.caption("Bars: accuracy per class; whiskers: 95 % Wilson intervals. All clips of the run, whatever the filters.")
    st.dataframe(per_class, hide_index=True, key="per_class_numbers")

with table_tab:
    st.caption(f"{len(chosen)} of {n} clips. Click a column to sort, a row's box to open the clip.")
    shown = chosen[["clip_id", "label", "prediction", "correct", "confidence"]].reset_index(drop=True)
    picked = st.dataframe(
        shown,
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        key="clips",
        column_config={"confidence": st.column_config.ProgressColumn(min_value=0, max_value=1, format="%.3f")},
    )
    rows = picked["selection"]["rows"]
    if rows and rows[0] < len(shown):
        clip_id = shown["clip_id"][rows[0]]
        st.page_link(
            CLIP_PAGE, label=f"Inspect {plain(clip_id)}", icon=":material/search:", query_params=link(run, clip_id)
        )
    st.download_button("CSV", shown.to_csv(index=False), f"{run.name}_predictions.csv", "text/csv")
