"""From a video file to the network's input: resize, optical flow, crop, flip, normalise.

A clip before the crop is uint8 (T, H, W, C): C = 3 for RGB; for flow C = 10, five consecutive
fields (x, y, x, y, ...), each clipped to +-bound pixels and stored in 8 bits as TSN does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from sth_core.network import FLOW_STACK
from sth_core.video.decoding import count_frames, read_frames
from sth_core.video.sampling import segment_indices

cv2.setNumThreads(1)  # clips are read in parallel, not the pixels of one


@dataclass(frozen=True)
class Preprocessing:
    """What a checkpoint needs to know to see a video as it did in training.

    `resize` is the short side in pixels (the aspect ratio is kept), `crop` the side of the square
    that the network sees, `mean` and `std` are per channel over [0, 1], `flow_bound` is the
    largest displacement kept, in pixels of the resized frame per frame.
    """

    modality: str = "rgb"
    frames: int = 8
    resize: int = 256
    crop: int = 224
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    flow_bound: float = 20.0


def positions_in(frame_count: int, preprocessing: Preprocessing) -> int:
    """How many places a clip's frame (or stack of flow fields) can start at."""
    return frame_count if preprocessing.modality == "rgb" else max(1, frame_count - FLOW_STACK)


def resize_short_side(frames: np.ndarray, side: int) -> np.ndarray:
    """uint8 (N, H, W, 3) -> (N, h, w, 3), the shorter of h and w being `side`."""
    H, W = frames.shape[1:3]
    scale = side / min(H, W)
    size = (max(side, round(W * scale)), max(side, round(H * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.stack([cv2.resize(frame, size, interpolation=how) for frame in frames])


def flow_field(before: np.ndarray, after: np.ndarray, bound: float) -> np.ndarray:
    """Dense optical flow by DIS between two frames (H, W, 3), as uint8 (H, W, 2); 128 is no motion.

    Computed down to single pixels: the frames are small, and DIS by default stops at a quarter of
    their size, where the outlines of things are lost. One step of variational refinement instead
    of five: half the time, and the same outlines.
    """
    gray = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (before, after)]
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    dis.setFinestScale(0)
    dis.setVariationalRefinementIterations(1)
    flow = dis.calc(gray[0], gray[1], None)  # type: ignore[call-overload]
    return np.clip(np.round(flow * (127 / bound)) + 128, 1, 255).astype(np.uint8)


def read_fields(path: Path, indices: Sequence[int], frame_count: int, p: Preprocessing) -> np.ndarray:
    """Resized frames (N, h, w, 3), or flow fields from frame i to i + 1 (N, h, w, 2), at `indices`."""
    if p.modality == "rgb":
        return resize_short_side(read_frames(path, indices), p.resize)
    needed = sorted({min(i + step, frame_count - 1) for i in indices for step in (0, 1)})
    frames = dict(zip(needed, resize_short_side(read_frames(path, needed), p.resize), strict=True))
    last = frame_count - 1
    return np.stack([flow_field(frames[min(i, last)], frames[min(i + 1, last)], p.flow_bound) for i in indices])


def fields_of(starts: np.ndarray, frame_count: int, p: Preprocessing) -> np.ndarray:
    """The fields (T, 1 or FLOW_STACK) that the clip with these starting positions consists of."""
    if p.modality == "rgb":
        return starts[:, None]
    return np.minimum(starts[:, None] + np.arange(FLOW_STACK), max(0, frame_count - 2))


def stack_fields(fields: np.ndarray) -> np.ndarray:
    """(T, N, h, w, c) -> (T, h, w, N*c)."""
    T, N, h, w, c = fields.shape
    return fields.transpose(0, 2, 3, 1, 4).reshape(T, h, w, N * c)


def read_clip(path: Path, p: Preprocessing) -> tuple[np.ndarray, np.ndarray]:
    """The middle clip of a video, for testing: uint8 (T, h, w, C) before the crop, frame indices (T,)."""
    frame_count = count_frames(path)
    starts = segment_indices(positions_in(frame_count, p), p.frames)
    wanted = fields_of(starts, frame_count, p)
    unique, where = np.unique(wanted, return_inverse=True)
    fields = read_fields(path, unique.tolist(), frame_count, p)
    return stack_fields(fields[where.reshape(wanted.shape)]), starts


def crop(clip: np.ndarray, side: int, rng: np.random.Generator | None = None) -> np.ndarray:
    """The central square (..., side, side, C), or with `rng` one anywhere."""
    H, W = clip.shape[-3:-1]
    y, x = ((H - side) // 2, (W - side) // 2)
    if rng is not None:
        y, x = int(rng.integers(H - side + 1)), int(rng.integers(W - side + 1))
    return clip[..., y : y + side, x : x + side, :]


def mirror(clip: np.ndarray, modality: str) -> np.ndarray:
    """The clip flipped left to right; horizontal flow changes its sign."""
    clip = clip[:, :, ::-1].copy()
    if modality == "flow":
        clip[..., 0::2] = negative(clip[..., 0::2])
    return clip


def play_backward(clip: np.ndarray, modality: str) -> np.ndarray:
    """The clip in reverse order; flow is negated too, which is the flow of the reversed video but
    for the pixel that each vector starts from."""
    if modality == "rgb":
        return clip[::-1]
    T, H, W, C = clip.shape
    fields = clip.reshape(T, H, W, C // 2, 2)[::-1, :, :, ::-1]
    return negative(fields.reshape(T, H, W, C))


def negative(flow: np.ndarray) -> np.ndarray:
    """The opposite of 8-bit flow, whose values are 1 to 255 with 128 for none: 256 - v, which is -v in 8 bits."""
    return np.negative(flow)


def normalise(clips: Tensor, p: Preprocessing) -> Tensor:
    """uint8 (..., T, H, W, C) -> float32 (..., T, C, H, W)."""
    channels = clips.shape[-1]
    mean = torch.tensor(p.mean, device=clips.device).repeat(channels // len(p.mean)) * 255
    std = torch.tensor(p.std, device=clips.device).repeat(channels // len(p.std)) * 255
    return ((clips.float() - mean) / std).movedim(-1, -3).contiguous()
