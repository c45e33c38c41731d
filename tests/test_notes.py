"""Notes and tags: concurrent or killed writers lose nothing, and entered text is never interpreted."""

import csv
import io
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest
from upath import UPath

from analysis.runs import notes_file
from analysis.runs.notes import (
    Conflict,
    Note,
    add_tag,
    clips_with,
    history_of,
    note_of,
    notes_table,
    remove_tag,
    save_note,
    tag_counts,
    tags_of,
)
from analysis.runs.notes_export import to_csv, to_fiftyone
from analysis.runs.notes_file import why_not_kept
from analysis.runs.run_directory import Run, open_run
from sth_core.errors import UserError
from tests.test_app import NOTES, PREDICTIONS, open_page, words
from tests.tiny import write_run

ROOT = Path(__file__).parent.parent
IMAGE, COMMAND = "<img src=x onerror=alert(1)>", "=cmd()"
# Adds the tags NAME-0, NAME-1, ... to c0, and prints each one once it is committed.
WRITER = """
import sys
from analysis.runs.notes import add_tag
from analysis.runs.run_directory import open_run
run, name, count = open_run(sys.argv[1]), sys.argv[2], int(sys.argv[3])
for i in range(count):
    add_tag(run, "c0", f"{name}-{i}")
    print(f"{name}-{i}", flush=True)
"""
# Kills itself inside a transaction, after writing a row and before the commit.
HALF = """
import os, signal, sys
from analysis.runs.notes_file import append_change, writing_notes
from analysis.runs.run_directory import open_run
with writing_notes(open_run(sys.argv[1]), "c0") as connection:
    append_change(connection, "c0", "tag", "half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Four clips, c0 to c3, of classes a and b, all predicted a. The run's name contains a space."""
    path = write_run(tmp_path / "runs" / "a run", [[0.1, 0.2]] * 4)
    part = path / "predictions" / "part-00000.parquet"
    table = pd.read_parquet(part)
    table.assign(path="/videos/" + table["clip_id"] + " [1].mp4").to_parquet(part)
    return open_run(path)


@pytest.fixture
def read_only() -> Iterator[Path]:
    """An empty folder for `make_read_only`, which also drops root's rights; both are undone after the test."""
    folder = Path(tempfile.mkdtemp())
    root = os.getuid() == 0
    try:
        yield folder
    finally:
        if root:
            os.setresuid(0, 0, 0)
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o755)
        shutil.rmtree(folder)


