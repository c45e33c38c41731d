"""Clips as torch samples, read from video files or from memory."""

import copy
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from os import cpu_count
from typing import Any

import numpy as np
import pandas as pd
import psutil
import torch
from torch import Tensor
from torch.utils.data import Dataset

from sth_core.datasets.mirroring import mirror_labels, mirror_order
from sth_core.datasets.random_clips import Augment, ClipToSample, Seed, TrainingSampler
from sth_core.prefetch import prefetch
from sth_core.readers import Readers
from sth_core.resumable import no_report
from sth_core.video.clip_source import ClipSource
from sth_core.video.container import UnreadableVideo
from sth_core.video.fields import count_fields, read_clips, read_fields
from sth_core.video.sampling import Protocol
from sth_core.video.transforms import Preprocessing, crops

SOURCE = ["clip_id", "path", "label", "flow", "problem", "backward", "segment"]  # the columns needed to read a clip
SMALL = 2**16  # bytes of a sample that are not pixels: the numbers of its frames
NumberedRow = tuple[int, dict[Hashable, Any]]  # a row of the table of clips, and its number
MOST_CROPPING = 4  # threads that crop kept clips: more only wait for each other


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

    def __reduce__(self) -> tuple[Any, ...]:
        """With the views as an array, which pickle passes on without a copy (PEP 574)."""
        views = None if self.views is None else self.views.numpy()
        return sample_of_array, (self.row, views, self.label, self.frame_indices, self.failure)


def sample_of_array(row: int, views: np.ndarray | None, *more: Any) -> Sample:
    return Sample(row, None if views is None else torch.from_numpy(views), *more)


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
        return self.read_row((row, self.rows[row]))

    def read_ahead(self, readers: Readers, ahead: int, held: int = 1) -> Iterator[Sample]:
        """All samples in order, at most `ahead` of them before they are asked for. Views from other processes are
        there until `held` more samples were taken."""
        without_rows = copy.copy(self)
        without_rows.rows = []  # processes get each row with its clip
        size = self.protocol.views * self.preprocessing.values_of(self.side) + SMALL
        return readers.ahead(without_rows.read_row, enumerate(self.rows), ahead=ahead, held=held, size=size)

    @property
    def side(self) -> int:
        """Of a view, in pixels."""
        return self.preprocessing.short_side if self.protocol.crops == 3 else self.preprocessing.crop

    def read_row(self, numbered: NumberedRow) -> Sample:
        """The sample of a row of the table, with its number."""
        (row, source), p = numbered, self.preprocessing
        label = self.numbers.get(source["label"], -1)
        try:
            if source["problem"]:
                raise UnreadableVideo(source["problem"])
            clips, indices = read_clips(ClipSource.from_row(source), p, self.protocol.clips)
        except UnreadableVideo as error:
            return Sample(row, None, label, np.empty(0, np.int64), str(error))
        count, rounding = self.protocol.crops, p.crop_rounding
        views = np.concatenate([crops(clip, self.side, count, p.modality, rounding) for clip in clips])
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
        self.sampler = TrainingSampler(preprocessing, augment, self.numbers, mirror_labels(classes, augment.flip_swaps))
        self.sources = self.table[SOURCE].to_dict("records")
        self.kept: dict[int, np.ndarray] = {}
        self.failures = {s["clip_id"]: s["problem"] for s in self.sources if s["problem"]}  # clip_id -> reason
        self.rows = [row for row, source in enumerate(self.sources) if not source["problem"]]

    def load(self, progress: Callable[[int, int], None] = no_report, memory: float | None = None) -> bool:
        """Decode all clips and keep them, if they fit into `memory` bytes; returns whether they do.

        A clip that cannot be read is named in `failures`, now or when it is sampled. It stays in the plan of an epoch,
        which does not depend on the memory: a batch that has it is smaller.
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

    def wanted(self, row: int, seed: Seed) -> ClipToSample:
        return ClipToSample(self.sources[row], seed, self.kept.get(row))

    def sample(self, row: int, seed: Seed) -> tuple[np.ndarray, int] | None:
        """A random clip (T, H, W, C) uint8 of this row, augmented, and its class number; None if it cannot be read."""
        return next(self.read_ahead([(row, seed)], Readers(0), 1, 1))

    def read_ahead(
        self, wanted: Iterable[tuple[int, Seed]], readers: Readers, ahead: int, held: int
    ) -> Generator[tuple[np.ndarray, int] | None, None, None]:
        """The `sample` of each row and seed, in order, at most `ahead` before they are asked for. Clips from other
        processes are there until `held` more were taken. Kept clips are not sent: threads of this process crop them."""
        rows = deque[int]()

        def clips() -> Iterator[ClipToSample]:
            for row, seed in wanted:
                rows.append(row)
                yield self.wanted(row, seed)

        readers = Readers(min(readers.workers, MOST_CROPPING)) if self.kept else readers
        size = self.preprocessing.values_of(self.preprocessing.crop)
        with closing(readers.ahead(self.sampler.read, clips(), ahead=ahead, held=held, size=size)) as samples:
            for found in samples:
                clip_id = self.sources[rows.popleft()]["clip_id"]
                if isinstance(found, str):
                    self.failures[clip_id] = found
                yield None if isinstance(found, str) else found
