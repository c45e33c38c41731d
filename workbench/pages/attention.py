"""Attention: the supplement's Figures 5 to 8 from the runs that are there."""

import streamlit as st

from analysis.figures import supplement_figures
from workbench.components.context import all_runs, attention_of, plain, runs_folder, warn_of_problems

HOW_TO_READ = {
    "figure5_layers": "Where a solid line is above 0.5, the layer weighs its temporal part more than its spatial part.",
    "figure6_proportions": "Lines of one dataset apart from each other: the network makes up for having fewer (or "
    "more) temporal kernels. The paper finds a higher α_T at p = 1/4 than at 1/2.",
    "figure7_datasets": "The paper finds a higher α_T where the question needs time.",
    "figure8_modalities": "The paper finds a higher α_T for Flow.",
}

st.title("Attention")
st.caption("How much a network weighs the temporal part (α_T) and the spatial part (α_S) of each of its layers.")
runs = all_runs()
warn_of_problems(runs)
with st.sidebar:
    named = {str(run.path.relative_to(runs_folder())): run for run in runs if run.usable and run.meta}
    chosen = st.multiselect("Runs", list(named), default=list(named), help="The figures use these runs.")
figures = supplement_figures(attention_of([named[name] for name in chosen]))
if not figures:
    st.info("None of the chosen runs has recorded attention. Networks with conv = 'sth' and attention record it.")
    st.stop()

for item in figures:
    with st.container(border=True):
        st.subheader(item.title)
        st.plotly_chart(item.figure, key=item.name, alt=f"{item.title}. {item.caption}")
        st.caption(f"{item.caption}  \n**How to read this:** {HOW_TO_READ[item.name]}")
        with st.expander("The numbers"):
            shown = item.data[
                [
                    "run",
                    "dataset",
                    "p",
                    "modality",
                    "layer",
                    "n",
                    "alpha_spatial",
                    "alpha_temporal",
                    "low",
                    "high",
                    "sd",
                ]
            ]
            st.dataframe(shown, hide_index=True, key=f"{item.name}_numbers")
            st.download_button(
                "CSV", item.data.to_csv(index=False), f"{item.name}.csv", "text/csv", key=f"{item.name}_csv"
            )
st.caption(f"Runs shown: {', '.join(plain(name) for name in chosen)}")