def make_read_only(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    if os.getuid() == 0:
        os.setresuid(65534, 65534, 0)


def writer(code: str, run: Run, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, str(run.path), *more]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_tags_are_added_and_removed_one_by_one(run):
    assert tags_of(run, "c0") == [] and tag_counts(run) == {} and notes_table(run).empty
    for clip, tag in [("c0", "blurry"), ("c0", "two people"), ("c0", "blurry"), ("c1", "two people"), ("c2", "gone")]:
        add_tag(run, clip, tag)
    remove_tag(run, "c2", "gone")
    remove_tag(run, "c2", "never there")
    assert tags_of(run, "c0") == ["blurry", "two people"] and tags_of(run, "c2") == []
    assert tag_counts(run) == {"two people": 2, "blurry": 1}
    assert clips_with(run, ["two people"]) == {"c0", "c1"} and clips_with(run, ["two people", "blurry"]) == {"c0"}
    assert [(c.kind, c.text) for c in history_of(run, "c2")] == [("tag", "gone"), ("untag", "gone")]
    assert len(history_of(run, "c0")) == 2


def test_a_note_has_versions_and_a_time(run):
    assert note_of(run, "c1") == Note("", 0, "")
    first = save_note(run, "c1", "Looks reversed.\r\nSee the hand.", 0)
    assert first == note_of(run, "c1") and first.text == "Looks reversed.\nSee the hand."
    assert abs(datetime.fromisoformat(first.changed) - datetime.now(UTC)) < timedelta(minutes=1)
    second = save_note(run, "c1", "Is reversed.", first.version)
    assert save_note(run, "c1", "Is reversed.", 0) == second  # the same text is no conflict
    add_tag(run, "c0", "x")
    table = notes_table(run)
    assert list(table.columns) == ["clip_id", "tags", "right_label", "note", "changed"]
    assert table[["clip_id", "tags", "note"]].values.tolist() == [["c0", ["x"], ""], ["c1", [], "Is reversed."]]
    assert clips_with(run, []) == {"c0", "c1"}
    save_note(run, "c1", "", second.version)
    assert list(notes_table(run)["clip_id"]) == ["c0"]
    assert [c.text for c in history_of(run, "c1")] == [first.text, "Is reversed.", ""]


def test_a_conflicting_save_raises_and_keeps_both_texts(run):
    mine, theirs = note_of(run, "c0"), save_note(run, "c0", "theirs", 0)
    with pytest.raises(Conflict) as conflict:
        save_note(run, "c0", "mine", mine.version)
    assert conflict.value.current == theirs == note_of(run, "c0")
    assert [(c.kind, c.text) for c in history_of(run, "c0")] == [("note", "theirs"), ("aside", "mine")]
    assert save_note(run, "c0", "theirs and mine", conflict.value.current.version).text == "theirs and mine"
    assert note_of(run, "c0").text == "theirs and mine"


def test_concurrent_threads_and_processes_lose_no_tag(run):
    processes = [writer(WRITER, run, name, "20") for name in ("p0", "p1")]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: [add_tag(run, "c0", f"t{n}-{i}") for i in range(10)], range(8)))
    for process in processes:
        process.communicate(timeout=300)
        assert process.returncode == 0
    wanted = {f"t{n}-{i}" for n in range(8) for i in range(10)} | {f"p{n}-{i}" for n in range(2) for i in range(20)}
    assert len(tags_of(run, "c0")) == 120 and set(tags_of(run, "c0")) == wanted


def test_of_concurrent_saves_one_succeeds_and_the_history_has_all(run):
    def save(n: int) -> bool:
        try:
            return save_note(run, "c0", f"text {n}", 0).text == f"text {n}"
        except Conflict:
            return False

    with ThreadPoolExecutor(8) as threads:
        saved = list(threads.map(save, range(8)))
    assert sum(saved) == 1 and note_of(run, "c0").text == f"text {saved.index(True)}"
    assert {c.text for c in history_of(run, "c0")} == {f"text {n}" for n in range(8)}


def test_a_killed_writer_loses_no_committed_tag(run):
    process = writer(WRITER, run, "p", "100000")
    kept = [process.stdout.readline().strip() for _ in range(5)]
    assert set(kept) <= set(tags_of(run, "c0"))  # read while the other writes
    process.kill()
    kept += process.communicate(timeout=300)[0].split()
    assert process.returncode == -signal.SIGKILL
    assert tags_of(run, "c0")[: len(kept)] == kept and len(tags_of(run, "c0")) <= len(kept) + 1
    with sqlite3.connect(run.path / "notes.sqlite") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()

    process = writer(HALF, run)
    assert process.wait(120) == -signal.SIGKILL
    add_tag(run, "c0", "after")
    assert tags_of(run, "c0")[-1] == "after" and "half" not in tags_of(run, "c0")


def test_an_empty_file_has_no_notes_and_a_damaged_one_raises(run):
    (run.path / "notes.sqlite").touch()
    assert notes_table(run).empty
    add_tag(run, "c0", "x")
    (run.path / "notes.sqlite").write_bytes(b"no database at all" * 100)
    for act in (lambda: notes_table(run), lambda: add_tag(run, "c0", "x")):
        with pytest.raises(UserError, match=r"notes\.sqlite.*not a database"):
            act()


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        (lambda run: add_tag(run, "c9", "x"), "has no clip 'c9'"),
        (lambda run: remove_tag(run, "c9", "x"), "has no clip 'c9'"),
        (lambda run: save_note(run, "' OR 1=1 --", "x", 0), "has no clip"),
        (lambda run: add_tag(run, "c0", "x" * 61), "at most 60 characters; this one has 61"),
        (lambda run: add_tag(run, "c0", " \n\x00\u200b "), "needs a letter"),
        (lambda run: save_note(run, "c0", "x" * 10_001, 0), "at most 10,000 characters; this one has 10,001"),
    ],
)
def test_invalid_tags_and_notes_raise_a_user_error(act, sentence, run):
    with pytest.raises(UserError, match=sentence):
        act(run)
    assert not (run.path / "notes.sqlite").exists()


