"""A clip with its frames in another order: what a network predicts then tells whether it uses the frame order."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sth_core.video.transforms import play_backward

REVERSED, SHUFFLED, FROZEN = "reversed", "shuffled", "frozen"
DROPPED, SUBSAMPLED, FAST = "dropped", "sub-sampled", "fast"
NO_MOTION = 128  # of 8-bit flow


def reorder(clip: NDArray[np.uint8], how: str, modality: str, seed: int | Sequence[int] = 0) -> NDArray[np.uint8]:
    """The clip (T, H, W, C) with its frames in another order; `seed` draws what is random.

    Reversed flow is negated, too; frozen flow is without motion. Raises ValueError: there is no order of that name.
    """
    if how == REVERSED:
        return play_backward(clip, modality)
    if how == FROZEN and modality == "flow":
        return np.full_like(clip, NO_MOTION)
    return clip[frame_order(how, len(clip), np.random.default_rng(seed))]


def frame_order(how: str, frames: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Which of T frames is shown at each place, int64 (T,).

    Frozen is the middle frame; sub-sampled each second frame, twice; fast each second frame, the last one repeated.
    A quarter of the frames is dropped, at least one; each is replaced by the last kept one before it, or the first.
    """
    t = np.arange(frames)
    if how == SHUFFLED:
        return shuffled_order(frames, random)
    if how == FROZEN:
        return np.full(frames, frames // 2)
    if how == DROPPED:
        lost = random.choice(frames, max(1, frames // 4) if frames > 1 else 0, replace=False)
        kept = np.delete(t, lost)
        return kept[np.maximum(np.searchsorted(kept, t, "right") - 1, 0)]
    if how == SUBSAMPLED:
        return t // 2 * 2
    if how == FAST:
        return np.minimum(2 * t, (frames - 1) // 2 * 2)
    raise ValueError(f"there is no order {how!r}")


def shuffled_order(frames: int, random: np.random.Generator) -> NDArray[np.int64]:
    """A random order, neither forward nor backward where there are others."""
    t = np.arange(frames)
    avoided = [t, t[::-1]][: max(0, frames - 1)]  # one frame has one order, two have two
    while True:
        found = random.permutation(frames)
        if not any((found == other).all() for other in avoided):
            return found
