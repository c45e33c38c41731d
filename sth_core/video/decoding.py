"""Exact frames: every frame returned equals that frame of a full sequential decode.

A frame is identified by its presentation time, never by an estimate of its position: decoding begins at the keyframe
before it, skips frames that no other frame refers to, and ends when a frame with exactly that time comes out. Where
times cannot be trusted (`timeline`), the file is decoded from its beginning. Only requested frames become RGB.

decord 3.4 is not used: its random access is wrong in AVI with B-frames, in HEVC, and after an edit list, and where it
is right it is slower than PyAV (docs/data.md).
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np
from av.video.frame import PictureType

from sth_core.stopping import raise_if_stopping
from sth_core.video.container import UnreadableVideo, check_limit, decode_packets, opened
from sth_core.video.display import Screen
from sth_core.video.images import frame_names, read_images
from sth_core.video.limits import video_limits
from sth_core.video.timeline import Timeline, checksum, timeline

VIDEO_SUFFIXES = {
    ".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".divx", ".mpg", ".mpeg", ".vob", ".ts", ".mts", ".m2ts", ".flv",
    ".wmv", ".asf", ".3gp", ".3g2", ".ogv", ".gif",
}  # fmt: skip
# Codecs whose non-reference frames can be skipped; in HEVC such a frame may be a reference at a higher temporal level.
SKIPPABLE = ("h264", "mpeg4")
DOUBTFUL = 64


def count_frames(path: str | PathLike[str]) -> int:
    """The number of frames of a full sequential decode of a video file or folder of frames; the header may state more.
    A damaged frame between others counts, as it has a number; `read_frames` refuses it by its number.
    Raises UnreadableVideo: there is no such file, or no frame of it can be decoded."""
    path = _existing(path)
    count = len(frame_names(path)) if path.is_dir() else timeline(path).frames
    check_limit(path, video_limits().of_frames(count))
    return count


def read_frames(
    path: str | PathLike[str], indices: Sequence[int], *, each: Callable[[np.ndarray], np.ndarray] = np.asarray
) -> np.ndarray:
    """The frames of a video file or folder of frames at `indices`, in that order: uint8 RGB (len(indices), H, W, 3).

    `each` is applied to every frame (H, W, 3) as soon as it is decoded, so that many large ones need not be kept.

    A video is returned as players show it: turned and mirrored by its display matrix, its pixels made square (resized
    in width by its sample aspect ratio). Raises UnreadableVideo: there is no such file, a requested frame cannot be
    decoded, or frames differ in size. Raises ValueError: no indices.
    """
    path = _existing(path)
    if not len(indices):
        raise ValueError("no frame indices given; pass at least one")
    count = count_frames(path)
    if min(indices) < 0 or max(indices) >= count:
        raise UnreadableVideo(f"{path}: has frames 0 to {count - 1}, asked for {list(indices)}")
    if path.is_dir():
        return read_images(path, indices, each)
    place = {index: i for i, index in enumerate(sorted({int(i) for i in indices}))}
    pixels, shape = np.empty(0, np.uint8), None
    for index, picture in decode_wanted(path, set(place)):
        shape = shape or picture.shape
        check_shape(path, picture, shape, index)
        result = each(picture)
        if not pixels.size:
            pixels = np.empty((len(place), *result.shape), np.uint8)
        pixels[place[index]] = result
    rows = [place[int(i)] for i in indices]
    return pixels if rows == list(range(len(pixels))) else pixels[rows]


def all_frames(path: str | PathLike[str]) -> Iterator[np.ndarray]:
    """Every frame of a video or folder of frames, first to last, one at a time: uint8 RGB (H, W, 3).
    Raises UnreadableVideo: there is no such file; or, after the frames before it, where one cannot be decoded."""
    path, following = _existing(path), 0
    for frame in numbered_frames(path):
        if frame.number != following:
            raise _undecodable(path, range(following, frame.number))
        yield frame.pixels
        following += 1
    if following < (count := count_frames(path)):
        raise _undecodable(path, range(following, count))


class NumberedFrame(NamedTuple):
    """A frame of a full decode: uint8 RGB (H, W, 3). The decoder filled a damaged one in from others."""

    number: int
    pixels: np.ndarray
    damaged: bool


def numbered_frames(path: str | PathLike[str]) -> Iterator[NumberedFrame]:
    """Every frame that can be decoded, first to last, with its number.
    Raises UnreadableVideo: there is no such file; or, after the frames before it, where the size changes."""
    path, shape = _existing(path), None
    if path.is_dir():
        for i in range(len(frame_names(path))):
            yield NumberedFrame(i, read_images(path, [i], np.asarray)[0], False)
        return
    times = timeline(path).times
    number_at = None if times is None else {time: i for i, time in enumerate(times.tolist())}
    with opened(path) as (container, stream):
        screen = Screen(path, stream)
        for position, frame in enumerate(decode_packets(container, stream, {})):
            number = position if number_at is None else number_at.get(frame.pts, -1)  # type: ignore[arg-type]
            if number >= 0:
                picture = np.array(screen.show(frame), order="C")
                shape = shape or picture.shape
                check_shape(path, picture, shape, number)
                yield NumberedFrame(number, picture, frame.is_corrupt)


def doubtful_frames(path: Path) -> list[int]:
    """The frames of a video, at most DOUBTFUL, whose pixels depend on where decoding begins, if any do: those around
    its keyframes, and others at random."""
    line = timeline(path)
    if line.times is None or line.keyframes is None:
        return []
    keyframes = np.searchsorted(line.times, line.keyframes)
    rng = np.random.default_rng(line.frames)
    around = rng.permutation(keyframes)[: DOUBTFUL // 4, None] + np.arange(-1, 2)
    anywhere = rng.integers(0, line.frames, DOUBTFUL // 4)
    inside = {int(i) for i in (*around.flat, *anywhere) if 0 <= i < line.frames}
    return sorted(inside.difference(line.damaged))


def check_shape(path: Path, picture: np.ndarray, shape: tuple[int, ...], index: int) -> None:
    if picture.shape != shape:
        raise UnreadableVideo(f"{path}: its frames change their size, at frame {index}")


def decode_wanted(path: Path, missing: set[int]) -> Iterator[tuple[int, np.ndarray]]:
    """The pictures of the frames `missing`, which is emptied, as they are decoded; valid until the next one.
    Raises UnreadableVideo: one of them cannot be decoded."""
    line, index_at = timeline(path), None
    if damaged := missing.intersection(line.damaged):
        raise _undecodable(path, damaged)
    if line.times is not None:
        index_at = {int(line.times[i]): i for i in sorted(missing)}
        for index, picture in decode_by_time(path, line, index_at):
            missing.remove(index)
            yield index, picture
    if not missing:  # else there are no times, there is damage, or decoding cannot begin at a keyframe
        return
    with opened(path) as (container, stream):
        screen = Screen(path, stream)
        for position, frame in enumerate(decode_packets(container, stream, {})):
            index = position if index_at is None else index_at.get(frame.pts, -1)  # type: ignore[arg-type]
            if index in missing:
                missing.remove(index)
                yield index, screen.show(frame)
            if not missing:
                return
    raise _undecodable(path, missing)


def decode_by_time(path: Path, line: Timeline, index_at: dict[int, int]) -> Iterator[tuple[int, np.ndarray]]:
    """The pictures of the frames at the times of `index_at`, rising, decoded from the keyframe before each, until a
    damage."""
    assert line.keyframes is not None
    keyframes = line.keyframes.tolist()
    with suppress(UnreadableVideo), opened(path) as (container, stream):
        # By default the decoder conceals damage with pixels of frames that it decoded before.
        stream.codec_context.options = {**stream.codec_context.options, "err_detect": "explode"}
        skippable, screen = stream.codec_context.name in SKIPPABLE, Screen(path, stream)
        for keyframe, group in groupby(index_at, key=lambda time: keyframes[bisect_right(keyframes, time) - 1]):
            times, valid = set(group), keyframe == keyframes[0]
            if not valid:
                container.seek(keyframe, stream=stream)
            for packet in container.demux(stream):
                raise_if_stopping()
                if skippable:
                    needed = packet.pts is None or packet.pts in times
                    stream.codec_context.skip_frame = "DEFAULT" if needed else "NONREF"
                for frame in packet.decode():
                    if frame.is_corrupt:
                        return
                    # In an mp4 without a list of its keyframes every frame is flagged as one.
                    valid = valid or (frame.pts == keyframe and (frame.key_frame or frame.pict_type == PictureType.I))
                    if valid and frame.pts in times:
                        index = index_at[frame.pts]
                        if line.checksums is not None and checksum(frame) != line.checksums[index]:
                            return  # decoding from this keyframe gives other pixels
                        times.remove(frame.pts)
                        yield index, screen.show(frame)
                if not times:
                    break


def _undecodable(path: Path, numbers: Iterable[int]) -> UnreadableVideo:
    return UnreadableVideo(f"{path}: frames {sorted(numbers)} cannot be decoded")


def _existing(path: str | PathLike[str]) -> Path:
    path = Path(path)
    try:
        if path.is_file() or path.is_dir():
            return path
    except OSError as error:  # too long a name, or a folder above it that may not be entered
        raise UnreadableVideo(f"{path}: {error.strerror}") from error
    raise UnreadableVideo(f"{path}: no such file")
