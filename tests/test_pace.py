"""How fast work goes and when it will be done: by hand, and as a job's log and the app show it."""

import re

import pytest

from sth_core.training import Progress
from workbench.cli import terminal
from workbench.jobs import PROGRESS
from workbench.pace import Pace, format_duration, format_speed, read_duration, report_training


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0 s"), (59.4, "59 s"), (60, "1 min"), (200, "3 min 20 s"), (599.6, "10 min"), (4321, "1 h 12 min"),
        (3599, "1 h"), (7200, "2 h"), (86400 * 2 + 3 * 3600 + 59, "2 d 3 h"), (86400 + 120, "1 d"),
    ],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
    assert format_duration(read_duration(text)) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (12, "12 s a clip"), (1.4, "1.4 s a clip"), (130, "2 min 10 s a clip"), (1, "1.0 clips/s"),
        (0.3, "3.3 clips/s"), (0.01, "100 clips/s"),
    ],
)  # fmt: skip
def test_speeds(seconds: float, text: str) -> None:
    assert format_speed(seconds) == text
    assert format_speed(12, "epoch") == "12 s an epoch"


def test_what_was_done_before_does_not_count() -> None:
    pace = Pace()
    pace.add(900, now=0)
    assert pace.describe(1000, "clip") == ""  # not yet known
    pace.add(901, now=12)
    assert pace.describe(1000, "clip") == "20 min left, 12 s a clip"
    pace.add(1000, now=1200)
    assert pace.describe(1000, "clip") == "took 20 min"


def test_the_last_half_of_the_time_counts() -> None:
    """100 clips a second for a minute, then one in 10 seconds."""
    pace = Pace()
    for second in range(61):
        pace.add(100 * second, now=second)
    assert pace.describe(12_000, "clip") == "1 min left, 100 clips/s"
    for i in range(1, 61):
        pace.add(6000 + i, now=60 + 10 * i)
    assert pace.seconds_each == pytest.approx(10)
    assert pace.describe(12_000, "clip") == "16 h 30 min left, 10 s a clip"


def test_one_long_clip_is_enough_to_know() -> None:
    pace = Pace()
    for done in range(3):
        pace.add(done, now=500 * done)
    assert pace.describe(10, "clip") == "1 h 7 min left, 8 min 20 s a clip"


@pytest.mark.parametrize(
    ("line", "done", "total", "left"),
    [
        ("recording x: 8/240", 8, 240, None),
        ("recording x: 12/240, 4321 s left ", 12, 240, 4321),  # as earlier versions wrote it
        ("recording a: b: 12/240, 1 h 12 min left, 12 s a clip", 12, 240, 4320),
        ("recording x: 3/240, 45 s left, 5.3 clips/s", 3, 240, 45),
        ("recording x: 240/240, took 3 min 20 s", 240, 240, None),
    ],
)
def test_a_job_reads_every_form_of_its_log(line: str, done: int, total: int, left: int | None) -> None:
    found = PROGRESS.fullmatch(line)
    assert found and (int(found["done"]), int(found["total"])) == (done, total)
    assert (read_duration(found["left"]) if found["left"] else None) == left


def test_a_log_has_its_first_line_at_once_and_then_the_speed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    show = terminal.progress_lines()
    for now[0], done in ((0, 3), (12, 4), (24, 5), (36, 6), (48, 7), (49, 7)):
        show("recording x", done, 7)
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["recording x: 3/7", "recording x: 5/7, 24 s left, 12 s a clip", "recording x: 7/7, took 48 s"]
    assert all(PROGRESS.fullmatch(line) for line in lines)


def test_a_training_tells_seconds_a_clip() -> None:
    shown: list[tuple[object, ...]] = []
    report = report_training(lambda *args, **more: shown.append((*args, more)), "reading", "training")
    report(Progress("reading", 0, 4))
    report(Progress("training", 2, 36, 1, 2.5, 0.25, clips_per_second=0.08))
    assert shown[0] == ("reading", 0, 4, {})
    assert re.search(r"accuracy 0\.250, 12 s a clip$", str(shown[1][3]))
