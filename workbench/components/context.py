"""What every page needs: the folder of runs, the chosen run, and its tables and network, cached.

Tables and networks are shared by all sessions (`st.cache_resource`: no session gets a copy, none changes them); what a
person chose is in the URL, so that a copied link opens the same view.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pandas as pd
import streamlit as st

from analysis.attention.alpha_matrix import Alpha, has_attention, read_alpha
from analysis.attention.clip_profiles import clip_overview
from analysis.report.figures_5_to_8 import attention_by_layer
from analysis.runs.run_directory import Run, find_runs
from sth_core.files import sha256
from sth_core.memory import give_back_freed_memory

if TYPE_CHECKING:
    from sth_core.checkpoint import Checkpoint

ATTENTION_PAGE, PREDICTIONS_PAGE, CLIP_PAGE, COMPARE_PAGE, OWN_PAGE = (
    f"workbench/pages/{name}.py" for name in ("attention", "predictions", "clip", "compare", "own")
)
PER_RUN, OF_RUNS = 24, 8  # tables that are kept in memory


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


def name_of(run: Run) -> str:
    """A run's place in the folder of runs: how links name it."""
    return str(run.path.relative_to(runs_folder()))


def warn_of_problems(runs: list[Run]) -> None:
    """One line for each run that is damaged or not finished."""
    for run in runs:
        if run.problem:
            st.warning(f"**{plain(run.name)}**: {plain(run.problem)}", icon=":material/hourglass_top:")


def usable_runs(runs: list[Run]) -> dict[str, Run]:
    """{name: run} of those with a recorded clip, or a page that says that there is none."""
    usable = {name_of(run): run for run in runs if run.usable and run.meta}
    if not usable:
        warn_of_problems(runs)
        st.info("No run here has a recorded clip yet.")
        st.stop()
    return usable


def one_of(
    label: str, options: list[str], key: str, first: str | None = None, of: str = "", always: bool = True, **more: Any
) -> str:  # fmt: skip
    """A select box whose choice is in the URL, as `key`: also its default, which Streamlit's own binding leaves out,
    unless not `always`.

    The URL goes first where it has changed since this session last looked: a link, or Back. A choice is kept from
    page to page; with `of`, the thing that it is a choice for, it is not taken over to another. What a link names and
    is not there is said.
    """
    default = options[0] if first is None else first
    wanted, page = st.query_params.get(key, None if always else default), urlsplit(st.context.url or "").path
    widget = f"{key} {of}".strip()
    kept, looked = f"{widget} chosen", f"{widget} in the URL of {page}"
    if wanted is not None and wanted not in options:
        if wanted != st.session_state.get(looked):
            st.warning(f"The link names a {label.lower()} that is not here: {plain(wanted)}. Showing another.")
        wanted = None
    value = st.session_state.get(widget)
    if wanted is not None and wanted != st.session_state.get(looked):
        value = wanted
    elif value not in options:
        before = st.session_state.get(kept)
        value = before if before in options else default
    st.session_state[widget] = value  # also where it is that: on another page the select box is new
    chosen = str(st.selectbox(label, options, key=widget, **more))
    # Also where it is what the server knows: a link within a page tells the server, and not the browser's address.
    if st.session_state.get(looked) != chosen or (always and key not in st.query_params):
        if always or chosen != default:
            st.query_params[key] = chosen
        else:
            st.query_params.pop(key, None)
    st.session_state[kept] = st.session_state[looked] = chosen
    return chosen


def choose_run(runs: list[Run], key: str = "run", label: str = "Run") -> Run:
    """The run in the URL, which the select box in the sidebar changes."""
    usable = usable_runs(runs)
    with st.sidebar:
        run = usable[one_of(label, list(usable), key)]
        st.caption(f"{plain(run.title)}")
    warn_of_problems([run])
    return run


Parts = tuple[tuple[str, int], ...]  # a run's files of a kind, and when they were written


def parts_of(run: Run, *kinds: str) -> Parts:
    files = [file for kind in kinds for file in (run.path / kind).glob("*.parquet")]
    return tuple((part.name, part.stat().st_mtime_ns) for part in sorted(files))


def computed(name: str, runs: list[Run], compute: Callable[[], Any], *more: object) -> Any:
    """What `compute` gives, kept for all sessions until a part is added to one of the runs; read, never changed.

    `name` and `more` say what is computed.
    """
    key = tuple((str(run.path), parts_of(run, "predictions", "attention", "probes")) for run in runs)
    return _computed(name, repr((key, more)), compute)  # a tuple of many parts keeps Streamlit busy


@st.cache_resource(show_spinner="Computing", max_entries=PER_RUN * OF_RUNS)
def _computed(name: str, key: str, _compute: Callable[[], Any]) -> Any:
    value = _compute()
    give_back_freed_memory()  # of the parts that it was read from
    return value


def alpha_of(run: Run) -> Alpha:
    """The attention of a run that has some."""
    alpha: Alpha = computed("alpha", [run], lambda: read_alpha(run))
    return alpha


def table_of(run: Run) -> pd.DataFrame:
    """The run's clips, light columns (`clip_overview`)."""
    table: pd.DataFrame = computed(
        "overview", [run], lambda: clip_overview(run, alpha_of(run) if has_attention(run) else None)
    )
    return table


def attention_of(runs: list[Run]) -> pd.DataFrame:
    """The table that the supplement's figures are drawn from."""
    table: pd.DataFrame = computed("attention", runs, lambda: attention_by_layer(runs, alpha_of))
    return table


@st.cache_data(show_spinner=False, max_entries=64)
def checksum(path: str, changed: int) -> str:
    return sha256(Path(path))


@st.cache_resource(show_spinner="Loading the network", max_entries=4)
def network(path: str, sha256: str) -> "Checkpoint":
    """A checkpoint, shared by all sessions: nothing is ever attached to it."""
    from sth_core.checkpoint import load_checkpoint  # and torch, which takes seconds, and most pages do without

    return load_checkpoint(path)


def counted(n: int) -> str:
    return "1 clip" if n == 1 else f"{n} clips"


def plain(text: str) -> str:
    """Text from files and folders, shown as it is: no Markdown, no HTML."""
    for character in "\\`&*_{}[]()#+-.!|<>$~:":
        text = text.replace(character, "\\" + character)
    return text
