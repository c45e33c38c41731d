"""Attention: the supplement's Figures 5 to 8 from the chosen runs, and views of what lies behind them."""

import streamlit as st

from analysis.attention.alpha_matrix import has_signal
from analysis.report.figures_5_to_8 import supplement_figures
from analysis.report.time_share_figure import SHARE_HOW_TO_READ, time_share_item
from analysis.runs.left_out import why_no_attention
from analysis.runs.run_directory import Run
from sth_core.files import csv_text
from workbench.components import attention_views
from workbench.components.cached import cached_alpha, cached_attention_table
from workbench.components.chart import WHO_HAS_ATTENTION, show_chart
from workbench.components.context import (
    choose_one,
    end_if_gone,
    end_page,
    escape_markdown,
    linked_selectbox,
    show_left_out,
    usable_runs,
)

HYPOTHESES = "Hypotheses"
VIEWS_OF_ONE_RUN = {
    "By class": attention_views.show_class_heatmap,
    "Correct and misclassified": attention_views.show_by_correctness,
    "Unusual clips": attention_views.show_unusual_clips,
}
HOW_TO_READ = {
    "figure5_layers": "Where filled points are above 0.5, the layer weighs its temporal branch more than its spatial "
    "branch.",
    "figure6_proportions": "Lines of one dataset that lie apart: the network compensates for fewer (or more) temporal "
    "kernels. The paper finds a higher α_T at p = 1/4 than at p = 1/2.",
    "figure7_datasets": "The paper finds a higher α_T on datasets whose classes need temporal information.",
    "figure8_modalities": "The paper finds a higher α_T for optical flow than for RGB.",
}
NUMBERS = ["run", "dataset", "p", "modality", "layer", "n", "alpha_spatial", "alpha_temporal", "low", "high", "sd"]
MOST_CLIPS = 400_000  # if the runs have more clips, only the first run is chosen by default


def show_attention_page() -> None:
    st.title("Attention")
    st.caption(
        "How much each layer of a network weighs its temporal branch (α_T) and its spatial branch (α_S); of "
        "transformers, which have no α, how much of their attention goes to other time steps."
    )
    usable = usable_runs(warn=True)
    chosen, view = choose_runs_and_view(usable)
    if not chosen:
        end_page("No run is chosen.")
    with_attention = [name for name, run in chosen.items() if has_signal(run)]
    if not with_attention:
        end_page("None of the chosen runs has recorded attention. " + WHO_HAS_ATTENTION)
    if view in VIEWS_OF_ONE_RUN:
        end_if_gone("of", "Run", usable, with_attention)
        run = chosen[linked_selectbox("Run", with_attention, "of", default_in_url=False)]
        st.caption(escape_markdown(run.title))
        VIEWS_OF_ONE_RUN[view](run)
        return
    show = attention_views.show_hypotheses if view == HYPOTHESES else show_supplement_figures
    show(list(chosen.values()))
    st.caption(f"Runs shown: {', '.join(map(escape_markdown, with_attention))}")
    show_left_out({n: why_no_attention(run) for n, run in chosen.items() if n not in with_attention}, "not shown")


def choose_runs_and_view(runs: dict[str, Run]) -> tuple[dict[str, Run], str]:
    few = sum(run.meta["clips"] for run in runs.values()) <= MOST_CLIPS
    default = list(runs) if few else list(runs)[:1]
    with st.sidebar:
        hint = "The figures use these runs."
        names = st.multiselect("Runs", list(runs), default=default, key="runs", bind="query-params", help=hint)
        view = choose_one("View", ("Figures", HYPOTHESES, *VIEWS_OF_ONE_RUN), "show")
    return {name: runs[name] for name in names}, view


def show_supplement_figures(runs: list[Run]) -> None:
    if item := time_share_item(runs, cached_alpha):
        with st.container(border=True):
            st.header(item.title)
            show_chart(item.figure, key=item.name, alt=item.title)
            st.caption(f"{escape_markdown(item.caption)}  \n**How to read this:** {SHARE_HOW_TO_READ}")
            with st.expander("Numbers"):
                st.dataframe(item.data, hide_index=True, key=f"{item.name}_numbers")
                st.download_button("CSV", csv_text(item.data), f"{item.name}.csv", "text/csv", key=f"{item.name}_csv")
    for item in supplement_figures(cached_attention_table(runs)):
        with st.container(border=True):
            st.header(item.title)
            show_chart(item.figure, key=item.name, alt=f"{item.title}. {item.caption}")
            st.caption(f"{escape_markdown(item.caption)}  \n**How to read this:** {HOW_TO_READ[item.name]}")
            with st.expander("Numbers"):
                st.dataframe(item.data[NUMBERS], hide_index=True, key=f"{item.name}_numbers")
                csv = csv_text(item.data)
                st.download_button("CSV", csv, f"{item.name}.csv", "text/csv", key=f"{item.name}_csv")


show_attention_page()
