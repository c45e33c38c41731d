"""Work in a folder: the same is resumed, other work is refused or moves it aside, and one process works at a time."""

import json
import os
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sth_core.errors import UserError
from sth_core.resumable import Work, flatten_keys, provenance, working_on
from sth_core.shards import Shards, shards

IDENTITY: dict[str, Any] = {"data": "/d", "protocol": {"clips": 1, "crop": "center"}, "rate": 0.1}
OWNED = ("table", "*.csv")

# Works in the folder, says so, and is killed in the middle of its second shard.
WORKS = """
import json, os, signal, sys
from pathlib import Path
import pandas as pd
from sth_core.files import temporary_beside
from sth_core.resumable import Work, working_on
from sth_core.shards import Shards

folder, identity = Path(sys.argv[1]), json.loads(sys.argv[2])
with working_on(Work(folder, "work.json", "test", identity, ("table", "*.csv"))):
    table = Shards(folder, ("first", "table"))
    table.tidy()
    table.write({"first": pd.DataFrame({"clip_id": ["a"]}), "table": pd.DataFrame({"clip_id": ["a"]})})
    table.write({"first": pd.DataFrame({"clip_id": ["b"]})})
    with temporary_beside(folder / "table" / "part-00001.parquet") as half:
        half.write_bytes(b"PAR1")
        print("working", flush=True)
        sys.stdin.read()
"""


def work(folder: Path, changes: dict[str, Any] | None = None, **more: Any) -> Work:
    return Work(folder, "work.json", "test", IDENTITY | (changes or {}), OWNED, **more)


def begin(some: Work, **options: Any) -> None:
    """Begin and finish work that does nothing."""
    with working_on(some, **options):
        pass


def contents(folder: Path) -> dict[Path, bytes]:
    """All files but the lock."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def test_a_hidden_file_is_no_earlier_work_and_a_folder_is_made_with_those_above_it(tmp_path: Path) -> None:
    some = work(tmp_path / "a" / "b")
    (tmp_path / "table.csv").touch()
    begin(some)
    assert [path.name for path in some.existing()] == ["work.json"]
    (some.folder / ".half.csv").touch()
    assert [path.name for path in some.existing()] == ["work.json"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with finished work and a file of the user's."""
    with working_on(work(tmp_path), {"clips": 3}, command="sth test") as meta:
        (tmp_path / "table").mkdir()
        (tmp_path / "table" / "rows").write_text("1")
        (tmp_path / "sums.csv").write_text("2")
        meta["failures"] = 0
    (tmp_path / "notes.txt").write_text("mine")
    return tmp_path


def test_the_file_has_the_identity_the_facts_and_the_provenance(folder: Path) -> None:
    meta = json.loads((folder / "work.json").read_text())
    assert {key: meta[key] for key in IDENTITY} == IDENTITY
    assert (meta["clips"], meta["failures"], meta["command"]) == (3, 0, "sth test")
    assert meta["started"] <= meta["finished"] and meta["versions"]["python"] == sys.version.split()[0]
    assert set(provenance("")["versions"]) >= {"torch", "numpy", "av"}


SAME = {
    "equal": (IDENTITY, IDENTITY, {}),
    "another order": (IDENTITY, dict(reversed(IDENTITY.items())), {}),
    "a tuple is a list": (IDENTITY | {"data": [1, 2]}, IDENTITY | {"data": (1, 2)}, {}),
    "a new key at its default": (IDENTITY, IDENTITY | {"new": 1}, {"new": 1}),
    "a new key deep down": (IDENTITY, IDENTITY | {"protocol": {**IDENTITY["protocol"], "new": 1}}, {"protocol.new": 1}),
    "a key that is no longer there": (IDENTITY | {"old": 1}, IDENTITY, {}),
}
OTHER = {
    "a value": ({"data": "/e"}, {}, "data is '/d', now '/e'"),
    "two": ({"data": "/e", "rate": 0.2}, {}, "data is '/d', now '/e'; rate is 0.1, now 0.2"),
    "deep down": ({"protocol": {"clips": 2, "crop": "center"}}, {}, "protocol.clips is 1, now 2"),
    "a new key": ({"new": 1}, {}, "new is None, now 1"),
    "a new key not at its default": ({"new": 1}, {"new": 0}, "new is 0, now 1"),
    "a value that is now the default": ({"data": "/e"}, {"data": "/e"}, "data is '/d', now '/e'"),
    "a long value": ({"data": "x" * 200}, {}, "data is '/d', now '" + "x" * 96 + "...)"),
}


