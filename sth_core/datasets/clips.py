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

from sth_core.video.decoding import count_frames
from sth_core.video.sampling import segment_indices
from sth_core.video.timeline import UnreadableVideo
from sth_core.video.transforms import (
    Preprocessing,
    crop,
    fields_of,
    mirror,
    play_backward,
    positions_in,
    read_clip,
    read_fields,
    stack_fields,
)


@dataclass(frozen=True)
class Augment:
    """Random changes in training that keep the label true.

    A mirrored clip of "moving left" moves right: `flip_swaps` lists the pairs of labels that a
    flip exchanges, `reverse_swaps` those that playing backward does.
    """

    flip: bool = False
    flip_swaps: tuple[tuple[str, str], ...] = ()
    reverse: bool = False
    reverse_swaps: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Sample:
    """One clip, uint8 (T, H, W, C), or the reason why it could not be read."""

    row: int
    clip: Tensor | None
    label: int
    frame_indices: np.ndarray
    failure: str = ""


def swap(label: str, pairs: tuple[tuple[str, str], ...]) -> str:
    for a, b in pairs:
        if label in (a, b):
            return b if label == a else a
    return label


class TestClips(Dataset[Sample]):
    """The central crop of the middle clip of each row of a table of clips."""

    __test__ = False  # not a test, whatever pytest thinks of the name

    def __init__(self, table: pd.DataFrame, classes: list[str], preprocessing: Preprocessing) -> None:
        self.paths, self.labels = list(table["path"]), list(table["label"])
        self.numbers = {name: i for i, name in enumerate(classes)}
        self.preprocessing = preprocessing

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> Sample:
        label = self.numbers.get(self.labels[row], -1)
        try:
            clip, indices = read_clip(Path(self.paths[row]), self.preprocessing)
        except UnreadableVideo as error:
            return Sample(row, None, label, np.empty(0, np.int64), str(error))
        clip = crop(clip, self.preprocessing.crop)
        return Sample(row, torch.from_numpy(np.ascontiguousarray(clip)), label, indices)


class TrainClips:
    """Training clips in memory: each video decoded and resized once, sampled anew in every epoch."""

    def __init__(self, table: pd.DataFrame, classes: list[str], preprocessing: Preprocessing, augment: Augment) -> None:
        self.table, self.classes = table.reset_index(drop=True), classes
        self.preprocessing, self.augment = preprocessing, augment
        self.fields: dict[int, np.ndarray] = {}
        self.failures: dict[str, str] = {}  # clip_id -> reason

    def load(self, progress: Callable[[int, int], None] = lambda done, total: None) -> None:
        """Decode all clips; one that cannot be read is left out and named in `failures`."""

        def read(row: int) -> np.ndarray | str:
            path = Path(self.table["path"][row])
            try:
                count = count_frames(path)
                fields = count if self.preprocessing.modality == "rgb" else max(1, count - 1)
                return read_fields(path, range(fields), count, self.preprocessing)
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
        count = len(fields) + (p.modality == "flow")
        starts = segment_indices(positions_in(count, p), p.frames, rng)
        clip = stack_fields(crop(fields, p.crop, rng)[fields_of(starts, count, p)])
        if a.flip and rng.random() < 0.5:
            clip, label = mirror(clip, p.modality), swap(label, a.flip_swaps)
        if a.reverse and rng.random() < 0.5:
            clip, label = play_backward(clip, p.modality), swap(label, a.reverse_swaps)
        return clip, self.classes.index(label)
