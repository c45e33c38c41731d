"""A recorded run whose dataset has changed: labels, groups and places of its clips are joined anew.

Predictions and attention do not depend on them and stay. Probes and interventions do: those of a clip whose label has
changed are removed, and made anew when they are asked for. A clip whose file was replaced is recorded again.
"""

import math
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from sqlite3 import DatabaseError, connect
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.runs import notes_file
from analysis.runs.correctness import correctness, has_scores
from analysis.runs.run_directory import SHARD_KINDS, kinds_of
from sth_core.datasets.changes import Changes, changed_values, name_changes
from sth_core.datasets.media import counted
from sth_core.datasets.trained_clips import file_bytes
from sth_core.errors import OtherWork, UserError, first_few
from sth_core.resumable import Work, utc_now
from sth_core.shards import Shards, read_shard, write_table

LABELLED = (("", "probes"), ("interventions", "effects"))  # folder and kind of tables that depend on labels
COMPARED = (
    "clip_id",
    "label",
    "prediction",
    "confidence",
    "segment",
    "bytes",
    "group",
)  # of a recorded clip; not in all versions


@dataclass(frozen=True)
class RunChanges:
    """What differs between a run and its dataset now: {clip_id now: (before, now)}.

    `moved` are clips whose file lies elsewhere in the dataset ({clip_id before: now}), `replaced` those whose file has
    another size, `gone` those that the dataset no longer has. The accuracies are nan without a clip whose label the
    network knows."""

    labels: Changes = field(default_factory=dict)
    groups: Changes = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    replaced: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    accuracy: tuple[float, float] = (math.nan, math.nan)

    def __bool__(self) -> bool:
        return bool(self.labels or self.groups or self.moved or self.replaced or self.gone)

    @property
    def sentence(self) -> str:
        """Of all but clips that are gone."""
        parts = []
        if self.moved:
            named = [f"{before} -> {now}" for before, now in self.moved.items()]
            parts.append(f"{counted(len(named), 'clip')} moved: {first_few(named)}")
        if self.labels:
            before, now = ("none" if math.isnan(share) else f"{share:.3f}" for share in self.accuracy)
            parts.append(f"{name_changes('label', self.labels)}; accuracy {before} -> {now}")
        if self.groups:
            parts.append(name_changes("group", self.groups))
        if self.replaced:
            files = f"{counted(len(self.replaced), 'file')} of another size than when recorded"
            parts.append(f"{files}, recorded again: {first_few(self.replaced)}")
        return "; ".join(parts)

    @property
    def note(self) -> dict[str, Any]:
        """What run.json keeps of them."""
        accuracies = [None if math.isnan(share) else share for share in self.accuracy]
        changes = {"labels": dict(self.labels), "groups": dict(self.groups), "moved": self.moved}
        return {"when": utc_now(), **changes, "replaced": list(self.replaced), "accuracy": accuracies}


def changes_since(run: Path, table: pd.DataFrame, classes: list[str]) -> RunChanges:
    """Compare the recorded clips of a run with those of its dataset now (a table of `open_dataset`)."""
    before, now = recorded_clips(run), table.set_index("clip_id")
    if before.empty:
        return RunChanges()
    moved = moved_clips(before, now)
    before = before.rename(index=moved)
    before["group"] = before["group"].replace(moved)
    gone, now = tuple(sorted(set(before.index) - set(now.index))), now.reindex(before.index)
    labels, groups = (changed_values(before[name], now[name]) for name in ("label", "group"))
    sizes = now["path"].map(lambda path: file_bytes(path) if isinstance(path, str) else 0)
    replaced = before.index[(before["bytes"] > 0) & (sizes > 0) & (before["bytes"] != sizes)]
    label_now = now["label"].fillna(before["label"])
    of_each = [correctness(before["prediction"], label, classes) for label in (before["label"], label_now)]
    shares = [share[has_scores(before)].dropna() for share in of_each]
    first, second = (float(share.mean()) if len(share) else math.nan for share in shares)
    return RunChanges(labels, groups, moved, tuple(replaced), gone, (first, second))


def recorded_clips(run: Path) -> pd.DataFrame:
    """COMPARED of each recorded clip, by clip_id; in earlier versions a clip was a group of its own, and whole."""
    tables = []
    for file in Shards(run, SHARD_KINDS).whole():
        names = pq.read_schema(file).names
        table = read_shard(file, [name for name in COMPARED if name in names]).to_pandas()
        tables.append(pd.DataFrame({"group": table["clip_id"], "segment": "", "bytes": 0}).assign(**table))
    if not tables:
        return pd.DataFrame(columns=list(COMPARED)).set_index("clip_id")
    return pd.concat(tables).set_index("clip_id").sort_index()


def moved_clips(before: pd.DataFrame, now: pd.DataFrame) -> dict[str, str]:
    """{clip_id before: now} of clips whose file has the name, size and part of one that is new, if it is the only one:
    a video that was moved to the folder of another class."""
    lost, new = before[~before.index.isin(now.index)], now[~now.index.isin(before.index)]
    if lost.empty or new.empty:
        return {}
    was, is_now = places_of(lost, lost["bytes"]), places_of(new, new["path"].map(file_bytes))
    return {clip: is_now[place] for place, clip in was.items() if place in is_now}