@pytest.mark.parametrize("name", SAME)
def test_the_same_work_is_resumed(name: str, tmp_path: Path) -> None:
    before, now, defaults = SAME[name]
    for identity in (before, now):
        with working_on(Work(tmp_path, "work.json", "test", identity, OWNED, defaults)):
            started = json.loads((tmp_path / "work.json").read_text())
            assert started["finished"] is None
    assert set(flatten_keys(now)) <= set(flatten_keys(json.loads((tmp_path / "work.json").read_text())))


@pytest.mark.parametrize("name", OTHER)
def test_other_work_is_refused_with_every_difference_or_moves_it_aside(name: str, folder: Path) -> None:
    changes, defaults, sentence = OTHER[name]
    before = contents(folder)
    other = work(folder, changes, defaults=defaults)
    with pytest.raises(UserError, match="holds another test") as refused:
        begin(other)
    assert sentence in str(refused.value) and "choose another folder, or give --overwrite" in str(refused.value)
    assert "--resume" not in str(refused.value) and contents(folder) == before
    told: list[str] = []
    with working_on(other, overwrite=True, notify=told.append):
        assert not (folder / "table").exists()
    assert told == [f"the earlier test was moved to {folder / '.replaced-1'}"]
    moved = {path.relative_to(folder): content for path, content in before.items()}
    assert (folder / "notes.txt").read_text() == "mine" and moved.pop(Path("notes.txt"))
    replaced = contents(folder / ".replaced-1")
    assert {path.relative_to(folder / ".replaced-1"): content for path, content in replaced.items()} == moved


def test_overwriting_the_same_work_starts_anew_each_time(folder: Path) -> None:
    for number in (1, 2):
        with working_on(work(folder), overwrite=True):
            assert (folder / f".replaced-{number}" / "work.json").is_file()
    told: list[str] = []
    begin(work(folder / "new"), overwrite=True, notify=told.append)
    assert told == [] and not (folder / "new" / ".replaced-1").exists()


@pytest.mark.parametrize(
    ("changes", "accepted"), [({"rate": 0.2}, True), ({"rate": 0.2, "data": "/e"}, False), ({"data": "/e"}, False)]
)
def test_resuming_accepts_other_values_of_what_is_adjustable(changes, accepted, folder):
    other = work(folder, changes, adjustable=frozenset({"rate"}))
    with pytest.raises(UserError) as refused:
        begin(other)
    assert ("give --resume" in str(refused.value)) == accepted
    if accepted:
        started = json.loads((folder / "work.json").read_text())["started"]
        with working_on(other, resume=True) as meta:
            assert (meta["rate"], meta["started"]) == (0.2, started)
    else:
        with pytest.raises(UserError, match="data is '/d', now '/e'"):
            begin(other, resume=True)


@pytest.mark.parametrize("text", ["", '{"data": "/d', "[1, 2]", "null", "\x00\x01"])
def test_a_damaged_file_is_refused_or_moved_aside(text: str, folder: Path) -> None:
    (folder / "work.json").write_text(text)
    with pytest.raises(UserError, match=r"work\.json is damaged \(.*choose another folder"):
        begin(work(folder))
    assert (folder / "work.json").read_text() == text
    with working_on(work(folder), overwrite=True):
        assert (folder / ".replaced-1" / "work.json").read_text() == text


