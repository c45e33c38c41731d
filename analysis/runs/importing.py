"""Somebody else's scores -> a run directory, which every command and page that reads runs takes.

    RUN/run.json                    what was imported, and how it was understood
    RUN/predictions/*.parquet       a row per clip
    RUN/failures.parquet            a row per clip whose scores are not finite

Such a run has no network: no checkpoint, no attention, and no frames that a network saw.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from analysis.runs.correctness import correctness
from analysis.runs.foreign_clips import JoinedClips, bytes_of_videos, clips_of_dataset, own_clips
from analysis.runs.foreign_columns import asked_columns, foreign_columns_of, text_columns
from analysis.runs.foreign_scores import (
    ForeignScores,
    complete,
    json_facts,
    name_classes,
    read_scores,
    refuse_other_predictions,
    with_names,
)
from analysis.runs.foreign_tables import listed_clips, open_foreign
from analysis.runs.large_runs import store_sample
from analysis.runs.run_directory import FAILURE_COLUMNS, OTHER, RECORDING, SHARD_KINDS, run_work
from sth_core.datasets.class_names import read_name_list
from sth_core.datasets.table import Annotation
from sth_core.datasets.tables import DEFAULT_LABEL
from sth_core.errors import NOT_FINITE, UserError, first_few
from sth_core.files import sha256
from sth_core.resumable import Work, no_report, working_on
from sth_core.shards import Shards, write_table

CLIPS_PER_FILE = 4096
IMPORTED = "imported"  # the key of run.json that only such a run has


@dataclass(frozen=True)
class ImportOptions:
    """How a file is understood; empty texts and None leave it to what the file says.

    `columns` is "path=video,label=gt"; `clips` a list of the clips of a file that names none. `annotation` says how the
    dataset in `data` is read. `name` is the network's, `modality` what it saw.
    """

    name: str = ""
    modality: str = "rgb"
    columns: str = ""
    class_names: Path | None = None
    clips: Path | None = None
    data: Path | None = None
    annotation: Annotation = field(default_factory=Annotation)
    split: str = ""
    logits: bool = False
    overwrite: bool = False
    command: str = ""
    notify: Callable[[str], None] = no_report


@dataclass(frozen=True)
class Imported:
    """What was imported; `correct` is over the clips of a known label, NaN without any."""

    clips: int
    failures: int
    accuracy: float
    labelled: int


def import_predictions(file: Path, run: Path, options: ImportOptions = ImportOptions()) -> Imported:
    """Write a run directory with the scores in `file`. What was taken for what is told to `options.notify`, a line
    each; everything is checked before anything is written.

    Raises:
        UserError: the file cannot be read or understood, its scores are none, or `run` holds another recording.
        KeyboardInterrupt: stopped; the run is as it was before.
    """
    refuse_without_data(options)
    asked = asked_columns(options.columns)
    listed = read_name_list(options.class_names) if options.class_names else []
    table = open_foreign(file, text_columns(asked))
    columns = foreign_columns_of(file, table, asked, listed)
    for sentence in columns.sentences:
        options.notify(sentence)
    read = read_scores(file, table, columns, logits=options.logits)
    classes, source = name_classes(read, columns, table.classes, listed)
    options.notify(f"classes: {len(classes)}, of {source}: {first_few(classes, 5)}")
    named_clips(read, options)
    if len(classes) < 2 or len(set(classes)) < len(classes):
        raise UserError(f"{file} needs at least two classes of different names, got {first_few(classes, 5)}")
    read.labels, said = with_names(read, classes, read.labels, "label")
    options.notify(said)
    read.predictions, _ = with_names(read, classes, read.predictions, "prediction")
    invented = ""
    if read.scores:
        if read.predictions:
            refuse_other_predictions(read, classes)
        options.notify("scores: " + ("the softmax of the file's" if options.logits else "as they are in the file"))
    else:
        read.scores, invented = complete(read, classes)
        options.notify(invented)
    joined = own_clips(read)
    if options.data:
        joined = clips_of_dataset(read, options.data, options.annotation, options.split)
    for sentence in [*joined.sentences, *unknown_labels(joined, classes)]:
        options.notify(sentence)
    facts = describe_import(file, options, classes, joined)
    facts[IMPORTED] = {
        "file": file.name, "columns": json_facts(columns), "softmax": options.logits, "invented": invented,
    }  # fmt: skip
    return write_imported(run, read, joined, classes, facts, options)


def refuse_without_data(options: ImportOptions) -> None:
    """Raises UserError: it is said how a dataset is read, but not which one."""
    asked = options.annotation
    given = {
        "--label": asked.label != DEFAULT_LABEL, "--split": options.split, "--group": asked.group,
        "--group-pattern": asked.group_pattern,
    }  # fmt: skip
    names = [name for name, value in given.items() if value]
    if names and not options.data:
        what = "says" if len(names) == 1 else "say"
        raise UserError(
            f"{' and '.join(names)} {what} how a dataset is read, and none is given; give its folder with --data DIR"
        )


def unknown_labels(joined: JoinedClips, classes: list[str]) -> list[str]:
    """A sentence on the labels that are none of the classes, if there are any."""
    unknown = joined.table["label"][~joined.table["label"].isin(["", *classes])]
    named = first_few(sorted(set(unknown)))
    return [f"labels that are none of the classes ({len(unknown):,} clips, which do not count): {named}"] * bool(named)


def named_clips(read: ForeignScores, options: ImportOptions) -> None:
    """Give the rows the paths of the list of clips, if there is one; its labels must be the file's.

    Raises UserError: it does not fit the rows, or they have no path."""
    if options.clips is None:
        if not read.paths:
            raise UserError(
                f"{read.file} does not name its clips; give --clips FILE, a list of their paths in the same order, "
                "such as the dataset's annotation file, or name the column by --columns path=NAME"
            )
        return
    rows = listed_clips(options.clips)
    if len(rows) != len(read):
        raise UserError(f"{options.clips} lists {len(rows):,} clips, but {read.file} has {len(read):,} rows")
    labels = [label for _, label in rows]
    if all(labels) and any(read.labels):
        wrong = [i for i, (a, b) in enumerate(zip(labels, read.labels, strict=True)) if b.isdecimal() and a != b]
        if wrong:
            row = wrong[0]
            raise UserError(
                f"{options.clips} is not in the order of {read.file}: in row {row + 1} the label is {labels[row]} in "
                f"the list and {read.labels[row]} in the file; {len(wrong):,} of {len(rows):,} rows differ"
            )
    read.paths = [path for path, _ in rows]
    if all(labels) and not any(read.labels):
        read.labels = labels
    options.notify(f"paths: {options.clips}, in the order of the rows")


def describe_import(file: Path, options: ImportOptions, classes: list[str], joined: JoinedClips) -> dict[str, Any]:
    """What run.json says of the scores and the clips."""
    return {
        "arch": options.name or file.stem, "conv": OTHER, "temporal_fraction": 0.0, "attention": False,
        "modality": options.modality, "direction": False,
        "group_column": options.annotation.group, "group_pattern": options.annotation.group_pattern,
        **joined.facts, "trained_clips": None, "clips": len(joined.table), "vectors": False, "classes": classes,
        "layers": [], "precision": "fp32", "checkpoint_sha256": sha256(file),
    }  # fmt: skip


def write_imported(
    run: Path,
    read: ForeignScores,
    joined: JoinedClips,
    classes: list[str],
    facts: dict[str, Any],
    options: ImportOptions,
) -> Imported:
    """Write the tables and run.json."""
    work = run_work(run, facts, (*RECORDING, IMPORTED, "arch", "modality", "classes"))
    known, correct, failed = 0, 0, []
    begun = working_on(work, facts, command=options.command, overwrite=options.overwrite, notify=options.notify)
    fresh = options.overwrite or not (run / work.file).is_file()
    with begun as meta, unbegun_if_stopped(work, fresh):
        shards = Shards(run, SHARD_KINDS)
        for file in shards.whole():  # of the same file, perhaps with other labels
            file.unlink()
        shards.tidy()
        for number, (rows, scores) in enumerate(parts(read, joined)):
            finite = np.isfinite(scores).all(1)
            failed += [(clip, path, NOT_FINITE) for clip, path in rows.loc[~finite, ["clip_id", "path"]].to_numpy()]
            part = prediction_table(rows[finite].reset_index(drop=True), scores[finite], classes)
            if len(part):
                shards.write({"predictions": part}, number)
            answers = part["correct"].to_pandas().dropna()
            known, correct = known + len(answers), correct + int(answers.sum())
        write_table(run / "failures.parquet", pd.DataFrame(failed, columns=FAILURE_COLUMNS).sort_values("clip_id"))
        store_sample(run, meta, options.notify)
    return Imported(len(joined.table), len(failed), correct / known if known else float("nan"), known)


@contextmanager
def unbegun_if_stopped(work: Work, fresh: bool) -> Iterator[None]:
    """Remove what a block that is stopped has written into a `fresh` run, so that there is no half one."""
    try:
        yield
    except BaseException:
        for name in (work.file, *work.owned) if fresh else ():
            path = work.folder / name
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        raise


def parts(read: ForeignScores, joined: JoinedClips) -> Iterator[tuple[pd.DataFrame, NDArray[np.float32]]]:
    """The clips that are taken, with their scores, some thousands at once."""
    held: list[NDArray[np.float32]] = []
    row = start = 0
    for scores in read.scores:
        held.append(scores[joined.taken[row : row + len(scores)]])
        row += len(scores)
        n = sum(map(len, held))
        if n >= CLIPS_PER_FILE or (row == len(read) and n):
            yield joined.table.iloc[start : start + n].reset_index(drop=True), np.concatenate(held)
            start, held = start + n, []


def prediction_table(clips: pd.DataFrame, scores: NDArray[np.float32], classes: list[str]) -> pa.Table:
    """A row of predictions per clip, as `rows.prediction_rows` has them, without frames and views, which are not
    known."""
    prediction = pd.Series(np.array(classes, object)[scores.argmax(1)], clips.index, dtype=object)
    best = -np.partition(-scores, 1, axis=1)[:, :2].astype(np.float64)
    results = {
        "prediction": prediction,
        "correct": correctness(prediction, clips["label"], classes),
        "confidence": best[:, 0],
        "margin": best[:, 0] - best[:, 1],
    }
    table = pa.Table.from_pandas(clips.assign(**results, bytes=bytes_of_videos(clips["path"])), preserve_index=False)
    ends = np.arange(len(scores) + 1, dtype=np.int32) * scores.shape[1]
    table = table.append_column("scores", pa.ListArray.from_arrays(ends, pa.array(scores.ravel())))
    first = ["clip_id", "path", "label", *results, "scores"]
    return table.select([*first, *(name for name in table.column_names if name not in first)])
