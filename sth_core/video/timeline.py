"""Which frames a video file has, and whether one of them can be had without decoding those before it.

A container's header lies: HMDB-51's AVI files announce frames that do not decode, and give each
packet a time of its own making, so that whoever seeks in them lands on other frames. Times can be
trusted in mp4 and webm, where each packet says when its frame is shown, with the codecs of today, where
each packet has one; everything else is decoded once from beginning to end, and what was learnt is remembered:
whether frames come out with the times of the packets, so that some can be left out on the way to others.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.stream import Disposition
from av.video.frame import PictureType

from sth_core.errors import UserError

# mp4 and mov, webm and mkv. Not mpegts (its seeking is a guess by bytes), not avi.
TIMES_ARE_TRUE = ("mov", "matroska")
# Each packet of these is a frame that is shown. In VP8 it may be one that is only referred to, in MPEG-4 none.
ONE_FRAME_A_PACKET = ("h264", "hevc", "vp9", "av1")
MPEG4_FRAME = b"\x00\x00\x01\xb6"  # what a frame of MPEG-4 Part 2 begins with
# FFmpeg would take a picture for a video of one frame, and follow a playlist to other files.
CONTAINERS = "mov,matroska,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,flv,asf,ogg,gif,dv"


class UnreadableVideo(UserError):
    """A file that gives no frames; the message says which and why."""


@dataclass(frozen=True)
class Timeline:
    """The frames that a full sequential decode of a file gives.

    `times` (frames,) are when they are shown, rising, in the stream's time base, and `keyframes` those
    that decoding can begin at; None if the file has to be decoded in order, and all of it.
    """

    frames: int
    times: np.ndarray | None
    keyframes: np.ndarray | None
    reason: str = ""  # why it has to be decoded in order


@dataclass(frozen=True)
class Packets:
    """What the packets of a stream say about themselves; nothing is decoded for it."""

    times: np.ndarray
    keyframes: np.ndarray
    trouble: str
    reordered: bool  # frames are shown in another order than that of their packets


class DecodedIndex(NamedTuple):
    """What a full decode says of a file."""

    frames: int
    in_step: bool  # its frames come out with the times of its packets
    b_frames: bool


def timeline(path: Path) -> Timeline:
    """The timeline of a file; remembered as long as its size and time of change stay the same.

    Raises:
        UnreadableVideo: no frame of it can be decoded.
    """
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
            and len(packets.keyframes) < len(packets.times)  # or else it may have no list of its keyframes
            and stream.codec_context.codec.canonical_name in ONE_FRAME_A_PACKET
            # It is not where the packets of an AVI file were copied into an mp4, and brought their times along.
            and packets.reordered == stream.codec_context.has_b_frames
        )
    if certain and not packets.trouble and len(packets.times):
        return Timeline(len(packets.times), packets.times, packets.keyframes)
    key = (os.fsencode(path.resolve()), size, mtime_ns)
    known = get_cached(key)
    if known is None:
        known = decode_everything(path, packets)
        put_cached(key, known)
    if known.in_step:
        # In an AVI file with B-frames, and where seeking is a guess, packets get other times after a seek.
        seek = trusted or (kind == "avi" and not known.b_frames)
        return Timeline(known.frames, packets.times, packets.keyframes[: None if seek else 1])
    lie = "its packets and its frames have other times" if trusted else f"{kind} files do not say when a frame is shown"
    return Timeline(known.frames, None, None, packets.trouble or lie)


def read_packets(container: av.container.InputContainer, stream: av.VideoStream) -> Packets:
    """The packets' times, in the order of showing, and what makes them useless, if anything does."""
    times, keyframes, trouble = [], [], ""
    mpeg4 = stream.codec_context.name == "mpeg4"
    for packet in container.demux(stream):
        if packet.size == 0:
            continue  # the demuxer's last word
        if packet.pts is None:
            trouble = "its packets have no times"
            break
        if packet.is_discard:
            trouble = trouble or "an edit list hides some of its frames"
        if packet.is_corrupt:
            trouble = trouble or "a part of it is damaged or missing"
        if mpeg4 and bytes(packet).count(MPEG4_FRAME) != 1:  # DivX's way to have B-frames in AVI
            trouble = trouble or "some of its packets have two frames, or none"
        times.append(packet.pts)
        if packet.is_keyframe:
            keyframes.append(packet.pts)
    if len(set(times)) < len(times):
        trouble = trouble or "two of its frames have the same time"
    if not trouble and times and (not keyframes or keyframes[0] != min(times)):
        trouble = "it does not begin with a keyframe"
    shown = np.sort(np.array(times, np.int64))
    return Packets(shown, np.sort(np.array(keyframes, np.int64)), trouble, times != shown.tolist())