def test_a_beginning_that_is_no_text_is_not_kept(folder: Path) -> None:
    (folder / "work.json").write_text(json.dumps(json.loads((folder / "work.json").read_text()) | {"started": []}))
    begin(work(folder))
    assert datetime.fromisoformat(json.loads((folder / "work.json").read_text())["started"])


def test_results_of_unknown_work_are_refused(folder: Path) -> None:
    (folder / "work.json").unlink()
    with pytest.raises(UserError, match=r"holds sums\.csv, table but no work\.json"):
        begin(work(folder))
    (folder / "sums.csv").unlink()
    (folder / "table" / "rows").unlink()
    begin(work(folder))  # an empty folder holds nothing


def test_unfinished_work_says_so_and_keeps_its_beginning(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), working_on(work(tmp_path)) as first:
        raise KeyboardInterrupt
    assert json.loads((tmp_path / "work.json").read_text())["finished"] is None
    (tmp_path / "work.json").write_text(json.dumps(first | {"started": "2024"}))
    with working_on(work(tmp_path)) as second:
        assert second["started"] == "2024"


def test_one_process_works_in_a_folder_and_its_death_ends_that(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WORKS, str(tmp_path), json.dumps(IDENTITY)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout and other.stdout.readline() == "working\n"
        for overwrite in (False, True):
            with pytest.raises(UserError, match=r"another process works in .*; wait until it has finished"):
                begin(work(tmp_path), overwrite=overwrite)
        os.kill(other.pid, signal.SIGKILL)
    table = Shards(tmp_path, ("first", "table"))
    assert len(list((tmp_path / "table").iterdir())) == 2 and len(shards(tmp_path, "first")) == 2
    with working_on(work(tmp_path)):
        table.tidy()
        assert table.done() == {"a"} and table.next_number() == 1
        assert [len(list((tmp_path / kind).iterdir())) for kind in table.kinds] == [1, 1]
        with pytest.raises(UserError, match="another process works"):
            begin(work(tmp_path))  # not in the same process either
    begin(work(tmp_path))


def test_what_another_process_works_in_is_not_moved(folder: Path) -> None:
    before = contents(folder)
    with working_on(Work(folder / "table", "inner.json", "inner test", {}, ())):
        with pytest.raises(UserError, match=r"another process works in .*table"):
            begin(work(folder), overwrite=True)
        assert contents(folder).items() >= before.items()


def test_several_processes_write_shards_of_one_table(tmp_path: Path) -> None:
    table = Shards(tmp_path, ("first", "table"))
    table.tidy()
    start = table.next_number()
    for rank, clips in enumerate((["e", "a"], ["d"], ["c", "b"])):
        for turn, clip in enumerate(clips):
            rows = pd.DataFrame({"clip_id": [clip]})
            tables = {"first": rows.assign(x=turn), "table": rows} if rank else {"table": rows}
            table.write(tables, start + rank + 3 * turn)
    assert [file.name for file in shards(tmp_path, "table")] == [f"part-0000{n}.parquet" for n in (0, 1, 2, 3, 5)]
    assert list(table.read("table")["clip_id"]) == list("abcde") and list(table.read("first")["clip_id"]) == list("bcd")
    (tmp_path / "table" / "part-00002.parquet").unlink()
    assert list(table.read("first")["clip_id"]) == list("bd") and table.done() == set("abde")
    table.tidy()
    assert table.next_number() == 6 and len(shards(tmp_path, "first")) == 2
    table.write({"table": pd.DataFrame({"clip_id": ["c"]})})
    assert shards(tmp_path, "table")[-1].name == "part-00006.parquet"
    assert list(Shards(tmp_path / "none", ("table",)).read("table")) == ["clip_id"]


def test_it_needs_no_torch() -> None:
    code = "import sys, sth_core.resumable, sth_core.shards; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_what_is_moved_aside_is_on_the_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr("sth_core.resumable.sync", synced.append)
    begin(work(folder), overwrite=True)
    assert synced[0] == folder / ".replaced-1" and {folder, folder.parent} <= set(synced)
