"""How fast work goes and when it will be done, in words: "1 h 12 min left, 12 s a clip"."""

import re
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sth_core.training import Progress

WAITS = 0.1  # the share of a training's time from which it is shown that it waits for clips
LEAST_WINDOW = 30.0  # seconds
UNITS = {"d": 86400, "h": 3600, "min": 60, "s": 1}


@dataclass
class Pace:
    """The speed over the last half of the time since the first state, at least over 30 seconds.

    What was done by the first state, before an interruption perhaps, does not count.
    """

    seen: deque[tuple[float, int]] = field(default_factory=deque)  # time and what was done by then, a second apart
    began: tuple[float, int] | None = None

    def add(self, done: int, now: float | None = None) -> None:
        """So many items are done now; `now` is in seconds, by default of the system's clock."""
        now = time.monotonic() if now is None else now
        self.began = self.began or (now, done)
        if len(self.seen) > 1 and now - self.seen[-2][0] < 1:
            self.seen.pop()
        self.seen.append((now, done))
        since = now - max(LEAST_WINDOW, (now - self.began[0]) / 2)
        while len(self.seen) > 2 and self.seen[1][0] <= since:
            self.seen.popleft()

    @property
    def seconds_each(self) -> float | None:
        """Seconds an item takes; None while that is not known."""
        if not self.seen or self.seen[-1][1] <= self.seen[0][1]:
            return None
        (start, before), (now, done) = self.seen[0], self.seen[-1]
        return (now - start) / (done - before)

    def describe(self, total: int, unit: str = "") -> str:
        """The time left and the speed in items called `unit`, where it has a name; at the end the time it took."""
        if not self.seen or not self.began:
            return ""
        now, done = self.seen[-1]
        if done >= total:
            return f"took {format_duration(now - self.began[0])}" if done > self.began[1] else ""
        if not (each := self.seconds_each):
            return ""
        left = f"{format_duration(each * (total - done))} left"
        return f"{left}, {format_speed(each, unit)}" if unit else left


def format_duration(seconds: float) -> str:
    """The two largest units: "45 s", "3 min 20 s", "1 h 12 min", "2 d 3 h"; from ten minutes on no seconds."""
    rest = round(seconds) if seconds < 600 else round(seconds / 60) * 60
    parts: list[tuple[int, str]] = []
    for unit, length in UNITS.items():
        count, rest = divmod(rest, length)
        if count or parts:
            parts.append((count, unit))
    return " ".join(f"{count} {unit}" for count, unit in parts[:2] if count) or "0 s"


def read_duration(text: str) -> int:
    """Seconds of what `format_duration` wrote."""
    return sum(int(count) * UNITS[unit] for count, unit in re.findall(r"(\d+) (d|h|min|s)\b", text))


def format_speed(seconds_each: float, unit: str = "clip") -> str:
    """In seconds, "12 s a clip", or from one a second on "3.4 clips/s"."""
    if seconds_each > 1:
        duration = f"{seconds_each:.1f} s" if seconds_each < 9.95 else format_duration(seconds_each)
        return f"{duration} {'an' if unit[0] in 'aeiou' else 'a'} {unit}"
    rate = 1 / seconds_each
    return f"{rate:.1f} {unit}s/s" if rate < 9.95 else f"{rate:.0f} {unit}s/s"


def report_training(show: Callable[..., None], reading: str, training: str) -> Callable[["Progress"], None]:
    """A function that shows a training's progress by show(what, done, total, detail="", unit="clip")."""

    def report(p: "Progress") -> None:
        if p.stage == "reading":
            show(reading, p.done, p.total)
            return
        values = (
            f"epoch {p.epoch}, loss {p.loss:.3f}, accuracy {p.accuracy:.3f}, {format_speed(1 / p.clips_per_second)}"
        )
        if p.waiting >= WAITS:
            values += f", waiting for data {100 * p.waiting:.0f} %"
        show(training, p.done, p.total, values, unit="")

    return report
