"""The frames of a video file, and whether one of them can be decoded without those before it.

A container's header can be wrong: HMDB-51's AVI files announce frames that do not decode, and give packets invented
times, so that a seek lands on other frames. Where the packets of a file prove their frames and times (`packets`), no
frame is decoded to know them. Every other file is decoded once from beginning to end, and the checksum of each frame is
kept, so that a seek can skip frames and what comes out be compared.
"""

import os
import sqlite3
import zlib
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.video.frame import PictureType

from sth_core.files import cache_folder
from sth_core.video.container import UnreadableVideo, decode_packets, opened, size_and_mtime
from sth_core.video.packets import TIMES_ARE_TRUE, Packets, read_packets


@dataclass(frozen=True)
class Timeline:
    """The frames that a full sequential decode of a file gives, and the damaged ones between them.

    `times` (frames,) are the presentation times, rising, in the stream's time base; at `keyframes` decoding can begin.
    Both are None if the file must be decoded from its beginning. The frames numbered `damaged` cannot be decoded.
    """

    frames: int
    times: np.ndarray | None
    keyframes: np.ndarray | None
    reason: str = ""  # why it must be decoded from its beginning; empty if not
    damaged: tuple[int, ...] = ()
    checksums: np.ndarray | None = None  # uint32 (frames,) of `checksum`; None if the packets prove the frames


class DecodedIndex(NamedTuple):
    """The result of a full decode of a file."""

    frames: int  # with the damaged ones, where times_match
    times_match: bool  # its frames come out with the times of its packets, but for damaged ones
    b_frames: bool
    damaged: tuple[int, ...]
    times: np.ndarray | None  # int64 (frames,), rising; None if they do not rise, or are not known
    checksums: np.ndarray  # uint32 (frames,) of `checksum`


def timeline(path: Path) -> Timeline:
    """The timeline of a file; cached as long as its size and modification time stay the same.
    Raises UnreadableVideo: no frame of it can be decoded."""
    return _timeline(path, *size_and_mtime(path))


@lru_cache(maxsize=20_000)
def _timeline(path: Path, size: int, mtime_ns: int) -> Timeline:
    with opened(path) as (container, stream):
        packets = read_packets(path, container, stream)
        trusted = any(name in container.format.name for name in TIMES_ARE_TRUE)
        kind = container.format.name.split(",")[0]
    if not packets.problem and not packets.unproven and len(packets.times):
        return Timeline(len(packets.times), packets.times, packets.keyframes)
    known = decoded_index(path, size, mtime_ns, packets)
    if known.times is None or not (trusted or known.times_match):
        mismatch = "its frames have no rising times" if trusted else f"{kind} files have no frame times"
        return Timeline(known.frames, None, None, packets.problem or mismatch, (), known.checksums)
    # In an AVI file with B-frames, and where seeking is approximate, packets get other times after a seek.
    seek = trusted or (kind == "avi" and not known.b_frames)
    keyframes = packets.keyframes if seek else packets.keyframes[:1]
    if not len(keyframes) or keyframes[0] > known.times[0]:
        keyframes = np.insert(keyframes, 0, known.times[0])  # from the file's beginning
    reason = "it cannot begin at a later keyframe" if len(keyframes) < len(packets.keyframes) else ""
    return Timeline(known.frames, known.times, keyframes, reason, known.damaged, known.checksums)


def decode_everything(path: Path, packets: Packets) -> DecodedIndex:
    """Decode all frames, and compare their times with those of the packets.
    Raises UnreadableVideo: no frame can be decoded."""
    shown, checksums, b_frames, damaged, cut = list[int | None](), list[int](), False, dict[int | None, str](), False
    try:
        with opened(path) as (container, stream):
            for frame in decode_packets(container, stream, damaged):
                shown.append(frame.pts)
                checksums.append(checksum(frame))
                b_frames = b_frames or PictureType(frame.pict_type) not in (PictureType.I, PictureType.P)
    except UnreadableVideo:
        if not shown:
            raise
        cut = True
    if not shown:
        problem = f"not a video that can be decoded ({next(iter(damaged.values()))})" if damaged else ""
        raise UnreadableVideo(f"{path}: {problem or 'no frame can be decoded'}")
    times, sums = packets.times.tolist(), np.array(checksums, np.uint32)
    lost = {*damaged, *packets.without_picture} - {*shown}
    if cut or packets.problem or shown != [time for time in times if time not in lost]:
        rising = not cut and None not in shown and all(a < b for a, b in pairwise(shown))  # type: ignore[operator]
        return DecodedIndex(len(shown), False, b_frames, (), np.array(shown, np.int64) if rising else None, sums)
    numbers = tuple(i for i, time in enumerate(times) if time in lost)
    sums = np.insert(sums, [n - i for i, n in enumerate(numbers)], 0)
    return DecodedIndex(len(times), True, b_frames, numbers, packets.times, sums)


def checksum(frame: av.VideoFrame) -> int:
    """Of all pixels as they are decoded (CRC-32)."""
    value, form = 0, frame.format
    for plane in frame.planes:
        bits = -(-form.components[0].bits // 8) * 8 if form.is_planar else form.padded_bits_per_pixel
        rows = np.frombuffer(memoryview(plane), np.uint8)[: plane.height * plane.line_size]
        used = -(-plane.width * bits // 8)  # what follows in a row is padding
        value = zlib.crc32(np.ascontiguousarray(rows.reshape(plane.height, -1)[:, :used]).data, value)
    return value


def decoded_index(path: Path, size: int, mtime_ns: int, packets: Packets) -> DecodedIndex:
    """The index of a file, from a cache that all processes share.

    Where the cache cannot be read or written, or there is no home folder (RuntimeError), the file is decoded again.
    """
    key = (os.fsencode(path.resolve()), size, mtime_ns, av.__version__)
    unusable = (sqlite3.Error, OSError, RuntimeError)
    with suppress(*unusable), closing(_cache()) as cache:
        query = """SELECT frames, times_match, b_frames, damaged, times, checksums FROM decoded_frames
            WHERE path = ? AND size = ? AND changed = ? AND decoder = ?"""
        if row := cache.execute(query, key).fetchone():
            times = None if row[4] is None else np.frombuffer(row[4], np.int64)
            damaged, checksums = np.frombuffer(row[3], np.int64), np.frombuffer(row[5], np.uint32)
            return DecodedIndex(row[0], row[1] == 1, row[2] == 1, tuple(damaged.tolist()), times, checksums)
    index = decode_everything(path, packets)
    blobs = (np.array(index.damaged, np.int64), index.times, index.checksums)
    values = (*key, *index[:3], *(None if blob is None else blob.tobytes() for blob in blobs))
    with suppress(*unusable), closing(_cache()) as cache, cache:
        cache.execute(f"INSERT OR REPLACE INTO decoded_frames VALUES ({', '.join('?' * len(values))})", values)
    return index


def _cache() -> sqlite3.Connection:
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    cache = sqlite3.connect(folder / "videos.sqlite", timeout=10)
    columns = """path TEXT PRIMARY KEY, size INT, changed INT, decoder TEXT,
        frames INT, times_match INT, b_frames INT, damaged BLOB, times BLOB, checksums BLOB"""
    cache.execute(f"CREATE TABLE IF NOT EXISTS decoded_frames ({columns})")
    return cache
