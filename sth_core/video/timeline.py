"""The frames of a video file, and whether one of them can be decoded without those before it.

A container's header can be wrong: HMDB-51's AVI files announce frames that do not decode, and give packets invented
times, so that a seek lands on other frames. Packet times are trusted in mp4 and webm, where they are those of showing,
with codecs that put one frame into each packet. Every other file is decoded once from beginning to end, to know whether
its frames have the times of its packets, so that a seek can skip some of them.
"""

import os
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.video.frame import PictureType

from sth_core.video.container import UnreadableVideo, decode_packets, opened

# mp4 and mov, webm and mkv. Not mpegts (its seeking is a guess by bytes), not avi.
TIMES_ARE_TRUE = ("mov", "matroska")
# Each packet of these is a frame that is shown. In VP8 it may be a hidden reference frame, in MPEG-4 no frame.
ONE_FRAME_A_PACKET = ("h264", "hevc", "vp9", "av1")
MPEG4_FRAME = b"\x00\x00\x01\xb6"  # start code of a frame of MPEG-4 Part 2


@dataclass(frozen=True)
class Timeline:
    """The frames that a full sequential decode of a file gives.

    `times` (frames,) are the presentation times, rising, in the stream's time base; at `keyframes` decoding can begin.
    Both are None if the file must be decoded from its beginning.
    """

    frames: int
    times: np.ndarray | None
    keyframes: np.ndarray | None
    reason: str = ""  # why it must be decoded from its beginning


@dataclass(frozen=True)
class Packets:
    """The packets of a stream, read without decoding."""

    times: np.ndarray  # presentation times, sorted
    keyframes: np.ndarray
    problem: str  # why the times cannot be used; empty if they can
    reordered: bool  # frames are shown in another order than that of their packets


class DecodedIndex(NamedTuple):
    """The result of a full decode of a file."""

    frames: int
    times_match: bool  # its frames come out with the times of its packets
    b_frames: bool


def timeline(path: Path) -> Timeline:
    """The timeline of a file; cached as long as its size and modification time stay the same.
    Raises UnreadableVideo: no frame of it can be decoded."""
    try:
        stat = path.stat()
    except OSError as error:
        raise UnreadableVideo(f"{path}: {error.strerror}") from error
    return _timeline(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=20_000)
def _timeline(path: Path, size: int, mtime_ns: int) -> Timeline:
    with opened(path) as (container, stream):
        packets = read_packets(container, stream)
        trusted = any(name in container.format.name for name in TIMES_ARE_TRUE)
        kind = container.format.name.split(",")[0]
        certain = (
            trusted
            and len(packets.keyframes) < len(packets.times)  # or else the file may have no list of its keyframes
            and stream.codec_context.codec.canonical_name in ONE_FRAME_A_PACKET
            # They differ where the packets of an AVI file were copied into an mp4 with their times.
            and packets.reordered == stream.codec_context.has_b_frames
        )
    if certain and not packets.problem and len(packets.times):
        return Timeline(len(packets.times), packets.times, packets.keyframes)
    known = decoded_index(path, size, mtime_ns, packets)
    if known.times_match:
        # In an AVI file with B-frames, and where seeking is approximate, packets get other times after a seek.
        seek = trusted or (kind == "avi" and not known.b_frames)
        return Timeline(known.frames, packets.times, packets.keyframes[: None if seek else 1])
    mismatch = "its packets and its frames have different times" if trusted else f"{kind} files have no frame times"
    return Timeline(known.frames, None, None, packets.problem or mismatch)


def read_packets(container: av.container.InputContainer, stream: av.VideoStream) -> Packets:
    """The times of the packets, and the first problem that makes them useless."""
    times, keyframes, problem = [], [], ""
    mpeg4 = stream.codec_context.name == "mpeg4"
    for packet in container.demux(stream):
        if packet.size == 0:
            continue  # the demuxer's end marker
        if packet.pts is None:
            problem = "its packets have no times"
            break
        if packet.is_discard:
            problem = problem or "an edit list hides some of its frames"
        if packet.is_corrupt:
            problem = problem or "a part of it is damaged or missing"
        if mpeg4 and bytes(packet).count(MPEG4_FRAME) != 1:  # DivX's way to have B-frames in AVI
            problem = problem or "some of its packets have two frames, or none"
        times.append(packet.pts)
        if packet.is_keyframe:
            keyframes.append(packet.pts)
    if len(set(times)) < len(times):
        problem = problem or "two of its frames have the same time"
    if not problem and times and (not keyframes or keyframes[0] != min(times)):
        problem = "it does not begin with a keyframe"
    shown = np.sort(np.array(times, np.int64))
    return Packets(shown, np.sort(np.array(keyframes, np.int64)), problem, times != shown.tolist())


def decode_everything(path: Path, packets: Packets) -> DecodedIndex:
    """Decode all frames, and compare their times with those of the packets.
    Raises UnreadableVideo: no frame can be decoded."""
    times = packets.times.tolist()
    frames, times_match, b_frames, damaged = 0, not packets.problem, False, dict[int | None, str]()
    try:
        with opened(path) as (container, stream):
            for frame in decode_packets(container, stream, damaged):
                times_match = times_match and frames < len(times) and frame.pts == times[frames]
                b_frames = b_frames or PictureType(frame.pict_type) not in (PictureType.I, PictureType.P)
                frames += 1
    except UnreadableVideo:
        if frames == 0:
            raise
        times_match = False
    if frames == 0 and damaged:
        raise UnreadableVideo(f"{path}: not a video that can be decoded ({next(iter(damaged.values()))})")
    if frames == 0:
        raise UnreadableVideo(f"{path}: no frame can be decoded")
    return DecodedIndex(frames, times_match and frames == len(times), b_frames)


def decoded_index(path: Path, size: int, mtime_ns: int, packets: Packets) -> DecodedIndex:
    """The index of a file, from a cache that all processes share.

    Where the cache cannot be read or written, or there is no home folder (RuntimeError), the file is decoded again.
    """
    key = (os.fsencode(path.resolve()), size, mtime_ns)
    unusable = (sqlite3.Error, OSError, RuntimeError)
    with suppress(*unusable), closing(_cache()) as cache:
        query = "SELECT frames, in_step, b_frames FROM learnt WHERE path = ? AND size = ? AND changed = ?"
        if row := cache.execute(query, key).fetchone():
            return DecodedIndex(row[0], row[1] == 1, row[2] == 1)
    index = decode_everything(path, packets)
    with suppress(*unusable), closing(_cache()) as cache, cache:
        cache.execute("INSERT OR REPLACE INTO learnt VALUES (?, ?, ?, ?, ?, ?)", (*key, *index))
    return index


def _cache() -> sqlite3.Connection:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sth-workbench"
    folder.mkdir(parents=True, exist_ok=True)
    cache = sqlite3.connect(folder / "videos.sqlite", timeout=10)
    columns = "path TEXT PRIMARY KEY, size INT, changed INT, frames INT, in_step INT, b_frames INT"
    cache.execute(f"CREATE TABLE IF NOT EXISTS learnt ({columns})")
    return cache
