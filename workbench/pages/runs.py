"""Runs: the first page, a table of all runs, whose chosen ones open on the other pages."""

from dataclasses import replace

import streamlit as st

from analysis.attention.run_summary import RunSummary, best_first
from analysis.runs.large_runs import sample_sentence
from analysis.runs.mirror import mirror_at
from analysis.runs.run_directory import Run
from workbench.components.cached import all_summaries
from workbench.components.context import escape_markdown, found_runs, show_left_out, show_run_warnings
from workbench.components.csv_files import show_table_csv
from workbench.components.demo_intro import show_demo_intro
from workbench.components.run_table import choose_rows, run_rows, show_links
from workbench.components.tour import is_demo
from workbench.roots import runs_folder

REFRESH_SECONDS = 2
MOST_WARNINGS = 3


def show_runs_page() -> None:
    st.title("Runs")
    runs = found_runs()
    if mirror := mirror_at(runs_folder()):
        when = escape_markdown(str(mirror.index.get("when")))
        st.caption(
            f"Fetched from {escape_markdown(mirror.url)}, last compared {when}. Notes, saved views and results of "
            "experiments stay on this machine."
        )
    if is_demo():
        show_demo_intro()
    summaries = all_summaries().of(runs)
    if len(summaries) < len(runs):
        st.fragment(show_runs_being_read, run_every=REFRESH_SECONDS)(runs)
    else:
        show_runs(runs, summaries)


def show_runs_being_read(runs: dict[str, Run]) -> None:
    """The table, in the order of names: it is sorted once all runs are read."""
    summaries = all_summaries().of(runs)
    if len(summaries) == len(runs):
        st.rerun()
    done = f"{len(summaries):,} of {len(runs):,} runs have been read"
    st.progress(len(summaries) / len(runs), f"{done}; then the best come first. The other pages can be used meanwhile.")
    show_runs(runs, summaries)


def show_runs(runs: dict[str, Run], summaries: dict[str, RunSummary]) -> None:
    problems = {name: runs[name].problem or summary.problem for name, summary in summaries.items()}
    problems = {name: problem for name, problem in problems.items() if problem}
    shown = {name: run for name, run in runs.items() if run.meta}
    order = best_first(shown, summaries if len(summaries) == len(runs) else {})
    order = sorted(order, key=lambda name: name in summaries and bool(summaries[name].problem))
    table = run_rows({name: runs[name] for name in [*order, *(name for name in runs if name not in shown)]}, summaries)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        text = st.text_input(
            "Find", key="find", bind="query-params", placeholder="Find a run: name, network, data, p, ...", width=320,
            label_visibility="collapsed",
        )  # fmt: skip
        links = st.container(horizontal=True, vertical_alignment="center")
    chosen = choose_rows(table, text)
    show_table_csv(table.drop(columns="layers"), "runs")
    for name, summary in summaries.items():
        if said := sample_sentence(replace(runs[name], every=summary.every)):
            st.caption(f"**{escape_markdown(name)}**: {said}; its accuracy, interval and α_T are of these.")
    with links:
        show_links([name for name in chosen if not (name in summaries and summaries[name].problem)])
    if len(problems) > MOST_WARNINGS:
        show_left_out(problems, "damaged or unfinished")
    else:
        show_run_warnings({name: runs[name] for name in problems}, problems)


show_runs_page()
