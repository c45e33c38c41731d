"""Annotation files as other tools write them: each is read as that tool reads it, or refused by name."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
