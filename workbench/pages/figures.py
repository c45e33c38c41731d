"""Figures: the supplement's figures for the chosen runs, their numbers, and files of the size of a paper or a slide."""

import shutil
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import streamlit as st

from analysis.attention.alpha_matrix import has_signal
from analysis.report.figure_layout import at_size
from analysis.report.figure_sizes import DEFAULT_SIZE, SIZES, FigureSize
from analysis.report.figures_5_to_8 import split_drawn, supplement_figures
from analysis.report.figures_9_and_10 import class_figures
from analysis.report.image_export import PICTURES, why_no_pictures, write_pictures
from analysis.report.plots import SupplementFigure
from analysis.report.supplement import figures_left_out, write_figures
from analysis.report.time_share_figure import time_share_item
from analysis.runs.left_out import why_no_attention
from analysis.runs.run_directory import Run
from sth_core.errors import UserError
from sth_core.files import csv_text
from workbench.components.cached import cached_alpha, cached_attention_table, cached_result
from workbench.components.chart import WHO_HAS_ATTENTION, show_chart
from workbench.components.context import (
    Usable,
    choose_one,
    choose_runs,
    end_page,
    escape_markdown,
    first_runs,
    show_left_out,
    show_run_warnings,
    usable_runs,
)

FAILED = "figures that could not be drawn"  # where a session keeps why: a download is made beside the page
MIME = {"pdf": "application/pdf", "svg": "image/svg+xml", "png": "image/png"}


def show_figures_page() -> None:
    st.title("Figures")
    st.caption("The supplement's Figures 5 to 10 for the chosen runs; of transformers their attention across time.")
    usable = usable_runs()
    without = {name: why_no_attention(run) for name, run in usable.runs.items() if not has_signal(run)}
    chosen = choose_figure_runs(usable, without)
    show_left_out(without, "in no figure")
    show_run_warnings(chosen)
    runs = list(chosen.values())
    size = show_sizes(runs)
    figures_9_and_10 = cached_result("class_figures", runs, lambda: class_figures(runs))
    items = [*supplement_figures(cached_attention_table(runs)), *figures_9_and_10]
    items += [item] if (item := time_share_item(runs, cached_alpha)) else []
    for item in items:
        with st.container(border=True):
            st.header(item.title)
            show_chart(item.figure, key=item.name, alt=f"{item.title}. {item.caption}")
            st.caption(escape_markdown(item.caption))
            show_downloads(item, size)
    for sentence in figures_left_out(items):
        st.caption(f"Left out: {sentence}.")
    drawn, not_drawn = split_drawn(chosen)
    for name, why in not_drawn.items():
        st.caption(f"Left out: {escape_markdown(f'{name}, as {why}')}.")
    st.caption(f"Runs: {', '.join(map(escape_markdown, drawn))}")


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


def show_sizes(runs: list[Run]) -> FigureSize | None:
    """The choice of a size, and the download of all files; None if no browser is there that draws pictures."""
    failed: set[str] = st.session_state.setdefault(FAILED, set())
    reason = why_no_pictures()
    name = choose_one("Size of pictures", list(SIZES), "for", DEFAULT_SIZE, disabled=bool(reason))
    kinds = "HTML, CSV and JSON" if reason else "HTML, PDF, SVG, PNG, CSV and JSON"
    st.download_button(
        f"All figures as {kinds}", lambda: zipped_figures(runs, name, failed), "figures.zip", "application/zip",
        icon=":material/download:", help=f"The same files as `sth figures RUNS -o DIR --for {name}` writes.",
    )  # fmt: skip
    if not reason:
        st.caption(f"A picture is drawn when you press its button, for {SIZES[name].title}.")
    for sentence in sorted(failed | {reason} - {""}):
        st.warning(escape_markdown(sentence).replace("\\`", "`") + ".")
    failed.clear()
    return None if reason else SIZES[name]


def show_downloads(item: SupplementFigure, size: FigureSize | None) -> None:
    """A figure's pictures of this size, each drawn when its button is pressed, and its numbers."""
    failed: set[str] = st.session_state[FAILED]
    with st.container(horizontal=True):
        if size:
            for kind in PICTURES:
                label, name = f"{kind.upper()} of {item.title.split(':')[0]}", f"{item.name}.{kind}"
                draw = partial(drawn_figure, item, size, kind, failed)
                st.download_button(label, draw, name, MIME[kind], key=name)
        csv = csv_text(item.data)
        st.download_button(
            "Numbers (CSV)", csv, f"{item.name}.csv", "text/csv", key=f"{item.name}_csv", on_click="ignore"
        )


def drawn_figure(item: SupplementFigure, size: FigureSize, kind: str, failed: set[str]) -> bytes:
    """The picture. Raises UserError, with the reason added to `failed`: it cannot be drawn."""
    with TemporaryDirectory() as folder:
        if missing := write_pictures({item.name: at_size(item, size)}, Path(folder), (kind,)):
            failed.add(missing)
            raise UserError(missing)
        return Path(folder, f"{item.name}.{kind}").read_bytes()


def zipped_figures(runs: list[Run], size: str, failed: set[str]) -> bytes:
    """Everything that `sth figures` writes; `failed` gets why pictures are missing."""
    with TemporaryDirectory() as folder:
        out = Path(folder, "figures")
        written = write_figures(runs, out, size=size, command=f"sth figures RUNS -o DIR --for {size}")
        assert written is not None  # the chosen runs have attention
        if written.without_pictures:
            failed.add(written.without_pictures)
        return Path(shutil.make_archive(f"{folder}/figures", "zip", out)).read_bytes()


show_figures_page()