def test_tags_are_normalised_to_one_visible_line(run):
    add_tag(run, "c0", " two\n\tpeople\x1b\x00 \u202e!")
    add_tag(run, "c0", "cafe\u0301")
    add_tag(run, "c0", "caf\u00e9")
    add_tag(run, "c0", "x" * 60)
    assert tags_of(run, "c0") == ["two people !", "caf\u00e9", "x" * 60]
    assert save_note(run, "c0", "a\x00b\ud800\n\tc" + "x" * 9_994, 0).text == "ab\n\tc" + "x" * 9_994


def test_notes_of_a_read_only_run_can_be_read_and_not_written(run, read_only):
    bare, noted = read_only / "bare", read_only / "noted"
    shutil.copytree(run.path, bare)
    add_tag(run, "c0", "x")
    shutil.copytree(run.path, noted)
    read_only.chmod(0o755)
    bare, noted = open_run(bare), open_run(noted)
    make_read_only(read_only)
    assert notes_table(bare).empty and tags_of(bare, "c0") == [] and note_of(bare, "c0") == Note()
    assert tags_of(noted, "c0") == ["x"]
    for locked in (bare, noted):
        assert "read-only" in why_not_kept(locked)
        with pytest.raises(UserError, match=r"Notes cannot be kept in .*read-only"):
            save_note(locked, "c0", "x", 0)


def test_a_run_in_object_storage_has_no_notes(run):
    bucket = UPath("memory://bucket/run")
    for file in run.path.rglob("*.*"):
        (bucket / str(file.relative_to(run.path))).write_bytes(file.read_bytes())
    far = open_run("memory://bucket/run")
    assert notes_table(far).empty and far.usable
    assert json.loads(to_fiftyone(far))["samples"] == []
    with pytest.raises(UserError, match="cannot be kept in object storage"):
        add_tag(far, "c0", "x")


def test_csv_round_trips_and_holds_no_formula(run):
    notes = {"c0": COMMAND, "c1": f'{IMAGE}, "quoted",\nsecond line', "c2": "'=1+1", "c3": " \t@SUM(A1)"}
    for clip, text in notes.items():
        save_note(run, clip, text, 0)
    for tag in ("-2+3", "a;b", "ü"):
        add_tag(run, "c0", tag)
    rows = list(csv.DictReader(io.StringIO(to_csv(run), newline="")))
    cells = [cell for row in rows for cell in row.values()]
    assert not [cell for cell in cells if cell.strip().startswith(("=", "+", "-", "@"))]
    back = {row["clip_id"]: row["note"].removeprefix("'") for row in rows}
    assert back == notes and rows[0]["tags"].removeprefix("'").split("\n") == ["-2+3", "a;b", "ü"]
    assert [row["changed"] for row in rows] == list(notes_table(run)["changed"])


def test_fiftyone_json_has_tags_notes_labels_and_predictions(run):
    add_tag(run, "c1", COMMAND)
    save_note(run, "c3", IMAGE, 0)
    found = json.loads(to_fiftyone(run))
    assert found["name"] == "a run" and found["media_type"] == "video"
    one = {
        "filepath": "/videos/c1 [1].mp4", "tags": [COMMAND], "clip_id": "c1", "note": None,
        "ground_truth": {"_cls": "Classification", "label": "b"}, "right_label": None,
        "prediction": {"_cls": "Classification", "label": "a", "confidence": 0.5},
    }  # fmt: skip
    assert found["samples"][0] == one
    assert found["samples"][1]["note"] == IMAGE and len(found["samples"]) == 2
    assert set(one) == {"filepath", "tags"} | set(found["sample_fields"])  # else FiftyOne refuses the sample
    every = json.loads(to_fiftyone(run, annotated_only=False))["samples"]
    assert [sample["clip_id"] for sample in every] == ["c0", "c1", "c2", "c3"] and every[1] == one


