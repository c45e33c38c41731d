"""The form on the page Views that makes a report of the saved views, and the download of its files."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import streamlit as st

from analysis.report.report_sources import ReportSources, runs_of
from analysis.report.written_report import ReportOptions, write_report
from analysis.runs.notes import tag_counts
from analysis.runs.run_directory import Run
from analysis.runs.saved_views import SavedView
from sth_core.checkpoint import Checkpoint
from sth_core.errors import UserError
from workbench.components.cached import cached_network, listed_runs
from workbench.components.context import errors_shown, escape_markdown, run_id
from workbench.networks import network_of_run
from workbench.roots import runs_folder, why_not_readable

MADE = "report made"  # where a session keeps the last one
LONGEST_TITLE = 200  # characters


@dataclass(frozen=True)
class MadeReport:
    """The files of a report; `pdf` is empty if there is none, and one of the sentences in `said` says why."""

    page: bytes
    pdf: bytes
    said: tuple[str, ...]


def show_report_form(views: list[SavedView]) -> None:
    """Which views and clips, the button, and what it has made."""
    st.header("Report")
    st.caption(
        "The chosen views in one file that can be sent: their figures with numbers, their clips with frames and "
        "explanation, notes and tags, and how each is made again."
    )
    with errors_shown():
        runs = {run_id(run): run for run in listed_runs()}
        if not runs:
            st.info("There are no runs yet.")
            return
        with st.form("report"):
            title = st.text_input("Title", "Report", max_chars=LONGEST_TITLE)
            names = [view.name for view in reversed(views)]
            chosen = st.multiselect("Views", names, default=names, placeholder="none: what all runs show")
            tags = st.multiselect("Clips with one of these tags", tags_of_all(runs), placeholder="none")
            clicked = st.form_submit_button("Make the report", icon=":material/summarize:")
        if clicked:
            st.session_state.pop(MADE, None)
            wanted = [view for view in reversed(views) if view.name in chosen]
            no_views = bool(views) and not wanted
            st.session_state[MADE] = make_report(runs, wanted, title.strip() or "Report", tags, no_views=no_views)
        show_made()


def tags_of_all(runs: dict[str, Run]) -> list[str]:
    """The tags on clips of any run; notes that cannot be read have none, which the report says of a chosen clip."""
    found: dict[str, None] = {}
    for run in runs.values():
        try:
            found |= dict.fromkeys(tag_counts(run))
        except UserError:
            continue
    return sorted(found)


def make_report(
    runs: dict[str, Run], views: list[SavedView], title: str, tags: list[str], *, no_views: bool
) -> MadeReport:
    """The same files as `sth report` writes; of many runs only those that the views show. `no_views`: there are views,
    which the command would add."""
    named = {name: runs[name] for view in views for name in sorted(runs_of(view)) if name in runs}
    sources = ReportSources(
        runs_folder(), runs, named if named and not tags else runs, open_for_report, why_not_readable
    )
    options = [f"--title={title}", *["--no-views"] * no_views]
    options += [*(f"--view={view.name}" for view in views), *(f"--tag={tag}" for tag in tags)]
    command = shlex.join(["sth", "report", str(runs_folder().absolute()), "-o", "report.html", *options])
    bar = st.progress(0.0, "Writing the report")
    with TemporaryDirectory() as folder:
        written = write_report(
            sources, views, Path(folder, "report.html"), ReportOptions(title, tags, command),
            lambda done, total: bar.progress(done / total, f"Writing the report: {done} of {total} parts"),
        )  # fmt: skip
        bar.empty()
        pdf = written.pdf.read_bytes() if written.pdf else b""
        return MadeReport(written.page.read_bytes(), pdf, tuple(written.said))


def open_for_report(run: Run) -> Checkpoint:
    return cached_network(network_of_run(run), run)


def show_made() -> None:
    made: MadeReport | None = st.session_state.get(MADE)
    if made is None:
        return
    with st.container(horizontal=True):
        for kind, content, mime in (("HTML", made.page, "text/html"), ("PDF", made.pdf, "application/pdf")):
            if content:
                st.download_button(
                    f"Download {kind}", content, f"report.{kind.lower()}", mime, icon=":material/download:",
                    type="primary", on_click="ignore", key=f"report_{kind}",
                )  # fmt: skip
    for sentence in made.said:
        st.caption(f"{escape_markdown(sentence)}.".replace("\\`", "`"))
