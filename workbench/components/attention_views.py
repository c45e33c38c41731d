"""The attention page beside the supplement's figures: statements, classes, right and wrong, unusual clips."""

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from analysis.attention.alpha_matrix import has_attention
from analysis.attention.alpha_tables import alpha_class_layer_table
from analysis.attention.clip_profiles import correctness_profile, unusual_clips
from analysis.attention.hypotheses import evaluate_hypotheses, hypothesis_verdicts
from analysis.report.plots import COLOURS, styled
from analysis.runs.run_directory import Run
from analysis.statistics.accuracy import describe_clips_per_class
from workbench.components.chart import chart
from workbench.components.context import alpha_of, computed, plain, table_of
from workbench.components.gallery import gallery

VERDICTS = {"holds": ":green[holds]", "does not hold": ":red[does not hold]"}


def show_statements(runs: list[Run]) -> None:
    """What the paper's Section 6.1 says, put to these runs."""
    some = [run for run in runs if has_attention(run)]
    table = computed("statements", some, lambda: evaluate_hypotheses(some, alpha_of))
    for row in hypothesis_verdicts(table).itertuples():
        with st.container(border=True):
            st.markdown(f"**{row.hypothesis}**: {VERDICTS.get(row.verdict, row.verdict)}")
            mine = table[table["hypothesis"] == row.hypothesis].drop(columns="hypothesis")
            if mine.empty:
                st.caption("No runs here that could be compared.")
                continue
            st.caption(f"{row.holds} of {row.comparisons} hold, {row.does_not_hold} do not, {row.undecided} undecided")
            with st.expander("The comparisons"):
                st.dataframe(mine, hide_index=True, key=f"statement_{row.Index}")
    st.caption(
        "**How to read this:** a comparison holds if its effect on α_T has the paper's sign and p, corrected for all "
        "comparisons of the statement (Holm), is below 0.05. With one training of a network the intervals are over "
        "clips: what another training would say, they do not tell."
    )


def show_classes(run: Run) -> None:
    """A heat map of alpha_T by class and layer."""
    table = computed("class_layers", [run], lambda: alpha_class_layer_table(alpha_of(run)))
    wide = table.pivot(index="label", columns="layer_index", values="alpha_temporal")
    wide = wide.loc[wide.mean(axis=1).sort_values().index]
    layers = table.drop_duplicates("layer_index").sort_values("layer_index")["layer"]
    reach = float(np.abs(wide.to_numpy() - 0.5).max())
    figure = go.Figure(
        go.Heatmap(
            z=wide, x=list(layers), y=[str(label) for label in wide.index], zmin=0.5 - reach, zmax=0.5 + reach,
            colorscale=[[0, COLOURS[0]], [0.5, "#f7f7f7"], [1, COLOURS[1]]], colorbar_title="α_T",
            hovertemplate="%{y}<br>%{x}: %{z:.3f}<extra></extra>",
        )
    )  # fmt: skip
    figure = styled(figure, "layer, from input to output", "").update_layout(height=max(380, min(1000, 24 * len(wide))))
    figure.update_yaxes(automargin=True, showticklabels=len(wide) <= 60, type="category")
    chart(figure, key="class_map", alt="alpha_T by class and layer")
    st.caption(
        f"Mean α_T over each class's clips, n = {describe_clips_per_class(table['n'])}, classes by their mean. "
        "**How to read this:** orange weighs time more than space, blue less; the classes at the top lean most on time."
    )


def show_right_and_wrong(run: Run) -> None:
    """alpha_T by layer of the clips that are right and of those that are wrong."""
    table = computed("right_wrong", [run], lambda: correctness_profile(alpha_of(run)))
    figure = go.Figure()
    for correct, name, colour in ((True, "right", COLOURS[0]), (False, "wrong", COLOURS[1])):
        some = table[table["correct"] == correct]
        if some.empty:
            continue
        figure.add_scatter(
            x=some["layer"], y=some["alpha_temporal"], name=f"{name} (n = {some['n'].max()})", mode="lines+markers",
            line_color=colour,
            error_y={"type": "data", "array": some["high"] - some["alpha_temporal"], "thickness": 1.2},
        )  # fmt: skip
    chart(
        styled(figure, "layer, from input to output", "α_T"), key="right_wrong", alt="alpha_T of right and wrong clips"
    )
    st.caption(
        "Mean α_T of the clips that are recognised and of those that are not (bars: 95 % over source videos). **How to "
        "read this:** classes differ in both, so that a gap may be one between easy and hard classes; a confusion cell "
        "against its own row (Predictions, Confusion) is not misled by that."
    )


def show_unusual(run: Run) -> None:
    """The clips whose attention is least like their class's."""
    found = computed("unusual", [run], lambda: unusual_clips(alpha_of(run)))
    if found.empty:
        st.info("No clip stands out: attention does not differ between the clips of a class.")
        return
    st.caption(
        "The clips whose α_T differs most from their class's mean, in the class's standard deviations (root mean "
        f"square over layers): {found['distance'].iloc[0]:.1f} to {found['distance'].iloc[-1]:.1f}. **How to read "
        "this:** look here for cuts, other camera angles, and wrong labels."
    )
    gallery(run, table_of(run), found["row"].to_numpy(), "unusual")


def choose_one(runs: list[Run], named: dict[str, Run]) -> Run | None:
    """One run of those that have attention, for the views that show one."""
    some = [name for name, run in named.items() if run in runs and has_attention(run)]
    if not some:
        return None
    name = st.selectbox("Run", some, key="of", bind="query-params")
    st.caption(plain(named[name].title))
    return named[name]
