"""The clips of a training: which take part, what is said of the others, and the table of them that its folder keeps.

OUT/clips.csv       clip_id, label, split and bytes (0 for a folder of frames) of each clip that is trained or tested on
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from sth_core.checkpoint import load_checkpoint
from sth_core.datasets.changes import name_differences
from sth_core.datasets.found import Found
from sth_core.datasets.trained_clips import file_bytes, merged_keys, training_keys
from sth_core.errors import UserError
from sth_core.files import read_csv, write_csv
from sth_core.resumable import Json

CLIPS_TABLE = "clips.csv"
NO_LABEL = "it has no label"
COLUMNS = ["clip_id", "label", "split", "bytes"]


@dataclass(frozen=True)
class TrainingClips:
    """Rows of a dataset's table: those to train on, of which unlabelled ones have a problem, and those of the split
    "val". `sources` says where splits and groups come from, if it is known; `notes` are sentences for the user."""

    train: pd.DataFrame
    val: pd.DataFrame
    classes: list[str]
    sources: Json
    keys: str  # `training_keys`
    notes: tuple[str, ...]

    @property
    def facts(self) -> Json:
        """What a checkpoint keeps of the data."""
        return {**self.sources, "train_keys": self.keys}

    @cached_property
    def kept(self) -> pd.DataFrame:
        """The table that is written as clips.csv, all of it text."""
        both = pd.concat([self.train, self.val])
        return both.assign(bytes=both["path"].map(file_bytes))[COLUMNS].astype(str).sort_values("clip_id")


def training_clips(table: pd.DataFrame, found: Found | None = None, start: Path | None = None) -> TrainingClips:
    """The clips of a whole dataset that take part in a training; `found` is what was found in the dataset, `start` the
    network that training starts from, whose own training clips are kept with these.

    Raises UserError: no clips in one of the splits "train" and "val", or none to train on with a label."""
    unlabelled = table["split"].eq("train") & table["label"].eq("") & table["problem"].eq("")
    table = table.assign(problem=table["problem"].mask(unlabelled, NO_LABEL))
    train, val = (table[table["split"] == split] for split in ("train", "val"))
    if train.empty or val.empty:
        counts = table["split"].value_counts().to_dict()
        raise UserError(f"training needs clips in the splits 'train' and 'val'; this dataset has {counts}")
    if train["problem"].eq(NO_LABEL).all():
        raise UserError(f"training needs labels, and none of the {len(train):,} clips of the split 'train' has one")
    classes = sorted(set(train.loc[train["problem"] == "", "label"]))
    sources = {"split_from": found.how_split, "groups_from": found.group_source} if found else {}
    keys = merged_keys(training_keys(table), keys_of_network(start))
    return TrainingClips(train, val, classes, sources, keys, tuple(uncounted_notes(val, classes)))


def keys_of_network(file: Path | None) -> str:
    """The `training_keys` of a checkpoint of this project; empty if it has none, or is another file."""
    if file is None or file.suffix != ".safetensors" or not file.is_file():
        return ""
    return str(load_checkpoint(file).training.get("train_keys", ""))


def uncounted_notes(val: pd.DataFrame, classes: list[str]) -> Iterable[str]:
    """A sentence for each label of the split "val" that is no class."""
    usable = val[val["problem"] == ""]
    for label, number in usable.loc[~usable["label"].isin(classes), "label"].value_counts(sort=False).items():
        clips = f"{number:,} val {'clip' if number == 1 else 'clips'}"
        why = f"of the class {label!r}: no training clip has it" if label else "without a label"
        yield f"not counted in the accuracy: {clips} {why}"


def write_kept(out: Path, kept: pd.DataFrame) -> None:
    write_csv(out / CLIPS_TABLE, kept)


def identity_of(kept: pd.DataFrame) -> Json:
    """What makes the clips of two trainings the same: their labels and splits, and the sizes of their files."""
    sums = {}
    for name, columns in (("clips_sha256", ["clip_id", "label", "split"]), ("files_sha256", ["clip_id", "bytes"])):
        lines = sorted(kept[columns].agg("\t".join, axis=1))
        sums[name] = hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
    return {"clips": len(kept), **sums}


def explained_differences(out: Path, kept: pd.DataFrame) -> dict[str, str]:
    """In words, how the clips of the training in `out` differ from these: {key of `identity_of`: sentence}."""
    file = out / CLIPS_TABLE
    if not file.is_file():
        unknown = "labels or splits of its clips differ; of a training of an earlier version it is not known which"
        return {"clips": "", "clips_sha256": unknown}
    try:
        before = read_csv(file)[COLUMNS]
        if before["clip_id"].duplicated().any():
            raise ValueError("a clip stands twice")
    except (ValueError, KeyError, OSError):  # pandas' errors are ValueErrors
        unknown = f"labels or splits of its clips differ; {file} cannot be read, so that it is not known which"
        return {"clips": "", "clips_sha256": unknown}
    return {
        "clips": "",
        "clips_sha256": name_differences(before, kept, {"label": "label", "split": "split"}),
        "files_sha256": name_differences(before, kept, {"bytes": "file size"}),
    }
