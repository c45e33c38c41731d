"""The packets of a video stream, read without decoding, and what their headers prove.

A packet may be no frame, half a frame, or a frame that is shown at another time than its own: fields, pieces that were
joined, hidden frames, an order that the decoder does not expect. That each packet is one frame, shown at its own time,
is proven for H.264, HEVC, VP9 and AV1 in mp4 and Matroska by the headers of all their pictures: see `PacketReader`.
"""

from bisect import bisect, insort
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf
from pathlib import Path

import av
import numpy as np

from sth_core.stopping import raise_if_stopping
from sth_core.video.bits import CodedPicture, Inspector, NoPicture, Unproven
from sth_core.video.container import check_limit
from sth_core.video.h264 import H264Inspector
from sth_core.video.hevc import HevcInspector
from sth_core.video.limits import video_limits
from sth_core.video.vp9_av1 import Av1Inspector, Vp9Inspector

# mp4 and mov, webm and mkv. Not mpegts (its seeking is a guess by bytes), not avi.
TIMES_ARE_TRUE = ("mov", "matroska")
INSPECTORS: dict[str, Callable[[bytes], Inspector]] = {
    "h264": H264Inspector,
    "hevc": HevcInspector,
    "vp9": Vp9Inspector,
    "av1": Av1Inspector,
}
MPEG4_FRAME = b"\x00\x00\x01\xb6"  # start code of a frame of MPEG-4 Part 2


@dataclass(frozen=True)
class Packets:
    """The packets of a stream: presentation times, sorted, in the stream's time base.

    `keyframes` are those that the container calls so; if the file is proven, decoding can begin at each.
    """

    times: np.ndarray
    keyframes: np.ndarray
    problem: str  # why the times cannot be used; empty if they can
    unproven: str  # why a full decode may have other frames than the packets; empty if it cannot
    without_picture: frozenset[int]  # times of damaged packets


@dataclass
class PacketReader:
    """Takes packets in the order of decoding, and finds what speaks against a frame for each of them at its time:

    - it has not exactly one picture, or one that is hidden, or a field (the headers of its picture);
    - the decoder shows it in another order than that of the times: its order count is compared with them, and the
      number of pictures that wait for it with the number that the file allows;
    - parameters change, or frames are missing, so that decoding from a keyframe gives other pixels.
    """

    stream: av.VideoStream
    times: list[int] = field(default_factory=list)
    keyframes: list[int] = field(default_factory=list)
    entries: list[int] = field(default_factory=list)
    pictures: list[CodedPicture] = field(default_factory=list)
    without_picture: set[int] = field(default_factory=set)
    latest: float = -inf  # of the times
    problem: str = ""
    unproven: str = ""

    def __post_init__(self) -> None:
        context = self.stream.codec_context
        self.inspector: Inspector | None = None
        self.mpeg4 = context.name == "mpeg4"
        try:
            trusted = any(name in self.stream.container.format.name for name in TIMES_ARE_TRUE)
            name = context.codec.canonical_name
            if not trusted or name not in INSPECTORS:
                raise Unproven("its format does not prove that each packet is a frame")
            self.inspector = INSPECTORS[name](context.extradata or b"")
        except (Unproven, IndexError) as reason:  # an index beyond the end of a header
            self.unproven = str(reason)

    def add(self, packet: av.Packet, time: int) -> None:
        if packet.is_discard:
            self.problem = self.problem or "an edit list hides some of its frames"
        if packet.is_corrupt:
            self.problem = self.problem or "a part of it is damaged or missing"
        if self.mpeg4 and bytes(packet).count(MPEG4_FRAME) != 1:  # DivX's way to have B-frames in AVI
            self.problem = self.problem or "some of its packets have two frames, or none"
        if packet.is_keyframe:
            self.keyframes.append(time)
        if self.inspector:
            self._inspect(packet, time, self.inspector)
        self.times.append(time)

    def _inspect(self, packet: av.Packet, time: int, inspector: Inspector) -> None:
        try:
            if packet.has_sidedata("new_extradata"):
                raise Unproven("its parameters change")
            picture = inspector.picture(memoryview(packet))
        except (Unproven, IndexError) as reason:
            self.unproven = self.unproven or str(reason)
            if isinstance(reason, NoPicture):
                self.without_picture.add(time)
            return
        self.pictures.append(picture)
        if packet.is_keyframe and picture.entry and time > self.latest:
            self.entries.append(time)
        self.latest = max(time, self.latest)

    def result(self) -> Packets:
        if len(set(self.times)) < len(self.times):
            self.problem = self.problem or "two of its frames have the same time"
        first = min(self.times, default=0)
        if not self.problem and self.times and (not self.keyframes or self.keyframes[0] != first):
            self.problem = "it does not begin with a keyframe"
        if self.inspector and not self.unproven and not self.problem:
            self.unproven = self._order(self.inspector.reorder)
        times, keyframes = (np.sort(np.array(a, np.int64)) for a in (self.times, self.keyframes))
        return Packets(times, keyframes, self.problem, self.unproven, frozenset(self.without_picture))

    def _order(self, reorder: int) -> str:
        """Why the decoder may show the pictures in another order than that of their times; empty if it cannot."""
        order = [(picture.sequence, picture.position) for picture in self.pictures]
        shown = [order[i] for i in np.argsort(self.times)]
        if any(a >= b for a, b in pairwise(shown)):
            return "its frames are coded in another order than that of their times"
        before: list[tuple[int, int]] = []
        for position in order:
            if len(before) - bisect(before, position) > reorder:
                return "it does not say how many frames wait for one that is shown before them"
            insort(before, position)
        if self.entries != self.keyframes:
            return "decoding cannot begin at each of its keyframes"
        return ""


def read_packets(path: Path, container: av.container.InputContainer, stream: av.VideoStream) -> Packets:
    """The packets of a file that was just opened. Raises BeyondLimit: they are too many."""
    reader, limits = PacketReader(stream), video_limits()
    for number, packet in enumerate(container.demux(stream)):
        raise_if_stopping()
        check_limit(path, limits.of_frames(number))
        if packet.size == 0:
            continue  # an empty sample, or the demuxer's end marker
        if packet.pts is None:
            reader.problem = "its packets have no times"
            break
        reader.add(packet, packet.pts)
    return reader.result()
