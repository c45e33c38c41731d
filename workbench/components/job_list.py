"""The background jobs of the folder of runs, refreshed while one runs: recordings and experiments."""

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from analysis.experiments.found_results import EXPERIMENTS, NAMES
from analysis.runs.caveats import accuracy_caveats
from analysis.runs.run_directory import open_run
from workbench.components.context import (
    EXPERIMENTS_PAGE,
    PREDICTIONS_PAGE,
    errors_shown,
    escape_markdown,
    run_action,
    show_problem,
)
from workbench.jobs import Job, cancel_job, find_jobs, job_status
from workbench.pace import format_duration
from workbench.roots import runs_folder

REFRESH_SECONDS = 2
MOST_JOBS = 20  # that are listed
STATE_COLOURS = {"running": "blue", "finished": "green", "failed": "red", "cancelled": "gray", "lost": "orange"}
TITLES = {"record": "Recording"} | NAMES


def show_jobs() -> None:
    """The jobs below a heading; nothing if there has never been one."""
    damaged: list[str] = []
    jobs = find_jobs(runs_folder().resolve(), damaged.append)
    if not jobs and not damaged:
        return
    st.header("Background jobs")
    st.caption("Everyone who uses this app sees these and can cancel them. A cancelled job keeps its finished clips.")
    running = [job.folder.name for job in jobs if job_status(job).state == "running"]
    st.fragment(list_jobs, run_every=REFRESH_SECONDS if running else None)(running)


def list_jobs(running: list[str]) -> None:
    """`running` are those that ran when the page was drawn: once one of them has ended, the page shows its results."""
    with errors_shown():  # app.py does not catch an error of a fragment that runs alone
        damaged: list[str] = []
        jobs = find_jobs(runs_folder().resolve(), damaged.append)[:MOST_JOBS]
        if any(job.folder.name in running and job_status(job).state != "running" for job in jobs):
            st.rerun()
        for job in jobs:
            with st.container(border=True):
                show_job(job)
        for sentence in damaged:
            st.caption(f"A job is not listed: {escape_markdown(sentence)}.")


def show_job(job: Job) -> None:
    status = job_status(job)
    text, button = st.columns([5, 1])
    state = f":{STATE_COLOURS[status.state]}[{status.state}]"
    title = f"{TITLES.get(job.kind, 'Job')}: {escape_markdown(job.run.name)}"
    text.markdown(f"**{title}** · {state} · started {escape_markdown(job.started)}")
    if status.state == "running":
        left = f", {format_duration(status.seconds_left)} left" if status.seconds_left is not None else ""
        progress = f"{status.done} of {status.total} clips{left}" if status.total else "starting"
        text.progress(status.done / status.total if status.total else 0.0, text=progress)
        name = f"cancel {job.folder.name}"
        button.button("Cancel", key=name, on_click=run_action, args=(name, cancel_job, job))
    elif status.state == "finished":
        text.caption(escape_markdown(status.last_line))
        show_finished(job, text, button)
    elif status.state == "failed":
        text.error(f"The job failed: {escape_markdown(status.last_line or 'it gave no reason.')}")
    else:
        why = "The machine was restarted during this job" if status.state == "lost" else "It was cancelled"
        text.caption(f"{why}. To resume it, start it again{' under the same name' * (job.kind not in EXPERIMENTS)}.")
    show_problem(f"cancel {job.folder.name}")
    if status.log:
        with st.expander("Log"):
            st.code(status.log, language=None)


def show_finished(job: Job, text: DeltaGenerator, button: DeltaGenerator) -> None:
    """A link to what the job has made; of a recording also what must be said beside its accuracy."""
    if job.kind not in EXPERIMENTS:
        for sentence in accuracy_caveats(open_run(job.run).meta):
            text.caption(escape_markdown(sentence))
    if not (job.run / "run.json").is_file():
        return
    runs = runs_folder().resolve()
    query = {"run": str(job.run.relative_to(runs)) if job.run.is_relative_to(runs) else job.run.name}
    if job.kind in EXPERIMENTS:
        label = f"{TITLES[job.kind]} of {escape_markdown(job.run.name)}"
        button.page_link(EXPERIMENTS_PAGE, label=label, query_params=query | {"experiment": TITLES[job.kind]})
    else:
        button.page_link(PREDICTIONS_PAGE, label="Open the run", query_params=query)
