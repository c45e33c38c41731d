"""Tags on several clips at once, wrong labels, and the manifest that they correct."""

import csv
import io
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from streamlit.testing.v1 import AppTest

from analysis.runs.corrected_manifest import correct_manifest
from analysis.runs.notes import (
    EXCLUDED,
    WRONG_LABEL,
    add_tag,
    history_of,
    notes_table,
    remove_tag,
    right_label_of,
    set_right_labels,
    tag_clips,
    tags_of,
    undo,
    untag_clips,
)
from analysis.runs.notes_export import to_csv
from analysis.runs.run_directory import Run, open_run
from sth_core.datasets.table import read_dataset
from sth_core.errors import UserError
from sth_core.files import csv_text
from tests.test_app import COMPARE, NOTES, PREDICTIONS, edit, open_page, words
from tests.tiny import write_run
from workbench.cli import main


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Four clips, c0 to c3, of classes a and b in turn, all predicted a."""
    return open_run(write_run(tmp_path / "runs" / "run", [[0.1, 0.2]] * 4))


def test_clips_are_tagged_in_one_step_that_can_be_undone(run) -> None:
    add_tag(run, "c1", "blurry")
    step = tag_clips(run, ["c0", "c1", "c2", "c0"], " blurry ")
    assert step.tagged == ("c0", "c2") and [tags_of(run, f"c{i}") for i in range(4)] == [["blurry"]] * 3 + [[]]
    undo(run, step)
    assert [tags_of(run, f"c{i}") for i in range(4)] == [[], ["blurry"], [], []]
    undo(run, untag_clips(run, ["c1", "c3"], "blurry"))
    assert tags_of(run, "c1") == ["blurry"] and history_of(run, "c3") == []
    with pytest.raises(UserError, match="has no clip 'c8'"):
        tag_clips(run, ["c0", "c9", "c8"], "x")
    assert tags_of(run, "c0") == []  # none of them


def test_a_wrong_label_has_a_right_one_until_the_tag_goes(run) -> None:
    step = set_right_labels(run, {"c0": "b", "c1": "cafe\u0301"})
    assert tags_of(run, "c0") == [WRONG_LABEL] and right_label_of(run, "c1") == "caf\u00e9"
    second = set_right_labels(run, {"c0": "a"})
    assert (second.tagged, second.right_labels) == ((), {"c0": ("b", "a")})
    undo(run, second)
    assert right_label_of(run, "c0") == "b"
    removed = untag_clips(run, ["c0"], WRONG_LABEL)
    assert right_label_of(run, "c0") == "" and tags_of(run, "c0") == []
    undo(run, removed)
    assert right_label_of(run, "c0") == "b"
    remove_tag(run, "c0", WRONG_LABEL)
    add_tag(run, "c0", WRONG_LABEL)
    assert right_label_of(run, "c0") == ""  # what was said before is void
    undo(run, step)  # of c0 somebody has said something else since
    assert tags_of(run, "c0") == [WRONG_LABEL] and tags_of(run, "c1") == []
    for label in (" ", "x" * 1001):
        with pytest.raises(UserError, match="A class has 1 to 1,000 characters"):
            set_right_labels(run, {"c0": label})


def test_steps_of_several_sessions_at_once_are_all_kept(run) -> None:
    clips = [f"c{i}" for i in range(4)]
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(lambda n: tag_clips(run, clips, f"t{n}"), range(6)))
    assert [set(tags_of(run, clip)) for clip in clips] == [{f"t{n}" for n in range(6)}] * 4


def test_the_csv_of_notes_says_label_prediction_and_path(run) -> None:
    set_right_labels(run, {"c1": "a"})
    (row,) = csv.DictReader(io.StringIO(to_csv(run), newline=""))
    assert [row[name] for name in ("clip_id", "tags", "right_label", "label", "prediction", "path")] == [
        "c1", WRONG_LABEL, "a", "b", "a", "",
    ]  # fmt: skip


# A dataset of the clips c0 to c3, one more of another split, and columns that this program does not know.
MANIFEST = """path,who,label,split
c0,=Ann,a,val
c1,Bob,b,val
c2,Ann,a,val
c3,"Bob, jr.",b,val
t0,Ann,b,train
"""


def dataset_of(run: Run, name: str = "manifest.csv", content: str = MANIFEST) -> Path:
    folder = run.path.parent.parent / "data"
    folder.mkdir()
    (folder / name).write_text(content)
    for clip in ("c0", "c1", "c2", "c3", "t0"):
        (folder / f"{clip}.mp4").touch()
    edit(run.path, data=str(folder))
    return folder


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("manifest.csv", MANIFEST),
        ("manifest.tsv", MANIFEST.replace('"Bob, jr."', "Bob jr.").replace(",", "\t")),
        ("manifest.jsonl", pd.read_csv(io.StringIO(MANIFEST)).to_json(orient="records", lines=True)),
    ],
)
def test_the_corrected_manifest_has_the_columns_and_all_other_rows_of_the_dataset(run, name, content) -> None:
    folder = dataset_of(run, name, content)
    run = open_run(run.path)
    set_right_labels(run, {"c0": "b", "c1": "b"})  # c1's is right already
    add_tag(run, "c2", EXCLUDED)
    add_tag(run, "c3", WRONG_LABEL)
    found = correct_manifest(run)
    assert list(found.table.columns) == ["path", "who", "label", "split"]
    assert found.table["path"].tolist() == ["c0", "c1", "t0"] and found.table["label"].tolist() == ["b", "b", "b"]
    assert (found.corrected, found.excluded, found.undecided) == ({"c0": ("a", "b")}, ("c2",), ("c3",))
    assert found.sentences[0] == f"3 clips of {folder / name}: 1 label corrected, 1 excluded."
    assert found.sentences[1].startswith("1 clip left out (c3): tagged 'wrong label' without the right class.")
    (folder / name).unlink()
    (folder / "manifest.csv").write_text(csv_text(found.table))
    again = read_dataset(folder)
    assert dict(zip(again["clip_id"], again["label"], strict=True)) == {"c0": "b", "c1": "b", "t0": "b"}
    assert "=Ann" in pd.read_csv(folder / "manifest.csv")["who"].str.removeprefix("'").tolist()


def test_a_dataset_of_folders_gets_a_manifest(tmp_path) -> None:
    run = open_run(write_run(tmp_path / "run", [[0.5]] * 2, data=str(tmp_path / "data")))
    for clip in ("a/0.mp4", "b/1.mp4", "b/2.mp4"):
        (tmp_path / "data" / clip).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / clip).touch()
    (file,) = (run.path / "predictions").iterdir()
    pd.read_parquet(file).assign(clip_id=["a/0.mp4", "b/1.mp4"]).to_parquet(file)
    set_right_labels(run, {"b/1.mp4": "a"})
    found = correct_manifest(run)
    assert found.table.to_dict("list") == {"path": ["a/0.mp4", "b/1.mp4", "b/2.mp4"], "label": ["a", "a", "b"]}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"data": ""}, "the run does not name its dataset"),
        ({"data": "/nowhere"}, "its dataset is not there (/nowhere)"),
        ({"data": "DATA"}, "does not list all of them"),
        ({"data": "DATA", "label": "colour"}, "has no column 'colour'"),
    ],
)
def test_without_the_dataset_the_rows_are_the_runs_and_that_is_said(run, change, reason) -> None:
    folder = dataset_of(run, content="path,label\nc0,a\nt0,b\n")
    edit(run.path, **{key: str(folder) if value == "DATA" else value for key, value in change.items()})
    run = open_run(run.path)
    set_right_labels(run, {"c1": "a"})
    found = correct_manifest(run)
    assert found.table["label"].tolist() == ["a", "a", "a", "b"] and reason in found.sentences[0]
    assert "this app may not read" in correct_manifest(run, lambda path: False).sentences[0] or not change["data"]


def test_both_directions_and_tagged_clips_that_are_gone_are_said(run) -> None:
    add_tag(run, "c3", EXCLUDED)
    edit(run.path, direction=True)
    with pytest.raises(UserError, match="forward and backward"):
        correct_manifest(open_run(run.path))
    edit(run.path, direction=False, clips=3)
    (file,) = (run.path / "predictions").iterdir()
    pd.read_parquet(file).iloc[:3].to_parquet(file)
    shutil.rmtree(run.path / "attention")
    found = correct_manifest(open_run(run.path))
    assert len(found.table) == 3 and found.sentences[-1] == "Not listed there, so not changed: c3."
    assert list(notes_table(run)["clip_id"]) == ["c3"]


def tick(app: AppTest, *clips: str) -> None:
    for clip in clips:
        next(box for box in app.checkbox if box.key.endswith(f" {clip}")).check()
    assert not app.run().exception, app.exception


def press(app: AppTest, label: str) -> None:
    next(button for button in app.button if button.label == label).click()
    assert not app.run().exception, app.exception


def group(app: AppTest, key: str):
    return next(one for one in app.get("button_group") if one.key == key)


def test_clips_of_a_gallery_are_ticked_tagged_and_untagged(run, monkeypatch) -> None:
    app = open_page(run.path.parent, monkeypatch, PREDICTIONS)
    tick(app, "c1", "c3")
    assert "2 clips ticked" in words(app)
    group(app, "tags_of_gallery").set_value(WRONG_LABEL).run()
    assert not app.exception and tags_of(run, "c1") == tags_of(run, "c3") == [WRONG_LABEL] and tags_of(run, "c0") == []
    assert "wrong label: 2 clips tagged." in words(app).replace("*", "") and ":gray-badge[wrong label]" in words(app)
    assert app.multiselect[0].options == [WRONG_LABEL]  # the filter knows the new tag
    app.selectbox(key="right_of_gallery").set_value("the class that is predicted for each").run()
    assert not app.exception and right_label_of(run, "c1") == "a"
    assert ":gray-badge[wrong label: a]" in words(app)
    press(app, "Undo")
    assert tags_of(run, "c1") == [] and "2 clips ticked" in words(app)
    press(app, "Tick none")
    press(app, "Tick all 2 shown")
    app.text_input(key="tag_of_gallery").set_value(" <b>x ").run()
    assert tags_of(run, "c3") == ["<b>x"] and app.text_input
    press(app, "Tick all 2 shown")
    group(app, "tags_of_gallery").set_value("<b>x").run()
    assert tags_of(run, "c3") == [] and "removed from 2 clips" in words(app)


def test_ticked_clips_that_have_a_wrong_label_get_their_right_class(run, monkeypatch) -> None:
    tag_clips(run, ["c1", "c3"], WRONG_LABEL)
    app = open_page(run.path.parent, monkeypatch, NOTES, view_notes="Gallery")
    tick(app, "c1", "c3")
    app.selectbox(key="right_of_noted").set_value("a").run()
    assert not app.exception and right_label_of(run, "c1") == right_label_of(run, "c3") == "a"
    press(app, "Undo")
    assert tags_of(run, "c1") == [WRONG_LABEL] and right_label_of(run, "c1") == ""


def test_a_class_that_a_clip_has_already_is_no_right_class(run, monkeypatch) -> None:
    app = open_page(run.path.parent, monkeypatch, PREDICTIONS)
    tick(app, "c1")
    group(app, "tags_of_gallery").set_value(WRONG_LABEL).run()
    app.selectbox(key="right_of_gallery").set_value("b").run()
    assert "1 clip of these have this label already" in words(app) and right_label_of(run, "c1") == ""


def test_notes_show_a_gallery_and_a_corrected_manifest(run, monkeypatch) -> None:
    folder = dataset_of(run)
    set_right_labels(run, {"c1": "a"})
    app = open_page(run.path.parent, monkeypatch, NOTES, view_notes="Gallery")
    assert [button.label for button in app.get("download_button")] == [
        "CSV", "FiftyOne JSON", "Corrected manifest", "CSV of 1",
    ]  # fmt: skip
    assert f"Corrected manifest: 5 clips of {folder / 'manifest.csv'}: 1 label corrected, 0 excluded." in words(app)
    tick(app, "c1")
    press(app, "Tick none")


def test_compare_shows_the_answers_and_the_tags_of_both_runs_and_filters_by_them(run, monkeypatch) -> None:
    other = open_run(write_run(run.path.parent / "other", [[0.1, 0.2]] * 4))
    (file,) = (other.path / "predictions").iterdir()
    pd.read_parquet(file).assign(prediction=list("abab"), correct=True).to_parquet(file)
    add_tag(run, "c1", "blurry")
    add_tag(other, "c1", "far")
    app = open_page(run.path.parent, monkeypatch, COMPARE, a="run", b="other", changed="gained")
    assert "A: :red[a] (50%)  \nB: :green[b] (50%)" in words(app)
    assert ":gray-badge[far] :gray-badge[A: blurry]" in words(app) and "2 clips, gained" in words(app)
    app.multiselect[-1].set_value(["blurry", "far"]).run()
    assert not app.exception and "1 of 2 clips, gained" in words(app)
    tick(app, "c1")
    app.text_input(key="tag_of_compared").set_value("new").run()
    assert tags_of(other, "c1") == ["far", "new"] and tags_of(run, "c1") == ["blurry"]


def test_the_command_writes_notes_and_the_corrected_manifest(run, tmp_path) -> None:
    folder = dataset_of(run)
    set_right_labels(run, {"c1": "a"})
    add_tag(run, "c2", EXCLUDED)
    files = {name: tmp_path / "out" / name for name in ("notes.csv", "notes.json", "manifest.csv")}
    options = [f"--{name}={file}" for name, file in zip(("csv", "fiftyone", "manifest"), files.values(), strict=True)]
    said = CliRunner().invoke(main, ["notes", str(run.path), *options])
    assert said.exit_code == 0 and "2 clips with tags or a note" in said.output, said.output
    assert "4 clips of" in said.output and "1 label corrected, 1 excluded." in said.output
    assert pd.read_csv(files["manifest.csv"])["label"].tolist() == ["a", "a", "b", "b"]
    assert all(file.exists() for file in files.values())
    refused = CliRunner().invoke(main, ["notes", str(run.path), "--manifest", str(folder / "manifest.csv")])
    assert refused.exit_code == 2 and "is the manifest that is corrected" in refused.output
    assert (folder / "manifest.csv").read_text() == MANIFEST
    assert "run.json" in CliRunner().invoke(main, ["notes", str(tmp_path)]).output
