"""Clips as torch samples, read from video files or from memory."""

import copy
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import chain
from os import cpu_count
from typing import Annotated

import numpy as np
import pandas as pd
import psutil
import torch
from torch import Tensor
from torch.utils.data import Dataset

from sth_core.datasets.mirroring import mirror_labels, mirror_order
from sth_core.prefetch import prefetch
from sth_core.resumable import no_report
from sth_core.values import BadValue, Between, Items, Label, check_fields
from sth_core.video.clip_source import ClipSource
from sth_core.video.container import UnreadableVideo
from sth_core.video.fields import (
    Each,
    as_it_is,
    count_fields,
    fields_in,
    fields_of,
    positions_in,
    read_clips,
    read_fields,
    read_wanted,
    stack_fields,
)
from sth_core.video.sampling import Protocol, training_positions
from sth_core.video.transforms import Preprocessing, RandomWindow, crops, mirror, play_backward

SOURCE = ["clip_id", "path", "label", "flow", "problem", "backward", "segment"]  # the columns needed to read a clip

LabelPairs = Annotated[tuple[tuple[Label, Label], ...], Items(0, 1000)]


@dataclass(frozen=True)
class Augment:
    """Random changes of clips in training, with their labels.

    With `flip` half of the clips are mirrored: "moving left" becomes "moving right" (`mirror_labels`); a clip whose
    mirror image has no class stays. `flip_swaps` are further pairs of labels that mirroring exchanges,
    `reverse_swaps` those that playing backward exchanges. `crop_scales` are the sides of random crops as shares of
    the short side (TSN: 1, 0.875, 0.75, 0.66); without them a crop has the network's size.

    Raises BadValue: a swap that is no pair of labels, a label in two pairs, or a crop scale that is no share.
    """

    crop_scales: Annotated[tuple[Annotated[float, Between(0.05, 1)], ...], Items(0, 100)] = ()
    flip: bool = False
    flip_swaps: LabelPairs = ()
    reverse: bool = False
    reverse_swaps: LabelPairs = ()

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("flip_swaps", "reverse_swaps"):
            labels = list(chain(*getattr(self, name)))
            if twice := [label for label in labels if labels.count(label) > 1]:
                raise BadValue(f"{name} must have a label once, got {twice[0]!r} more often")


@dataclass(frozen=True)
class Sample:
    """One clip: its views, uint8 (V, T, H, W, C), the views of the first clip first, or why it could not be read.

    `frame_indices` (T,) are the numbers, in the whole video, of the frames in the first of its clips.
    """

    row: int
    views: Tensor | None
    label: int
    frame_indices: np.ndarray
    failure: str = ""


def swap_label(label: str, pairs: tuple[tuple[str, str], ...]) -> str:
    """The other label of the pair that has it; itself, if none has."""
    for a, b in pairs:
        if label in (a, b):
            return b if label == a else a
    return label


class EvaluationClips(Dataset[Sample]):
    """The views of each row of a table of clips by a protocol; by default the centre crop of the middle clip."""

    def __init__(
        self, table: pd.DataFrame, classes: list[str], preprocessing: Preprocessing, protocol: Protocol = Protocol()
    ) -> None:
        self.rows = table[SOURCE].to_dict("records")
        self.numbers = {name: i for i, name in enumerate(classes)}
        self.preprocessing, self.protocol = preprocessing, protocol
        self.mirrored = mirror_order(classes)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> Sample:
        source, p = self.rows[row], self.preprocessing
        label = self.numbers.get(source["label"], -1)
        try:
            if source["problem"]:
                raise UnreadableVideo(source["problem"])
            clips, indices = read_clips(ClipSource.from_row(source), p, self.protocol.clips)
        except UnreadableVideo as error:
            return Sample(row, None, label, np.empty(0, np.int64), str(error))
        side = p.short_side if self.protocol.crops == 3 else p.crop
        views = np.concatenate([crops(clip, side, self.protocol.crops, p.modality) for clip in clips])
        return Sample(row, torch.from_numpy(views), label, indices[0])

    def shard(self, rank: int, world: int) -> "EvaluationClips":
        """Every `world`-th video, from `rank` on."""
        part = copy.copy(self)
        part.rows = self.rows[rank::world]
        return part

    def unmirror_logits(self, logits: Tensor) -> Tensor:
        """(V, K): in mirrored views, the logits of classes such as "left" and "right" are exchanged."""
        if self.protocol.crops != 10:
            return logits
        logits = logits.unflatten(0, (self.protocol.clips, 2, -1))  # five crops as they are, five mirrored
        return torch.stack([logits[:, 0], logits[:, 1][..., self.mirrored]], 1).flatten(0, 2)


