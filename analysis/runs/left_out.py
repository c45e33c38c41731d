"""What a result leaves out, by name and with the reason: runs that cannot be used, and clips that a run lacks."""

from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from analysis.runs.clip_rows import in_order
from analysis.runs.damaged_parts import damaged_parts
from analysis.runs.run_check import INCOMPLETE
from analysis.runs.run_directory import Run, clip_table, count_clips, failures, map_shards, read_shards
from analysis.runs.signals import ALPHA, signal_of
from sth_core.datasets.media import counted
from sth_core.errors import NOT_FINITE, UserError
from sth_core.files import error_sentence
from sth_core.shards import Shards, shards

MOST_NAMES = 3
ABSENT = "not in "  # how the reason begins for a clip that a fused run lacks, and that is unreadable in none
ATTENTION_COLUMNS = ("clip_id", "layer_index", "layer", "stage")


def some_names(names: Collection[str]) -> str:
    """The first three names, and how many more there are: "a, b, c and 4 more"."""
    listed = list(names)[: MOST_NAMES + (len(names) == MOST_NAMES + 1)]  # "and 1 more" is as long as the name
    more = len(names) - len(listed)
    return ", ".join(listed) + (f" and {more:,} more" if more else "")


def why_unreadable(run: Run) -> str:
    """Why nothing of a run can be shown: it is damaged, or has no clip; empty for others, also for unfinished ones."""
    if not run.meta:
        return run.problem
    return sentence_of(check_recorded_clips, run)


def sentence_of(check: Callable[[Run], None], run: Run) -> str:
    """Why a check refuses a run, or the system a file of it, without the run's path; empty if neither does."""
    try:
        check(run)
    except (UserError, OSError) as error:
        return error_sentence(error).removeprefix(f"{run.path}: ")
    return ""


def check_recorded_clips(run: Run) -> None:
    """Raises UserError: the run has none, or a table of it cannot be read."""
    if not run.usable:
        raise UserError(run.problem or "it has no recorded clip")
    if isinstance(run.path, Path):  # in object storage each file would be a request
        check_tables(run)


def check_tables(run: Run) -> None:
    """Raises UserError: a table of the run cannot be read, or not all clips that it should have are there once."""
    predicted = clip_table(run)
    recorded = len(predicted) if run.every == 1 else count_clips(run)
    unread, clips = len(failures(run)), run.meta["clips"]
    if not run.problem and recorded + unread != clips:
        there = f"{counted(recorded, 'clip')} and {counted(unread, 'failure')}"
        raise UserError(f"run.json says {counted(clips, 'clip')}, its tables have {there}; the same command resumes it")
    if run.meta.get("attention") and shards(run.path, "attention"):
        check_attention(run, predicted)
    for name, why in damaged_parts(Shards(run.path, ("probes",))).items():
        raise UserError(f"{run.path}: its probes cannot be read ({name}: {why}); `sth probe` makes them again")


def check_attention(run: Run, predicted: pa.Table) -> None:
    """Raises UserError: there is not one row of attention for each of the predicted clips and each layer."""
    recorded, clips, layers = set(predicted["shard"].unique().to_pylist()), [], set[int]()
    column = signal_of(run).column
    for name, table in read_shards(run, "attention", (*ATTENTION_COLUMNS, column), ("clip_id", "layer", "stage")):
        # A shard's attention is written before its predictions; a stored sample has that of recorded shards.
        if not (run.stored or name in recorded) or not len(table):
            continue
        of_shard, its_layers = pc.unique(table["clip_id"]), set(pc.unique(table["layer_index"]).to_pylist())
        layers = layers or its_layers
        if its_layers != layers or len(table) != len(of_shard) * len(layers):
            raise UserError(INCOMPLETE.format(run.path))
        clips.append(of_shard.cast(pa.large_string()))
    found = pa.concat_arrays(clips) if clips else pa.array([], pa.large_string())
    if not in_order(found):
        found = found.take(pc.array_sort_indices(found))
    if not found.equals(predicted["clip_id"].cast(found.type).combine_chunks()):
        raise UserError(INCOMPLETE.format(run.path))


def why_no_attention(run: Run) -> str:
    """Why a run that can be read has no attention."""
    if run.meta.get("attention") and signal_of(run) != ALPHA:
        return f"its network is a transformer, of which the run holds {signal_of(run).name}, not α"
    if run.meta.get("fused"):
        return "it is fused from other runs, which gives no attention"
    if run.meta.get("attention"):
        return "its attention is missing"
    return "it was recorded without attention" if run.meta.get("layers") else "its network has no attention"


def why_left_out(run: Run) -> str:
    """Why a run is in no table of results: it cannot be read, or has not finished; empty for others."""
    return run.problem or why_unreadable(run) or sentence_of(check_scores, run)


def check_scores(run: Run) -> None:
    """Raises UserError: a column of the predictions cannot be read, or a clip has not one score for each class. Reads
    all scores; `with_correctness` leaves out those that are not finite."""
    classes = len(run.meta["classes"])

    def first_wrong(table: pa.Table) -> str:
        if "scores" not in table.column_names or not len(table):  # of an early version; without a row, of no type
            return ""
        lengths = pc.list_value_length(table["scores"])
        rows = pc.indices_nonzero(pc.not_equal(lengths, classes))
        return f"{table['clip_id'][rows[0].as_py()]} has {lengths[rows[0].as_py()]} scores" if len(rows) else ""

    for name, wrong in map_shards(run, "predictions", ("clip_id",), (), None, first_wrong):
        if wrong:
            raise UserError(f"{run.path}: {wrong} ({name}), the run has {classes} classes; record it again")


def split_usable(runs: list[Run]) -> tuple[list[Run], dict[str, str]]:
    """The runs that tables of results have, and {path: why} of the others."""
    reasons = {run.path: why_left_out(run) for run in runs}
    return [run for run in runs if not reasons[run.path]], {str(path): why for path, why in reasons.items() if why}


def unread_sentence(run: Run) -> str:
    """Which clips of a run could not be read, are not in all of the runs that it is fused from, and have no finite
    scores; empty if there are none."""
    failed = failures(run)
    broken, absent = failed["reason"].eq(NOT_FINITE), failed["reason"].str.startswith(ABSENT)
    parts = [
        f"{counted(len(names), 'clip')} {what}: {some_names(names.tolist())}."
        for what, names in (
            ("could not be read", failed["clip_id"][~broken & ~absent]),
            ("left out, as not all fused runs have them", failed["clip_id"][absent]),
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
        parts = [f"{what}{some_names(names)}" for what, names in (("unreadable in ", unreadable), (ABSENT, absent))
                 if names]  # fmt: skip
        found.setdefault(", ".join(parts), []).append(clip)
    return found


def left_out_sentence(reason: str, clips: Collection[str]) -> str:
    return f"{counted(len(clips), 'clip')} left out, {reason}: {some_names(clips)}"
