"""What every page needs: the folder of runs, the chosen run, and its tables and network, cached."""

import os
from pathlib import Path

import pandas as pd
import streamlit as st

from analysis.figures import gather
from analysis.runs import Run, find_runs, predictions
from sth_core.checkpoint import Checkpoint, load_checkpoint

CLIP_PAGE = "workbench/pages/clip.py"


def runs_folder() -> Path:
    """The folder given to `sth app`; without one, the demo's."""
    return Path(os.environ.get("STH_RUNS", "demo/runs"))


def all_runs() -> list[Run]:
    """The runs, or a page that says how to make one."""
    folder = runs_folder()
    runs = find_runs(folder)
    if not runs:
        st.info(
            f"There are no runs in `{folder}` yet. Make one with `sth record CHECKPOINT --data DIR -o "
            f"{folder}/NAME`, or all of the demo's with `make demo`; then reload this page."
        )
        st.stop()
    return runs


def warn_of_problems(runs: list[Run]) -> None:
    """One line for each run that is damaged or not finished."""
    for run in runs:
        if run.problem:
            st.warning(f"**{plain(run.name)}**: {plain(run.problem)}", icon=":material/hourglass_top:")


def choose_run(runs: list[Run]) -> Run:
    """The run in the URL, which the select box in the sidebar changes."""
    usable = [run for run in runs if run.usable and run.meta]
    if not usable:
        warn_of_problems(runs)
        st.info("No run here has a recorded clip yet.")
        st.stop()
    names = {str(run.path.relative_to(runs_folder())): run for run in usable}
    wanted = st.query_params.get("run")
    if wanted is not None and wanted not in names:
        st.warning(f"The link names a run that is not here: {plain(wanted)}. Showing another.")
        del st.query_params["run"]
    with st.sidebar:
        chosen = st.selectbox("Run", list(names), key="run", bind="query-params")
        run = names[chosen]
        st.caption(f"{plain(run.title)}")
    warn_of_problems([run])
    return run


Parts = tuple[tuple[str, int], ...]  # a run's files of a kind, and when they were written


def parts_of(run: Run, kind: str) -> Parts:
    return tuple((part.name, part.stat().st_mtime_ns) for part in sorted((run.path / kind).glob("*.parquet")))


def table_of(run: Run) -> pd.DataFrame:
    """The run's predictions; read again when a part was added."""
    return _predictions(str(run.path), parts_of(run, "predictions"), run)


@st.cache_data(show_spinner="Reading predictions", max_entries=16)
def _predictions(path: str, parts: Parts, _run: Run) -> pd.DataFrame:
    return predictions(_run)


def attention_of(runs: list[Run]) -> pd.DataFrame:
    """The table that the supplement's figures are drawn from; computed again when a part was added."""
    return _attention(tuple((str(run.path), parts_of(run, "attention")) for run in runs), runs)


@st.cache_data(show_spinner="Reading attention", max_entries=16)
def _attention(key: tuple[tuple[str, Parts], ...], _runs: list[Run]) -> pd.DataFrame:
    return gather(_runs)


@st.cache_resource(show_spinner="Loading the network", max_entries=4)
def network(path: str, sha256: str) -> Checkpoint:
    """A checkpoint, shared by all sessions: nothing is ever attached to it."""
    return load_checkpoint(path)


def plain(text: str) -> str:
    """Text from files and folders, shown as it is: no Markdown, no HTML."""
    for character in "\\`*_{}[]()#+!|<>$~:":
        text = text.replace(character, "\\" + character)
    return text
