"""Figures: the supplement's figures for the chosen runs, with their numbers, and all of them as one download."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import streamlit as st

from analysis.attention.alpha_matrix import has_signal
from analysis.report.figures_5_to_8 import supplement_figures
from analysis.report.figures_9_and_10 import class_figures
from analysis.report.supplement import figures_left_out, write_figures
from analysis.report.time_share_figure import time_share_item
from analysis.runs.left_out import why_no_attention
from analysis.runs.run_directory import Run
from sth_core.files import csv_text
from workbench.components.cached import cached_alpha, cached_attention_table, cached_result
from workbench.components.chart import WHO_HAS_ATTENTION, show_chart
from workbench.components.context import end_page, escape_markdown, show_left_out, show_run_warnings, usable_runs


def show_figures_page() -> None:
    st.title("Figures")
    st.caption("The supplement's Figures 5 to 10 for the chosen runs; of transformers their attention across time.")
    usable = usable_runs()
    runs = choose_figure_runs({name: run for name, run in usable.items() if has_signal(run)})
    show_left_out({n: why_no_attention(run) for n, run in usable.items() if not has_signal(run)}, "in no figure")
    show_run_warnings(runs)
    st.download_button(
        f"Download all ({len(runs)} runs) as HTML, PDF, SVG, PNG, CSV and JSON", lambda: zip_figures(runs),
        "figures.zip", "application/zip", icon=":material/download:",
        help="The same files as `sth figures` writes. Drawing the pictures takes a while.",
    )  # fmt: skip
    figures_9_and_10 = cached_result("class_figures", runs, lambda: class_figures(runs))
    items = [*supplement_figures(cached_attention_table(runs)), *figures_9_and_10]
    items += [item] if (item := time_share_item(runs, cached_alpha)) else []
    for item in items:
        with st.container(border=True):
            st.subheader(item.title)
            show_chart(item.figure, key=item.name, alt=f"{item.title}. {item.caption}")
            st.caption(escape_markdown(item.caption))
            csv = csv_text(item.data)
            st.download_button("Numbers (CSV)", csv, f"{item.name}.csv", "text/csv", key=f"{item.name}_csv")
    for sentence in figures_left_out(items):
        st.caption(f"Left out: {sentence}.")
    st.caption(f"Runs: {', '.join(escape_markdown(run.name) for run in runs)}")


def choose_figure_runs(runs: dict[str, Run]) -> list[Run]:
    """The chosen runs; if there are none, the page says so, and ends."""
    if not runs:
        end_page("No run has recorded attention. " + WHO_HAS_ATTENTION)
    with st.sidebar:
        names = st.multiselect("Runs", list(runs), default=list(runs), key="runs", bind="query-params")
        values = {key: sorted({getattr(runs[name], key) for name in names}) for key in ("p", "modality")}
        p = st.multiselect("p", values["p"], placeholder="all", key="p", bind="query-params")
        modality = st.multiselect("Input", values["modality"], placeholder="all", key="modality", bind="query-params")
    chosen = [runs[name] for name in names]
    chosen = [run for run in chosen if (not p or run.p in p) and (not modality or run.modality in modality)]
    if not chosen:
        end_page("No run matches these filters.")
    return chosen


def zip_figures(runs: list[Run]) -> bytes:
    """Everything that `sth figures` writes, as a zip file; it has pictures if a Chromium is installed."""
    with TemporaryDirectory() as folder:
        write_figures(runs, Path(folder, "figures"))
        return Path(shutil.make_archive(f"{folder}/figures", "zip", f"{folder}/figures")).read_bytes()


show_figures_page()
