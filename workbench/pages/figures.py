"""Figures: the supplement's figures for the chosen runs, their numbers, and files of the size of a paper or a slide."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import streamlit as st

from analysis.attention.alpha_matrix import has_signal
from analysis.report.figure_sizes import DEFAULT_SIZE, SIZES
from analysis.report.figures_5_to_8 import supplement_figures
from analysis.report.figures_9_and_10 import class_figures
from analysis.report.image_export import PICTURES, why_no_pictures
from analysis.report.supplement import figures_left_out, write_figures
from analysis.report.time_share_figure import time_share_item
from analysis.runs.left_out import why_no_attention
from analysis.runs.run_directory import Run
from sth_core.files import csv_text
from workbench.components.cached import cached_alpha, cached_attention_table, cached_result, shard_times
from workbench.components.chart import WHO_HAS_ATTENTION, show_chart
from workbench.components.context import (
    Usable,
    choose_runs,
    end_page,
    escape_markdown,
    first_runs,
    linked_selectbox,
    show_left_out,
    show_run_warnings,
    usable_runs,
)

DRAWN = "figure files"  # where a session keeps the files that it has drawn last
MIME = {"pdf": "application/pdf", "svg": "image/svg+xml", "png": "image/png"}


@dataclass(frozen=True)
class FigureFiles:
    """What `sth figures` writes: the zip with all, each picture by its name, and why there are no pictures."""

    zip: bytes
    pictures: dict[str, bytes]
    missing: str


def show_figures_page() -> None:
    st.title("Figures")
    st.caption("The supplement's Figures 5 to 10 for the chosen runs; of transformers their attention across time.")
    usable = usable_runs()
    without = {name: why_no_attention(run) for name, run in usable.runs.items() if not has_signal(run)}
    chosen = choose_figure_runs(usable, without)
    show_left_out(without, "in no figure")
    show_run_warnings(chosen)
    runs = list(chosen.values())
    files = show_downloads(runs)
    figures_9_and_10 = cached_result("class_figures", runs, lambda: class_figures(runs))
    items = [*supplement_figures(cached_attention_table(runs)), *figures_9_and_10]
    items += [item] if (item := time_share_item(runs, cached_alpha)) else []
    for item in items:
        with st.container(border=True):
            st.header(item.title)
            show_chart(item.figure, key=item.name, alt=f"{item.title}. {item.caption}")
            st.caption(escape_markdown(item.caption))
            with st.container(horizontal=True):
                for kind in PICTURES:
                    if content := files.pictures.get(name := f"{item.name}.{kind}"):
                        label = f"{kind.upper()} of {item.title.split(':')[0]}"
                        st.download_button(label, content, name, MIME[kind], key=name, on_click="ignore")
                csv = csv_text(item.data)
                st.download_button("Numbers (CSV)", csv, f"{item.name}.csv", "text/csv", key=f"{item.name}_csv")
    for sentence in figures_left_out(items):
        st.caption(f"Left out: {sentence}.")
    st.caption(f"Runs: {', '.join(escape_markdown(run.name) for run in runs)}")


def choose_figure_runs(usable: Usable, without: dict[str, str]) -> dict[str, Run]:
    """The chosen runs of those that have attention; if there are none, the page says so, and ends."""
    options = {name: run for name, run in usable.runs.items() if name not in without}
    if not options:
        end_page("No run has recorded attention. " + WHO_HAS_ATTENTION)
    runs = choose_runs("Runs", options, "runs", usable, default=first_runs(options), not_offered=without)
    with st.sidebar:
        values = {key: sorted({getattr(run, key) for run in runs.values()}) for key in ("p", "modality")}
        p = st.multiselect("p", values["p"], placeholder="all", key="p", bind="query-params")
        modality = st.multiselect("Input", values["modality"], placeholder="all", key="modality", bind="query-params")
    chosen = {n: run for n, run in runs.items() if (not p or run.p in p) and (not modality or run.modality in modality)}
    if not chosen:
        end_page("No run is chosen, or none matches these filters.")
    return chosen


def show_downloads(runs: list[Run]) -> FigureFiles:
    """The choice of a size, the button that draws all files, and their download; returns those that are drawn."""
    kept: dict[object, FigureFiles] = st.session_state.setdefault(DRAWN, {})
    reason = why_no_pictures()
    kinds = "HTML, CSV and JSON" if reason else "HTML, PDF, SVG, PNG, CSV and JSON"
    with st.container(horizontal=True, vertical_alignment="bottom"):
        size = linked_selectbox(
            "Pictures for", list(SIZES), "for", default=DEFAULT_SIZE, default_in_url=False, disabled=bool(reason),
            format_func=lambda name: SIZES[name].title, width=340,
        )  # fmt: skip
        wanted = (size, [(str(run.path), shard_times(run)) for run in runs], reason)
        clicked = st.button(
            f"Draw all as {kinds}", key="draw", icon=":material/draw:",
            help=f"The same files as `sth figures RUNS -o DIR --for {size}` writes.",
        )  # fmt: skip
        if clicked:
            kept.clear()
            with st.spinner("Drawing"):
                kept[repr(wanted)] = draw_figures(runs, size)
        files = kept.get(repr(wanted), FigureFiles(b"", {}, reason))
        if files.zip:
            got = "HTML, CSV and JSON" if files.missing else kinds
            st.download_button(
                f"Download {got}", files.zip, "figures.zip", "application/zip", icon=":material/download:",
                on_click="ignore", type="primary",
            )  # fmt: skip
    if files.missing:
        st.warning(escape_markdown(files.missing).replace("\\`", "`") + ".")
    return files


def draw_figures(runs: list[Run], size: str) -> FigureFiles:
    """Everything that `sth figures` writes."""
    with TemporaryDirectory() as folder:
        out = Path(folder, "figures")
        written = write_figures(runs, out, size=size, command=f"sth figures RUNS -o DIR --for {size}")
        assert written is not None  # the chosen runs have attention
        zipped = Path(shutil.make_archive(f"{folder}/figures", "zip", out)).read_bytes()
        pictures = {file.name: file.read_bytes() for file in out.iterdir() if file.suffix[1:] in PICTURES}
        return FigureFiles(zipped, pictures, written.without_pictures)


show_figures_page()
