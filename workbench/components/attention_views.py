"""The views of the Attention page besides the supplement's figures."""

from html import unescape

import numpy as np
import pandas as pd
import streamlit as st

from analysis.attention.alpha_matrix import has_attention
from analysis.attention.alpha_tables import alpha_class_layer_table
from analysis.attention.clip_profiles import correctness_profile, unusual_clips
from analysis.attention.hypotheses import HOW_JUDGED, evaluate_hypotheses, hypothesis_verdicts
from analysis.report.run_figures import MOST_NAMED, plot_by_correctness, plot_class_layers
from analysis.runs.correctness import NO_LABEL
from analysis.runs.run_directory import Run
from analysis.runs.signals import ALPHA, signal_of
from analysis.statistics.accuracy import describe_clips_per_class, units_of
from analysis.statistics.clusters import describe_interval, describe_p
from sth_core.datasets.media import counted
from workbench.components.cached import cached_alpha, cached_overview, cached_result
from workbench.components.caveats import show_caveats, show_no_accuracy
from workbench.components.chart import chosen_points, show_chart, with_clickable_cells
from workbench.components.clip_links import show_link_to_layer
from workbench.components.context import escape_markdown
from workbench.components.csv_files import show_table_csv
from workbench.components.gallery import show_gallery

SMALL_P = "< 0.001"
COMPARISON_COLUMNS = {
    "effect": st.column_config.NumberColumn(
        "effect on α_T", format="%+.3f", help="The first less the second; of a rise, the last layer less the first."
    ),
}
VERDICT_COLOURS = {"holds": "green", "does not hold": "red"}


def show_hypotheses(runs: list[Run]) -> None:
    """The hypotheses of the paper's Section 6.1, tested on these runs."""
    with_attention = [run for run in runs if has_attention(run)]
    if not with_attention:
        st.info("The hypotheses are on α, and none of the chosen runs has it.")
        return
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
            st.caption(f"{counted(row.comparisons, 'comparison')}. {counts}, of these networks only: {row.these_only}.")
            with st.expander("Comparisons"):
                shown, key = shown_comparisons(tested.of(row.hypothesis)), f"hypothesis_{row.Index}"
                st.dataframe(shown, hide_index=True, placeholder="-", key=key, column_config=COMPARISON_COLUMNS)
                show_table_csv(tested.of(row.hypothesis), key)
    st.caption(f"**How to read this:** {HOW_JUDGED}")


def shown_comparisons(comparisons: pd.DataFrame) -> pd.DataFrame:
    """The comparisons of a hypothesis as a reader needs them: interval and p as text."""
    ends = zip(comparisons["low"], comparisons["high"], strict=True)
    shown = comparisons.drop(columns=["low", "high"]).rename(columns={"p_holm": "p (Holm)", "n": "clips"})
    shown.insert(2, "95 % interval", [describe_interval(low, high, "+.3f") for low, high in ends])
    for name in ("p", "p (Holm)"):
        shown[name] = [SMALL_P if p < 0.001 else describe_p(p) for p in shown[name]]
    return shown.rename(columns=lambda name: name.replace("_", " "))


def show_class_heatmap(run: Run) -> None:
    """alpha_T, or attention across time, by class and layer."""
    signal = signal_of(run)
    table = cached_result("class_layers", [run], lambda: alpha_class_layer_table(cached_alpha(run)))
    figure, named = plot_class_layers(run, table), table["label"].nunique() <= MOST_NAMED
    if named:  # of more classes a square is too small to be clicked
        names, hover = table["label"].astype(str), "%{y}<br>%{x}: %{customdata[0]:.3f}"
        data = np.column_stack([table["alpha_temporal"].astype(object), names])
        with_clickable_cells(figure, table["layer"], names.replace("", NO_LABEL), data, hover)
    event = show_chart(figure, key="class_map", alt=f"{signal.name} by class and layer", clicks=named)
    for point in chosen_points(event):
        show_link_to_layer(run, str(point["x"]), label=unescape(str(point["customdata"][1])))
    colours = (
        "orange layers weigh the temporal branch more, blue layers the spatial branch"
        if signal == ALPHA
        else "orange layers look more at other time steps than uniform attention does, blue layers less"
    )
    st.caption(
        f"Mean {signal.name} of each class, n = {describe_clips_per_class(table['n'])}. Classes are sorted by their "
        f"mean over layers. **How to read this:** {colours}. The classes at the top have the highest {signal.name}."
        + " Click a square for a link to its clips."
        * named
    )
    show_definition(run)


def show_by_correctness(run: Run) -> None:
    """alpha_T, or attention across time, by layer of the correct and of the misclassified clips."""
    signal = signal_of(run)
    show_caveats({"": run})
    if show_no_accuracy(run):
        return
    table = cached_result("by_correctness", [run], lambda: correctness_profile(cached_alpha(run)))
    alt = f"{signal.name} of correct and of misclassified clips by layer"
    event = show_chart(plot_by_correctness(run, table), key="by_correctness", alt=alt, clicks=True)
    for point in chosen_points(event):
        show_link_to_layer(run, str(point["x"]), outcome=str(point["customdata"][0]))
    st.caption(
        f"Mean {signal.name} of the correct and of the misclassified clips (bars: 95 % intervals over "
        f"{units_of(table)}). **How to read this:** a difference may come from the classes, because hard classes have "
        "more misclassified clips. Click a point for a link to its clips. "
        "To compare clips of one class, open a cell of the confusion matrix (Predictions, Confusion)."
    )
    show_definition(run)


def show_unusual_clips(run: Run) -> None:
    """The clips whose attention differs most from that of their class."""
    found = cached_result("unusual", [run], lambda: unusual_clips(cached_alpha(run)))
    if found.empty:
        st.info("No clip stands out: all clips of a class have the same attention.")
        return
    low, high = found["distance"].min(), found["distance"].max()
    st.caption(
        f"The clips whose {signal_of(run).name} differs most from the mean of their class: by {low:.1f} to {high:.1f} "
        "of the class's standard deviations (root mean square over layers). **How to read this:** check these clips "
        "for cuts, unusual camera angles, and wrong labels."
    )
    show_definition(run)
    origin = "Attention, unusual clips"
    show_gallery(run, cached_overview(run), found["row"].to_numpy(), "unusual", origin=origin)


def show_definition(run: Run) -> None:
    """What attention across time is; α is explained on the page already."""
    if signal_of(run) != ALPHA:
        st.caption(escape_markdown(signal_of(run).definition))