def places_of(clips: pd.DataFrame, sizes: pd.Series) -> dict[tuple[str, int, str], str]:
    """{(name of the file, size, part): clip_id} of the clips that no other one equals in these."""
    names = [Path(clip).name for clip in clips.index]
    keys = pd.DataFrame({"name": names, "size": sizes, "part": clips["segment"].astype(str)}, clips.index)
    keys = keys[keys["size"] > 0].drop_duplicates(keep=False)
    return {(row.name, row.size, row.part): str(row.Index) for row in keys.itertuples()}


def refuse_gone(changes: RunChanges, work: Work, data: Path) -> None:
    """Raises UserError, with their names, if the run has clips that are no longer to be recorded."""
    if changes.gone:
        raise OtherWork(
            f"{work.folder} holds {counted(len(changes.gone), 'clip')} no longer in this split of {data}: "
            f"{first_few(changes.gone)}",
            f"choose another folder, or give --overwrite, which moves it to {work.folder / '.replaced-N'}",
        )


def join_anew(run: Path, changes: RunChanges, table: pd.DataFrame, classes: list[str]) -> None:
    """Rewrite the shards of clips that have changed, each of them whole or not at all, and remove those of replaced
    files; `table` is the dataset's now."""
    stale = {*changes.labels, *changes.replaced, *changes.moved}
    for folder, kind in LABELLED:
        if stale and (run / folder / kind).is_dir():
            remove_shards_of(Shards(run / folder, (kind,)), stale)
    if stale:
        (run / "interventions" / "failures.parquet").unlink(missing_ok=True)  # whose clips are tried again
    if changes.moved:
        rename_notes(run / notes_file.NAME, changes.moved)
        for kind in ("features", "attention"):
            rewrite_shards(run / kind, set(changes.moved), partial(with_new_names, moved=changes.moved))
    paths = table.set_index("clip_id")["path"]
    change = partial(joined_predictions, changes=changes, paths=paths, classes=classes)
    rewrite_shards(run / "predictions", {*changes.moved, *changes.labels, *changes.groups}, change)
    remove_shards_of(Shards(run, kinds_of((run / "features").is_dir())), set(changes.replaced))


def with_new_names(shard: pa.Table, moved: dict[str, str]) -> pa.Table:
    return with_values(shard, "clip_id", [moved.get(clip, clip) for clip in shard["clip_id"].to_pylist()])


def joined_predictions(shard: pa.Table, changes: RunChanges, paths: pd.Series, classes: list[str]) -> pa.Table:
    """A shard of predictions with the names, places, labels and groups of its clips now."""
    moved = changes.moved
    shard = with_new_names(shard, moved)
    clips = shard["clip_id"].to_pylist()
    if "group" not in shard.column_names:
        shard = shard.append_column("group", shard["clip_id"])
    now = {name: {clip: new for clip, (_, new) in c.items()} for name, c in
           (("label", changes.labels), ("group", changes.groups))}  # fmt: skip
    now["path"] = {clip: paths[clip] for clip in moved.values() if clip in paths.index}
    for name, values in now.items():
        before = [moved.get(value, value) if name == "group" else value for value in shard[name].to_pylist()]
        shard = with_values(shard, name, [values.get(c, value) for c, value in zip(clips, before, strict=True)])
    said, label = (pd.Series(shard[name].to_pylist(), dtype=object) for name in ("prediction", "label"))
    return with_values(shard, "correct", correctness(said, label, classes).to_list())


def with_values(table: pa.Table, name: str, values: list[Any]) -> pa.Table:
    """A column with other values of the same type."""
    values, column = [None if value is pd.NA else value for value in values], table.schema.field(name)
    return table.set_column(table.column_names.index(name), column, pa.array(values, column.type))


def rewrite_shards(folder: Path, clips: set[str], change: Callable[[pa.Table], pa.Table]) -> None:
    """Change the shards in a folder that have a row of one of these clips."""
    for file in sorted(folder.glob("part-*.parquet")):
        if not clips.isdisjoint(read_shard(file, ["clip_id"])["clip_id"].to_pylist()):
            write_table(file, change(read_shard(file)))


def rename_notes(file: Path, moved: dict[str, str]) -> None:
    """Notes and tags follow the clips that were moved."""
    if file.is_file():
        try:
            with closing(connect(file)) as connection, connection:
                names = [(now, before) for before, now in moved.items()]
                connection.executemany("UPDATE history SET clip_id = ? WHERE clip_id = ?", names)
        except DatabaseError as error:
            raise UserError(
                f"the notes of clips that moved cannot be renamed: {file} ({error}); move it away"
            ) from error


def remove_shards_of(shards: Shards, clips: set[str]) -> None:
    """Remove the shards that have a row of one of these clips; their other clips are computed anew as well."""
    for file in shards.whole() if clips else ():
        if not clips.isdisjoint(read_shard(file, ["clip_id"])["clip_id"].to_pylist()):
            file.unlink()
    shards.tidy()
