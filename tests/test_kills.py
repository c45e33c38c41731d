"""A sample of the kills of `sth benchmark kills`, and what it makes of lost, doubled and left things."""

import random
import sys
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.faults import COLUMNS, print_faults
from benchmarks.hostile_cases import Goods
from benchmarks.hostile_inputs import FAULTS as INPUT_FAULTS
from benchmarks.hostile_inputs import HostileOutcome
from benchmarks.kills import (
    ALONE,
    ASKED,
    GROUP,
    KillOutcome,
    Undisturbed,
    contents,
    differences,
    is_leftover,
    killed,
    log_of,
    print_summary,
    run_undisturbed,
    words_of,
)
from benchmarks.kills import FAULTS as KILL_FAULTS
from sth_core.files import HOST, written_by_me

FEW = ["--clips", "3"]


@pytest.mark.long
def test_a_command_that_was_killed_gives_what_an_undisturbed_one_gives(tmp_path: Path) -> None:
    def words(out: str) -> list[str]:
        return [*words_of("data synthesize", Goods(tmp_path), tmp_path / out), *FEW]

    undisturbed = run_undisturbed(words("whole"), tmp_path / "whole")
    assert len(undisturbed.contents) == 4
    outcome = killed("data synthesize", words("0"), tmp_path / "0", undisturbed, ALONE, random.Random(0))
    assert outcome.faults == {}


BAD = """
import subprocess, sys, time
from pathlib import Path
out = Path(sys.argv[1])
if out.exists():
    if sys.argv[2] == "again":
        raise ValueError("no")
    (out / "a.csv").write_text("other")
else:
    sleep = "import time; time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", sleep], start_new_session=True)
    written = out.with_name("written")
    written.mkdir()
    (written / ".a.{HOST}.1.part.csv").touch()
    written.rename(out)  # the kill waits for this folder: whatever it shall leave is there by then
    time.sleep(60)
"""


@pytest.mark.parametrize(
    ("way", "after", "faults"),
    [
        (ALONE, "again", {"processes", "failed again", "traceback", "leftovers", "wrong result"}),
        (ASKED, "then", {"processes", "leftovers", "wrong result"}),
        (GROUP, "then", {"processes", "leftovers", "wrong result"}),
    ],
)
def test_faults_after_a_kill_are_seen(way: str, after: str, faults: set[str], tmp_path: Path) -> None:
    out, wanted = tmp_path / "out", Undisturbed(0.1, 0.2, {"a.csv": b"right"})
    words = [sys.executable, "-c", BAD.replace("{HOST}", HOST), str(out), after]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmarks.kills.ENDED", 0.2)
        patch.setattr("benchmarks.kills.EARLY", 0)
        outcome = killed("bad", words, out, wanted, way, random.Random(0))
    assert outcome.in_time and outcome.faults.keys() == faults, log_of(out).read_text()
    assert "time.sleep(60)" in outcome.faults["processes"]


def write_part(folder: Path, number: int, *rows: tuple[str, float]) -> None:
    (folder / "predictions").mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(rows, columns=["clip_id", "confidence"])
    table.to_parquet(folder / "predictions" / f"part-{number:05d}.parquet")


def test_lost_doubled_and_changed_results_are_told_apart(tmp_path: Path) -> None:
    """However the rows are spread over shards, and whenever and wherever it was written."""
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    write_part(whole, 0, ("a", 0.5), ("b", 0.25))
    write_part(resumed, 0, ("b", 0.25))
    write_part(resumed, 4, ("a", 0.5))
    for out, day in ((whole, 27), (resumed, 28)):
        (out / "run.json").write_text(f'{{"started": "2026-11-{day}T10:00:00+00:00", "out": "{out}"}}')
        (out / "table.csv").write_text("a,b")
    assert differences(contents(whole), contents(resumed)) == {}
    write_part(resumed, 5, ("a", 0.5))
    assert differences(contents(whole), contents(resumed)) == {"rows doubled": "1 of predictions"}
    write_part(resumed, 0, ("c", 0.25))
    write_part(resumed, 5)
    assert differences(contents(whole), contents(resumed)) == {"rows lost": "1 of predictions"}
    write_part(resumed, 0, ("b", 0.25))
    (resumed / "table.csv").write_text("a,c")
    (resumed / "run.json").unlink()
    (resumed / "more.svg").touch()
    assert differences(contents(whole), contents(resumed)) == {"wrong result": "more.svg, run.json, table.csv"}


@pytest.mark.parametrize(
    ("name", "left"),
    [
        (".a{me}.csv", True), (".a{me}", True), (".part-00000.part.parquet", True),
        (".table.lock", True), (".lock", False), (".replaced-1", False), ("part-00000.parquet", False),
    ],
)  # fmt: skip
def test_what_a_command_may_not_leave(name: str, left: bool) -> None:
    assert is_leftover(Path("out") / name.format(me=written_by_me())) == left


def test_a_row_for_each_command(capsys: pytest.CaptureFixture[str]) -> None:
    ways: tuple[tuple[str, bool, dict[str, str]], ...] = (
        (GROUP, True, {}),
        (ALONE, True, {"processes": "x"}),
        (GROUP, False, {"hang": "x", "processes": "x"}),
    )
    print_summary([KillOutcome("cam", way, 1.0, in_time, faults) for way, in_time, faults in ways])
    assert capsys.readouterr().out.splitlines()[2:] == [
        "| cam | 2 | 1 | 0 | 2 | 0 | 0 | 1 | 0 | 0 | 0 | 0 | 2 |",
        "| all | 2 | 1 | 0 | 2 | 0 | 0 | 1 | 0 | 0 | 0 | 0 | 2 |",
    ]


def test_a_command_that_fails_undisturbed_is_said(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="failed undisturbed: no such thing"):
        run_undisturbed([sys.executable, "-c", "raise SystemExit('no such thing')"], tmp_path / "out")


def test_one_table_of_kills_and_bad_inputs(capsys: pytest.CaptureFixture[str]) -> None:
    """Every fault is in a column."""
    named = {word for words in COLUMNS.values() for word in words}
    assert named == {*KILL_FAULTS, *INPUT_FAULTS, "refused"}
    kinds: tuple[dict[str, str], ...] = ({}, {"rows lost": "x", "traceback": "x"})
    of_kills = [KillOutcome("cam", GROUP, 1.0, True, faults) for faults in kinds]
    of_inputs = [
        HostileOutcome("video", "", verdict, "", 1.5, 0) for verdict in ("refused", "done", "refused", "crash")
    ]
    assert print_faults(of_kills, of_inputs) == 3
    assert capsys.readouterr().out.splitlines()[2:] == [
        "| kills | 2 | - | 1 | 0 | - | 1 | 0 | 0 | 0 |",
        "| bad inputs | 4 | 2 | 1 | 0 | 0 | 0 | 0 | 0 | - |",
    ]