def decode_everything(path: Path, packets: Packets) -> DecodedIndex:
    """What is learnt from it.

    Raises:
        UnreadableVideo: there is none.
    """
    times = packets.times.tolist()
    frames, in_step, b_frames = 0, not packets.trouble, False
    try:
        for frame in decode_in_order(path):
            in_step = in_step and frames < len(times) and frame.pts == times[frames]
            b_frames = b_frames or PictureType(frame.pict_type) not in (PictureType.I, PictureType.P)
            frames += 1
    except UnreadableVideo:
        if frames == 0:
            raise
        in_step = False
    if frames == 0:
        raise UnreadableVideo(f"{path}: no frame can be decoded")
    return DecodedIndex(frames, in_step and frames == len(times), b_frames)


def decode_in_order(path: Path) -> Iterator[av.VideoFrame]:
    """Every frame, first to last; raises UnreadableVideo where the decoding breaks off."""
    with opened(path) as (container, stream):
        yield from container.decode(stream)


@contextmanager
def opened(path: Path) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """The file and its video, decoded by one thread: clips are read in parallel, not the frames of one.

    Raises:
        UnreadableVideo: it cannot be opened, has no video, or its decoding breaks off in the block.
    """
    with suppress(OSError):  # what is wrong with it, if anything is, comes out below
        if path.stat().st_size == 0:
            raise UnreadableVideo(f"{path}: not a video that can be decoded (empty)")
    try:
        # Absolute, or else "a:b.mp4" were file b.mp4 by way of the protocol a.
        # Old AVI files carry metadata in no particular encoding: it must not stop the decoding.
        with av.open(
            str(path.absolute()), metadata_errors="ignore", options={"format_whitelist": CONTAINERS}
        ) as container:
            videos = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
            if not videos:
                raise UnreadableVideo(f"{path}: has no video stream")
            stream = videos[0]
            if stream.codec_context is None:
                raise UnreadableVideo(f"{path}: its video is of a kind that FFmpeg has no decoder for")
            stream.codec_context.thread_count = 1
            yield container, stream
    except av.FFmpegError as error:
        raise UnreadableVideo(f"{path}: not a video that can be decoded ({reason(error)})") from error


def reason(error: av.FFmpegError) -> str:
    if isinstance(error, av.EOFError):
        return "it ends too early"
    if isinstance(error, av.ArgumentError):  # not among CONTAINERS
        return "of a format that holds no video"
    return error.strerror or str(error)


# What was learnt by decoding a whole file, for the next process: (path, size, time of change) -> DecodedIndex.
# Where no cache can be read or written, or there is no home folder (RuntimeError), it is learnt anew each time.


def get_cached(key: tuple[bytes, int, int]) -> DecodedIndex | None:
    try:
        with closing(_memory()) as memory:
            row = memory.execute(
                "SELECT frames, in_step, b_frames FROM learnt WHERE path = ? AND size = ? AND changed = ?", key
            ).fetchone()
    except (sqlite3.Error, OSError, RuntimeError):
        return None
    return DecodedIndex(row[0], row[1] == 1, row[2] == 1) if row else None


def put_cached(key: tuple[bytes, int, int], learnt: DecodedIndex) -> None:
    try:
        with closing(_memory()) as memory, memory:
            memory.execute("INSERT OR REPLACE INTO learnt VALUES (?, ?, ?, ?, ?, ?)", (*key, *learnt))
    except (sqlite3.Error, OSError, RuntimeError):
        pass


def _memory() -> sqlite3.Connection:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "sth-workbench"
    folder.mkdir(parents=True, exist_ok=True)
    memory = sqlite3.connect(folder / "videos.sqlite", timeout=10)
    memory.execute(
        "CREATE TABLE IF NOT EXISTS learnt "
        "(path TEXT PRIMARY KEY, size INT, changed INT, frames INT, in_step INT, b_frames INT)"
    )
    return memory
