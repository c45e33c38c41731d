"""The frames of a video that form a clip: one of each of T equal segments of the whole video (Section 4.2: TSN), or T
frames a fixed stride apart, from some frame on (dense sampling: I3D, TSM, SlowFast)."""

from dataclasses import dataclass

import numpy as np

DENSE = ("loop", "hold", "spread")


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


def training_positions(
    positions: int, frames: int, rng: np.random.Generator, stride: int = 0, dense: str = "loop"
) -> np.ndarray:
    """Positions of a random training clip, int64 (frames,): one of each segment, or with a `stride` dense ones."""
    if not stride:
        return segment_indices(positions, frames, rng)
    starts = rng.integers(dense_starts(positions, frames, stride), size=1)
    return dense_positions(positions, frames, stride, starts, dense)[0]


def evaluation_positions(positions: int, frames: int, clips: int, stride: int = 0, dense: str = "loop") -> np.ndarray:
    """Positions of the evaluation clips of one video, as int64 (clips, frames).

    Of segments, one clip takes the middles; two the middles and the beginnings, as TSM; more evenly spaced positions.
    The paper gives the number of clips, not their positions. With a `stride` one clip starts in the middle of the
    possible starts; more start evenly spaced from the first to the last of them, as TSM's and SlowFast's ten.
    """
    if stride:
        last = dense_starts(positions, frames, stride) - 1
        starts = np.linspace(0, last, clips, dtype=np.int64) if clips > 1 else np.array([last // 2])
        return dense_positions(positions, frames, stride, starts, dense)
    offsets = {1: [0.5], 2: [0.5, 0.0]}.get(clips) or (np.arange(clips) + 0.5) / clips
    return np.stack([_positions(positions, frames, np.full(frames, offset)) for offset in offsets])


def slow_positions(positions: int, frames: int, stride: int = 0, dense: str = "loop") -> np.ndarray:
    """Positions, int64 (frames,), of the middle half of the one evaluation clip, which plays at half the speed: of
    segments, the middle half of the video; dense, from a quarter of the clip on, half a stride apart."""
    if not stride:
        half = (positions + 1) // 2
        return segment_indices(half, frames) + (positions - half) // 2
    start = evaluation_positions(positions, frames, 1, stride)[0, 0] + frames * stride // 4
    return within_video(start + dense_offsets(frames, stride, dense) // 2, positions, dense)


def dense_starts(positions: int, frames: int, stride: int) -> int:
    """At how many positions a dense clip of frames x stride can start; a shorter video has one, its first."""
    return max(1, 1 + positions - frames * stride)


def dense_positions(positions: int, frames: int, stride: int, starts: np.ndarray, dense: str = "loop") -> np.ndarray:
    """Positions, int64 (len(starts), frames), of dense clips.

    Their frames are `stride` apart, and a video that is shorter than frames x stride begins again after its end
    ("loop": TSM, MMAction2) or repeats its last frame ("hold": VideoMAE). Or ("spread": PySlowFast, TimeSformer,
    pytorchvideo) they lie evenly between the first and the last of the frames x stride frames, rounded down, a little
    further apart, and the last frame is repeated.
    """
    return within_video(starts[:, None] + dense_offsets(frames, stride, dense), positions, dense)


def dense_offsets(frames: int, stride: int, dense: str) -> np.ndarray:
    """How far, int64 (frames,), the frames of a dense clip are from its first."""
    if dense == "spread":
        return np.linspace(0, frames * stride - 1, frames).astype(np.int64)
    return np.arange(frames) * stride


def within_video(positions: np.ndarray, count: int, dense: str) -> np.ndarray:
    """What is shown at positions that may be behind the last of `count`."""
    return positions % count if dense == "loop" else np.minimum(positions, count - 1)


def _positions(positions: int, segments: int, offset: np.ndarray) -> np.ndarray:
    part = positions / segments
    return ((np.arange(segments) + offset) * part).astype(np.int64).clip(0, positions - 1)
