"""Attention: the supplement's Figures 5 to 8 from the runs that are there, and what lies behind them."""

import streamlit as st

from analysis.attention.alpha_matrix import has_attention
from analysis.report.figures_5_to_8 import supplement_figures
from workbench.components.attention_views import (
    choose_one,
    show_classes,
    show_right_and_wrong,
    show_statements,
    show_unusual,
)
from workbench.components.chart import chart
from workbench.components.context import all_runs, attention_of, plain, usable_runs, warn_of_problems

VIEWS = ("Figures", "Statements", "By class", "Right and wrong", "Unusual clips")
HOW_TO_READ = {
    "figure5_layers": "Where a solid line is above 0.5, the layer weighs its temporal part more than its spatial part.",
    "figure6_proportions": "Lines of one dataset apart from each other: the network makes up for having fewer (or "
    "more) temporal kernels. The paper finds a higher α_T at p = 1/4 than at 1/2.",
    "figure7_datasets": "The paper finds a higher α_T where the question needs time.",
    "figure8_modalities": "The paper finds a higher α_T for Flow.",
}
NUMBERS = [
    "run", "dataset", "p", "modality", "layer", "n", "alpha_spatial", "alpha_temporal", "low", "high", "sd",
]  # fmt: skip
LARGE = 400_000  # clips: of more, the first run alone is shown unless others are asked for

st.title("Attention")
st.caption("How much a network weighs the temporal part (α_T) and the spatial part (α_S) of each of its layers.")
runs = all_runs()
warn_of_problems(runs)
named = usable_runs(runs)
few = list(named) if sum(run.meta["clips"] for run in named.values()) <= LARGE else list(named)[:1]
with st.sidebar:
    chosen = st.multiselect(
        "Runs", list(named), default=few, key="runs", bind="query-params", help="The figures use these runs."
    )
    view = st.segmented_control("View", VIEWS, default=VIEWS[0], key="show", bind="query-params") or VIEWS[0]
some = [named[name] for name in chosen]
if not any(has_attention(run) for run in some):
    st.info("None of the chosen runs has recorded attention. Networks with conv = 'sth' and attention record it.")
    st.stop()

if view == "Statements":
    show_statements(some)
elif view != "Figures":
    run = choose_one(some, named)
    if run is not None:
        {"By class": show_classes, "Right and wrong": show_right_and_wrong, "Unusual clips": show_unusual}[view](run)
else:
    for item in supplement_figures(attention_of(some)):
        with st.container(border=True):
            st.subheader(item.title)
            chart(item.figure, key=item.name, alt=f"{item.title}. {item.caption}")
            st.caption(f"{item.caption}  \n**How to read this:** {HOW_TO_READ[item.name]}")
            with st.expander("The numbers"):
                st.dataframe(item.data[NUMBERS], hide_index=True, key=f"{item.name}_numbers")
                st.download_button(
                    "CSV", item.data.to_csv(index=False), f"{item.name}.csv", "text/csv", key=f"{item.name}_csv"
                )
st.caption(f"Runs shown: {', '.join(plain(name) for name in chosen)}")
