"""What every page needs: the folder of runs, the chosen run, and its tables and network, cached.

All sessions share tables and networks (`st.cache_resource` makes no copies), so nothing may change them. A person's
choices are in the URL, so that a copied link opens the same view.
"""

from collections.abc import Callable
from functools import partial
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
from workbench.roots import runs_folder

if TYPE_CHECKING:
    from sth_core.checkpoint import Checkpoint

ATTENTION_PAGE, PREDICTIONS_PAGE, CLIP_PAGE, COMPARE_PAGE, OWN_PAGE = (
    f"workbench/pages/{name}.py" for name in ("attention", "predictions", "clip", "compare", "own")
)
CACHED_RESULTS = 192  # of all runs together
RENAMED_VALUES = {
    ("show", "Statements"): "Hypotheses",
    ("show", "Right and wrong"): "Correct and misclassified",
    ("outcome", "wrong"): "misclassified",
    ("changed", "both right"): "both correct",
    ("changed", "both wrong"): "both misclassified",
}

# Caches a function of files: a file that has changed is read again.
cache_data_of_files = partial(
    st.cache_data, hash_funcs={type(Path()): lambda path: (str(path), path.stat().st_mtime_ns if path.exists() else 0)}
)


def redirect_old_links() -> None:
    """Links that were copied from an earlier version may hold values that have been renamed since."""
    renamed = {key: new for (key, old), new in RENAMED_VALUES.items() if st.query_params.get(key) == old}
    if renamed:
        st.query_params.update(renamed)
        st.rerun()


def load_runs() -> list[Run]:
    """All runs; if there are none, the page says how to record one, and ends."""
    folder = runs_folder()
    runs = find_runs(folder)
    if not runs:
        st.info(
            f"There are no runs in `{folder}` yet. Record one with `sth record CHECKPOINT --data DIR -o "
            f"{folder}/NAME`, or all runs of the demo with `make demo`. Then reload this page."
        )
        st.stop()
    return runs


def run_id(run: Run) -> str:
    """A run's path inside the folder of runs, by which links name it."""
    return str(run.path.relative_to(runs_folder()))


def show_run_warnings(runs: list[Run]) -> None:
    """One line for each run that is damaged or unfinished."""
    for run in runs:
        if run.problem:
            st.warning(
                f"**{escape_markdown(run.name)}**: {escape_markdown(run.problem)}", icon=":material/hourglass_top:"
            )


def usable_runs(runs: list[Run]) -> dict[str, Run]:
    """{run_id: run} of the runs with a recorded clip; if there are none, the page says so, and ends."""
    usable = {run_id(run): run for run in runs if run.usable and run.meta}
    if not usable:
        show_run_warnings(runs)
        st.info("No run has a recorded clip yet.")
        st.stop()
    return usable


def linked_selectbox(
    label: str, options: list[str], key: str, *, default: str | None = None, scope: str = "",
    default_in_url: bool = True, **more: Any,
) -> str:  # fmt: skip
    """A select box whose choice is in the URL as `key`, and is kept from page to page.

    Streamlit's own binding leaves the default out of the URL; this one writes it if `default_in_url`.
    If the URL has changed since this session last read it (a link, or Back), the URL decides. A choice for one `scope`
    (a clip, for example) is not used for another one. A warning names an option in the URL that does not exist.
    """
    first = options[0] if default is None else default
    wanted, page = st.query_params.get(key, None if default_in_url else first), urlsplit(st.context.url or "").path
    widget = f"{key} {scope}".strip()
    last_choice, last_url = f"{widget} chosen", f"{widget} in the URL of {page}"
    if wanted is not None and wanted not in options:
        if wanted != st.session_state.get(last_url):
            st.warning(
                f"The link names a {label.lower()} that does not exist: {escape_markdown(wanted)}. The page shows "
                "another one."
            )
        wanted = None
    value = st.session_state.get(widget)
    if wanted is not None and wanted != st.session_state.get(last_url):
        value = wanted
    elif value not in options:
        before = st.session_state.get(last_choice)
        value = before if before in options else first
    st.session_state[widget] = value  # even if it is that already: on another page the select box is a new one
    chosen = str(st.selectbox(label, options, key=widget, **more))
    # Even if the server has this URL already: a link within a page changes the server's URL, and not the browser's.
    if st.session_state.get(last_url) != chosen or (default_in_url and key not in st.query_params):
        if default_in_url or chosen != first:
            st.query_params[key] = chosen
        else:
            st.query_params.pop(key, None)
    st.session_state[last_choice] = st.session_state[last_url] = chosen
    return chosen


def choose_run(runs: list[Run]) -> Run:
    """The run in the URL, which the select box in the sidebar changes."""
    usable = usable_runs(runs)
    with st.sidebar:
        run = usable[linked_selectbox("Run", list(usable), "run")]
        st.caption(escape_markdown(run.title))
    show_run_warnings([run])
    return run


def shard_times(run: Run, *kinds: str) -> tuple[tuple[str, int], ...]:
    """The run's shards of these kinds, and when each was written."""
    files = [file for kind in kinds for file in (run.path / kind).glob("*.parquet")]
    return tuple((file.name, file.stat().st_mtime_ns) for file in sorted(files))


def cached_result(name: str, runs: list[Run], compute: Callable[[], Any], *parameters: object) -> Any:
    """What `compute` returns, shared by all sessions until one of the runs gets another shard; never change it.

    `name` and `parameters` identify what is computed.
    """
    key = tuple((str(run.path), shard_times(run, "predictions", "attention", "probes")) for run in runs)
    return _cached_result(name, repr((key, parameters)), compute)  # Streamlit hashes one string faster than many


@st.cache_resource(show_spinner="Computing", max_entries=CACHED_RESULTS)
def _cached_result(name: str, key: str, _compute: Callable[[], Any]) -> Any:
    value = _compute()
    give_back_freed_memory()  # of the shards that were read
    return value


def cached_alpha(run: Run) -> Alpha:
    """The attention of a run that has recorded some."""
    alpha: Alpha = cached_result("alpha", [run], lambda: read_alpha(run))
    return alpha


def cached_overview(run: Run) -> pd.DataFrame:
    """A row per clip of the run (`clip_overview`)."""
    table: pd.DataFrame = cached_result(
        "overview", [run], lambda: clip_overview(run, cached_alpha(run) if has_attention(run) else None)
    )
    return table


def cached_attention_table(runs: list[Run]) -> pd.DataFrame:
    """The table from which the supplement's figures are drawn."""
    table: pd.DataFrame = cached_result("attention", runs, lambda: attention_by_layer(runs, cached_alpha))
    return table


@cache_data_of_files(show_spinner=False, max_entries=64)
def cached_sha256(path: Path) -> str:
    return sha256(path)


@st.cache_resource(show_spinner="Loading the network", max_entries=4)
def cached_checkpoint(path: str, sha256: str) -> "Checkpoint":
    """A checkpoint that all sessions share: attach nothing to its network."""
    from sth_core.checkpoint import load_checkpoint  # torch takes seconds to import, and most pages do not need it

    return load_checkpoint(path)


def format_clip_count(n: int) -> str:
    return "1 clip" if n == 1 else f"{n} clips"


def escape_markdown(text: str) -> str:
    """Text from files and folders, so that Streamlit shows it unchanged: no Markdown, no HTML."""
    for character in "\\`&*_{}[]()#+-.!|<>$~:":
        text = text.replace(character, "\\" + character)
    return text
