"""A clip before the crop: resized frames, or stacks of resized flow fields.

A clip is uint8 (T, H, W, C): C = 3 for RGB; for flow C = 10, five consecutive fields (x, y, x, y, ...). Field i is
the motion from frame i to i + 1: extracted before, else computed from the resized frames.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sth_core.video.decoding import count_frames, read_frames
from sth_core.video.flow import TSN_BOUND, extraction_of, flow_field, flow_images, to_8_bits
from sth_core.video.modality import FLOW_STACK
from sth_core.video.sampling import evaluation_positions
from sth_core.video.transforms import Preprocessing, play_backward, resize


def count_fields(path: Path, p: Preprocessing, flow: str = "") -> int:
    """The number of frames, or of flow fields, of a video; a single frame has one field, without motion.

    `path` is the video or folder of frames, `flow` its folder of extracted flow, if any. Raises UnreadableVideo: it
    cannot be read.
    """
    if p.modality == "rgb":
        return count_frames(path)
    return len(flow_images(Path(flow))) if flow else max(1, count_frames(path) - 1)


def read_fields(path: Path, indices: Sequence[int], p: Preprocessing, flow: str = "") -> np.ndarray:
    """Resized frames (N, h, w, 3), or flow fields (N, h, w, 2), at `indices`.
    Raises UnreadableVideo: one of them cannot be read."""
    if p.modality == "rgb":
        return resize(read_frames(path, indices), p.resize)
    if flow:
        return read_extracted(Path(flow), indices, p)
    last = count_frames(path) - 1
    needed = sorted({min(i + step, last) for i in indices for step in (0, 1)})
    frames = dict(zip(needed, resize(read_frames(path, needed), p.resize), strict=True))
    return np.stack([flow_field(frames[min(i, last)], frames[min(i + 1, last)], p.flow_bound) for i in indices])


def read_extracted(folder: Path, indices: Sequence[int], p: Preprocessing) -> np.ndarray:
    """Extracted flow in the units of `p`, pixels of the resized frame up to its bound; without a flow.json its bound is
    TSN's, 20 pixels of the resized frame."""
    stored = flow_images(folder).read(indices)
    fields = resize(stored, p.resize)
    enlargement = np.divide(fields.shape[2:0:-1], stored.shape[2:0:-1])  # in x and y, of the vectors too
    extraction = extraction_of(folder)
    scale = enlargement * extraction.bound / p.flow_bound if extraction else np.full(2, TSN_BOUND / p.flow_bound)
    return fields if (scale == 1).all() else to_8_bits((fields - np.float32(128)) * scale.astype(np.float32))


def positions_in(fields: int, p: Preprocessing) -> int:
    """The number of positions at which a clip's frame (or stack of flow fields) can start."""
    return fields if p.modality == "rgb" else max(1, fields - FLOW_STACK + 1)


def fields_of(starts: np.ndarray, fields: int, p: Preprocessing) -> np.ndarray:
    """The indices (..., T, 1 or FLOW_STACK) of the fields of clips with these starting positions (..., T)."""
    if p.modality == "rgb":
        return starts[..., None]
    return np.minimum(starts[..., None] + np.arange(FLOW_STACK), fields - 1)


def stack_fields(fields: np.ndarray) -> np.ndarray:
    """(..., T, N, h, w, c) -> (..., T, h, w, N*c)."""
    *outer, N, h, w, c = fields.shape
    return np.moveaxis(fields, -4, -2).reshape(*outer, h, w, N * c)


def read_clips(
    path: Path, p: Preprocessing, flow: str = "", clips: int = 1, backward: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The evaluation clips of a video: uint8 (clips, T, h, w, C) before the crop, frame indices (clips, T).

    With `backward` the frames of each clip, and their indices, are in reverse order. Raises UnreadableVideo: it
    cannot be read.
    """
    count = count_fields(path, p, flow)
    starts = evaluation_positions(positions_in(count, p), p.frames, clips)
    wanted = fields_of(starts, count, p)
    unique, where = np.unique(wanted, return_inverse=True)
    fields = read_fields(path, unique.tolist(), p, flow)
    stacked = stack_fields(fields[where.reshape(wanted.shape)])
    if backward:
        return np.stack([play_backward(clip, p.modality) for clip in stacked]), starts[:, ::-1]
    return stacked, starts


def read_clip(path: Path, p: Preprocessing, flow: str = "", backward: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The middle clip of a video: uint8 (T, h, w, C) before the crop, frame indices (T,)."""
    clips, starts = read_clips(path, p, flow, backward=backward)
    return clips[0], starts[0]
