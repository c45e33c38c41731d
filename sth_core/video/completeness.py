"""Whether a video file was cut off: frames that its header announces, but that are not in it."""

import re
from pathlib import Path

import av
import numpy as np

from sth_core.video.container import opened

DURATION = re.compile(r"(\d+):(\d+):([\d.]+)")
EBML, SEGMENT = 0x1A45DFA3, 0x18538067  # the two elements that every Matroska and WebM file begins with


def announced_frames(path: Path, frames: int, times: np.ndarray | None) -> int:
    """The frames that a file announces: `frames`, those that are in it, or about as many as it had before it was cut.

    `times` are the presentation times of the frames, if they are known. An mp4 lists where each frame lies, and
    WebM states its size. Else frames are only missed if they are many: AVI headers often count one or two too many,
    and in WebM a frame may be shown for long.
    """
    lost, size, certain = 0.0, path.stat().st_size, False
    with opened(path) as (container, stream):
        kind = container.format.name
        if kind == "avi":
            lost = stream.frames - frames
        elif "mov" in kind:
            outside = sum(entry.pos + entry.size > size for entry in stream.index_entries)
            lost, certain = min(outside, len(stream.index_entries) - frames), True
        elif "matroska" in kind and times is not None:
            certain = segment_end(path) > size
            lost = (
                seconds_after(stream, container.duration if certain else None, times) * float(stream.average_rate or 0)
                - 1
            )
    return frames + round(lost) if lost > (0.5 if certain else max(3, frames / 10)) else frames


def seconds_after(stream: av.VideoStream, duration: int | None, times: np.ndarray) -> float:
    """The seconds between the last frame's time and the stream's end, by its DURATION tag, else by the container's
    duration in microseconds; 0 if neither is known."""
    last = float(times[-1] * (stream.time_base or 0))
    if tag := DURATION.fullmatch(stream.metadata.get("DURATION", "")):
        h, m, s = map(float, tag.groups())
        return 3600 * h + 60 * m + s - last
    return duration / 1e6 - last if duration else 0.0


def segment_end(path: Path) -> int:
    """Where the Segment of a Matroska file ends, in bytes, by its own header; 0 if that does not say.
    Source: RFC 8794, section 4 (variable-size integers)."""
    with path.open("rb") as file:
        for wanted in (EBML, SEGMENT):
            if int.from_bytes(file.read(4)) != wanted:
                return 0
            first = file.read(1)[0]
            length = 9 - first.bit_length()
            content = first & (0xFF >> length)
            for byte in file.read(length - 1):
                content = content << 8 | byte
            if content == 2 ** (7 * length) - 1:  # unknown, as in a live stream
                return 0
            end = file.seek(content, 1) if wanted == EBML else file.tell() + content
    return end
