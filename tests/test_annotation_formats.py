"""Annotation files as other tools write them: each is read as that tool reads it, or refused by name."""

import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sth_core.datasets.found import Found
from sth_core.datasets.table import Annotation, open_dataset
from sth_core.errors import UserError
from tests import datasets_on_disk as on_disk

Rows = list[tuple[str, str, str]]  # clip, label, split
RUN_AND_HUG = tuple(f"{name}/{name}{number}.mp4" for name in ("run", "hug") for number in range(3))


def laid_out(folder: Path, files: Mapping[str, str | bytes], clips: Sequence[str] = ()) -> Path:
    """Annotation files and clips: a name that ends with "/" is a folder of 10 frames."""
    for name in clips:
        if name.endswith("/"):
            on_disk.frame_folder(folder / name)
        else:
            on_disk.video(folder / name)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def read(folder: Path, **annotation: Any) -> tuple[Rows, Found]:
    """(clip, label, split) of each clip, none of which has a problem."""
    dataset = open_dataset(folder, Annotation(**annotation))
    assert list(dataset.clips["problem"].loc[lambda problem: problem.ne("")]) == []
    rows = dataset.clips[["clip_id", "label", "split"]].itertuples(index=False, name=None)
    return list(rows), dataset.found


def refused(folder: Path, **annotation: Any) -> str:
    with pytest.raises(UserError) as refusal:
        open_dataset(folder, Annotation(**annotation))
    return str(refusal.value).replace(str(folder), "D")


@dataclass(frozen=True)
class Case:
    """Files beside clips, and what they say: `splits` is where the splits come from, `notes` are all notes."""

    files: Mapping[str, str | bytes]
    rows: Rows
    clips: Sequence[str] = RUN_AND_HUG
    splits: str = ""
    notes: Sequence[str] = ()
    annotation: Mapping[str, Any] = field(default_factory=dict)


def lists(train: str, val: str, suffix: str = "txt", **more: str | bytes) -> dict[str, str | bytes]:
    return {f"train.{suffix}": train, f"val.{suffix}": val} | {name.replace("_", "."): t for name, t in more.items()}


TWO = [("hug/hug0.mp4", "1", "val"), ("run/run0.mp4", "0", "train"), ("run/run1.mp4", "0", "train")]
NAMED = [(clip, {"0": "run", "1": "hug"}[label], split) for clip, label, split in TWO]
TRAIN, VAL = "run/run0.mp4 0\nrun/run1.mp4 0\n", "hug/hug0.mp4 1\n"
LONG = ["long/", "other/"]
PARTS = [("long (0-4 frames)", "0", "train"), ("long (4-10 frames)", "1", "train"), ("other (3-8 frames)", "1", "val")]
OFFSETS = "the numbers after a path are its first frame, counted from 0, its number of frames, and its label"
FROM_1 = "labels are counted from 1, as 0 never occurs: 1 is 'run' (classes.txt)"
SIX = [("hug/hug0.mp4", "hug", "train"), ("hug/hug1.mp4", "hug", "test"), ("run/run0.mp4", "run", "train"),
       ("run/run1.mp4", "run", "train"), ("run/run2.mp4", "run", "test")]  # fmt: skip
BY_LIST = "train.txt, val.txt"
BY_CSV = "train.csv, val.csv"
PARTS_NOTE = "clips are parts of videos, by the columns start and end of manifest.csv, in seconds"

