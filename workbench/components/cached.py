"""Tables and networks that all sessions share, without copies: nothing may change what these functions return."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from analysis.attention.alpha_matrix import Alpha, has_signal, read_signal
from analysis.attention.clip_profiles import clip_overview
from analysis.report.figures_5_to_8 import attention_by_layer
from analysis.runs.features import Features, read_features
from analysis.runs.run_directory import Run, find_runs, has_clip, open_run
from analysis.runs.stored_sample import DESCRIPTION
from sth_core.errors import UserError
from sth_core.files import sha256
from sth_core.memory import give_back_freed_memory
from sth_core.network_names import FILE, NetworkName
from workbench.networks import offered_networks
from workbench.roots import runs_folder
from workbench.runs_in_roots import within_roots
from workbench.summaries import VERSION, Summaries

if TYPE_CHECKING:
    from sth_core.checkpoint import Checkpoint

CACHED_RESULTS = 192  # of all runs together


def state_of(path: Path) -> tuple[int, ...]:
    """What changes when a file does, or who may read it; of a link itself. Empty if it may not be looked at."""
    try:  # object storage has no links, and no time of a change of rights
        found = path.lstat() if isinstance(path, Path) else path.stat()
    except OSError:
        return ()
    return found.st_size, found.st_mtime_ns, getattr(found, "st_ctime_ns", 0)


# Caches a function of files: a file that has changed is read again.
cache_data_of_files = partial(
    st.cache_data, hash_funcs={type(Path()): lambda path: (str(path), state_of(path), state_of(path.resolve()))}
)
cached_sha256 = cache_data_of_files(show_spinner=False, max_entries=64)(sha256)


def cached_result(name: str, runs: list[Run], compute: Callable[[], Any], *parameters: object) -> Any:
    """What `compute` returns, cached until a run gets another shard; `name` and `parameters` identify it."""
    key = [(str(run.path), run.every, sample_state(run), shard_times(run)) for run in runs]
    return _cached_result(name, repr((key, parameters)), compute)  # Streamlit hashes one string faster than many


def sample_state(run: Run) -> tuple[int, ...]:
    """The state of the stored sample that is read; empty if none is."""
    return state_of(run.stored.folder / DESCRIPTION) if run.stored else ()


looked_at = threading.local()  # `shards`: those of each run, while `files_looked_at_once`


@contextmanager
def files_looked_at_once() -> Iterator[None]:
    """In this thread, while a page runs; else each cached result would look at the same files again."""
    looked_at.shards = {}
    try:
        yield
    finally:
        del looked_at.shards


def shard_times(run: Run) -> list[tuple[str, tuple[int, ...]]]:
    """The run's shards and its table of failures, with the state of each (`state_of`)."""
    known: dict[str, list[tuple[str, tuple[int, ...]]]] = getattr(looked_at, "shards", {})
    if (path := str(run.path)) not in known:
        known[path] = look_at_shards(run)
    return known[path]


def look_at_shards(run: Run) -> list[tuple[str, tuple[int, ...]]]:
    files = [file for kind in ("predictions", "attention", "probes") for file in parquet_files(run.path / kind)]
    return [(file.name, state_of(file)) for file in (*sorted(files), run.path / "failures.parquet")]


def parquet_files(folder: Path) -> list[Path]:
    """None if the folder may not be looked at."""
    if not isinstance(folder, Path):  # of object storage
        return list(folder.glob("*.parquet"))
    try:
        with os.scandir(folder) as entries:  # of a thousand runs, glob would take most of a page's time
            return [folder / entry.name for entry in entries if entry.name.endswith(".parquet")]
    except OSError:
        return []


opened: dict[str, tuple[tuple[tuple[int, ...], ...], Run]] = {}


def listed_runs() -> list[Run]:
    """All runs of the folder of runs. The description of a finished one is read again when it has changed."""

    def read(path: Path) -> Run:
        state = state_of(path / "run.json"), state_of(path / "predictions")  # which may not be readable any more
        known = opened.get(str(path))
        if known and all(state) and known[0] == state:
            return known[1]
        run = open_run(path)
        if run.meta and not run.problem:
            opened[str(path)] = state, run
        return run

    return [within_roots(run) for run in find_runs(runs_folder(), read)]


def cached_features(run: Run) -> Features:
    return cached_result("features", [run], lambda: read_features(run))


@cache
def all_summaries() -> Summaries:
    return Summaries(lambda run: repr((VERSION, state_of(run.path / "run.json"), shard_times(run))))


@st.cache_resource(show_spinner="Computing", max_entries=CACHED_RESULTS)
def _cached_result(name: str, key: str, _compute: Callable[[], Any]) -> Any:
    value = _compute()
    give_back_freed_memory()  # of the shards that were read
    return value


def cached_alpha(run: Run) -> Alpha:
    """The attention of a run that has recorded some: α, or of a transformer its attention across time
    (`Alpha.signal`)."""
    return cached_result("alpha", [run], lambda: read_signal(run))


def cached_overview(run: Run) -> pd.DataFrame:
    """A row per clip of the run (`clip_overview`)."""
    return cached_result("overview", [run], lambda: clip_overview(run, cached_alpha(run) if has_signal(run) else None))


def cached_has_clip(run: Run, clip_id: str) -> bool:
    """Whether a run has this clip, in its sample or not (`has_clip`)."""
    return bool(cached_result("has_clip", [run], lambda: has_clip(run, clip_id), clip_id))


def cached_attention_table(runs: list[Run]) -> pd.DataFrame:
    """The table from which the supplement's figures are drawn."""
    return cached_result("attention", runs, lambda: attention_by_layer(runs, cached_alpha))


def cached_network(name: NetworkName, run: Run | None = None) -> "Checkpoint":
    """A network; attach nothing to it. Raises UserError: it cannot be opened, or is not that of the `run`."""
    expected = run.meta["checkpoint_sha256"] if run else ""
    content = cached_sha256(Path(name.name)) if name.kind == FILE else expected
    same = not run or content == expected or bool(name.class_names)  # which are no part of the file's checksum
    found = _cached_network(name, content) if same else None
    if run and (not found or found.sha256 != expected):
        raise UserError(f"{name.label} has been replaced since the run {run.name} was recorded: it is another network.")
    assert found
    return found


@st.cache_resource(show_spinner="Loading the network", max_entries=4)
def _cached_network(name: NetworkName, sha256: str) -> "Checkpoint":
    from sth_core.open_network import open_network  # torch takes seconds to import, and most pages do not need it

    return open_network(name, download=name in offered_networks())  # no run makes the app download