def panel(run: Run) -> AppTest:
    """A tab of its own, with the panel of c0, or of what `clip` in its session says."""

    def script(path: str) -> None:
        import streamlit as st

        from analysis.runs.run_directory import open_run
        from workbench.components.notes import show_notes_panel

        show_notes_panel(open_run(path), st.session_state.get("clip", "c0"))

    return shown(AppTest.from_function(script, args=(str(run.path),), default_timeout=120).run())


def shown(app: AppTest) -> AppTest:
    assert not app.exception, app.exception
    return app


def click(app: AppTest, label: str) -> None:
    shown(next(button for button in app.button if button.label.replace("\\", "") == label).click().run())


def test_the_panel_adds_and_removes_tags_and_suggests_those_of_other_clips(run):
    add_tag(run, "c1", "blurry")
    app = panel(run)
    assert "Tags: none yet" in words(app).replace("*", "")
    shown(app.text_input[0].set_value(IMAGE).run())
    shown(app.button_group[0].set_value("blurry").run())
    assert tags_of(run, "c0") == [IMAGE, "blurry"] and app.text_input[0].value == ""
    assert app.button[0].label == r"\<img src=x onerror=alert\(1\)\>"  # Markdown shows it, and makes nothing of it
    assert app.button_group[0].options == ["wrong label", "exclude"]
    click(app, "blurry")
    assert tags_of(run, "c0") == [IMAGE] and app.button_group[0].options == ["wrong label", "exclude", "blurry"]
    shown(app.text_input[0].set_value("\u200b").run())
    assert "A tag needs a letter" in words(app)


def test_two_tabs_on_one_note_resolve_a_conflict(run):
    one, other = panel(run), panel(run)
    for app, text in ((one, "mine"), (other, f"theirs {IMAGE}")):
        app.text_area[0].set_value(text).run()
        assert "Last saved" not in words(app)
    click(other, "Save the note")
    assert "The note is saved." in words(other) and "The note is saved." not in words(other.run())
    assert one.run().text_area[0].value == "mine"  # what is typed stays
    click(one, "Save the note")
    assert "Somebody saved another text" in words(one)
    assert one.code[0].value == f"theirs {IMAGE}" and one.text_area[0].value == "mine"
    assert note_of(run, "c0").text == f"theirs {IMAGE}"
    one.text_area[0].set_value("both").run()
    assert "you have unsaved changes" not in words(one) and one.code[0].value == f"theirs {IMAGE}"
    click(one, "Save the note")
    assert note_of(run, "c0").text == "both" and "Somebody saved" not in words(one)
    assert [code.value for code in one.code] == ["both", "mine", f"theirs {IMAGE}"]  # the texts that were saved
    assert "set aside" in words(one)
    assert other.run().text_area[0].value == "both"  # nothing was typed there since


def test_an_unsaved_text_survives_a_visit_to_another_clip(run):
    app = panel(run)
    app.text_area[0].set_value("mine").run()
    app.session_state["clip"] = "c1"
    assert shown(app.run()).text_area[0].value == ""
    save_note(run, "c0", "theirs", 0)
    app.session_state["clip"] = "c0"
    assert shown(app.run()).text_area[0].value == "mine" and "you have unsaved changes" in words(app)
    click(app, "Save the note")
    assert app.code[0].value == "theirs" and note_of(run, "c0").text == "theirs"
    shown(app.text_area[0].set_value("theirs").run())
    assert "Somebody saved" not in words(app) and "Last saved 20" in words(app)


def test_the_panel_of_a_read_only_run_is_disabled_and_says_why(run, monkeypatch):
    add_tag(run, "c0", "x")
    monkeypatch.setattr("os.access", lambda *_: False)
    app = panel(run)
    assert "read-only" in words(app) and not app.text_input and app.text_area[0].disabled and app.button[0].disabled