CASES: dict[str, Case] = {
    # TSN and TSM: github.com/yjxiong/tsn-pytorch, github.com/mit-han-lab/temporal-shift-module
    "path label": Case(lists(TRAIN, VAL), TWO, splits=BY_LIST),
    "path frames label": Case(
        lists(TRAIN.replace(" 0", " 10 0"), VAL.replace(" 1", " 10 1")), TWO, splits=BY_LIST),
    "a comment first": Case(lists("# path label\n" + TRAIN, "# path label\n" + VAL), TWO, splits=BY_LIST),
    "a header between blanks": Case(lists("path label\n" + TRAIN, "video frames label\nhug/hug0.mp4 10 1\n"), TWO,
                                    splits=BY_LIST),
    "tabs": Case(lists(TRAIN.replace(" ", "\t"), VAL.replace(" ", "\t")), TWO, splits=BY_LIST),
    "other names of splits": Case({"my_training_list.txt": TRAIN, "validation.lst": VAL}, TWO,
                                  splits="my_training_list.txt, validation.lst"),
    "a fold in the name": Case({"trainlist02.txt": TRAIN, "vallist02.txt": VAL, "trainlist01.txt": VAL}, TWO,
                               splits="trainlist02.txt, vallist02.txt", annotation={"fold": 2}),
    "lists below the folder": Case(
        {"a/b/train.txt": TRAIN, "a/b/val.txt": VAL, "a/b/classes.txt": "run\nhug\n"}, NAMED, splits=BY_LIST),
    "paths from the list's folder": Case(
        {"a/train.txt": "run/1.mp4 0\n", "a/val.txt": "../b/2.mp4 1\n"},
        [("a/run/1.mp4", "0", "train"), ("b/2.mp4", "1", "val")], ["a/run/1.mp4", "b/2.mp4"], BY_LIST,
        ("paths in train.txt are relative to its folder, a", "paths in val.txt are relative to its folder, a")),
    "only a list for evaluation": Case({"val.txt": VAL}, [TWO[0]], splits="val.txt"),
    # SlowFast (slowfast/datasets/kinetics.py), VideoMAE (DATASET.md), TimeSformer: PATH_LABEL_SEPARATOR is " " or ","
    "SlowFast": Case(lists(TRAIN, VAL, "csv"), TWO, splits=BY_CSV),
    "SlowFast with commas": Case(
        lists(TRAIN.replace(" ", ","), VAL.replace(" ", ", "), "csv"), TWO, splits=BY_CSV),
    "VideoMAE, two blanks": Case(lists(TRAIN.replace(" ", "  "), VAL.replace(" ", "  "), "csv"), TWO, splits=BY_CSV),
    "path frames label between commas": Case(
        lists("run/run0.mp4,10,0\nrun/run1.mp4,10,0\n", "hug/hug0.mp4,10,1\n", "csv"), TWO, splits=BY_CSV),
    "path,label with header": Case(
        lists("path,label\n" + TRAIN.replace(" ", ","), "path,label\n" + VAL.replace(" ", ","), "csv"), TWO,
        splits=BY_CSV),
    "path,label with header in another order": Case(
        lists("class,file\n0,run/run0.mp4\n0,run/run1.mp4\n", "class,file\n1,hug/hug0.mp4\n", "csv"), TWO,
        splits=BY_CSV,
        notes=("labels are from the column class of train.csv", "labels are from the column class of val.csv")),
    "path labelname": Case(
        lists("run/run0.mp4 run\nrun/run1.mp4 run\n", "hug/hug0.mp4 hug\n"), NAMED, splits=BY_LIST),
    "path labelname of two words": Case(
        lists("run/run0.mp4 high five\n", "hug/hug0.mp4 hug\n"),
        [("hug/hug0.mp4", "hug", "val"), ("run/run0.mp4", "high five", "train")], splits=BY_LIST),
    "path,labelname": Case(
        lists("run/run0.mp4,run\nrun/run1.mp4,run\n", "hug/hug0.mp4,hug\n", "csv"), NAMED, splits=BY_CSV),
    # MMAction2 (mmaction/datasets/rawframe_dataset.py, loading.py): file = frame + start_index + offset
    "MMAction2 with offsets": Case(
        lists("long 0 4 0\nlong 4 6 1\n", "other 3 5 1\n"), PARTS, LONG, BY_LIST, (OFFSETS,)),
    "MMAction2 with offsets to the last frame": Case(
        {"k400_train_list_rawframes.txt": "rawframes/long 9 1 0\n"}, [("rawframes/long (9-10 frames)", "0", "train")],
        ["data/rawframes/long/"], "k400_train_list_rawframes.txt", (OFFSETS,)),
    # Lists of paths
    "paths alone": Case(
        {"train.txt": "run/run0.mp4\nhug/hug0.mp4\nrun/run1.mp4\n", "test.txt": "run/run2.mp4\nhug/hug1.mp4\n"}, SIX,
        splits="train.txt, test.txt",
        notes=("train.txt lists paths without labels", "test.txt lists paths without labels",
               "labels that are not listed are from the clips' folders")),
    "paths alone for testing": Case(
        {"trainlist01.txt": "run/run0.mp4 1\nhug/hug0.mp4 2\n", "testlist01.txt": "run/run2.mp4\nhug/hug1.mp4\n"},
        [("hug/hug0.mp4", "2", "train"), ("hug/hug1.mp4", "2", "test"), ("run/run0.mp4", "1", "train"),
         ("run/run2.mp4", "1", "test")], splits="trainlist01.txt, testlist01.txt",
        notes=("testlist01.txt lists paths without labels", "labels that are not listed are from the clips' folders")),
    "paths alone in one folder": Case(
        {"train.txt": "v/1.mp4\nv/2.mp4\n"}, [("v/1.mp4", "", "train"), ("v/2.mp4", "", "train")],
        ["v/1.mp4", "v/2.mp4"], "train.txt", ("train.txt lists paths without labels",)),
    "a single list": Case(
        {"clips.csv": "path,label,subset\nrun/run0.mp4,run,train\nrun/run1.mp4,run,training\nhug/hug0.mp4,hug,dev\n"},
        NAMED, splits="the column subset", notes=("splits are from the column subset of clips.csv",)),
    # Class lists
    "a class list": Case(lists(TRAIN, VAL, classes_txt="run\nhug\n"), NAMED, splits=BY_LIST),
    "a class list with numbers": Case({**lists(TRAIN, VAL), "label_map.txt": "1 hug\n0 run\n"}, NAMED, splits=BY_LIST),
    "a class list in CSV": Case({**lists(TRAIN, VAL), "kinetics_400_labels.csv": "id,name\n0,run\n1,hug\n"}, NAMED,
                                splits=BY_LIST),
    "a class list in JSON": Case({**lists(TRAIN, VAL), "label_map.json": '{"hug": 1, "run": "0"}'}, NAMED,
                                 splits=BY_LIST),
    "a class list in JSON, by number": Case({**lists(TRAIN, VAL), "id2label.json": '{"0": "run", "1": "hug"}'}, NAMED,
                                            splits=BY_LIST),
    "a class list with a comment": Case(lists(TRAIN, VAL, classes_txt="# in order\nrun\nhug\n"), NAMED, splits=BY_LIST),
    "a class list that is not needed": Case(
        {"manifest.csv": "path,label,split\nrun/run0.mp4,0,train\nhug/hug0.mp4,1,val\n", "classes.txt": "run\nhug\n"},
        TWO[:2], splits="the column split", notes=("not read: classes.txt",)),
    "labels from 1": Case(
        lists("run/run0.mp4 1\nrun/run1.mp4 1\n", "hug/hug0.mp4 2\n", classes_txt="run\nhug\n"), NAMED, splits=BY_LIST,
        notes=(FROM_1,)),
    "labels from 1, as the class list": Case(
        lists("run/run0.mp4 1\nrun/run1.mp4 1\n", "hug/hug0.mp4 2\n", classInd_txt="1 run\n2 hug\n"), NAMED,
        splits=BY_LIST, notes=(FROM_1.replace("classes", "classInd"),)),
    "labels that never are 0": Case(
        lists("run/run0.mp4 1\nrun/run1.mp4 1\n", "hug/hug0.mp4 2\n", classes_txt="a\nrun\nhug\nb\n"), NAMED,
        splits=BY_LIST,
        notes=("no clip has the label 0, 'a' (classes.txt); if labels begin at 1, all names are wrong",)),
    # Hugging Face, "Create a video dataset"
    "metadata.csv": Case(
        {"metadata.csv": "file_name,label\ntrain/a.mp4,run\ntest/b.mp4,hug\n"},
        [("test/b.mp4", "hug", "test"), ("train/a.mp4", "run", "train")], ["train/a.mp4", "test/b.mp4"],
        "the folders train, test"),
    "metadata.jsonl for each split": Case(
        {"train/metadata.jsonl": '{"file_name": "run/a.mp4", "label": 0}\n',
         "validation/metadata.jsonl": '{"file_name": "b.mp4", "label": 1, "text": "x"}\n',
         "labels.txt": "run\nhug\n"},
        [("train/run/a.mp4", "run", "train"), ("validation/b.mp4", "hug", "val")],
        ["train/run/a.mp4", "validation/b.mp4"], "the folders train, val"),
    "metadata without splits": Case(
        {"data/metadata.csv": "file_name,caption,class,split\na.mp4,x,run,train\nb.mp4,y,hug,valid\n"},
        [("data/a.mp4", "run", "train"), ("data/b.mp4", "hug", "val")], ["data/a.mp4", "data/b.mp4"],
        "the column split", ("labels are from the column class of metadata.csv",)),
    # Parts of videos
    "start,end": Case(
        {"manifest.csv": "path,start,end,label,split\n"
         "run/run0.mp4,0,0.1,run,train\nrun/run0.mp4,0.10,0:00.25,hug,train\nhug/hug0.mp4,,,hug,val\n"},
        [("hug/hug0.mp4", "hug", "val"), ("run/run0.mp4 (0-0.1 s)", "run", "train"),
         ("run/run0.mp4 (0.1-0.25 s)", "hug", "train")], splits="the column split", notes=(PARTS_NOTE,)),
    "start_frame,end_frame": Case(
        {"manifest.csv": "path,start_frame,end_frame,label,split\nlong,2.0,5,run,train\nlong,7,,hug,val\n"},
        [("long (2-5 frames)", "run", "train"), ("long (7- frames)", "hug", "val")], LONG, "the column split",
        ("clips are parts of videos, by the columns start_frame and end_frame of manifest.csv, "
         "in frames counted from 0, the last not included",)),
    # Manifests
    "manifest.jsonl": Case(
        {"manifest.jsonl": '{"path": "run/run0.mp4", "label": "run", "split": "train"}\n'
         '{"split": "val", "path": "hug/hug0.mp4", "label": "hug"}\n'}, NAMED[:2], splits="the column split"),
    "manifest.csv with semicolons": Case(
        {"manifest.csv": "path; label; split\nrun/run0.mp4; run; train\nhug/hug0.mp4; hug; val\n;;\n"},
        NAMED[:2], splits="the column split"),
    "manifest.tsv": Case(
        {"manifest.tsv": "path\tlabel\tsplit\nrun/run0.mp4\trun\tTrain\nhug/hug0.mp4\thug\tvalidation\n"},
        NAMED[:2], splits="the column split"),
    "columns of time that are not read": Case(
        {"manifest.csv": "path,label,split,stop_frame,gender\nrun/run0.mp4,run,train,3,f\nhug/hug0.mp4,hug,val,4,m\n"},
        NAMED[:2], splits="the column split", notes=("not read: the columns stop_frame of manifest.csv",)),
    # What other tools and people do to such files
    "commas around quotes": Case(
        lists('"run/run0.mp4",0\r\n"run/run1.mp4","0"\r\n', '\ufeff"hug/hug0.mp4",1\r\n', "csv"), TWO, splits=BY_CSV),
    "old Mac line ends": Case(lists(TRAIN.replace("\n", "\r"), VAL.replace("\n", "\r")), TWO, splits=BY_LIST),
    "a line that is commented out": Case(
        lists(TRAIN + "#run/run2.mp4 0\n", VAL), TWO, splits=BY_LIST,
        notes=("train.txt has clips in comments, which are not read: '#run/run2.mp4 0'",)),
    "a clip that begins with #": Case(
        lists("#1.mp4 0\n", "2.mp4 1\n"), [("#1.mp4", "0", "train"), ("2.mp4", "1", "val")], ["#1.mp4", "2.mp4"],
        BY_LIST),
    "names that end with numbers": Case(
        lists("take 1 0\ntake 2 10 1\n", "take 3 10 0\n"),
        [("take 1", "0", "train"), ("take 2", "1", "train"), ("take 3", "0", "val")],
        ["take 1/", "take 2/", "take 3/"], BY_LIST),
    "comments and a header line": Case(
        {"train.csv": "# made by hand\nPath,Label\nrun/run0.mp4,run\n", "val.csv": "Path,Label\nhug/hug0.mp4,hug\n"},
        NAMED[:2], splits=BY_CSV),
    "an index without a name": Case(
        {"manifest.csv": ",path,label,split\n0,run/run0.mp4,run,train\n1,hug/hug0.mp4,hug,val\n"}, NAMED[:2],
        splits="the column split"),
    "the same clips for testing": Case(
        lists(TRAIN, VAL, "csv", test_csv=VAL), TWO, splits=BY_CSV,
        notes=("test.csv is not read: its clips are those of val.csv",)),
    "paths of another machine": Case(
        lists("/data/x/run/run0.mp4 0\n/data/x/run/run1.mp4 0\n", "/data/x/hug/hug0.mp4 1\n"), TWO, splits=BY_LIST,
        notes=tuple(f"paths in {name}.txt begin with /data/x/, which is not there, and are read without it"
                    for name in ("train", "val"))),
    "paths with a folder around": Case(
        lists(TRAIN.replace("run/", "my_set/run/"), "my_set/" + VAL, "csv"), TWO, splits=BY_CSV,
        notes=tuple(f"paths in {name}.csv begin with my_set/, which is not there, and are read without it"
                    for name in ("train", "val"))),
    "Windows paths": Case(lists(TRAIN.replace("/", "\\"), ".\\" + VAL.replace("/", "\\")), TWO, splits=BY_LIST),
    "ids": Case(
        lists("video_id,label\nrun0,run\nrun1,run\n", "video_id,label\nhug0,hug\n", "csv"),
        [("hug0", "hug", "val"), ("run0", "run", "train"), ("run1", "run", "train")], splits=BY_CSV),
    "a list of objects in JSON": Case(
        {"train.json": json.dumps([{"path": clip, "label": label} for clip, label, split in NAMED if split == "train"]),
         "val.json": '[{"path": "hug/hug0.mp4", "label": "hug"}]'}, NAMED, splits="train.json, val.json"),
    "lists beside a class list that is not needed": Case(
        {"manifest.csv": "path,label,split\nrun/run0.mp4,run,train\nhug/hug0.mp4,hug,val\n", "labels.txt": "run\nhug\n",
         "README.md": "run/run0.mp4", "notes.txt": "run/run0.mp4 is short"}, NAMED[:2], splits="the column split",
        notes=("not read: labels.txt",)),
    "names that look the same": Case(
        {"train.txt": "run/run0.mp4 caf\u00e9\n", "val.txt": "hug/hug0.mp4 cafe\u0301\n",
         "classes.txt": "cafe\u0301\n"},
        [("hug/hug0.mp4", "caf\u00e9", "val"), ("run/run0.mp4", "caf\u00e9", "train")], splits=BY_LIST),
    "line ends that are none": Case(
        {"manifest.csv": "path,label,split\nrun/run0.mp4,wait\u2028here,train\nrun/run1.mp4,well\x85,train\n"
         "hug/hug0.mp4,a\x0cb\x0b\x1c\u2029,val\n"},
        [("hug/hug0.mp4", "a\x0cb\x0b\x1c\u2029", "val"), ("run/run0.mp4", "wait\u2028here", "train"),
         ("run/run1.mp4", "well\x85", "train")], splits="the column split"),
    "line ends that are none, in lists": Case(
        {"train.txt": "run/run0.mp4 0\nrun/run1.mp4 1\n", "val.txt": "hug/hug0.mp4 1\n",
         "classes.txt": "wait\u2028here\nwell\x85\n"},
        [("hug/hug0.mp4", "well\x85", "val"), ("run/run0.mp4", "wait\u2028here", "train"),
         ("run/run1.mp4", "well\x85", "train")], splits=BY_LIST),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_is_read(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    rows, found = read(laid_out(tmp_path, case.files, case.clips), **case.annotation)
    assert rows == sorted(case.rows)
    assert (found.split_source, found.split_invented) == (case.splits, False)
    assert found.notes == tuple(case.notes)


@pytest.mark.parametrize("name", ["manifest", "metadata"])
def test_parquet(name: str, tmp_path: Path) -> None:
    """Missing values, numbers, and the names of classes that Hugging Face's library writes into the file."""
    path = {"manifest": "path", "metadata": "file_name"}[name]
    rows = {path: ["run/run0.mp4", "hug/hug0.mp4"], "label": [0, 1], "split": ["train", "validation"],
            "start": [None, 0.1], "end": [0.2, None]}  # fmt: skip
    features = {"info": {"features": {"label": {"names": ["run", "hug"], "_type": "ClassLabel"}}}}
    table = pa.table(rows).replace_schema_metadata({"huggingface": json.dumps(features)})
    pq.write_table(table, laid_out(tmp_path, {}, RUN_AND_HUG) / f"{name}.parquet")
    rows, found = read(tmp_path)
    assert rows == [("hug/hug0.mp4 (0.1- s)", "hug", "val"), ("run/run0.mp4 (0-0.2 s)", "run", "train")]
    assert found.split_source == "the column split"
    assert found.group_source == "the video of each part"
    assert found.notes == (PARTS_NOTE.replace("manifest.csv", f"{name}.parquet"),)


@pytest.mark.parametrize("number", [-1, 2])
def test_a_number_that_names_no_class(number: int, tmp_path: Path) -> None:
    """Hugging Face writes -1 where a clip has no label."""
    features = {"info": {"features": {"label": {"names": ["run", "hug"], "_type": "ClassLabel"}}}}
    table = {"path": ["run/run0.mp4", "hug/hug0.mp4"], "label": [0, number], "split": ["train", "train"]}
    written = pa.table(table).replace_schema_metadata({"huggingface": json.dumps(features)})
    pq.write_table(written, laid_out(tmp_path, {}, RUN_AND_HUG) / "manifest.parquet")
    if number == 2:
        with pytest.raises(UserError, match=r"row 2: class 2 is not one of the 2 that the file names, from 0 on$"):
            open_dataset(tmp_path)
        return
    clips = open_dataset(tmp_path).clips.set_index("clip_id")
    assert clips["label"]["hug/hug0.mp4"] == "" and "no label" in clips["problem"]["hug/hug0.mp4"]


def test_a_header_with_blanks_and_quotes(tmp_path: Path) -> None:
    text = 'path, "label", "split"\nrun/run0.mp4, "run", "train"\nhug/hug0.mp4, "hug", "val"\n'
    rows, found = read(laid_out(tmp_path, {"manifest.csv": text}, RUN_AND_HUG))
    assert rows == [("hug/hug0.mp4", "hug", "val"), ("run/run0.mp4", "run", "train")]
    assert found.split_source == "the column split"


def test_a_path_of_windows_in_a_stray_json_file(tmp_path: Path) -> None:
    laid_out(tmp_path, {"info.json": r'{"source": "C:\data\x.mp4"}'}, RUN_AND_HUG)
    assert len(open_dataset(tmp_path).clips) == 6


def test_parquet_lists_with_numbers_take_their_names_from_a_class_list(tmp_path: Path) -> None:
    laid_out(tmp_path, {"classes.txt": "run\nhug\n"}, RUN_AND_HUG)
    for split in ("train", "val"):
        clips = [(clip, int(label)) for clip, label, of_split in TWO if of_split == split]
        pq.write_table(
            pa.table({"path": [clip for clip, _ in clips], "label": [label for _, label in clips]}),
            tmp_path / f"{split}.parquet",
        )
    assert read(tmp_path)[0] == sorted(NAMED)


def test_parts_of_one_video_are_one_group(tmp_path: Path) -> None:
    rows = "".join(f"{clip},{start},{start + 1},run\n" for clip in RUN_AND_HUG for start in range(4))
    dataset = open_dataset(laid_out(tmp_path, {"manifest.csv": f"path,start,end,label\n{rows}"}, RUN_AND_HUG))
    assert dataset.clips.groupby("path")["split"].nunique().eq(1).all()
    assert set(dataset.clips["split"]) == {"train", "val"}
    assert set(dataset.clips["segment"]) == {"0-1 s", "1-2 s", "2-3 s", "3-4 s"}


def test_ucf101_two_folders_down(tmp_path: Path) -> None:
    on_disk.ucf101(tmp_path / "set")
    (tmp_path / "set" / "a").mkdir()
    (tmp_path / "set" / "ucfTrainTestlist").rename(tmp_path / "set" / "a" / "ucfTrainTestlist")
    _, found = read(tmp_path / "set")
    assert (found.read_from, found.split_source) == (
        "trainlist01.txt, testlist01.txt, classInd.txt", "trainlist01.txt, testlist01.txt"
    )  # fmt: skip
    assert found.group_source == "the g number of UCF-101's names"


WANTED = "wanted: path label, path frames label, or (parts of a folder of frames) path offset frames label"
ONE = "a clip has one label, and several are not supported"
FOLDERS = 'or [data] format = "folders", which ignores lists and takes classes from the folders'
A_MANIFEST = "wanted: a manifest.csv with the columns path,label,split"
UNFIT = "does not fit as path offset frames label (the folder has 10 frames)"

# What is refused, and how the sentence begins ("D" is the folder).
REFUSED: dict[str, tuple[Mapping[str, str | bytes], Sequence[str], str]] = {
    "several labels": (
        lists("run/run0.mp4 0 3\n", VAL), RUN_AND_HUG,
        f"D/train.txt, line 1: 'run/run0.mp4 0 3' has two numbers after its path, of which 0 is no frame count; {ONE}"),
    "several labels that are no frame counts": (
        lists("run/run0.mp4 1 3\nrun/run1.mp4 2 3\n", VAL), RUN_AND_HUG,
        f"D/train.txt, line 1: 'run/run0.mp4 1 3' has two numbers after its path, but the clip has 10 frames; {ONE}"),
    "one label, and several": (
        lists("run/run0.mp4 1\nrun/run1.mp4 1 2\n", VAL), RUN_AND_HUG,
        f"D/train.txt, line 2: 'run/run1.mp4 1 2' has 2 numbers after its path; {ONE}"),
    "several labels between commas": (
        lists("run/run0.mp4 0,3\n", "hug/hug0.mp4 1,3\n", "csv"), RUN_AND_HUG,
        "D/train.csv, line 1: 'run/run0.mp4 0,3' has two numbers after its path, of which 0 is no frame count"),
    "several labels of folders of frames": (
        lists("long 10 0 3\n", "other 10 1 2\n"), LONG, f"D/train.txt, line 1: 'long 10 0 3' {UNFIT}; {ONE}"),
    "five numbers": (
        lists("long 10 0 3 4 5\n", "other 10 1 2\n"), LONG,
        f"D/train.txt, line 1: 'long 10 0 3 4 5' has 5 numbers after its path; {ONE}"),
    "an offset beyond the end": (
        lists("long 0 5 0\nlong 5 6 1\n", ""), LONG, f"D/train.txt, line 2: 'long 5 6 1' {UNFIT}"),
    "an offset, or labels": (
        lists("long 0 3 5\nother 1 2 4\n", ""), LONG,
        "D/train.txt, line 1: 'long 0 3 5' could be path offset frames label, or three labels"),
    "an offset in a video": (
        lists("run/run0.mp4 0 5 0\n", ""), RUN_AND_HUG,
        "D/train.txt, line 1: 'run/run0.mp4 0 5 0' has three numbers after the path of a video"),
    "several labels in a manifest": (
        {"manifest.csv": "path,label\nrun/run0.mp4,0 3\nhug/hug0.mp4,1\n"}, RUN_AND_HUG,
        f"D/manifest.csv, line 2: label is '0 3'; {ONE}"),
    "several labels in JSON": (
        {"metadata.jsonl": '{"file_name": "run/run0.mp4", "label": ["run", "hug"]}\n'}, RUN_AND_HUG,
        f"D/metadata.jsonl, line 1: label is ['run', 'hug']; {ONE}"),
    "the label first": (
        lists("0 run/run0.mp4\n", "1 hug/hug0.mp4\n"), RUN_AND_HUG,
        f"D/train.txt is not used: line 1 is '0 run/run0.mp4'; {WANTED}; {FOLDERS}"),
    "an unknown header line": (
        lists("clip of,what\nrun/run0.mp4,run\n", "clip of,what\nhug/hug0.mp4,hug\n", "csv"), RUN_AND_HUG,
        f"D/train.csv is not used: line 1 is 'clip of,what'; {WANTED}; {FOLDERS}"),
    "an unknown header line over numbers": (
        lists("clip of,what\nrun/run0.mp4,0\n", "clip of,what\nhug/hug0.mp4,1\n", "csv"), RUN_AND_HUG,
        f"D/train.csv is not used: line 1 is 'clip of,what'; {WANTED}; {FOLDERS}"),
    "a line for each frame (SlowFast's Charades)": (
        lists('original_vido_id video_id frame_id path labels\nrun 0 0 run/run0.mp4 "1"\n', "", "csv"), RUN_AND_HUG,
        "D/train.csv is not used: line 1 is 'original_vido_id video_id frame_id path labels'"),
    "text": ({"train.txt": "These clips are for training.\n" * 9}, RUN_AND_HUG,
             "D/train.txt is not used: line 1 is 'These clips are for training.'"),
    "a list of something": ({"about.tsv": "run/run0.mp4\t1\t2\t3\tx\n", "b.tsv": "hug/hug0.mp4"}, RUN_AND_HUG,
                            "D/about.tsv is not used: line 1 is 'run/run0.mp4\\t1\\t2\\t3\\tx'"),
    "a list in each folder": (
        {"run/files.txt": "run0.mp4\n", "hug/files.txt": "hug0.mp4\n"}, RUN_AND_HUG,
        "D/hug/files.txt is not used: line 1 is 'hug0.mp4'"),
    "Excel": ({"labels.xlsx": b"PK"}, RUN_AND_HUG,
              f"D/labels.xlsx is not used: .xlsx files are not read; {A_MANIFEST}; {FOLDERS}"),
    "JSON": ({"annotations.json": '{"videos": []}'}, RUN_AND_HUG,
             f"D/annotations.json is not used: no format is known whose JSON is like this; {A_MANIFEST}; {FOLDERS}"),
    "JSON of another name": ({"x.json": '{"run/run0.mp4": "run"}'}, RUN_AND_HUG, "D/x.json is not used: no format"),
    "JSON that is cut off": ({"train.json": '[{"path": "a'}, RUN_AND_HUG, "D/train.json, line 1: not JSON ("),
    "JSON lines that are cut off": (
        {"manifest.jsonl": '{"path": "run/run0.mp4"}\n{"a'}, RUN_AND_HUG, "D/manifest.jsonl, line 2: not JSON ("),
    "JSON lines with a number of thousands of digits": (
        {"manifest.jsonl": '{"path": ' + "1" * 5000 + "}"}, RUN_AND_HUG, "D/manifest.jsonl, line 1: not JSON ("),
    "no Parquet": ({"manifest.parquet": b"x"}, RUN_AND_HUG, "D/manifest.parquet: not a Parquet file ("),
    "metadata without file names": (
        {"metadata.csv": "video,label\nrun/run0.mp4,run\n"}, [], "D/metadata.csv is not used: line 1 is 'video,label'"),
    "UTF-16": (lists(TRAIN, VAL) | {"train.txt": TRAIN.encode("utf-16")}, RUN_AND_HUG,
               "D/train.txt: UTF-16, not UTF-8; save the file as UTF-8"),
    "no list but comments": (lists("# nothing\n# here\n", VAL), RUN_AND_HUG, "D/train.txt is empty"),
    "two lists": ({"train_a.txt": TRAIN, "train_b.txt": VAL}, RUN_AND_HUG,
                  "several lists for the split train: train_a.txt, train_b.txt; leave one of them in D"),
    "two manifests": ({"manifest.csv": "path\n", "manifest.jsonl": "{}"}, RUN_AND_HUG,
                      "D/manifest.csv and D/manifest.jsonl both list clips; leave one of them"),
    "two columns of a name": ({"manifest.csv": "path,label,label\nx,a,b\n"}, RUN_AND_HUG,
                              "D/manifest.csv: has two columns 'label'; leave one of them"),
    "seconds and frames": (
        {"manifest.csv": "path,start,end,start_frame\nrun/run0.mp4,1,2,3\n"}, RUN_AND_HUG,
        "D/manifest.csv: the columns start, end, start_frame give a clip's start or end twice; leave one pair"),
    "a path in two folders": (
        {"a/train.txt": "v/1.mp4 0\n"}, ["v/1.mp4", "a/v/1.mp4"],
        "D/a/train.txt, line 1: 'v/1.mp4' is both v/1.mp4 and a/v/1.mp4 in D; write the whole path"),
    "a name of two videos": (
        {"train.txt": "1.mp4 0\n"}, ["a/1.mp4", "b/1.mp4"],
        "none of the 1 clips of D can be used; the first: D/train.txt, line 1: '1.mp4' is a/1.mp4 and b/1.mp4 in D"),
    "a name of 300 letters": (
        {"manifest.csv": f"path,label\n{'x' * 300}.mp4,a\n"}, RUN_AND_HUG,
        "none of the 1 clips of D can be used; the first: D/manifest.csv, line 2: no video or folder of frames"),
    # Class lists
    "a class twice": (lists(TRAIN, VAL, classes_txt="run\nhug\nrun\n"), RUN_AND_HUG,
                      "D/classes.txt, line 3: 'run' is listed twice, before in D/classes.txt, line 1"),
    "a class number twice": ({**lists(TRAIN, VAL), "label_map.json": '{"run": 0, "hug": 0}'}, RUN_AND_HUG,
                             "D/label_map.json, 'hug': '0' is listed twice, before in D/label_map.json, 'run'"),
    "a class number left out": (lists(TRAIN, VAL, classes_txt="0 run\n1 hug\n3 kick\n"), RUN_AND_HUG,
                                "D/classes.txt, line 3: 'kick' has the number 3, but no class has the number 2"),
    "a class left out": (lists(TRAIN, VAL, classes_txt="run\n\nhug\n"), RUN_AND_HUG,
                         "D/classes.txt, line 2: is empty, so the numbers of the classes after it are in doubt"),
    "labels from 1, classes from 0": (
        lists("run/run0.mp4 1\n", "hug/hug0.mp4 2\n", classes_txt="0 run\n1 hug\n"), RUN_AND_HUG,
        "D/val.txt, line 1: the label 2 is not in D/classes.txt (0 to 1)"),
    "labels from 0 to the last from 1": (
        lists("run/run0.mp4 0\n", "hug/hug0.mp4 2\n", classInd_txt="1 run\n2 hug\n"), RUN_AND_HUG,
        "D/train.txt, line 1: the label 0 is not in D/classInd.txt (1 to 2), but 2 occurs too"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str, tmp_path: Path) -> None:
    files, clips, sentence = REFUSED[name]
    said = refused(laid_out(tmp_path, files, clips))
    assert said.startswith(sentence)
    assert "\n" not in said


def test_lists_that_are_refused_can_be_ignored(tmp_path: Path) -> None:
    folder = laid_out(tmp_path, {"train.txt": "This is no list\n", "labels.xlsx": b"PK"}, RUN_AND_HUG)
    assert refused(folder).startswith("D/train.txt is not used: line 1 is 'This is no list'")
    rows, found = read(folder, format="folders")
    assert [(clip, label) for clip, label, _ in rows] == [(clip, clip[:3]) for clip in sorted(RUN_AND_HUG)]
    assert found.split_invented


def test_other_files_are_no_annotations(tmp_path: Path) -> None:
    files = {
        "README.txt": "run/run0.mp4 is the first\n", "LICENSE": "x", "notes.txt": "run/run0.mp4", "train.log": "x",
        "run/run0.txt": "run0.mp4 0", "run/run1.mp4.json": '{"of": "run1.mp4"}', "poses.npy": b"\x93NUMPY",
        "check/clips.csv": "path\nrun/run0.mp4\n", "check/duplicates.csv": "clip\n", "a.txt": "nothing about clips",
        "labels.txt": "hug\nrun\n", "out/runs/one/run.json": "{}", "out/runs/one/failures.csv": "path\nrun/run0.mp4\n",
    }  # fmt: skip
    _, found = read(laid_out(tmp_path, files, RUN_AND_HUG))
    assert (found.read_from, found.notes) == (
        "its folders",
        ("labels.txt is not used: classes are called by their folders",),
    )


@pytest.mark.parametrize("seed", range(15))
def test_a_manifest_in_any_dress_is_the_same(seed: int, tmp_path: Path) -> None:
    """Columns in any order, quotes, separators, line ends, a byte order mark, blanks, more columns, blank lines."""
    dice = random.Random(seed)
    names = ["Tür, zu", "a;b", "x\ty", "na\u2028me", "well\x85", 'say "hi"', "plain", "007"]
    rows = [(f"run/run{i}.mp4" if i < 3 else f"hug/hug{i - 3}.mp4", dice.choice(names), dice.choice(("train", "val")))
            for i in range(6)]  # fmt: skip
    columns = {"path": 0, "label": 1, "split": 2, "note": 1}
    order, separator = dice.sample(list(columns), 4), dice.choice([",", ";", "\t"])

    def cell(text: str) -> str:
        must = any(character in text for character in '",;\t')
        if must or dice.random() < 0.3:
            return dice.choice(["", " "]) + '"' + text.replace('"', '""') + '"'
        return dice.choice(["", " "]) + text + dice.choice(["", " "])

    lines = [separator.join(order)] + [separator.join(cell(row[columns[name]]) for name in order) for row in rows]
    end = dice.choice(["\n", "\r\n", "\r"])
    text = end.join(lines) + end * dice.choice((0, 1, 3))
    content = text.encode("utf-8-sig" if dice.random() < 0.5 else "utf-8")
    (laid_out(tmp_path, {}, RUN_AND_HUG) / "manifest.csv").write_bytes(content)
    assert read(tmp_path)[0] == sorted(rows)


@pytest.mark.parametrize("seed", range(15))
def test_a_list_in_any_dress_is_the_same(seed: int, tmp_path: Path) -> None:
    dice = random.Random(seed)
    clips = [f"{dice.choice(['a', 'b c', 'd,e', 'ü'])}/{name} {i}.mp4" for i, name in enumerate("klmnop")]
    rows = [(clip, dice.randrange(3), "train" if i % 2 else "val") for i, clip in enumerate(clips)]
    separator = dice.choice([" ", "  ", "\t"] if any("," in clip for clip in clips) else [" ", "\t", ",", ", "])
    frames, suffix = dice.choice(["", f"{separator}10"]), dice.choice(["txt", "csv", "lst"])
    head = dice.choice(["", "# path label\n", "\ufeff"])
    for split in ("train", "val"):
        text = head + "".join(f"{c}{frames}{separator}{label}\n" for c, label, of in rows if of == split)
        (tmp_path / f"{split}_list.{suffix}").write_bytes(text.replace("\n", dice.choice(["\n", "\r\n"])).encode())
    assert read(laid_out(tmp_path, {}, clips))[0] == sorted((clip, str(label), split) for clip, label, split in rows)


def documented() -> list[tuple[str, str]]:
    """(file, content) of each example in the table of docs/data.md."""
    page = (Path(__file__).parent.parent / "docs" / "data.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w.]+)` \| (`.*`) \|", page.split("## Lists and manifests")[1], re.MULTILINE)
    return [(name, "\n".join(re.findall(r"`(.*?)`", example))) for name, example in rows]


@pytest.mark.parametrize(("name", "content"), documented())
def test_the_examples_of_the_documentation_are_read(name: str, content: str, tmp_path: Path) -> None:
    content = content.replace(" ", "\t") if name.endswith(".tsv") else content
    folder = laid_out(tmp_path, {name: content}, ["hug/1.mp4", "hug/3.mp4", "run/2.mp4", "long/"])
    dataset = open_dataset(folder)
    assert dataset.found.read_from == name
    assert set(dataset.clips["label"]) <= {"hug", "run", "0"}
    assert dataset.clips["problem"].eq("").all()
    in_parts = "start" in content or "rawframes" in name
    assert set(dataset.clips["segment"]) == (
        {"0.1-0.3 s"} if "0.1" in content else {"2-7 frames"} if in_parts else {""}
    )


def test_every_kind_of_list_has_an_example() -> None:
    assert len(documented()) == 11
