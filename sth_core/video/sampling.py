"""Which frames of a video make a clip (Section 4.2: TSN's segments)."""

import numpy as np


def segment_indices(positions: int, segments: int, rng: np.random.Generator | None = None) -> np.ndarray:
    """One position of each of `segments` equal parts of [0, positions), as int64 (segments,).

    Without `rng` the middle of each part (testing), with it a random one (training). Fewer
    positions than segments repeat some.
    """
    part = positions / segments
    offset = np.full(segments, 0.5) if rng is None else rng.random(segments)
    return ((np.arange(segments) + offset) * part).astype(np.int64).clip(0, positions - 1)