def test_the_page_lists_counts_and_filters(run, monkeypatch):
    app = open_page(run.path.parent, monkeypatch, NOTES)
    assert "No clip of this run has a tag or a note yet" in words(app) and not app.dataframe
    save_note(run, "c3", IMAGE, 0)
    add_tag(run, "c1", "blurry")
    add_tag(run, "c2", "blurry")
    add_tag(run, "c2", COMMAND)
    app = open_page(run.path.parent, monkeypatch, NOTES)
    noted, counts = (frame.value for frame in app.dataframe)
    links = [link.split("&from=Notes&list=")[0] for link in noted["open"]]
    assert links == [f"clip?run=a%20run&clip={clip}" for clip in ("c1", "c2", "c3")]
    assert noted["note"].iloc[2] == IMAGE and counts.values.tolist() == [["blurry", 2], [COMMAND, 1]]
    assert [button.label for button in app.get("download_button")] == ["CSV", "FiftyOne JSON"]
    shown(app.multiselect[0].set_value(["blurry", COMMAND]).run())
    assert list(app.dataframe[0].value["clip_id"]) == ["c2"]
    app = open_page(run.path.parent, monkeypatch, NOTES, tags="blurry")
    assert list(app.dataframe[0].value["clip_id"]) == ["c1", "c2"]
    remove_tag(run, "c1", "blurry")
    remove_tag(run, "c2", "blurry")
    assert list(shown(app.run()).dataframe[0].value["clip_id"]) == ["c2", "c3"]  # the chosen tag is gone
    (run.path / "notes.sqlite").write_bytes(b"no database at all" * 100)
    assert "not a database" in words(app.run())


@pytest.mark.parametrize("text", ["CAST(x'ec20' AS TEXT)", "x'00'", "5.5"])
def test_a_damaged_note_is_a_sentence(tmp_path: Path, text: str) -> None:
    run = open_run(write_run(tmp_path / "run", [[0.5]]))
    save_note(run, "c0", "a note", 0)
    with closing(sqlite3.connect(run.path / "notes.sqlite")) as connection, connection:
        connection.execute(f"UPDATE history SET text = {text}")
        if text == "5.5":  # a column of text keeps no number
            connection.execute("UPDATE history SET changed = x'01'")
    with pytest.raises(UserError, match=r"notes.sqlite cannot be read \("):
        notes_table(run)


HELD = r"database is locked; another program holds it: close it there, and try again"
NEWER = r"a newer version of this program wrote it, in format 1; use that version"
UNUSABLE = {  # how notes.sqlite came to be so -> what is said by who reads, and by who writes
    "locked": (f"notes.sqlite cannot be read ({HELD}).", f"notes.sqlite ({HELD})."),
    "newer": (f"notes.sqlite cannot be read ({NEWER}).", f"notes.sqlite ({NEWER})."),
    "link": ("is a link out of its run's folder, and is not followed; put the file itself there.",) * 2,
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_notes_that_are_held_newer_or_elsewhere_are_a_sentence_and_stay_as_they_are(
    kind: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, reading, writing = run.path / "notes.sqlite", *UNUSABLE[kind]
    monkeypatch.setattr(notes_file, "PATIENCE", 0.1)
    monkeypatch.setattr(notes_file, "READING_PATIENCE", 0.1)
    save_note(run, "c0", "kept", 0)
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = DELETE")
        if kind == "newer":
            other.execute("PRAGMA user_version = 1")
        if kind == "locked":
            other.execute("BEGIN EXCLUSIVE")
        if kind == "link":
            file.rename(tmp_path / "other.sqlite")
            file.symlink_to(tmp_path / "other.sqlite")
        before = file.read_bytes()
        for act, sentence in (
            (lambda: note_of(run, "c0"), reading),
            (lambda: notes_table(run), reading),
            (lambda: add_tag(run, "c0", "more"), writing),
            (lambda: save_note(run, "c0", "another", note_of(run, "c0").version), reading),
        ):
            with pytest.raises(UserError) as refused:
                act()
            assert str(refused.value).endswith(sentence), refused.value
        app = open_page(run.path.parent, monkeypatch, PREDICTIONS, run=run.name)
        assert app.metric and sentence in words(app)
        assert file.read_bytes() == before
    if kind == "locked":
        assert note_of(run, "c0").text == "kept"


def test_a_link_inside_the_run_is_followed(run: Run) -> None:
    (run.path / "notes.sqlite").symlink_to("kept.sqlite")
    add_tag(run, "c0", "seen")
    assert tags_of(run, "c0") == ["seen"] and (run.path / "kept.sqlite").is_file()
