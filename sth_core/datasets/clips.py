"""Clips as torch samples, read from video files or from memory."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import cpu_count
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from sth_core.datasets.mirroring import mirror_labels, mirror_order
from sth_core.video.fields import count_fields, fields_of, positions_in, read_clips, read_fields, stack_fields
from sth_core.video.sampling import Protocol, segment_indices
from sth_core.video.timeline import UnreadableVideo
from sth_core.video.transforms import Preprocessing, crops, mirror, play_backward, scaled_crop


@dataclass(frozen=True)
class Augment:
    """Random changes in training that keep the label true.

    A mirrored clip of "moving left" moves right: its label is exchanged (`mirror_labels`), or, if there is no
    such class, it is not mirrored. `flip_swaps` are further pairs of labels that a mirror exchanges,
    `reverse_swaps` those that playing backward does. `crop_scales` are the sides of random crops, as
    shares of the short side (TSN: 1, 0.875, 0.75, 0.66); without them a crop has the network's size.
    """

    crop_scales: tuple[float, ...] = ()
    flip: bool = False
    flip_swaps: tuple[tuple[str, str], ...] = ()
    reverse: bool = False
    reverse_swaps: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Sample:
    """One video: its views, uint8 (V, T, H, W, C), the views of the first clip first, or why it could not be read.

    `frame_indices` (T,) are those of the first clip.
    """

    row: int
    views: Tensor | None
    label: int
    frame_indices: np.ndarray
    failure: str = ""


def swap(label: str, pairs: tuple[tuple[str, str], ...]) -> str:
    for a, b in pairs:
        if label in (a, b):
            return b if label == a else a
    return label


class TestClips(Dataset[Sample]):
    """The views of each row of a table of clips that a protocol asks for; by default the centre of the middle clip."""

    __test__ = False  # not a test, whatever pytest thinks of the name

    def __init__(
        self, table: pd.DataFrame, classes: list[str], preprocessing: Preprocessing, protocol: Protocol = Protocol()
    ) -> None:
        self.rows = table[["path", "label", "flow", "problem"]].to_dict("records")
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
            clips, indices = read_clips(Path(source["path"]), p, source["flow"], self.protocol.clips)
        except UnreadableVideo as error:
            return Sample(row, None, label, np.empty(0, np.int64), str(error))
        side = p.short_side if self.protocol.crops == 3 else p.crop
        views = np.concatenate([crops(clip, side, self.protocol.crops, p.modality) for clip in clips])
        return Sample(row, torch.from_numpy(views), label, indices[0])

    def unmirrored(self, logits: Tensor) -> Tensor:
        """(V, K): the logits of mirrored views as those of what was mirrored: there, left is right."""
        if self.protocol.crops != 10:
            return logits
        logits = logits.unflatten(0, (self.protocol.clips, 2, -1))  # five crops as they are, five mirrored
        return torch.stack([logits[:, 0], logits[:, 1][..., self.mirrored]], 1).flatten(0, 2)


class TrainClips:
    """Training clips in memory: each video decoded and resized once, sampled anew in every epoch."""

    def __init__(self, table: pd.DataFrame, classes: list[str], preprocessing: Preprocessing, augment: Augment) -> None:
        self.table, self.classes = table.reset_index(drop=True), classes
        self.preprocessing, self.augment = preprocessing, augment
        self.mirrored = mirror_labels(classes, augment.flip_swaps)
        self.fields: dict[int, np.ndarray] = {}
        self.failures: dict[str, str] = {}  # clip_id -> reason

    def load(self, progress: Callable[[int, int], None] = lambda done, total: None) -> None:
        """Decode all clips; one that cannot be read is left out and named in `failures`."""

        def read(row: int) -> np.ndarray | str:
            path, flow = Path(self.table["path"][row]), self.table["flow"][row]
            try:
                if problem := self.table["problem"][row]:
                    raise UnreadableVideo(problem)
                count = count_fields(path, self.preprocessing, flow)
                return read_fields(path, range(count), self.preprocessing, flow)
            except UnreadableVideo as error:
                return str(error)

        with ThreadPoolExecutor(cpu_count()) as pool:
            for row, result in enumerate(pool.map(read, range(len(self.table)))):
                if isinstance(result, str):
                    self.failures[self.table["clip_id"][row]] = result
                else:
                    self.fields[row] = result
                progress(row + 1, len(self.table))

    @property
    def rows(self) -> list[int]:
        """The rows of the table that could be read."""
        return sorted(self.fields)

    def sample(self, row: int, rng: np.random.Generator) -> tuple[np.ndarray, int]:
        """A random clip (T, H, W, C) uint8 of this row, augmented, and its class number."""
        p, a, label = self.preprocessing, self.augment, self.table["label"][row]
        fields = self.fields[row]
        starts = segment_indices(positions_in(len(fields), p), p.frames, rng)
        clip = scaled_crop(stack_fields(fields[fields_of(starts, len(fields), p)]), p.crop, a.crop_scales, rng)
        if a.flip and label in self.mirrored and rng.random() < 0.5:
            clip, label = mirror(clip, p.modality), self.mirrored[label]
        if a.reverse and rng.random() < 0.5:
            clip, label = play_backward(clip, p.modality), swap(label, a.reverse_swaps)
        return clip, self.classes.index(label)
