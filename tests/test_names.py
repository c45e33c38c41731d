"""Names that are hard to tell apart or hard to show, and links that lead in circles."""

import os
from pathlib import Path

import pandas as pd
import pytest

from analysis.runs.left_out import split_usable
from analysis.runs.run_directory import find_runs
from sth_core.datasets.blanks import BLANK
from sth_core.datasets.table import Annotation, open_dataset
from sth_core.errors import UserError
from tests.test_cli import ends_well
from tests.tiny import write_run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four videos, of which nothing is read but the names."""
    for name in ("a.mp4", "b.mp4", "c.mp4", "d.mp4"):
        (tmp_path / name).write_bytes(b"")
    return tmp_path


@pytest.mark.parametrize("blank", [" ", "\t", "\u00a0", "\u200b", "\ufeff", "\u3000", "\u200f", " \u2060 "], ids=ascii)
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_blanks_around_a_field_are_no_part_of_it_which_is_said(blank: str, suffix: str, folder: Path) -> None:
    rows = [("a.mp4", "walk"), (f"b.mp4{blank}", f"walk{blank}"), ("c.mp4", f"{blank}run"), ("d.mp4", "run")]
    table, file = pd.DataFrame(rows, columns=["path", "label"]), folder / f"manifest.{suffix}"
    if suffix == "csv":
        file.write_text("path,label\n" + "".join(f'"{path}","{label}"\n' for path, label in rows), encoding="utf-8")
    elif suffix == "jsonl":
        table.to_json(file, orient="records", lines=True)
    else:
        table.to_parquet(file)
    dataset = open_dataset(folder)
    assert list(dataset.clips["label"]) == ["walk", "walk", "run", "run"] and not dataset.clips["problem"].any()
    said = f"blanks around 3 fields of manifest.{suffix} are not read, the first in {file}"
    assert any(note.startswith(said) and repr(f"b.mp4{blank}") in note for note in dataset.found.notes)


def test_a_path_with_blanks_is_found(folder: Path) -> None:
    (folder / " in" / "x ").mkdir(parents=True)
    for name in (" in/x / e.mp4", " f .mp4", "g g.mp4"):
        (folder / name).write_bytes(b"")
    names = [" in/x / e.mp4", " f .mp4", "g g.mp4", "in/x/e.mp4"]
    for given, name in zip((*names[:3], names[3]), (*names[:3], names[0]), strict=True):
        (folder / "manifest.csv").write_text(f"path,label\na.mp4,x\n{given},x\n", encoding="utf-8")
        clips = open_dataset(folder).clips
        assert str(folder / name) in set(clips["path"]) and not clips["problem"].any()


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [("walk", "Walk", True), ("wa lk", "wa\u00a0lk", True), ("wa\u200blk", "wa lk", True), ("ﬁt", "fit", True),
     ("walk", "walks", False), ("a/b", "a b", False)],
)  # fmt: skip
def test_classes_that_look_alike_are_said(one: str, other: str, alike: bool, folder: Path) -> None:
    (folder / "manifest.csv").write_text(f"path,label\na.mp4,{one}\nb.mp4,{other}\n", encoding="utf-8")
    dataset = open_dataset(folder)
    assert set(dataset.clips["label"]) == {one, other}
    assert any("differ only in case or in characters that are not seen" in n for n in dataset.found.notes) == alike


def test_folders_that_differ_in_blanks_are_one_class(tmp_path: Path) -> None:
    for name in ("walk", "walk ", "run"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.mp4").write_bytes(b"")
    dataset = open_dataset(tmp_path)
    assert list(dataset.clips["label"]) == ["run", "walk", "walk"] and not dataset.clips["problem"].any()
    assert dataset.clips["path"].nunique() == 3
    assert "blanks around the folder name 'walk ' are not part of the class" in dataset.found.notes


def test_a_text_that_cannot_be_stored_is_refused(folder: Path) -> None:
    (folder / "manifest.jsonl").write_text('{"path": "a.mp4", "label": "x\\ud800"}\n')
    with pytest.raises(UserError, match=r"label is 'x\\ud800', which is not Unicode text"):
        open_dataset(folder)


def test_links_in_a_data_folder_end(tmp_path: Path) -> None:
    """To the folder above, to itself, to nothing, and eight folders full of links to each other."""
    folders = [tmp_path / "run" / f"f{i}" for i in range(8)]
    for one in folders:
        one.mkdir(parents=True)
        (one / "a.mp4").write_bytes(b"")
    for one in folders:
        for other in folders:
            if one != other:
                (one / f"to {other.name}").symlink_to(other)
        (one / "up").symlink_to("..")
        (one / "self").symlink_to("self")
        (one / "nothing").symlink_to("nowhere")
    (tmp_path / "manifest.csv").write_text("path,label\nrun/f0/a.mp4,x\nrun/f1/a.mp4,x\n")
    found = open_dataset(tmp_path).found
    assert found.clips == 2
    assert any("links to a folder above it" in why for why in found.left_out)
    assert any("links below other links" in why for why in found.left_out)


def test_a_folder_that_is_too_deep_is_left_out(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d"] * 400)
    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        for _ in range(400):
            Path("d").mkdir()
            os.chdir("d")
    finally:
        os.chdir(here)
    assert deep.is_dir()
    (tmp_path / "a.mp4").write_bytes(b"")
    found = open_dataset(tmp_path, Annotation(label="")).found
    assert found.clips == 1 and any("1 folder too deep" in why for why in found.left_out)
    write_run(tmp_path / "runs", [[0.5]])
    assert [run.name for run in find_runs(tmp_path)] == ["runs"]


def test_runs_behind_links_are_found_once(tmp_path: Path) -> None:
    write_run(tmp_path / "elsewhere" / "two", [[0.5]])
    runs = tmp_path / "runs"
    write_run(runs / "one", [[0.5]])
    (runs / "above").symlink_to("..")
    (runs / "again").symlink_to("one")
    (runs / "self").symlink_to("self")
    (runs / "nothing").symlink_to("nowhere")
    (runs / "one" / "runs").symlink_to("..")
    (runs / "link").symlink_to(tmp_path / "elsewhere" / "two")
    found = [run.path for run in find_runs(runs)]
    assert found[:2] == [runs / "above" / "elsewhere" / "two", runs / "one"] or len(found) == 2
    assert sorted(path.resolve().name for path in found) == ["one", "two"]


def test_a_run_that_cannot_be_named_or_read_is_left_out_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path / "runs" / "one", [[0.5]])
    write_run(tmp_path / "runs" / "two", [[0.5]]).rename(tmp_path / "runs" / os.fsdecode(b"two\xff"))
    (tmp_path / "runs" / "closed").mkdir()
    scan = os.scandir

    def refuse(path: str) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    usable, left_out = split_usable(find_runs(tmp_path / "runs"))
    assert [run.name for run in usable] == ["one"]
    said = {Path(path).name: why for path, why in left_out.items()}
    assert said["two\\xff"] == "its name is not UTF-8; rename the folder"
    assert said["closed"].startswith("the folder cannot be read (Permission denied")


def test_a_file_name_that_is_not_utf8_is_said(folder: Path) -> None:
    (folder / os.fsdecode(b"x\xff.mp4")).write_bytes(b"")
    found = open_dataset(folder, Annotation(label="")).found
    assert found.clips == 4 and any("1 name that is not UTF-8 (x\\xff.mp4)" in why for why in found.left_out)


HOSTILE = ["[red]p8", "[/b]", ":smile:", "a\nb", "\x1b[31mred", "e\u202ex", "-o", "=1+1", "🙂", "ü" * 100, "<b>x</b>"]


def test_results_show_names_as_they_are(tmp_path: Path) -> None:
    for name in HOSTILE:
        run = write_run(tmp_path / name.replace("/", "∕"), [[0.5], [0.4]])
        for file in (run / "predictions").iterdir():
            pd.read_parquet(file).assign(scores=[[0.6, 0.4]] * 2).to_parquet(file)
    said = ends_well("results", tmp_path)
    for name in ("[red]p8", "[∕b]", ":smile:", r"a\nb", r"\x1b[31mred", r"e\u202ex", "-o", "=1+1", "🙂"):
        assert name in said
    assert "\x1b" not in said and "\u202e" not in said


def test_every_blank_is_invisible() -> None:
    assert not [character for character in BLANK if character.isprintable() and character != " "]
