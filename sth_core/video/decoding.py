"""Exact frames: every frame returned equals that frame of a full sequential decode.

decord's random access is exact for H.264 in mp4 and VP9 in webm; in AVI files with B-frames it
returns wrong frames (early, or scrambled in time). There the file is decoded in order by PyAV, as
far as the last frame asked for.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from os import PathLike
from pathlib import Path

import av
import decord
import numpy as np

from sth_core.errors import UserError

RANDOM_ACCESS_IS_EXACT = {".mp4", ".webm"}
VIDEO_SUFFIXES = {".mp4", ".webm", ".avi", ".mkv", ".mov", ".m4v", ".mpg", ".mpeg"}


class UnreadableVideo(UserError):
    """A file that gives no frames; the message says which and why."""


def count_frames(path: str | PathLike[str]) -> int:
    """The number of frames that can be decoded, which the header may overstate.

    Raises:
        UnreadableVideo: there is no such file, or no frame of it can be decoded.
    """
    path = _existing(path)
    stat = path.stat()
    return _count(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=100_000)
def _count(path: Path, size: int, mtime_ns: int) -> int:
    if path.suffix.lower() in RANDOM_ACCESS_IS_EXACT:
        return len(_decord(path))
    frames = 0
    try:
        for _ in decode_in_order(path):
            frames += 1
    except UnreadableVideo:
        if frames == 0:
            raise
    if frames == 0:
        raise UnreadableVideo(f"{path}: no frame can be decoded")
    return frames


def read_frames(path: str | PathLike[str], indices: Sequence[int]) -> np.ndarray:
    """The frames at `indices`, in that order, as uint8 RGB (len(indices), H, W, 3).

    Raises:
        UnreadableVideo: there is no such file, or a frame asked for cannot be decoded.
    """
    path = _existing(path)
    if not len(indices):
        raise ValueError("no frame indices given; pass at least one")
    if path.suffix.lower() in RANDOM_ACCESS_IS_EXACT:
        reader = _decord(path)
        if max(indices) >= len(reader) or min(indices) < 0:
            raise UnreadableVideo(f"{path}: has frames 0 to {len(reader) - 1}, asked for {list(indices)}")
        try:
            return reader.get_batch(list(indices)).asnumpy()
        except decord.DECORDError as error:
            raise UnreadableVideo(f"{path}: damaged: {_first_line(error)}") from error
    wanted = set(indices)
    found = {}
    for i, frame in enumerate(decode_in_order(path)):
        if i in wanted:
            found[i] = frame.to_ndarray(format="rgb24")
        if len(found) == len(wanted):
            return np.stack([found[i] for i in indices])
    raise UnreadableVideo(f"{path}: frames {sorted(wanted - set(found))} cannot be decoded")


def _existing(path: str | PathLike[str]) -> Path:
    path = Path(path)
    if not path.is_file():
        raise UnreadableVideo(f"{path}: {'is a directory' if path.is_dir() else 'no such file'}")
    return path


def _decord(path: Path) -> "decord.VideoReader":
    try:
        reader = decord.VideoReader(str(path), num_threads=1)
    except (decord.DECORDError, RuntimeError) as error:
        raise UnreadableVideo(f"{path}: not a video that can be decoded") from error
    if len(reader) == 0:
        raise UnreadableVideo(f"{path}: no frame can be decoded")
    return reader


def decode_in_order(path: Path) -> Iterator[av.VideoFrame]:
    """Every frame, first to last; raises UnreadableVideo where the decoding breaks off."""
    try:
        # Old AVI files carry metadata in no particular encoding: it must not stop the decoding.
        with av.open(str(path), metadata_errors="ignore") as container:
            if not container.streams.video:
                raise UnreadableVideo(f"{path}: has no video stream")
            yield from container.decode(video=0)
    except av.FFmpegError as error:
        raise UnreadableVideo(f"{path}: not a video that can be decoded ({_first_line(error)})") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200]
