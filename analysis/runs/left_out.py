"""What a result leaves out, by name and with the reason: runs that cannot be used, and clips that a run lacks."""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from analysis.runs.run_directory import SHARD_KINDS, Run, failures
from sth_core.datasets.media import counted
from sth_core.errors import NOT_FINITE
from sth_core.shards import shards

MOST_NAMES = 3


def some_names(names: Collection[str]) -> str:
    """The first three names, and how many more there are: "a, b, c and 4 more"."""
    listed = list(names)[: MOST_NAMES + (len(names) == MOST_NAMES + 1)]  # "and 1 more" is as long as the name
    more = len(names) - len(listed)
    return ", ".join(listed) + (f" and {more:,} more" if more else "")


def why_unreadable(run: Run) -> str:
    """Why nothing of a run can be shown: it is damaged, or has no clip; empty for others, also for unfinished ones."""
    if not run.meta:
        return run.problem
    if not run.usable:
        return run.problem or "it has no recorded clip"
    if not isinstance(run.path, Path):  # in object storage each file would be a request
        return ""
    files = [file for kind in SHARD_KINDS for file in shards(run.path, kind)]
    for file in (*files, *run.path.glob("failures.parquet")):
        try:
            pq.read_metadata(file)
        except (pa.ArrowException, OSError) as error:
            return f"{file.relative_to(run.path)} cannot be read ({error})"
    return ""


def why_no_attention(run: Run) -> str:
    """Why a run that can be read has no attention."""
    if run.meta.get("fused"):
        return "it is fused from other runs, which gives no attention"
    if run.meta["attention"]:
        return "its attention is missing"
    return "it was recorded without attention" if run.meta.get("layers") else "its network has no attention"


def why_left_out(run: Run) -> str:
    """Why a run is in no table of results: it cannot be read, or has not finished; empty for others."""
    return run.problem or why_unreadable(run)


def split_usable(runs: list[Run]) -> tuple[list[Run], dict[str, str]]:
    """The runs that tables of results have, and {path: why} of the others."""
    reasons = {run.path: why_left_out(run) for run in runs}
    return [run for run in runs if not reasons[run.path]], {str(path): why for path, why in reasons.items() if why}


def unread_sentence(run: Run) -> str:
    """Which clips of a run could not be read, and which have no finite scores; empty if there are none."""
    failed = failures(run)
    broken = failed["reason"].eq(NOT_FINITE)
    parts = [
        f"{counted(len(names), 'clip')} {what}: {some_names(names.tolist())}."
        for what, names in (
            ("could not be read", failed["clip_id"][~broken]),
            ("left out, as the network's scores are not finite (NaN or infinity)", failed["clip_id"][broken]),
        )
        if len(names)
    ]
    return " ".join(parts)


def clips_left_out(runs: Sequence[Run], clips: Sequence[Iterable[str]]) -> dict[str, list[str]]:
    """{reason: clips} of the clips that are not in all of the runs; `clips` are those that each run has predicted."""
    predicted: list[set[str]] = [set(of_run) for of_run in clips]
    unread: list[set[str]] = [set(failures(run)["clip_id"]) for run in runs]
    found: dict[str, list[str]] = {}
    in_all = predicted[0].intersection(*predicted)
    for clip in sorted(in_all.union(*predicted, *unread) - in_all):
        unreadable = [run.name for run, some in zip(runs, unread, strict=True) if clip in some]
        absent = [run.name for run, a, b in zip(runs, predicted, unread, strict=True) if clip not in a | b]
        parts = [f"{what} {some_names(names)}" for what, names in (("unreadable in", unreadable), ("not in", absent))
                 if names]  # fmt: skip
        found.setdefault(", ".join(parts), []).append(clip)
    return found


def left_out_sentence(reason: str, clips: Collection[str]) -> str:
    return f"{counted(len(clips), 'clip')} left out, {reason}: {some_names(clips)}"
