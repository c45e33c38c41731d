"""The views of the Attention page besides the supplement's figures."""

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from analysis.attention.alpha_matrix import has_attention
from analysis.attention.alpha_tables import alpha_class_layer_table
from analysis.attention.clip_profiles import correctness_profile, unusual_clips
from analysis.attention.hypotheses import HOW_JUDGED, evaluate_hypotheses, hypothesis_verdicts
from analysis.report.plots import COLOURS, styled
from analysis.runs.run_directory import Run
from analysis.statistics.accuracy import describe_clips_per_class, units_of
from workbench.components.cached import cached_alpha, cached_overview, cached_result
from workbench.components.caveats import show_caveats, show_no_accuracy
from workbench.components.chart import DIVERGING, LAYER_AXIS, add_layer_means, show_chart
from workbench.components.context import escape_markdown
from workbench.components.gallery import NO_LABEL, show_gallery

VERDICT_COLOURS = {"holds": "green", "does not hold": "red"}


def show_hypotheses(runs: list[Run]) -> None:
    """The hypotheses of the paper's Section 6.1, tested on these runs."""
    with_attention = [run for run in runs if has_attention(run)]
    tested = cached_result("hypotheses", with_attention, lambda: evaluate_hypotheses(with_attention, cached_alpha))
    for row in hypothesis_verdicts(tested).itertuples():
        with st.container(border=True):
            colour = VERDICT_COLOURS.get(row.verdict)
            st.markdown(f"**{row.hypothesis}**: {f':{colour}[{row.verdict}]' if colour else row.verdict}")
            for name, why in tested.left_out[row.hypothesis].items():
                st.caption(f"Not compared: {escape_markdown(name)}; {escape_markdown(why)}.")
            if not row.comparisons:
                st.caption("Testing this hypothesis needs other runs.")
                continue
            counts = f"Holds: {row.holds}, does not hold: {row.does_not_hold}, undecided: {row.undecided}"
            st.caption(f"{row.comparisons} comparisons. {counts}, of these networks only: {row.these_only}.")
            with st.expander("Comparisons"):
                st.dataframe(tested.of(row.hypothesis), hide_index=True, key=f"hypothesis_{row.Index}")
    st.caption(f"**How to read this:** {HOW_JUDGED}")


def show_class_heatmap(run: Run) -> None:
    """alpha_T by class and layer."""
    table = cached_result("class_layers", [run], lambda: alpha_class_layer_table(cached_alpha(run)))
    wide = table.pivot(index="label", columns="layer_index", values="alpha_temporal")
    wide = wide.loc[wide.mean(axis=1).sort_values().index].rename({"": NO_LABEL})
    layers = table.drop_duplicates("layer_index").sort_values("layer_index")["layer"]
    reach = float(np.abs(wide.to_numpy() - 0.5).max())
    figure = go.Figure().add_heatmap(
        z=wide, x=list(layers), y=[*map(str, wide.index)], zmin=0.5 - reach, zmax=0.5 + reach,
        colorscale=DIVERGING, colorbar_title="α_T", hovertemplate="%{y}<br>%{x}: %{z:.3f}<extra></extra>",
    )  # fmt: skip
    figure = styled(figure, LAYER_AXIS, "", height=max(380, min(1000, 24 * len(wide))))
    figure.update_yaxes(automargin=True, showticklabels=len(wide) <= 60, type="category")
    show_chart(figure, key="class_map", alt="alpha_T by class and layer")
    st.caption(
        f"Mean α_T of each class, n = {describe_clips_per_class(table['n'])}. Classes are sorted by their mean over "
        "layers. **How to read this:** orange layers weigh the temporal branch more, blue layers the spatial branch. "
        "The classes at the top have the highest α_T."
    )


def show_by_correctness(run: Run) -> None:
    """alpha_T by layer of the correct and of the misclassified clips."""
    show_caveats({"": run})
    if show_no_accuracy(run):
        return
    table = cached_result("by_correctness", [run], lambda: correctness_profile(cached_alpha(run)))
    figure = go.Figure()
    for correct, name, colour in ((True, "correct", COLOURS[0]), (False, "misclassified", COLOURS[1])):
        rows = table[table["correct"] == correct]
        if len(rows):
            add_layer_means(figure, rows, colour, f"{name} (n = {rows['n'].max()})")
    styled(figure, LAYER_AXIS, "α_T")
    show_chart(figure, key="by_correctness", alt="alpha_T of correct and of misclassified clips by layer")
    st.caption(
        f"Mean α_T of the correct and of the misclassified clips (bars: 95 % intervals over {units_of(table)}). **How "
        "to read this:** a difference may come from the classes, because hard classes have more misclassified clips. "
        "To compare clips of one class, open a cell of the confusion matrix (Predictions, Confusion)."
    )


def show_unusual_clips(run: Run) -> None:
    """The clips whose attention differs most from that of their class."""
    found = cached_result("unusual", [run], lambda: unusual_clips(cached_alpha(run)))
    if found.empty:
        st.info("No clip stands out: all clips of a class have the same attention.")
        return
    low, high = found["distance"].min(), found["distance"].max()
    st.caption(
        f"The clips whose α_T differs most from the mean of their class: by {low:.1f} to {high:.1f} of the class's "
        "standard deviations (root mean square over layers). **How to read this:** check these clips for cuts, unusual "
        "camera angles, and wrong labels."
    )
    show_gallery(run, cached_overview(run), found["row"].to_numpy(), "unusual")
