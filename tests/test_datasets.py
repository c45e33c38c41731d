"""A folder of videos, as people have it, becomes one table of clips."""

import csv
from pathlib import Path

import pandas as pd
import pytest

from sth_core.datasets.table import Annotation, open_dataset, read_dataset
from sth_core.errors import UserError
from sth_core.values import BadValue


def put(folder: Path, *names: str) -> Path:
    """Empty files of these names: the table is made without opening any video."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def manifest(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    """A manifest, and an empty file for each path in it."""
    (folder / "manifest.csv").write_bytes(text.encode(encoding))
    rows = csv.DictReader(text.splitlines())
    return put(folder, *(row["path"].replace("\\", "/") for row in rows if "path" in (rows.fieldnames or [])))


def records(table: pd.DataFrame, *columns: str) -> list[tuple[str, ...]]:
    return list(table[list(columns)].itertuples(index=False, name=None))


def test_a_manifest_with_splits_is_taken_at_its_word(tmp_path: Path) -> None:
    manifest(tmp_path, "path,label,split\nb/2.avi,kick,val\na/1.mp4,hug,train\n")
    table = read_dataset(tmp_path, Annotation())
    columns = "clip_id path label split group flow problem backward segment"
    assert list(table.columns) == columns.split()
    assert records(table, "clip_id", "label", "split") == [("a/1.mp4", "hug", "train"), ("b/2.avi", "kick", "val")]
    assert list(table["path"]) == [str(tmp_path / "a/1.mp4"), str(tmp_path / "b/2.avi")]


def test_the_columns_may_have_other_names(tmp_path: Path) -> None:
    manifest(tmp_path, "motion,path,appearance,part\nopening,1.mp4,plain star,train\nclosing,2.mp4,wavy bar,val\n")
    table = read_dataset(tmp_path, Annotation(label="appearance", split="part"))
    assert records(table, "label", "split") == [("plain star", "train"), ("wavy bar", "val")]


def test_labels_and_groups_stay_as_they_are_written(tmp_path: Path) -> None:
    manifest(tmp_path, "path,label,split,sequence\n1.mp4,007,train,01\n2.mp4,NA,val,1\n")
    table = read_dataset(tmp_path, Annotation(group="sequence"))
    assert records(table, "label", "group") == [("007", "01"), ("NA", "1")]


def test_the_groups_held_out_make_the_split_val(tmp_path: Path) -> None:
    rows = [f"{label}/{sequence}.avi,{label},{sequence}" for label in ("hug", "kick") for sequence in range(1, 6)]
    manifest(tmp_path, "\n".join(["path,label,sequence", *rows]))
    table = read_dataset(tmp_path, Annotation(group="sequence", held_out=("2", "5")))
    assert set(table.loc[table["split"] == "val", "group"]) == {"2", "5"}
    assert set(table.loc[table["split"] == "train", "group"]) == {"1", "3", "4"}


def test_without_splits_a_group_never_lies_on_both_sides(tmp_path: Path) -> None:
    rows = [f"{clip:03}.mp4,hug,actor {clip % 40}" for clip in range(400)]
    manifest(tmp_path, "\n".join(["path,label,actor", *rows]))
    table = read_dataset(tmp_path, Annotation(group="actor"))
    assert table.groupby("group")["split"].nunique().eq(1).all()
    assert set(table["split"]) == {"train", "val"}


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    manifest(tmp_path, "path,label,split\r\na\\1.mp4,hug,train\r\na\\2.mp4,kick,val\r\n", "utf-8-sig")
    table = read_dataset(tmp_path, Annotation())
    assert records(table, "clip_id", "label", "split") == [("a/1.mp4", "hug", "train"), ("a/2.mp4", "kick", "val")]


def test_names_may_hold_spaces_commas_and_any_letters(tmp_path: Path) -> None:
    manifest(tmp_path, 'path,label,split\n"Tür, zu/мой клип 1.mp4",Tür schließen,train\n手/é.webm,拍手,val\n')
    table = read_dataset(tmp_path, Annotation())
    assert records(table, "clip_id", "label") == [
        ("Tür, zu/мой клип 1.mp4", "Tür schließen"),
        ("手/é.webm", "拍手"),
    ]


def test_a_folder_for_each_class_in_each_split(tmp_path: Path) -> None:
    put(tmp_path, "train/hug/1.mp4", "train/kick/1.avi", "val/hug/2.webm", "test/kick/3.MOV")
    table = read_dataset(tmp_path, Annotation())
    assert records(table, "clip_id", "label", "split") == [
        ("test/kick/3.MOV", "kick", "test"),
        ("train/hug/1.mp4", "hug", "train"),
        ("train/kick/1.avi", "kick", "train"),
        ("val/hug/2.webm", "hug", "val"),
    ]


def test_a_folder_for_each_class_holds_out_the_same_fifth_every_time(tmp_path: Path) -> None:
    names = [f"{label}/мой клип {i}.mp4" for label in ("high five", "握手") for i in range(200)]
    put(tmp_path / "a", *names)
    put(tmp_path / "b", *reversed(names))
    a, b = (read_dataset(tmp_path / folder, Annotation()) for folder in ("a", "b"))
    assert records(a, "clip_id", "label", "split") == records(b, "clip_id", "label", "split")
    assert set(a["label"]) == {"high five", "握手"}
    assert 50 <= (a["split"] == "val").sum() <= 110  # a fifth of 400 is 80
    # By checksum, hence the same on every machine: crc32 of the clip's name, divisible by 5.
    assert a.loc[a["split"] == "val", "clip_id"].iloc[0] == "high five/мой клип 10.mp4"


def test_a_new_clip_moves_no_other_between_the_splits(tmp_path: Path) -> None:
    before = read_dataset(put(tmp_path, *(f"hug/{i}.mp4" for i in range(50))), Annotation())
    after = read_dataset(put(tmp_path, "hug/new.mp4", "kick/new.mp4"), Annotation())
    assert set(records(before, "clip_id", "split")) < set(records(after, "clip_id", "split"))


def test_a_dataset_may_lie_in_a_folder_beside_others(tmp_path: Path) -> None:
    for name in ("a", "b"):
        put(tmp_path / name, f"hug/{name}.mp4", f"kick/{name}.mp4")
    dataset = open_dataset(tmp_path, Annotation(folder="b"))
    assert list(dataset.clips["clip_id"]) == ["hug/b.mp4", "kick/b.mp4"] and dataset.found.name == "b"
    with pytest.raises(UserError, match="no such dataset folder"):
        open_dataset(tmp_path, Annotation(folder="c"))


@pytest.mark.parametrize("folder", ["/etc", "../other", "a/../../other"])
def test_the_folder_of_a_dataset_is_inside_of_the_given_one(folder: str) -> None:
    with pytest.raises(BadValue, match="folder must be one inside of the data's folder"):
        Annotation(folder=folder)


def test_other_files_are_not_clips(tmp_path: Path) -> None:
    put(tmp_path, "hug/1.mp4", "hug/notes.txt", "hug/.2.4242.part.mp4", "hug/._1.mp4", "cover.mp4", "README.md")
    assert list(read_dataset(tmp_path, Annotation())["clip_id"]) == ["hug/1.mp4"]


@pytest.mark.parametrize(("column", "label"), [("path", "label"), ("action", "action")])
def test_a_manifest_without_a_column_says_which_it_has(column: str, label: str, tmp_path: Path) -> None:
    other = {"path": "label", "action": "path"}[column]
    manifest(tmp_path, f"{other},split,notes\nx,train,y\n")
    with pytest.raises(UserError) as refused:
        read_dataset(tmp_path, Annotation(label=label))
    assert str(refused.value) == (
        f"{tmp_path / 'manifest.csv'}: has no column {column!r}; its columns: {other}, split, notes"
    )


def test_a_manifest_of_paths_alone_lists_clips_without_labels(tmp_path: Path) -> None:
    put(tmp_path, "1.mp4", "2.mp4")
    manifest(tmp_path, "path\n1.mp4\n2.mp4\n")
    dataset = open_dataset(tmp_path)
    assert list(dataset.clips["label"]) == ["", ""]
    assert dataset.clips["problem"].eq("").all()
    assert "2 clips, no labels, read from manifest.csv" in dataset.found.sentence
    assert "manifest.csv has no column 'label', so its clips have no labels" in dataset.found.sentence


def test_a_group_that_is_no_column_is_refused(tmp_path: Path) -> None:
    manifest(tmp_path, "path,label\n1.mp4,hug\n")
    with pytest.raises(UserError, match="has no column 'actor'; its columns: path, label"):
        read_dataset(tmp_path, Annotation(group="actor"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ": not a CSV file with a header line (it is empty)"),
        (b'path,label\n"a,b\n', ", line 2: not a CSV file with a header line (unexpected end of data)"),
        (b"path,label\n1.mp4,a\n\xff\xfe,x\n", ", line 3: not UTF-8; save the file as UTF-8"),
        (b"path,label,split\n1.mp4,a,train,\n", ", line 2: has more fields than the header line (path, label, split)"),
        (b"path,label,split\n1.mp4,a,train\n2.mp4\n", ", line 3: has no field for label, split"),
    ],
)
def test_what_is_no_csv_is_refused_with_its_line(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_bytes(content)
    with pytest.raises(UserError) as refused:
        read_dataset(tmp_path, Annotation())
    assert str(refused.value) == f"{tmp_path / 'manifest.csv'}{words}"


def test_a_clip_listed_twice_counts_once_and_the_second_line_is_named(tmp_path: Path) -> None:
    manifest(tmp_path, "path,label,split\na/1.mp4,hug,train\na/2.mp4,hug,val\na/1.mp4,kick,val\n")
    table = read_dataset(tmp_path, Annotation())
    file = tmp_path / "manifest.csv"
    assert records(table, "clip_id", "problem") == [
        ("a/1.mp4", ""),
        (f"a/1.mp4 ({file}, line 4)", f"{file}, line 4: a/1.mp4 is listed twice, before in {file}, line 2"),
        ("a/2.mp4", ""),
    ]


def test_a_folder_without_clips_says_what_it_needs(tmp_path: Path) -> None:
    put(tmp_path, "hug/notes.txt")
    with pytest.raises(UserError, match=r"no clips in .*: it needs a manifest\.csv \(path,label,split\) or a folder"):
        read_dataset(tmp_path, Annotation())
    manifest(tmp_path, "path,label,split\n")
    with pytest.raises(UserError, match="no clips in"):
        read_dataset(tmp_path, Annotation())


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"^no such dataset folder: {tmp_path / 'nowhere'}$"):
        read_dataset(tmp_path / "nowhere", Annotation())
