"""Figures: the supplement's page for the chosen runs, each figure to download with its numbers and recipe."""

import io
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

import streamlit as st

from analysis.attention.alpha_matrix import has_attention
from analysis.report.figures_5_to_8 import supplement_figures
from analysis.report.figures_9_and_10 import class_figures
from analysis.report.supplement import write_figures
from analysis.runs.run_directory import Run
from workbench.components.chart import chart
from workbench.components.context import all_runs, attention_of, computed, plain, usable_runs


def packed(runs: list[Run]) -> bytes:
    """Everything that `sth figures` writes, as a zip file; pictures where there is a Chromium."""
    content = io.BytesIO()
    with TemporaryDirectory() as folder, zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        write_figures(runs, Path(folder))
        for file in sorted(Path(folder).iterdir()):
            archive.write(file, file.name)
    return content.getvalue()


st.title("Figures")
st.caption("The supplement's Figures 5 to 10 for exactly the runs that are chosen.")
named = {name: run for name, run in usable_runs(all_runs()).items() if has_attention(run)}
if not named:
    st.info("No run here has recorded attention. Networks with conv = 'sth' and attention record it.")
    st.stop()
with st.sidebar:
    chosen = st.multiselect("Runs", list(named), default=list(named), key="runs", bind="query-params")
    values = {key: sorted({getattr(named[name], key) for name in chosen}) for key in ("p", "modality")}
    p = st.multiselect("p", values["p"], placeholder="all", key="p", bind="query-params")
    modality = st.multiselect("Input", values["modality"], placeholder="all", key="modality", bind="query-params")
some = [
    run for run in (named[name] for name in chosen)
    if (not p or run.p in p) and (not modality or run.modality in modality)
]  # fmt: skip
if not some:
    st.info("No run fits these filters.")
    st.stop()
st.download_button(
    f"All as HTML, PDF, SVG, PNG, CSV and JSON ({len(some)} runs)", lambda: packed(some), "figures.zip",
    "application/zip", icon=":material/download:", help="What `sth figures` writes; making the pictures takes a while.",
)  # fmt: skip
items = [*supplement_figures(attention_of(some)), *computed("class_figures", some, lambda: class_figures(some))]
for item in items:
    with st.container(border=True):
        st.subheader(item.title)
        chart(item.figure, key=item.name, alt=f"{item.title}. {item.caption}")
        st.caption(item.caption)
        st.download_button(
            "The numbers (CSV)", item.data.to_csv(index=False), f"{item.name}.csv", "text/csv", key=f"{item.name}_csv"
        )
st.caption(f"Runs: {', '.join(plain(run.name) for run in some)}")
