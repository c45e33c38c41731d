"""Random clips of training, with random changes: each depends on its source and a seed alone."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, Any

import numpy as np

from sth_core.values import BadValue, Between, Items, Label, check_fields
from sth_core.video.clip_source import ClipSource
from sth_core.video.container import UnreadableVideo
from sth_core.video.fields import (
    Each,
    as_it_is,
    fields_in,
    fields_of,
    positions_in,
    read_fields,
    read_wanted,
    stack_fields,
)
from sth_core.video.sampling import training_positions
from sth_core.video.transforms import Preprocessing, RandomWindow, mirror, play_backward

Seed = Sequence[int] | np.random.Generator  # of NumPy's default_rng
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


def swap_label(label: str, pairs: tuple[tuple[str, str], ...]) -> str:
    """The other label of the pair that has it; itself, if none has."""
    for a, b in pairs:
        if label in (a, b):
            return b if label == a else a
    return label


@dataclass(frozen=True)
class ClipToSample:
    """What a training clip is read from: its row's source, or its frames where they are kept, and the random seed."""

    source: dict[Hashable, Any]
    seed: Seed
    kept: np.ndarray | None = None


@dataclass(frozen=True)
class TrainingSampler:
    """Reads random training clips: with the table's rows it would be too much to give to each process."""

    preprocessing: Preprocessing
    augment: Augment
    numbers: dict[str, int]  # of each class
    mirrored: dict[str, str]

    def read(self, wanted: ClipToSample) -> tuple[np.ndarray, int] | str:
        """A random clip (T, H, W, C) uint8, augmented, and its class number; or why it cannot be read."""
        p, a, label = self.preprocessing, self.augment, wanted.source["label"]
        rng = np.random.default_rng(wanted.seed)
        try:
            window = RandomWindow(p.crop, a.crop_scales, rng, p.interpolation)
            clip = stack_fields(self.random_fields(wanted, rng, window))
        except UnreadableVideo as error:
            return str(error)
        if wanted.source["backward"]:
            clip = play_backward(clip, p.modality)
        if a.flip and label in self.mirrored and rng.random() < 0.5:
            clip, label = mirror(clip, p.modality), self.mirrored[label]
        if a.reverse and rng.random() < 0.5 and (backward := swap_label(label, a.reverse_swaps)) in self.numbers:
            clip, label = play_backward(clip, p.modality), backward
        return np.ascontiguousarray(clip), self.numbers[label]

    def random_fields(self, wanted: ClipToSample, rng: np.random.Generator, each: Each = as_it_is) -> np.ndarray:
        """The frames or fields of a random clip, kept or read, `each` as it returns it."""
        p, kept, source = self.preprocessing, wanted.kept, ClipSource.from_row(wanted.source)
        fields = fields_in(source, p) if kept is None else range(len(kept))
        positions = training_positions(positions_in(len(fields), p), p.frames, rng, p.stride, p.dense)

        def read(indices: list[int]) -> np.ndarray:
            if kept is None:
                return read_fields(source, indices, p, each, fields)
            return np.stack([each(kept[i]) for i in indices])

        return read_wanted(fields_of(positions, len(fields), p), read)
