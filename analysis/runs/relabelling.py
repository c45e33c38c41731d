"""A recorded run whose dataset has changed: corrected labels and groups are joined anew, nothing is computed again.

Predictions and attention do not depend on labels. Probes and interventions do: those of a clip whose label has changed
are removed, and made anew when they are asked for.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from analysis.runs.correctness import correctness
from analysis.runs.run_directory import SHARD_KINDS
from sth_core.datasets.changes import Changes, changed_values, first_of, name_changes
from sth_core.errors import OtherWork
from sth_core.resumable import Work, utc_now
from sth_core.shards import Shards, write_table

LABELLED = (("", "probes"), ("interventions", "effects"))  # folder and kind of tables that depend on labels


@dataclass(frozen=True)
class RunChanges:
    """What differs between a run and its dataset now: {clip_id: (before, now)}, and clips that the dataset lacks now.

    The accuracies are nan without a clip whose label the network knows."""

    labels: Changes
    groups: Changes
    gone: list[str]
    accuracy: tuple[float, float] = (math.nan, math.nan)

    def __bool__(self) -> bool:
        return bool(self.labels or self.groups or self.gone)

    @property
    def sentence(self) -> str:
        """Of the labels and groups that are joined anew."""
        parts = []
        if self.labels:
            before, now = ("none" if math.isnan(share) else f"{share:.3f}" for share in self.accuracy)
            parts.append(f"{name_changes('label', self.labels)}; accuracy {before} -> {now}")
        if self.groups:
            parts.append(name_changes("group", self.groups))
        return "; ".join(parts)

    @property
    def note(self) -> dict[str, Any]:
        """What run.json keeps of them."""
        accuracies = [None if math.isnan(share) else share for share in self.accuracy]
        return {"when": utc_now(), "labels": dict(self.labels), "groups": dict(self.groups), "accuracy": accuracies}


def changes_since(run: Path, table: pd.DataFrame, classes: list[str]) -> RunChanges:
    """Compare the recorded clips of a run with those of its dataset now (`table`, with clip_id, label and group)."""
    files = Shards(run, SHARD_KINDS).whole()
    before = pd.concat([recorded_labels(file) for file in files]) if files else pd.DataFrame(columns=["clip_id"])
    if before.empty:
        return RunChanges({}, {}, [])
    before = before.set_index("clip_id").sort_index()
    gone = sorted(set(before.index) - set(table["clip_id"]))
    now = table.set_index("clip_id").reindex(before.index)
    labels, groups = (changed_values(before[name], now[name]) for name in ("label", "group"))
    label_now = now["label"].fillna(before["label"])
    shares = [correctness(before["prediction"], label, classes).dropna() for label in (before["label"], label_now)]
    first, second = (float(share.mean()) if len(share) else math.nan for share in shares)
    return RunChanges(labels, groups, gone, (first, second))


def recorded_labels(file: Path) -> pd.DataFrame:
    """clip_id, label, prediction and group of a shard; in earlier versions a clip was a group of its own."""
    names = pq.read_schema(file).names
    table = pd.read_parquet(file, columns=["clip_id", "label", "prediction", *["group"] * ("group" in names)])
    return table if "group" in table else table.assign(group=table["clip_id"])


def refuse_gone(changes: RunChanges, work: Work, data: Path) -> None:
    """Raises UserError, with their names, if the run has clips that are no longer to be recorded."""
    if changes.gone:
        raise OtherWork(
            f"{work.folder} holds {len(changes.gone):,} clips that are no longer in this split of {data}: "
            f"{first_of(changes.gone)}",
            f"choose another folder, or give --overwrite, which moves it to {work.folder / '.replaced-N'}",
        )


def join_anew(run: Path, changes: RunChanges, classes: list[str]) -> None:
    """Rewrite the prediction shards of clips whose label or group has changed, each of them whole or not at all."""
    changed = changes.labels.keys() | changes.groups.keys()
    label, group = ({clip: now for clip, (_, now) in c.items()} for c in (changes.labels, changes.groups))
    for folder, kind in LABELLED:
        if (run / folder / kind).is_dir():
            remove_shards_of(Shards(run / folder, (kind,)), set(changes.labels))
    for file in Shards(run, SHARD_KINDS).whole():
        if changed.isdisjoint(pd.read_parquet(file, columns=["clip_id"])["clip_id"]):
            continue
        table = pd.read_parquet(file)
        if "group" not in table:
            table = table.assign(group=table["clip_id"])
        for name, now in (("label", label), ("group", group)):
            rows = zip(table["clip_id"], table[name], strict=True)
            table[name] = pd.Series([now.get(clip, before) for clip, before in rows], dtype=object)
        table["correct"] = correctness(table["prediction"], table["label"], classes)
        write_table(file, table)


def remove_shards_of(shards: Shards, clips: set[str]) -> None:
    """Remove the shards that have a row of one of these clips; their other clips are computed anew as well."""
    for file in shards.whole() if clips else ():
        if not clips.isdisjoint(pd.read_parquet(file, columns=["clip_id"])["clip_id"]):
            file.unlink()
    shards.tidy()
