"""Which clips of a dataset a command takes: a split that the user names, or what fits the dataset and the network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sth_core.checkpoint import Checkpoint
from sth_core.datasets.entries import NoSuchColumn
from sth_core.datasets.found import Found
from sth_core.datasets.splits import ALL
from sth_core.datasets.table import Annotation, Dataset, only_inside, open_dataset
from sth_core.datasets.trained_clips import trained_on
from sth_core.errors import UserError

HELD_OUT = "held-out"  # the split of all clips that the network was not trained on
TRAINING_KEYS = "train_keys"  # of a checkpoint's training facts


@dataclass(frozen=True)
class ChosenClips:
    """The rows of the `split` of a dataset; `trained` (N,) says which were in the network's training, if it is known.

    `why` is a sentence about a split that the user did not ask for, and about clips that were in the training.
    `training` is what the network's checkpoint says of its training.
    """

    clips: pd.DataFrame
    split: str
    found: Found
    trained: NDArray[np.bool_] | None
    why: str
    training: Mapping[str, Any]

    @property
    def facts(self) -> dict[str, Any]:
        """What is kept of it with the results."""
        source = {"split_from": self.found.how_split, "groups_from": self.found.group_source}
        if self.split == HELD_OUT:  # which the network's training chose
            source = {key: self.training.get(key, "") for key in source}
        trained = None if self.trained is None else int(self.trained.sum())
        return {"split": self.split, **source, "trained_clips": trained, "clips": len(self.clips)}

    def take(self, rows: pd.Index) -> "ChosenClips":
        """Only these rows, in this order."""
        trained = None if self.trained is None else self.trained[rows]
        return replace(self, clips=self.clips.loc[rows].reset_index(drop=True), trained=trained)


def choose_split(
    checkpoint: Checkpoint, data: Path, annotation: Annotation, split: str, *, inside: Sequence[Path] = ()
) -> ChosenClips:
    """The clips of a split; of all splits for "all". With `inside`, a clip outside of these folders is not read.

    Without a split: "val" if the dataset names splits; else the clips that the network was not trained on, if it was
    trained on others of this dataset; else all. Raises UserError: the dataset cannot be read, or there are no clips."""
    dataset = open_for_network(checkpoint, data, annotation)
    if inside:
        dataset = only_inside(dataset, inside)
    clips, found = dataset.clips, dataset.found
    keys = checkpoint.training.get(TRAINING_KEYS)
    trained = None if keys is None else trained_on(clips, keys)
    n, N = 0 if trained is None else int(trained.sum()), len(clips)
    why = ""
    if not split and not found.split_invented:
        split = "val"
    elif not split and n:
        split = HELD_OUT
        others = f"the {N - n:,} held-out ones are taken; --split all takes all"
        why = f"this network was trained on {n:,} of these {N:,} clips; {others}"
    elif not split:
        split = ALL
        unknown = "; it is not known which clips this network was trained on" if trained is None else ""
        why = f"{found.name} names no splits: all {N:,} clips are taken{unknown}"
    if split == HELD_OUT and trained is None:
        raise UserError("it is not known which clips this network was trained on; choose another --split, such as all")
    masks = {ALL: np.ones(N, bool), HELD_OUT: ~trained if trained is not None else np.zeros(N, bool)}
    mask = masks.get(split, clips["split"].eq(split).to_numpy())
    if not mask.any():
        there = clips["split"].value_counts().to_dict()
        raise UserError(f"no clips in the split {split!r} of {data}; it has {there}; --split all takes all of them")
    of_these = None if trained is None else trained[mask]
    if of_these is not None and of_these.any():
        why = f"this network was trained on {of_these.sum():,} of the {mask.sum():,} clips that are taken"
    return ChosenClips(clips[mask].reset_index(drop=True), split, found, of_these, why, checkpoint.training)


def open_for_network(checkpoint: Checkpoint, data: Path, annotation: Annotation) -> Dataset:
    """The dataset, without labels, splits or groups if only the network's own training had their column."""
    notes: list[str] = []
    while True:
        try:
            dataset = open_dataset(data, annotation)
        except NoSuchColumn as error:
            own = {key: getattr(checkpoint.annotation, key) for key in ("label", "split", "group")}
            keys = [key for key, column in own.items() if column == error.column == getattr(annotation, key)]
            if not keys:
                raise
            changes: Any = dict.fromkeys(keys, "")
            annotation = replace(annotation, **changes)
            notes.append(f"there is no column {error.column!r}, as in the network's training, so it has no {keys[0]}s")
        else:
            return replace(dataset, found=replace(dataset.found, notes=(*dataset.found.notes, *notes)))
