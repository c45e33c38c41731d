"""The frames of a video that form a clip (Section 4.2: TSN's segments)."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Protocol:
    """The views of a video in evaluation: clips x crops, whose logits are averaged.

    Section 4.2: one clip and the central crop in Tables 2 and 9, two clips elsewhere for temporal-related datasets, ten
    for appearance-related ones. Three crops have the short side of the resized frame (TSM's full resolution), ten are
    TSN's.
    """

    clips: int = 1
    crops: int = 1

    @property
    def views(self) -> int:
        return self.clips * self.crops


def segment_indices(positions: int, segments: int, rng: np.random.Generator | None = None) -> np.ndarray:
    """One position of each of `segments` equal parts of [0, positions), as int64 (segments,): the middle (evaluation),
    with `rng` a random one (training). With fewer positions than segments some are repeated."""
    offset = np.full(segments, 0.5) if rng is None else rng.random(segments)
    return _positions(positions, segments, offset)


def evaluation_positions(positions: int, segments: int, clips: int) -> np.ndarray:
    """Positions of the evaluation clips of one video, as int64 (clips, segments).

    One clip takes the middle of each segment; two the middles and the beginnings, as TSM; more evenly spaced positions.
    The paper gives the number of clips, not their positions.
    """
    offsets = {1: [0.5], 2: [0.5, 0.0]}.get(clips) or (np.arange(clips) + 0.5) / clips
    return np.stack([_positions(positions, segments, np.full(segments, offset)) for offset in offsets])


def _positions(positions: int, segments: int, offset: np.ndarray) -> np.ndarray:
    part = positions / segments
    return ((np.arange(segments) + offset) * part).astype(np.int64).clip(0, positions - 1)
