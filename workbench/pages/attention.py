"""Attention: the supplement's Figures 5 to 8 from the chosen runs, and views of what lies behind them."""

import pandas as pd
import streamlit as st

from analysis.attention.alpha_matrix import has_signal
from analysis.report.column_titles import column_titles
from analysis.report.figures_5_to_8 import split_drawn, supplement_figures
from analysis.report.time_share_figure import SHARE_HOW_TO_READ, time_share_item
from analysis.runs.left_out import why_no_attention
from analysis.runs.run_directory import Run
from sth_core.files import csv_text
from workbench.components import attention_views
from workbench.components.cached import cached_alpha, cached_attention_table
from workbench.components.chart import WHO_HAS_ATTENTION, show_chart
from workbench.components.clip_links import show_links_of_points
from workbench.components.context import (
    choose_one,
    choose_runs,
    end_if_missing,
    end_page,
    escape_markdown,
    first_runs,
    linked_selectbox,
    show_left_out,
    show_run_warnings,
    usable_runs,
)

HYPOTHESES = "Hypotheses"
CLICK = "Click a point or a bar to open the clips behind it."
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


def show_attention_page() -> None:
    st.title("Attention")
    st.caption(
        "How much each layer of a network weighs its temporal branch (α_T) and its spatial branch (α_S); of "
        "transformers, which have no α, how much of their attention goes to other time steps."
    )
    usable = usable_runs()
    default = first_runs(usable.runs)  # the best ones of the question that was recorded last, if there are many
    hint = "The figures use these runs."
    chosen = choose_runs("Runs", usable.runs, "runs", usable, default=default, hint=hint, sample=True)
    view = choose_one("View", ("Figures", HYPOTHESES, *VIEWS_OF_ONE_RUN), "show", label_visibility="collapsed")
    if not chosen:
        end_page("No run is chosen.")
    show_run_warnings(chosen)
    without = {name: why_no_attention(run) for name, run in chosen.items() if not has_signal(run)}
    with_attention = [name for name in chosen if name not in without]
    if not with_attention:
        show_left_out(without, "not shown")
        end_page("None of the chosen runs has recorded attention. " + WHO_HAS_ATTENTION)
    if view in VIEWS_OF_ONE_RUN:
        not_chosen = {name: "it is not among the chosen runs" for name in usable.runs if name not in chosen}
        end_if_missing("of", "Run", usable, not_chosen | without)
        run = chosen[linked_selectbox("Run", with_attention, "of", default_in_url=False)]
        st.caption(escape_markdown(run.title))
        VIEWS_OF_ONE_RUN[view](run)
        return
    show = attention_views.show_hypotheses if view == HYPOTHESES else show_supplement_figures
    show(list(chosen.values()))
    shown, not_drawn = split_drawn({name: chosen[name] for name in with_attention}, of_alpha=view == HYPOTHESES)
    if shown:
        st.caption(f"Runs shown: {', '.join(map(escape_markdown, shown))}")
    show_left_out(without | not_drawn, "not shown")


def show_supplement_figures(runs: list[Run]) -> None:
    named = {run.name: run for run in runs}
    if item := time_share_item(runs, cached_alpha):
        with st.container(border=True):
            st.header(item.title)
            event = show_chart(item.figure, key=item.name, alt=item.title, clicks=True)
            show_links_of_points(event, named)
            st.caption(f"{escape_markdown(item.caption)}  \n**How to read this:** {SHARE_HOW_TO_READ} {CLICK}")
            with st.expander("Numbers"):
                show_numbers(item.data, item.name)
                st.download_button("CSV", csv_text(item.data), f"{item.name}.csv", "text/csv", key=f"{item.name}_csv")
    for item in supplement_figures(cached_attention_table(runs)):
        with st.container(border=True):
            st.header(item.title)
            event = show_chart(item.figure, key=item.name, alt=f"{item.title}. {item.caption}", clicks=True)
            show_links_of_points(event, named)
            read = f"{HOW_TO_READ[item.name]} {CLICK}"
            st.caption(f"{escape_markdown(item.caption)}  \n**How to read this:** {read}")
            with st.expander("Numbers"):
                show_numbers(item.data[NUMBERS], item.name)
                csv = csv_text(item.data)
                st.download_button("CSV", csv, f"{item.name}.csv", "text/csv", key=f"{item.name}_csv")


def show_numbers(table: pd.DataFrame, name: str) -> None:
    st.dataframe(table, hide_index=True, placeholder="-", key=f"{name}_numbers", column_config=column_titles(table))


show_attention_page()
