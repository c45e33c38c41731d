"""A part of a video that is a clip: "2.5-7 s" in seconds, "75-210 frames" in frames, "" for the whole video."""

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import numpy as np

from sth_core.errors import UserError
from sth_core.video.container import UnreadableVideo, opened, size_and_mtime
from sth_core.video.decoding import count_frames
from sth_core.video.timeline import timeline

SECONDS, FRAMES = "s", "frames"
NUMBER = r"\d+(?:\.\d*)?|\.\d+"
TEXT = re.compile(rf"(?P<start>{NUMBER})?\s*-\s*(?P<stop>{NUMBER})?\s*(?P<unit>{SECONDS}|{FRAMES})")
SLACK_SECONDS = 0.1  # by which a segment may end after the video, as annotations are rounded


@dataclass(frozen=True)
class Segment:
    """The part of a video from `start` on, without `stop`; None is the video's end.

    Seconds are counted from the first frame, frames from 0. Raises UserError: a part that begins before 0 or ends where
    it begins, or that splits a frame.
    """

    start: float = 0.0
    stop: float | None = None
    unit: str = SECONDS

    def __post_init__(self) -> None:
        bounds = [self.start] if self.stop is None else [self.start, self.stop]
        if not all(math.isfinite(bound) and bound >= 0 for bound in bounds):
            raise UserError(f"a segment must begin and end at 0 or later, got {self.start} and {self.stop}")
        if self.stop is not None and self.stop <= self.start:
            raise UserError(f"a segment must end after it begins, got {self}")
        if self.unit == FRAMES and not all(float(bound).is_integer() for bound in bounds):
            raise UserError(f"a segment in frames needs whole numbers, got {self}")

    @classmethod
    def parse(cls, text: str) -> "Segment":
        """The segment of a text as `str` writes it; either end may be missing. Raises UserError: it is no such text."""
        if not text:
            return cls()
        if not (match := TEXT.fullmatch(text.strip())):
            raise UserError(f"a segment must look like '2.5-7 s' or '75-210 frames', got {text!r}")
        return cls(float(match["start"] or 0), float(match["stop"]) if match["stop"] else None, match["unit"])

    def __str__(self) -> str:
        start, stop = ("" if v is None else np.format_float_positional(v, trim="-") for v in (self.start, self.stop))
        return "" if self.whole else f"{start}-{stop} {self.unit}"

    @property
    def whole(self) -> bool:
        return self.start == 0 and self.stop is None

    def frames_in(self, path: Path) -> range:
        """The frames of a video, or of a folder of frames, that the segment has, by their numbers in the whole video.

        A frame belongs to seconds if it is first shown in them: by the frames' times or, where they are not known, by
        the average rate. Raises UnreadableVideo: the video cannot be read, has no times, or does not have the segment.
        """
        if self.whole:
            return range(count_frames(path))
        return self._by_number(path) if self.unit == FRAMES else self._by_time(path)

    def _by_number(self, path: Path) -> range:
        count = count_frames(path)
        if self.start >= count or (self.stop or 0) > count + 1:
            raise UnreadableVideo(f"{path}: the segment {self} is not in it ({count} frames, counted from 0)")
        return range(int(self.start), min(int(self.stop or count), count))

    def _by_time(self, path: Path) -> range:
        shown, tick, last = frame_times(path)
        seconds = int(shown[-1]) * tick + last
        if self.start >= seconds or (self.stop or 0) > seconds + max(last, Fraction(SLACK_SECONDS)):
            whole = float(self.start).is_integer() and float(self.stop or 0).is_integer()
            hint = "; if these are frame numbers, name the columns start_frame and end_frame" if whole else ""
            raise UnreadableVideo(f"{path}: the segment {self} is not in it ({float(seconds):.1f} s){hint}")
        end = seconds if self.stop is None else _exact(self.stop)
        first, after = np.searchsorted(shown, [math.ceil(bound / tick) for bound in (_exact(self.start), end)])
        if first == after:
            raise UnreadableVideo(f"{path}: no frame begins in the segment {self}")
        return range(int(first), int(after))


WHOLE = Segment()


def frame_times(path: Path) -> tuple[np.ndarray, Fraction, Fraction]:
    """When each frame is shown, int64 (frames,) in ticks after the first; the seconds of a tick; and of the last frame.
    Raises UnreadableVideo: it cannot be read, or has no times."""
    if path.is_dir():
        raise UnreadableVideo(f"{path}: a folder of frames has no seconds; give the columns start_frame and end_frame")
    return _frame_times(path, *size_and_mtime(path))


@lru_cache(maxsize=1000)
def _frame_times(path: Path, size: int, mtime_ns: int) -> tuple[np.ndarray, Fraction, Fraction]:
    line = timeline(path)
    with opened(path) as (_, stream):
        rate, tick = stream.average_rate, stream.time_base
    if line.times is not None and tick:
        shown = line.times - line.times[0]
        between = int(np.median(np.diff(shown))) * tick if len(shown) > 1 else Fraction(0)
        return shown, tick, 1 / rate if rate else between
    if not rate:
        raise UnreadableVideo(f"{path}: states no frame rate; give the columns start_frame and end_frame")
    return np.arange(line.frames), 1 / rate, 1 / rate


def _exact(number: float) -> Fraction:
    """As it is written: 0.1 is a tenth."""
    return Fraction(repr(float(number)))
