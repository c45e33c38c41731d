"""A clip before the crop: resized frames, or stacks of resized flow fields.

A clip is uint8 (T, H, W, C): C = 3 for RGB; for flow C = 10, five consecutive fields (x, y, x, y, ...). Field i is
the motion from frame i to i + 1: extracted before, else computed from the resized frames.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from sth_core.video.clip_source import ClipSource
from sth_core.video.container import UnreadableVideo
from sth_core.video.decoding import read_frames
from sth_core.video.flow import TSN_BOUND, extraction_of, flow_field, flow_images, to_8_bits
from sth_core.video.modality import FLOW_STACK
from sth_core.video.sampling import evaluation_positions
from sth_core.video.transforms import Preprocessing, play_backward, resize, resize_frame

Each = Callable[[np.ndarray], np.ndarray]  # of a frame or field (h, w, c)


def as_it_is(field: np.ndarray) -> np.ndarray:
    return field


def count_fields(source: ClipSource, p: Preprocessing) -> int:
    """The number of frames, or of flow fields, of a clip; a single frame has one field, without motion.
    Raises UnreadableVideo: it cannot be read."""
    return len(fields_in(source, p))


def fields_in(source: ClipSource, p: Preprocessing) -> range:
    """The frames, or flow fields, of a clip by their numbers in the whole video.
    Raises UnreadableVideo: it cannot be read."""
    if p.modality == "flow" and source.flow and source.segment.whole:
        return range(len(flow_images(Path(source.flow))))
    frames = source.frames()
    if p.modality == "rgb" or len(frames) == 1:
        return frames
    fields = frames[:-1]
    if source.flow and fields.stop > (extracted := len(flow_images(Path(source.flow)))):
        if fields.start >= extracted:
            raise UnreadableVideo(f"{source.flow}: has {extracted} fields of flow, the clip begins at {fields.start}")
        fields = range(fields.start, extracted)  # other programs leave out the last ones
    return fields


def read_resized(
    path: Path,
    indices: Sequence[int],
    to: int | tuple[int, int],
    each: Each = as_it_is,
    interpolation: str = "opencv",
) -> np.ndarray:
    """Frames (N, h, w, 3) of a video or folder of frames, each resized when it is decoded: large ones are not kept.
    `each` is applied to every resized frame. Raises UnreadableVideo: one of them cannot be read."""
    return read_frames(path, indices, each=lambda frame: each(resize_frame(frame, to, interpolation)))


def read_fields(
    source: ClipSource, indices: Sequence[int], p: Preprocessing, each: Each = as_it_is, fields: range | None = None
) -> np.ndarray:
    """Resized frames (N, h, w, 3), or flow fields (N, h, w, 2), at `indices`, counted from the clip's beginning, `each`
    as it returns it. `fields` are its `fields_in`, if they are known.
    Raises UnreadableVideo: one of them cannot be read."""
    fields = fields_in(source, p) if fields is None else fields
    wanted = [fields[i] for i in indices]
    if p.modality == "rgb":
        return read_resized(source.path, wanted, p.resize, each, p.interpolation)
    if source.flow and (source.segment.whole or len(source.frames()) > 1):
        return np.stack(list(map(each, read_extracted(Path(source.flow), wanted, p))))
    last = source.frames()[-1]
    needed = sorted({min(i + step, last) for i in wanted for step in (0, 1)})
    pictures = read_resized(source.path, needed, p.resize, interpolation=p.interpolation)
    frames = dict(zip(needed, pictures, strict=True))
    pairs = ((frames[min(i, last)], frames[min(i + 1, last)]) for i in wanted)
    return np.stack([each(flow_field(*pair, p.flow_bound)) for pair in pairs])


def read_wanted(wanted: np.ndarray, read: Callable[[list[int]], np.ndarray]) -> np.ndarray:
    """The fields (..., h, w, c) at the indices `wanted` (...); `read` gets each index once, and they rise."""
    unique, where = np.unique(wanted, return_inverse=True)
    found = read(unique.tolist())
    if len(unique) < wanted.size or (np.diff(wanted.ravel()) < 0).any():
        found = found[where.ravel()]
    return found.reshape(*wanted.shape, *found.shape[1:])


def read_extracted(folder: Path, indices: Sequence[int], p: Preprocessing) -> np.ndarray:
    """Extracted flow in the units of `p`, pixels of the resized frame up to its bound; without a flow.json its bound is
    TSN's, 20 pixels of the resized frame."""
    stored = flow_images(folder).read(indices)
    fields = resize(stored, p.resize, p.interpolation)
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


def read_clips(source: ClipSource, p: Preprocessing, clips: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The evaluation clips of a clip: uint8 (clips, T, h, w, C) before the crop; and their frames' numbers in the whole
    video (clips, T).

    Played backward, the frames of each, and their numbers, are in reverse order. Raises UnreadableVideo: it cannot be
    read.
    """
    fields = fields_in(source, p)
    starts = evaluation_positions(positions_in(len(fields), p), p.frames, clips, p.stride, p.dense)
    wanted = fields_of(starts, len(fields), p)
    stacked = stack_fields(read_wanted(wanted, lambda indices: read_fields(source, indices, p, fields=fields)))
    numbers = starts + fields.start
    if source.backward:
        return np.stack([play_backward(clip, p.modality) for clip in stacked]), numbers[:, ::-1]
    return stacked, numbers


def read_clip(source: ClipSource, p: Preprocessing) -> tuple[np.ndarray, np.ndarray]:
    """The middle one of the evaluation clips: uint8 (T, h, w, C) before the crop, its frames' numbers (T,)."""
    clips, numbers = read_clips(source, p)
    return clips[0], numbers[0]
