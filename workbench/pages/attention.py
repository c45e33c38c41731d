"""Attention: the supplement's Figures 5 to 8 from the chosen runs, and views of what lies behind them."""

import streamlit as st

from analysis.report.figures_5_to_8 import has_attention, supplement_figures
from analysis.runs.run_directory import Run
from workbench.components.attention_views import (
    choose_run_with_attention,
    show_by_correctness,
    show_class_heatmap,
    show_hypotheses,
    show_unusual_clips,
)
from workbench.components.chart import show_chart
from workbench.components.context import (
    cached_attention_table,
    escape_markdown,
    load_runs,
    show_run_warnings,
    usable_runs,
)

FIGURES, HYPOTHESES = "Figures", "Hypotheses"
VIEWS_OF_ONE_RUN = {
    "By class": show_class_heatmap,
    "Correct and misclassified": show_by_correctness,
    "Unusual clips": show_unusual_clips,
}
HOW_TO_READ = {
    "figure5_layers": "Where a solid line is above 0.5, the layer weighs its temporal branch more than its spatial "
    "branch.",
    "figure6_proportions": "Lines of one dataset that lie apart: the network compensates for fewer (or more) temporal "
    "kernels. The paper finds a higher α_T at p = 1/4 than at p = 1/2.",
    "figure7_datasets": "The paper finds a higher α_T on datasets whose classes need temporal information.",
    "figure8_modalities": "The paper finds a higher α_T for optical flow than for RGB.",
}
NUMBERS = [
    "run", "dataset", "p", "modality", "layer", "n", "alpha_spatial", "alpha_temporal", "low", "high", "sd",
]  # fmt: skip
MOST_CLIPS = 400_000  # if the runs have more clips, only the first run is chosen by default


def show_attention_page() -> None:
    st.title("Attention")
    st.caption("How much each layer of a network weighs its temporal branch (α_T) and its spatial branch (α_S).")
    runs = load_runs()
    show_run_warnings(runs)
    chosen, view = choose_runs_and_view(usable_runs(runs))
    if not any(map(has_attention, chosen.values())):
        st.info(
            "None of the chosen runs has recorded attention. Only networks with conv = 'sth' and attention have it."
        )
        st.stop()
    if view in VIEWS_OF_ONE_RUN:
        if run := choose_run_with_attention(chosen):
            VIEWS_OF_ONE_RUN[view](run)
        return
    show = show_hypotheses if view == HYPOTHESES else show_supplement_figures
    show(list(chosen.values()))
    st.caption(f"Runs shown: {', '.join(map(escape_markdown, chosen))}")


def choose_runs_and_view(runs: dict[str, Run]) -> tuple[dict[str, Run], str]:
    few = sum(run.meta["clips"] for run in runs.values()) <= MOST_CLIPS
    default = list(runs) if few else list(runs)[:1]
    with st.sidebar:
        names = st.multiselect(
            "Runs", list(runs), default=default, key="runs", bind="query-params", help="The figures use these runs."
        )
        views = (FIGURES, HYPOTHESES, *VIEWS_OF_ONE_RUN)
        view = st.segmented_control("View", views, default=FIGURES, key="show", bind="query-params")
    return {name: runs[name] for name in names}, view or FIGURES


def show_supplement_figures(runs: list[Run]) -> None:
    for item in supplement_figures(cached_attention_table(runs)):
        with st.container(border=True):
            st.subheader(item.title)
            show_chart(item.figure, key=item.name, alt=f"{item.title}. {item.caption}")
            st.caption(f"{item.caption}  \n**How to read this:** {HOW_TO_READ[item.name]}")
            with st.expander("Numbers"):
                st.dataframe(item.data[NUMBERS], hide_index=True, key=f"{item.name}_numbers")
                st.download_button(
                    "CSV", item.data.to_csv(index=False), f"{item.name}.csv", "text/csv", key=f"{item.name}_csv"
                )


show_attention_page()
