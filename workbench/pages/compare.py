"""Compare: two runs or more on the same clips, who is right where, and how their attention differs."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from analysis.attention.alpha_matrix import has_attention
from analysis.attention.clip_profiles import most_confident_first
from analysis.attention.compare_runs import (
    OUTCOMES,
    RIGHT_NOW,
    WRONG_NOW,
    accuracy_change,
    alpha_change,
    label_agreement,
    side_by_side,
)
from analysis.report.plots import COLOURS, styled
from analysis.runs.run_directory import Run
from analysis.statistics.accuracy import describe_groups
from workbench.components.chart import chart
from workbench.components.compare_views import PAIRED, letter, show_together
from workbench.components.context import (
    all_runs,
    alpha_of,
    computed,
    counted,
    name_of,
    one_of,
    plain,
    table_of,
    usable_runs,
)
from workbench.components.gallery import gallery

FEW = 10  # source videos, of which a bootstrap is too narrow


def show_attention(a: Run, b: Run) -> None:
    change = computed("alpha_change", [a, b], lambda: alpha_change(alpha_of(a), alpha_of(b)))
    if change.empty:
        st.info("The two networks have no layer in common.")
        return
    figure = go.Figure()
    figure.add_scatter(
        x=change["layer"], y=change["change"], mode="lines+markers", line_color=COLOURS[1],
        error_y={"type": "data", "array": change["high"] - change["change"], "thickness": 1.2}, showlegend=False,
    )  # fmt: skip
    figure.add_hline(y=0, line={"color": "#888888", "width": 1})
    figure = styled(figure, "layer, from input to output", "α_T of B less that of A").update_layout(height=360)
    chart(figure, key="alpha_change", alt="Difference of alpha_T by layer")
    st.caption(
        f"Mean over the {change['n'].max()} clips that both have, clip by clip (bars: 95 % over "
        f"{describe_groups(change['n'].max(), change['groups'].max())}). **How to read this:** above zero, B weighs "
        "time more than A in the same clips."
    )


def groups() -> pd.Series:
    """The source videos of the clips that A and B have."""
    return table_of(a)["group"].iloc[both["row_a"]]


def share_of_same_labels() -> float:
    """Of the clips that A and B have, those that have one label in both."""
    return label_agreement(table_of(a)["label"].iloc[both["row_a"]], table_of(b)["label"].iloc[both["row_b"]])


st.title("Compare")
st.caption("Two runs on the same clips: RGB against Flow, p against p, checkpoint against checkpoint.")
usable = usable_runs(all_runs())
if len(usable) < 2:
    st.info("Comparing needs two runs; there is one here. Record another network on the same clips.")
    st.stop()
names = list(usable)
with st.sidebar:
    a = usable[one_of("A", names, "a")]
    b = usable[one_of("B", names, "b", first=next(n for n in names if usable[n] is not a))]
    others = [name for name in names if usable[name] is not a and usable[name] is not b]
    if "more" in st.session_state:  # else a run that has become A or B stays in the address
        st.session_state["more"] = [name for name in st.session_state["more"] if name in others]
    note = "To be compared with A and B, on the clips that all have."
    more = st.multiselect("More runs", others, key="more", bind="query-params", help=note) if others else []
    chosen = [a, b, *(usable[name] for name in more)]
    st.caption("  \n".join(f"{letter(i)}: {plain(run.title)}" for i, run in enumerate(chosen)))
if a is b:
    st.info("A and B are the same run: choose another for one of them.")
    st.stop()
both = computed("side_by_side", [a, b], lambda: side_by_side(table_of(a), table_of(b)))
if both.empty:
    st.info(f"{plain(a.name)} and {plain(b.name)} have no clip in common: record both on the same dataset and split.")
    st.stop()
if more:
    show_together({name_of(run): run for run in chosen})
    st.subheader("A and B")
same_labels = computed("same_labels", [a, b], share_of_same_labels)
if same_labels < 1:
    st.warning(
        f"The two were asked different questions: only {same_labels:.0%} of the common clips have one label in both."
    )
change = computed("accuracy_change", [a, b], lambda: accuracy_change(both, groups()))
G = computed("groups", [a, b], lambda: groups().nunique())
counts = both["outcome"].value_counts()
columns = st.columns(4)
columns[0].metric("Accuracy of A", f"{both['correct_a'].mean():.1%}")
columns[1].metric("Accuracy of B", f"{both['correct_b'].mean():.1%}", f"{100 * change.value:+.1f} points")
columns[2].metric("Gained", int(counts.get(RIGHT_NOW, 0)), help="A is wrong, B is right.")
columns[3].metric("Lost", int(counts.get(WRONG_NOW, 0)), help="A is right, B is wrong.")
st.caption(
    f"B less A: {100 * change.value:+.1f} points (95 % over {describe_groups(len(both), G)} that both have: "
    f"{100 * change.low:+.1f} to {100 * change.high:+.1f}), p = {change.p:.2g} ({PAIRED}). **How to read this:** an "
    "interval that holds 0 says that the runs are not told apart by these clips."
    + (f" Over {G} source videos it is too narrow, and p is the better judge." if G < FEW else "")
)
if has_attention(a) and has_attention(b):
    show_attention(a, b)
outcome = st.segmented_control("Clips", OUTCOMES, default=RIGHT_NOW, key="changed", bind="query-params") or RIGHT_NOW
there = np.zeros(len(table_of(b)), bool)
there[both["row_b"]] = both["outcome"] == outcome
if not there.any():
    st.success(f"No clip is {outcome}.")
else:
    st.caption(f"{counted(there.sum())}, {outcome}, those that B is surest of first; the links open them in B.")
    gallery(b, table_of(b), most_confident_first(table_of(b), there), "compared")
