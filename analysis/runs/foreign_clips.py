"""Which clips the rows of somebody else's scores are: those of a dataset, joined by path or name, or their own."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.runs.foreign_scores import ForeignScores
from sth_core.datasets.media import is_video
from sth_core.datasets.splits import ALL
from sth_core.datasets.table import Annotation, open_dataset
from sth_core.datasets.trained_clips import file_bytes
from sth_core.errors import UserError, first_few

COLUMNS = ["clip_id", "path", "label", "flow", "backward", "segment", "group"]
AMBIGUOUS = -1  # several clips of the dataset have this name


@dataclass(frozen=True)
class JoinedClips:
    """`table` has a row of `COLUMNS` for each row that is `taken` (N,), in order; `sentences` say what was joined."""

    table: pd.DataFrame
    taken: NDArray[np.bool_]
    facts: dict[str, object]
    sentences: list[str]


def own_clips(read: ForeignScores) -> JoinedClips:
    """The clips as the file names them; a relative path is one beside the file, if there is such a video."""
    seen: dict[str, int] = {}
    for row, name in enumerate(read.paths):
        if not name:
            raise UserError(f"{read.file}: row {row + 1} has no path; each clip needs one")
        if name in seen:
            raise UserError(
                f"{read.file}: {name} stands twice, in rows {seen[name] + 1} and {row + 1}; where a clip has several "
                "views, give the mean of their scores"
            )
        seen[name] = row
    beside = [read.file.parent / name for name in read.paths]
    paths = [str(there.resolve()) if there.exists() else name for there, name in zip(beside, read.paths, strict=True)]
    table = pd.DataFrame({"clip_id": read.paths, "path": paths, "label": read.labels})
    table = table.assign(flow="", backward=False, segment="", group=table["clip_id"])
    found = sum(path.exists() for path in map(Path, paths))
    said = (
        f"clips: {len(table):,}, by their paths; {found:,} of the videos are there; --data DIR joins a dataset's clips"
    )
    facts: dict[str, object] = {"dataset": "imported clips", "data": "", "label": "", "split": "", "kind": ""}
    return JoinedClips(table[COLUMNS], np.ones(len(table), bool), facts, [said])


def clips_of_dataset(read: ForeignScores, data: Path, annotation: Annotation, split: str) -> JoinedClips:
    """The clips of a dataset that the rows are of; their labels are the dataset's, where it has one.

    Raises UserError: none matches, two rows are the same clip, or the dataset cannot be read."""
    dataset = open_dataset(data, annotation)
    clips = dataset.clips
    if split not in ("", ALL):
        clips = clips[clips["split"] == split].reset_index(drop=True)
        if not len(clips):
            raise UserError(f"no clips in the split {split!r} of {data}; it has {dataset.found.splits}")
    rows, by_name = match(read, clips)
    taken = rows >= 0
    if not taken.any():
        raise UserError(
            f"none of the {len(read):,} rows of {read.file} is a clip of {data} (theirs: {first_few(read.paths)}; its: "
            f"{first_few(clips['clip_id'].tolist())})"
        )
    found = clips.iloc[rows[taken]].reset_index(drop=True)
    splits = set(found["split"])
    split = split or (splits.pop() if len(splits) == 1 else ALL)
    there = clips if split == ALL else clips[clips["split"] == split]
    labels = pd.Series(np.array(read.labels, object)[taken])
    said = [f"clips: {len(found):,} of {len(read):,} rows are clips of {data.name}, {by_name:,} of them by name alone"]
    said += told(np.array(read.paths, object)[~taken].tolist(), f"rows left out, which are no clips of {data.name}")
    missing = sorted(set(there["clip_id"]) - set(found["clip_id"]))
    said += told(missing, f"clips of {data.name} ({split}) without scores")
    both = labels.ne("") & found["label"].ne("")
    other = both & labels.ne(found["label"])
    pairs = zip(found["clip_id"][other], labels[other], found["label"][other], strict=True)
    said += told([f"{clip}: {theirs}, here {own}" for clip, theirs, own in pairs],
                 "labels differ from the dataset's, which are taken")  # fmt: skip
    found["label"] = found["label"].where(found["label"].ne(""), labels)
    question = "" if annotation.label in ("", Annotation().label) else f": {annotation.label}"
    facts: dict[str, object] = {
        "dataset": f"{annotation.inside(data).resolve().name}{question}", "data": str(data.resolve()),
        "label": annotation.label, "kind": annotation.kind, "split": split, "split_from": dataset.found.how_split,
        "groups_from": dataset.found.group_source,
    }  # fmt: skip
    return JoinedClips(found[COLUMNS], taken, facts, [dataset.found.sentence, *said])


def told(names: list[str], what: str) -> list[str]:
    return [f"{len(names):,} {what}: {first_few(names)}"] if names else []


def match(read: ForeignScores, clips: pd.DataFrame) -> tuple[NDArray[np.intp], int]:
    """(N,): the place of each row's clip in the table, or -1; and how many were found by the file's name alone.

    The clip is the one whose path ends alike, with or without a video's suffix; of several rows that end as one clip
    the one that shares most of the path. Raises UserError: two rows share the same."""
    known: dict[str, int] = {}
    for place, (clip_id, path) in enumerate(zip(clips["clip_id"], clips["path"], strict=True)):
        for end in {end for name in (clip_id, path) for end in endings(name)}:
            known[end] = AMBIGUOUS if end in known else place
    rows, shared = np.full(len(read), -1), np.zeros(len(read), int)
    of_place: dict[int, int] = {}
    for row, name in enumerate(read.paths):
        end = next((end for end in endings(name) if known.get(end, AMBIGUOUS) != AMBIGUOUS), "")
        if not end:
            continue
        place, length = known[end], end.count("/") + 1
        before = of_place.get(place)
        if before is not None and shared[before] == length:
            raise UserError(
                f"{read.file}: {read.row(before)} and {read.row(row)} are both the clip {clips['clip_id'][place]}; "
                "where a clip has several views, give the mean of their scores"
            )
        if before is None or shared[before] < length:
            if before is not None:
                rows[before] = -1
            rows[row], shared[row], of_place[place] = place, length, row
    deep = clips["clip_id"].str.contains("/").to_numpy(bool)
    return rows, int(((rows >= 0) & (shared == 1) & deep[rows]).sum())


def endings(name: str) -> list[str]:
    """The path without a video's suffix, and without its first 1, 2, ... folders, down to the name."""
    parts = name.replace("\\", "/").strip("/").split("/")
    if is_video(Path(parts[-1])):
        parts[-1] = parts[-1].rpartition(".")[0]
    return ["/".join(parts[i:]) for i in range(len(parts))]


def bytes_of_videos(paths: pd.Series) -> list[int]:
    """The bytes of each video; 0 of what is not there."""
    return [max(0, file_bytes(path)) for path in paths]
