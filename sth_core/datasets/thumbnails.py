"""A clip as eight small gray pictures: enough to find clips that show the same, or the same place."""

import base64
from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

THUMBNAILS, SIDE = 8, 16  # of a clip; cells a side
LEAST_MOTION = 0.7  # gray levels by which the cells differ from their medians: less is compression
LEAST_CONTRAST = 2.0  # gray levels by which the cells of a picture with any content differ
BLUR = 1.2  # cells, out of 8 a side: what is smoother is light, not content
MOTION_NUMBERS = 128  # of a clip, after a random projection
ROWS_AT_ONCE = 4096

Floats = NDArray[np.float32]


def thumbnail(frame: np.ndarray) -> NDArray[np.uint8]:
    """The mean gray level of each of SIDE x SIDE cells of a frame, uint8 RGB (H, W, 3)."""
    gray = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return cv2.resize(gray, (SIDE, SIDE), interpolation=cv2.INTER_AREA).round().astype(np.uint8)


def thumbnail_positions(frames: int) -> list[int]:
    """The THUMBNAILS frames, from the first to the last, of which a clip has thumbnails."""
    return np.linspace(0, frames - 1, THUMBNAILS).round().astype(int).tolist()


def pack_thumbnails(pictures: Iterable[np.ndarray]) -> str:
    return base64.b64encode(np.stack(list(pictures)).tobytes()).decode()


def unpack_thumbnails(packed: Iterable[str]) -> NDArray[np.uint8]:
    """uint8 (clips, THUMBNAILS, SIDE, SIDE)."""
    content = b"".join(base64.b64decode(text) for text in packed)
    return np.frombuffer(content, np.uint8).reshape(-1, THUMBNAILS, SIDE, SIDE)


def motion(thumbnails: NDArray[np.uint8]) -> Floats:
    """(..., THUMBNAILS, SIDE, SIDE) -> (..., THUMBNAILS * SIDE * SIDE): how each cell differs from its median over the
    frames, divided by the length of that vector; zeros for a clip in which nothing moves."""
    difference = thumbnails.astype(np.float32) - np.median(thumbnails, axis=-3, keepdims=True).astype(np.float32)
    return _unit(difference.reshape(*thumbnails.shape[:-3], -1), LEAST_MOTION)


def projected_motion(thumbnails: NDArray[np.uint8]) -> Floats:
    """(clips, MOTION_NUMBERS): `motion` by a random projection, which nearly keeps the correlations."""
    size = THUMBNAILS * SIDE * SIDE
    projection = np.random.default_rng(0).standard_normal((size, MOTION_NUMBERS), np.float32)
    parts = [_unit(motion(part) @ projection, 1e-6) for part in in_parts(thumbnails)]
    return np.concatenate([np.empty((0, MOTION_NUMBERS), np.float32), *parts])


def scenes(thumbnails: NDArray[np.uint8]) -> Floats:
    """(clips, 3, 64): what the median over the frames, the first frame and the last show, in 8 x 8 cells.

    The median of a fixed camera's clip is the place without what moves in it. Slow changes over the picture are taken
    out, then the mean; each has length 1, or 0 if it shows one colour."""
    parts = []
    for part in in_parts(thumbnails):
        shown = np.stack([np.median(part, axis=1), part[:, 0], part[:, -1]], axis=1).astype(np.float32)
        cells = shown.reshape(len(part), 3, 8, SIDE // 8, 8, SIDE // 8).mean((3, 5))
        smooth = [[cv2.GaussianBlur(picture, (0, 0), BLUR) for picture in of_clip] for of_clip in cells]
        parts.append(_unit((cells - np.stack(smooth)).reshape(len(part), 3, -1), LEAST_CONTRAST))
    return np.concatenate([np.empty((0, 3, 64), np.float32), *parts])


def in_parts(rows: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), ROWS_AT_ONCE):
        yield rows[start : start + ROWS_AT_ONCE]


def _unit(vectors: Floats, least: float) -> Floats:
    """Vectors (..., N) without their mean, with length 1; zeros if their standard deviation is below `least`."""
    vectors = vectors - vectors.mean(-1, keepdims=True)
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    enough = length >= least * np.sqrt(vectors.shape[-1])
    return np.where(enough, vectors / np.maximum(length, 1e-6), np.float32(0))