class TrainClips:
    """Training clips, sampled again in every epoch: either all kept decoded and resized, or all read each time."""

    def __init__(self, table: pd.DataFrame, classes: list[str], preprocessing: Preprocessing, augment: Augment) -> None:
        self.table, self.classes = table.reset_index(drop=True), classes
        self.preprocessing, self.augment = preprocessing, augment
        self.numbers = {name: i for i, name in enumerate(classes)}
        self.mirrored = mirror_labels(classes, augment.flip_swaps)
        self.sources = self.table[SOURCE].to_dict("records")
        self.kept: dict[int, np.ndarray] = {}
        self.failures = {s["clip_id"]: s["problem"] for s in self.sources if s["problem"]}  # clip_id -> reason
        self.rows = [row for row, source in enumerate(self.sources) if not source["problem"]]

    def load(self, progress: Callable[[int, int], None] = no_report, memory: float | None = None) -> bool:
        """Decode all clips and keep them, if they fit into `memory` bytes; returns whether they do.

        A clip that cannot be read is left out and named in `failures`, now or when it is sampled.
        """
        alike = self.same_frames()
        progress(0, len(alike))
        if self.expected_bytes() > (psutil.virtual_memory().total / 4 if memory is None else memory):
            return False

        def read(row: int) -> np.ndarray | str:
            try:
                return self.read(row, None)
            except UnreadableVideo as error:
                return str(error)

        first, workers = [rows[0] for rows in alike], cpu_count() or 1
        with closing(prefetch(read, first, workers, ahead=workers)) as results:
            for done, (rows, result) in enumerate(zip(alike, results, strict=True), start=1):
                if isinstance(result, str):
                    self.failures |= {self.sources[row]["clip_id"]: result for row in rows}
                else:
                    self.kept |= dict.fromkeys(rows, result)
                progress(done, len(alike))
        self.rows = sorted(self.kept)
        return True

    def same_frames(self) -> list[list[int]]:
        """The rows of clips with the same frames: a clip that is played forward and backward has two."""
        groups = self.table.iloc[self.rows].groupby(["path", "flow", "segment"], sort=False).groups
        return [rows.tolist() for rows in groups.values()]

    def expected_bytes(self) -> float:
        """The size of all clips, decoded and resized, estimated from 16 of them."""
        different = [rows[0] for rows in self.same_frames()]
        sizes = []
        for row in different[:: max(1, len(different) // 16)]:
            with suppress(UnreadableVideo):
                count = self.count(row)
                sizes.append(count * self.read(row, [count // 2]).nbytes)
        return float(np.mean(sizes)) * len(different) if sizes else 0.0

    def count(self, row: int) -> int:
        return count_fields(ClipSource.from_row(self.sources[row]), self.preprocessing)

    def read(self, row: int, indices: Sequence[int] | None) -> np.ndarray:
        """Resized frames or fields (N, h, w, c) of a clip; all of them for None."""
        indices = range(self.count(row)) if indices is None else indices
        return read_fields(ClipSource.from_row(self.sources[row]), indices, self.preprocessing)

    def sample(self, row: int, rng: np.random.Generator) -> tuple[np.ndarray, int] | None:
        """A random clip (T, H, W, C) uint8 of this row, augmented, and its class number; None if it cannot be read."""
        p, a, label = self.preprocessing, self.augment, self.sources[row]["label"]
        try:
            clip = stack_fields(self.random_fields(row, rng, RandomWindow(p.crop, a.crop_scales, rng)))
        except UnreadableVideo as error:
            self.failures[self.sources[row]["clip_id"]] = str(error)
            return None
        if self.sources[row]["backward"]:
            clip = play_backward(clip, p.modality)
        if a.flip and label in self.mirrored and rng.random() < 0.5:
            clip, label = mirror(clip, p.modality), self.mirrored[label]
        if a.reverse and rng.random() < 0.5 and (backward := swap_label(label, a.reverse_swaps)) in self.numbers:
            clip, label = play_backward(clip, p.modality), backward
        return clip, self.numbers[label]

    def random_fields(self, row: int, rng: np.random.Generator, each: Each = as_it_is) -> np.ndarray:
        """The frames or fields of a random clip, kept or read, `each` as it returns it."""
        p, kept, source = self.preprocessing, self.kept.get(row), ClipSource.from_row(self.sources[row])
        fields = fields_in(source, p) if kept is None else range(len(kept))
        positions = training_positions(positions_in(len(fields), p), p.frames, rng, p.stride)

        def read(indices: list[int]) -> np.ndarray:
            if kept is None:
                return read_fields(source, indices, p, each, fields)
            return np.stack([each(kept[i]) for i in indices])

        return read_wanted(fields_of(positions, len(fields), p), read)
