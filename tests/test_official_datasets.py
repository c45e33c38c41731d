"""The datasets of Section 4.1 and the usual lists, laid out as their owners do: read, trained on, and damaged."""

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from sth_core import load_checkpoint
from sth_core.datasets.dataset_folder import DatasetFolder
from sth_core.datasets.list_files import split_lists
from sth_core.datasets.media import Media
from sth_core.datasets.table import FORMATS, Annotation, read_dataset
from sth_core.errors import UserError
from tests import datasets_on_disk as on_disk
from workbench.cli import main

FALLS_OFF = "Pushing something so that it almost falls off but doesn't"
SIMILAR = "Putting something similar to other things that are already on the table"
HAIR = "brush_hair/Brushing_Her_Hair__[_NEW_AUDIO_]_UPDATED!!!!_brush_hair_h_cm_np1_fr_goo_0.avi"
APRIL = "brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi"
BEACH = "pick/#122_Cleaning_Up_The_Beach_In_Chiba__Japan_pick_f_cm_np1_fr_med_0.avi"
FLORIAN = "pick/Florian_Fromlowitz_(20)_&_Co_pick_u_nm_np1_ba_goo_2.avi"
GROW_UP = "pick/prelinger_they_grow_up_1_pick_f_nm_np1_ba_med_18.avi"

# (clip, label, split, group, where it lies)
TABLES: dict[str, list[tuple[str, str, str, str, str]]] = {
    "something_v1": [
        (number, label, split, number, f"20bn-something-something-v1/{number}")
        for number, label, split in [
            ("100218", FALLS_OFF, "train"), ("1099", "Holding something", "val"), ("1420", "", "test"),
            ("24413", "Holding something", "train"), ("42326", FALLS_OFF, "val"), ("7", "Holding something", "train"),
        ]
    ],
    "something_v2": [
        (number, label, split, number, f"20bn-something-something-v2/{number}.webm")
        for number, label, split in [
            ("100904", SIMILAR, "train"), ("1420", "", "test"), ("3698", "", "test"),
            ("42326", "Something falling like a rock", "train"),
            ("74225", "Holding something next to something", "val"),
            ("78687", "Holding something next to something", "train"),
        ]
    ],
    "jester": [
        (number, label, split, number, f"20bn-jester-v1/{number}")
        for number, label, split in [
            ("107090", "Swiping Left", "val"), ("34870", "Swiping Left", "train"), ("56557", "Swiping Right", "train"),
            ("69136", "", "test"), ("9223", "Swiping Right", "val"),
        ]
    ],
    "kinetics": [
        (f"{video}_{time}", label, split, video, f"{place}/{video}_{time}.mp4")
        for video, time, label, split, place in [
            ("---QUuC4vJs", "000084_000094", "testifying", "train", "train/testifying"),
            ("0wR5jVB-WPk", "000417_000427", "testifying", "test", "test"),
            ("3B32lodo2M-", "000059_000069", "testifying", "val", "validate/testifying"),
            ("_dbcJuKJQNs", "000040_000050", "petting animal (not cat)", "train", "train/petting animal (not cat)"),
            ("_dbcJuKJQNs", "000170_000180", "petting animal (not cat)", "train", "train/petting animal (not cat)"),
        ]
    ],
    "ucf101": [
        (f"{label}/{name}.avi", label, split, name[:-4], f"UCF-101/{label}/{name}.avi")
        for label, name, split in [
            ("ApplyEyeMakeup", "v_ApplyEyeMakeup_g01_c01", "val"),
            ("ApplyEyeMakeup", "v_ApplyEyeMakeup_g08_c01", "train"),
            ("ApplyEyeMakeup", "v_ApplyEyeMakeup_g08_c02", "train"),
            ("HandstandPushups", "v_HandStandPushups_g01_c03", "val"),
            ("HandstandPushups", "v_HandStandPushups_g15_c01", "train"),
            ("HandstandPushups", "v_HandStandPushups_g22_c04", "train"),
        ]
    ],
    "hmdb51": [
        (APRIL, "brush_hair", "train", "April_09", f"hmdb51_org/{APRIL}"),
        (HAIR, "brush_hair", "val", "Brushing_Her_Hair__[_NEW_AUDIO_]_UPDATED!!!!", f"hmdb51_org/{HAIR}"),
        (BEACH, "pick", "train", "#122_Cleaning_Up_The_Beach_In_Chiba__Japan", f"hmdb51_org/{BEACH}"),
        (FLORIAN, "pick", "val", "Florian_Fromlowitz_(20)_&_Co", f"hmdb51_org/{FLORIAN}"),
    ],
    "tsn_lists": [
        (clip, label, split, clip, clip)
        for clip, label, split in [
            ("jpg/v_Archery_g01_c01", "0", "val"),
            ("jpg/v_Archery_g02_c01", "0", "train"),
            ("jpg/v_Biking_g01_c01", "1", "train"),
        ]
    ],
    "tsm_lists": [
        (clip, label, split, clip, f"20bn-something-something-v1/{clip}")
        for clip, label, split in [
            ("100218", "Holding something", "train"),
            ("1099", "Throwing something", "val"),
            ("24413", "Throwing something", "train"),
            ("42326", "Holding something", "val"),
            ("7", "Throwing something", "train"),
        ]
    ],
    "mmaction_lists": [
        (f"{label}/{name}", label, split, f"{label}/{name}", f"videos_{split}/{label}/{name}")
        for label, name, split in [
            ("abseiling", "-7kbO0v4hag_000107_000117.mp4", "train"),
            ("zumba", "_kSMiVvsALg_000003_000013.mp4", "val"),
            ("zumba", "x_1.mp4", "train"),
        ]
    ],
} | {
    name: [(path, label, split, path, path) for path, label, split in clips]
    for name, clips in {
        "class_folders_of_videos": [
            ("test/hug/4.mp4", "hug", "test"), ("train/high five/2.webm", "high five", "train"),
            ("train/hug/1.mp4", "hug", "train"), ("val/hug/3.avi", "hug", "val"),
        ],
        "class_folders_of_frames": [
            ("train/high five/two", "high five", "train"), ("train/hug/one", "hug", "train"),
            ("val/hug/three", "hug", "val"),
        ],
        "manifest": [
            ("a/1.mp4", "push, then pull", "train"), ("a/2.webm", "lift", "train"), ("b/3.avi", "lift", "val"),
            ("b/4", "lift", "test"),
        ],
    }.items()
}  # fmt: skip

RECIPE = """
[model]
backbone = "resnet18"
width = 8
frames = 2
[preprocessing]
frames = 2
resize = 36
crop = 32
[optimisation]
epochs = 1
batch_size = 8
learning_rate = 0.01
warmup_epochs = 0.5
momentum = 0.9
weight_decay = 5e-4
label_smoothing = 0.0
clip_gradient = 5.0
seed = 0
"""
TO_FLOW = [
    f"--set={change}"
    for change in (
        'model.modality="flow"',
        'preprocessing.modality="flow"',
        "preprocessing.mean=[0.502]",
        "preprocessing.std=[0.1]",
    )
]


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """All of them: read them, never write in them."""
    root = tmp_path_factory.mktemp("datasets")
    return {name: make(root / name) for name, make in on_disk.KINDS.items()}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(RECIPE)
    return path


def sth(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def trained(recipe: Path, folder: Path, out: Path, *options: str) -> str:
    """The output of `sth train`."""
    result = sth("train", recipe, "--data", folder, "-o", out, "--device", "cpu", *options)
    assert result.exit_code == 0, f"{result.output}{result.exception!r}"
    return result.stdout


def rows(table: pd.DataFrame, folder: Path) -> list[tuple[str, ...]]:
    places = [str(Path(path).relative_to(folder)) for path in table["path"]]
    columns = (table[column] for column in ("clip_id", "label", "split", "group"))
    return list(zip(*columns, places, strict=True))


def splits(table: pd.DataFrame) -> dict[str, str]:
    return dict(zip(table["clip_id"], table["split"], strict=True))


def problems(table: pd.DataFrame) -> dict[str, str]:
    """The clips that cannot be used, and why."""
    return {row.clip_id: row.problem for row in table.itertuples() if row.problem}


def change(file: Path, old: str, new: str) -> Path:
    """Replace a piece of a text file that stands in it once."""
    content = file.read_bytes().decode()
    assert content.count(old) == 1
    file.write_bytes(content.replace(old, new).encode())
    return file


@pytest.mark.parametrize("name", TABLES)
def test_the_clips_are_those_of_the_annotation_files(name: str, disk: dict[str, Path]) -> None:
    table = read_dataset(disk[name])
    assert rows(table, disk[name]) == TABLES[name]
    assert problems(table) == {}
    assert all(Path(path).exists() for path in table["path"])
    own = table["path"] if name == "tsn_lists" else ""  # there flow lies beside the frames
    assert (table["flow"] == own).all()


def test_the_kinds_on_disk_are_those_that_are_tested() -> None:
    assert set(TABLES) == set(on_disk.KINDS)


def test_something_v2_under_its_names_of_today(tmp_path: Path) -> None:
    folder = on_disk.something_v2(tmp_path, "labels/")
    assert rows(read_dataset(folder), folder) == TABLES["something_v2"]


def test_kinetics_as_it_was_listed_at_first(tmp_path: Path) -> None:
    """Labels in quotes, numbers with zeros, a column more; no label in the list of tests; all videos in one folder."""
    header = "label,youtube_id,time_start,time_end,split,is_cc"
    on_disk.lines(tmp_path / "kinetics_train.csv", header, '"testifying",---QUuC4vJs,000084,000094,"train",0')
    on_disk.lines(tmp_path / "kinetics_val.csv", header, '"passing American football (in game)",a_b,1.0,11.0,"val",1')
    on_disk.lines(tmp_path / "kinetics_test.csv", "youtube_id,time_start,time_end,split", "--NZFHdXkJE,0,10,test")
    names = ("---QUuC4vJs_000084_000094", "a_b_000001_000011", "--NZFHdXkJE_000000_000010")
    for name in names:
        on_disk.video(tmp_path / "videos" / f"{name}.mp4")
    assert sorted(rows(read_dataset(tmp_path), tmp_path)) == sorted(
        (name, label, split, name[:-14], f"videos/{name}.mp4")
        for name, label, split in zip(
            names, ("testifying", "passing American football (in game)", ""), ("train", "val", "test"), strict=True
        )
    )


@pytest.mark.parametrize(
    ("fold", "expected"),
    [
        (2, ["train", "val", "val", "train", "val", "train"]),
        (3, ["train", "val", "val", "train", "train", "val"]),
    ],
)
def test_the_other_splits_of_ucf101(fold: int, expected: list[str], disk: dict[str, Path]) -> None:
    table = read_dataset(disk["ucf101"], Annotation(fold=fold))
    assert list(table["split"]) == expected
    assert table.groupby("group")["split"].nunique().eq(1).all()


@pytest.mark.parametrize(
    ("fold", "expected"),
    [
        (2, {APRIL: "train", HAIR: "val", BEACH: "val", FLORIAN: "train", GROW_UP: "train"}),
        (3, {APRIL: "val", HAIR: "train", BEACH: "train", FLORIAN: "val"}),
    ],
)
def test_the_other_splits_of_hmdb51_leave_out_other_clips(
    fold: int, expected: dict[str, str], disk: dict[str, Path]
) -> None:
    assert splits(read_dataset(disk["hmdb51"], Annotation(fold=fold))) == expected


def test_the_second_split_of_lists(disk: dict[str, Path]) -> None:
    assert splits(read_dataset(disk["tsn_lists"], Annotation(fold=2))) == {
        "jpg/v_Archery_g01_c01": "train",
        "jpg/v_Archery_g02_c01": "val",
        "jpg/v_Biking_g01_c01": "train",
    }


@pytest.mark.parametrize(
    ("names", "fold", "chosen"),
    [
        (["train_split_1", "train_split_10", "train_split_2"], 1, "train_split_1"),
        (["train_split_1", "train_split_10", "train_split_2"], 10, "train_split_10"),
        (["trainlist01", "trainlist11", "trainlist010"], 1, "trainlist01"),
        (["trainlist01", "trainlist11", "trainlist010"], 10, "trainlist010"),
        (["train fold-12", "train fold-2"], 2, "train fold-2"),
        (["train", "train_split_10"], 1, "train"),  # one without a number is for all
        (["train", "train_split_10"], 10, "train_split_10"),
        (["train_split_10", "train_split_11"], 1, None),
        (["train_split_1"], 10, None),
    ],
)
def test_lists_of_split_1_are_not_those_of_split_10(names, fold, chosen, tmp_path):
    for name in names:
        on_disk.lines(tmp_path / f"{name}.txt", f"{name}.mp4 0")
    if chosen is None:
        with pytest.raises(UserError, match=f"no list of split {fold} in {tmp_path}; there are {names[0]}.txt"):
            split_lists(DatasetFolder(tmp_path, Media(tmp_path)), fold)
    else:
        assert split_lists(DatasetFolder(tmp_path, Media(tmp_path)), fold) == {"train": tmp_path / f"{chosen}.txt"}


def test_lists_take_their_classes_from_the_class_numbers_of_ucf101(tmp_path: Path) -> None:
    folder = on_disk.tsn_lists(tmp_path)
    on_disk.lines(folder / "labels" / "classInd.txt", "1 Archery", "2 Biking", end="\r\n")
    assert list(read_dataset(folder)["label"]) == ["Archery", "Archery", "Biking"]


def test_columns_of_a_manifest_may_be_named(disk: dict[str, Path]) -> None:
    table = read_dataset(disk["manifest"], Annotation(label="actor", group="label"))
    assert list(table["label"]) == ["Ann", "Bob", "Cleo", "Dan"]
    assert list(table["group"]) == ["push, then pull", "lift", "lift", "lift"]
    assert list(read_dataset(disk["manifest"], Annotation(label=""))["label"]) == [""] * 4


def test_a_format_that_is_named_goes_before_the_first_that_fits(tmp_path: Path) -> None:
    folder = on_disk.tsm_lists(on_disk.something_v1(tmp_path))
    assert set(read_dataset(folder)["label"]) == {"", "Holding something", FALLS_OFF}
    assert set(read_dataset(folder, Annotation(format="lists"))["label"]) == {"Holding something", "Throwing something"}
    assert set(read_dataset(folder, Annotation(format="folders"))["label"]) == {"20bn-something-something-v1"}


def test_pictures_beside_videos_and_at_the_top_are_no_clips(tmp_path: Path) -> None:
    folder = on_disk.class_folders_of_videos(tmp_path)
    on_disk.frame_folder(folder, "poster{:d}.jpg", 1)
    on_disk.frame_folder(folder / "train" / "hug", "cover{:d}.jpg", 1)
    assert rows(read_dataset(folder), folder) == TABLES["class_folders_of_videos"]


def test_dots_in_names_are_no_suffixes_and_folders_may_be_called_as_videos_are(tmp_path: Path) -> None:
    on_disk.lines(tmp_path / "train.txt", "take 1.5 0", "take 1.7 0", "take 2.avi 10 0", "take 3.avi 10 0")
    for name in ("take 1.mp4", "take 1.5.mp4"):
        on_disk.video(tmp_path / "videos" / name)
    for name in ("take 2", "take 3.avi"):
        on_disk.frame_folder(tmp_path / "frames" / name)
    table = read_dataset(tmp_path)
    assert problems(table) == {
        "take 1.7": f"{tmp_path / 'train.txt'}, line 2: no video or folder of frames 'take 1.7' in {tmp_path}"
    }
    places = [str(Path(path).relative_to(tmp_path)) for path in table["path"]]
    assert places == ["videos/take 1.5.mp4", "take 1.7", "frames/take 2", "frames/take 3.avi"]


@pytest.mark.parametrize("modality", ["rgb", "flow"])
@pytest.mark.parametrize("name", TABLES)
def test_a_network_is_trained_one_step_on_each(
    name: str, modality: str, disk: dict[str, Path], recipe: Path, tmp_path: Path
) -> None:
    of_split = {split: [row for row in TABLES[name] if row[2] == split] for split in ("train", "val")}
    output = trained(recipe, disk[name], tmp_path, *(TO_FLOW if modality == "flow" else []))
    assert f"on {len(of_split['val'])} held-out clips" in output
    assert "not read" not in output
    network = load_checkpoint(tmp_path / "model.safetensors")
    assert network.classes == sorted({label for _, label, _, _, _ in of_split["train"]})
    assert network.preprocessing.modality == modality
    assert network.training["train_clips"] == len(of_split["train"])
    metrics = pd.read_csv(tmp_path / "metrics.csv")
    assert len(metrics) == 1
    assert 0 < metrics["loss"][0] < 10
    assert pd.read_parquet(tmp_path / "failures.parquet").empty


def test_class_lists_and_times_that_are_none_are_said(tmp_path: Path) -> None:
    folder = on_disk.something_v2(tmp_path / "v2")
    (folder / "something-something-v2-labels.json").write_text("[0, 1]")
    with pytest.raises(UserError, match=r"labels\.json: must be the classes, by their names, is \[0, 1\]"):
        read_dataset(folder)
    header = "label,youtube_id,time_start,time_end,split"
    on_disk.kinetics(tmp_path / "k")
    on_disk.lines(tmp_path / "k" / "train.csv", header, "testifying,---QUuC4vJs,84,inf,train")
    problems = read_dataset(tmp_path / "k")["problem"]
    assert problems.str.contains("time_start and time_end must be numbers").any()


@pytest.mark.parametrize("name", ["kinetics", "jester", "hmdb51"])
def test_training_on_extracted_flow_computes_none(
    name: str, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_here(*_: Any) -> None:
        raise AssertionError("flow was computed")

    folder = on_disk.KINDS[name](tmp_path / "set")
    with monkeypatch.context() as here:
        here.setattr("sth_core.prefetch.ProcessPoolExecutor", lambda *_: ThreadPoolExecutor(1))
        result = sth("data", "flow", folder, "--side", 48)
    assert result.exit_code == 0, result.output
    table = read_dataset(folder)
    assert rows(table, folder) == TABLES[name]
    assert all(len(list(Path(flow).glob("flow_x_*.jpg"))) == on_disk.FRAMES - 1 for flow in table["flow"])
    monkeypatch.setattr("sth_core.video.fields.flow_field", not_here)
    trained(recipe, folder, tmp_path / "out", *TO_FLOW)
    assert pd.read_parquet(tmp_path / "out" / "failures.parquet").empty
    shutil.rmtree(folder / "flow")  # the same without it, or else this test could not fail
    again = sth("train", recipe, "--data", folder, "-o", tmp_path / "other", "--device", "cpu", *TO_FLOW)
    assert "flow was computed" in repr(again.exception)


Damage = Callable[[Path], object]


def remove(name: str) -> Damage:
    def damage(folder: Path) -> None:
        (shutil.rmtree if (folder / name).is_dir() else Path.unlink)(folder / name)

    return damage


def edit(name: str, old: str, new: str) -> Damage:
    return lambda folder: change(folder / name, old, new)


def absent(name: str) -> str:
    return f"no video or folder of frames {name!r} in {{d}}"


V1, V2, JESTER = "something-something-v1-train.csv", "something-something-v2-train.json", "jester-v1-train.csv"
UCF, PICK = "ucfTrainTestlist/trainlist01.txt", "testTrainMulti_7030_splits/pick_test_split1.txt"
TSM, TSN = "train_videofolder.txt", "ucf101_rgb_train_split_1.txt"
MMACTION = "kinetics400_train_list_videos.txt"
EYES, TESTIFYING = "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c0", "---QUuC4vJs_000084_000094"

# What is wrong with the annotation of one clip: how it comes about, and of which clip where what is reported.
ONE_CLIP: dict[str, tuple[str, Damage, str, str, str]] = {
    "a folder of frames is missing": (
        "something_v1", remove("20bn-something-something-v1/24413"), "24413", f"{V1}, line 2", absent("24413")),
    "a folder of frames is empty": (
        "jester", lambda d: [image.unlink() for image in (d / "20bn-jester-v1" / "34870").iterdir()],
        "34870", f"{JESTER}, line 1", absent("34870")),
    "a webm file is missing": (
        "something_v2", remove("20bn-something-something-v2/42326.webm"), "42326", f"{V2}, clip 2", absent("42326")),
    "a video of Kinetics is gone from YouTube": (
        "kinetics", remove(f"train/testifying/{TESTIFYING}.mp4"), TESTIFYING, "train.csv, line 2", absent(TESTIFYING)),
    "an AVI file of UCF-101 is missing": (
        "ucf101", remove(f"UCF-101/{EYES}2.avi"), f"{EYES}2.avi", f"{UCF}, line 2", absent(f"{EYES[15:]}2")),
    "an AVI file of HMDB-51 is missing": (
        "hmdb51", remove(f"hmdb51_org/{BEACH}"), BEACH, f"{PICK}, line 1", absent(BEACH[5:-4])),
    "frames of a list are missing": (
        "tsn_lists", remove("jpg/v_Biking_g01_c01"), "jpg/v_Biking_g01_c01", f"{TSN}, line 2",
        absent("jpg/v_Biking_g01_c01")),
    "a video of a list is missing, although one of that name lies elsewhere": (
        "mmaction_lists", lambda d: (d / "videos_train" / "zumba").rename(d / "videos_train" / "samba"),
        "zumba/x_1.mp4", f"{MMACTION}, line 2", absent("zumba/x_1.mp4")),
    "a video of a manifest is missing": (
        "manifest", remove("a/2.webm"), "a/2.webm", "manifest.csv, line 3", absent("a/2.webm")),
    "a label is not in the list of V1": (
        "something_v1", edit(V1, "7;Holding something\n", "7;Holding somethin\n"), "7", f"{V1}, line 3",
        "the label 'Holding somethin' is not in {d}/something-something-v1-labels.csv"),
    "a label is not in the list of V2": (
        "something_v2", edit(V2, "[Something] falling", "[Something] rolling"), "42326", f"{V2}, clip 2",
        "the label 'Something rolling like a rock' is not in {d}/something-something-v2-labels.json"),
    "a class is not in that of UCF-101": (
        "ucf101", edit("ucfTrainTestlist/classInd.txt", "1 ApplyEyeMakeup", "1 ApplyEyeMakup"), f"{EYES}1.avi",
        f"{UCF}, line 1", "the label 'ApplyEyeMakeup' is not in {d}/ucfTrainTestlist/classInd.txt"),
    "a class number is not that of UCF-101": (
        "ucf101", edit(UCF, "_g08_c02.avi 1", "_g08_c02.avi 2"), f"{EYES}2.avi", f"{UCF}, line 2",
        "ApplyEyeMakeup is class 1 in {d}/ucfTrainTestlist/classInd.txt, here 2"),
    "a class number has no name": (
        "tsm_lists", edit(TSM, "24413 10 1", "24413 10 2"), "24413", f"{TSM}, line 2",
        "the label 2 is not in {d}/category.txt (0 to 1)"),
    "an id is there twice": (
        "something_v1", edit("something-something-v1-validation.csv", "1099;", "24413;"),
        "24413 ({d}/something-something-v1-validation.csv, line 1)", "something-something-v1-validation.csv, line 1",
        f"24413 is listed twice, before in {{d}}/{V1}, line 2"),
    "a clip of Kinetics is there twice": (
        "kinetics", edit("train.csv", "_dbcJuKJQNs,170,180", "_dbcJuKJQNs,40,50"),
        "_dbcJuKJQNs_000040_000050 ({d}/train.csv, line 4)", "train.csv, line 4",
        "_dbcJuKJQNs_000040_000050 is listed twice, before in {d}/train.csv, line 3"),
    "a clip of a list is there twice": (
        "tsm_lists", edit(TSM, "\n7 10 1", "\n24413 10 0"), f"24413 ({{d}}/{TSM}, line 3)", f"{TSM}, line 3",
        f"24413 is listed twice, before in {{d}}/{TSM}, line 2"),
    "a line has no label": (
        "jester", edit(JESTER, "34870;Swiping Left", "34870"), "34870", f"{JESTER}, line 1",
        "must be id;label, is '34870'"),
    "a line has one field more": (
        "jester", edit(JESTER, "34870;Swiping Left", "34870;Swiping Left;Ann"), "34870", f"{JESTER}, line 1",
        "the label 'Swiping Left;Ann' is not in {d}/jester-v1-labels.csv"),
    "a clip of V2 has no template": (
        "something_v2", edit(V2, '"template": "[Something] f', '"x": "[Something] f'), "42326", f"{V2}, clip 2",
        "no template"),
    "a clip of V2 has no id": (
        "something_v2", edit(V2, '"id": "42326"', '"no": "42326"'), f"clip 2 of {V2}", f"{V2}, clip 2", "no id"),
    "a time is no number": (
        "kinetics", edit("train.csv", ",84,94,", ",1:24,94,"), "---QUuC4vJs", "train.csv, line 2",
        "time_start and time_end must be numbers"),
    "a clip of Kinetics has no label": (
        "kinetics", edit("train.csv", "testifying,-", ",-"), TESTIFYING, "train.csv, line 2", "no label"),
    "a line of HMDB-51 does not say what for": (
        "hmdb51", edit(PICK, "_med_0.avi 1", "_med_0.avi 3"), BEACH, f"{PICK}, line 1",
        f"must end with 0, 1 or 2, is '{BEACH[5:]} 3'"),
    "a line of a list has no label": (
        "mmaction_lists", edit(MMACTION, "x_1.mp4 1", "x_1.mp4"), "zumba/x_1.mp4", f"{MMACTION}, line 2",
        "must be path frames label, or path label; is 'zumba/x_1.mp4'"),
    "a clip of a manifest has no label": (
        "manifest", edit("manifest.csv", "a/2.webm,lift", "a/2.webm,"), "a/2.webm", "manifest.csv, line 3", "no label"),
    "a clip of a manifest has no path": (
        "manifest", edit("manifest.csv", "a/2.webm,lift", ",lift"), "", "manifest.csv, line 3", "no path"),
}  # fmt: skip


@pytest.mark.parametrize("what", ONE_CLIP)
def test_the_annotation_of_one_clip_is_wrong(what: str, recipe: Path, tmp_path: Path) -> None:
    """The sentence names file and line; training uses the other clips and reports the one."""
    name, damage, clip_id, source, reason = ONE_CLIP[what]
    folder = on_disk.KINDS[name](tmp_path / "set")
    whole = splits(read_dataset(folder))
    damage(folder)
    clip_id, sentence = (text.replace("{d}", str(folder)) for text in (clip_id, f"{{d}}/{source}: {reason}"))
    table = read_dataset(folder)
    bad = problems(table)
    assert bad[clip_id] == sentence
    usable = splits(table[table["problem"] == ""])
    assert usable.items() <= whole.items()
    lost = set(whole) - set(usable)
    if what == "a class is not in that of UCF-101":  # all of that class are wrong then
        assert len(bad) == len(lost) == 3
    else:
        assert len(bad) == len(lost) == 1

    output = trained(recipe, folder, tmp_path / "out")
    failures = pd.read_parquet(tmp_path / "out" / "failures.parquet")
    left_out = dict(zip(failures["clip_id"], failures["reason"], strict=True))
    in_training = {clip: reason for clip, reason in bad.items() if splits(table)[clip] == "train"}
    assert in_training.items() <= left_out.items() <= bad.items()
    for clip, reason in in_training.items():
        assert f"not read: {clip}: {reason}\n" in output
    done = load_checkpoint(tmp_path / "out" / "model.safetensors")
    assert done.training["train_clips"] == list(usable.values()).count("train")


@pytest.mark.parametrize(
    "name",
    ["something_v1", "something_v2", "jester", "kinetics", "ucf101", "hmdb51", "tsn_lists", "tsm_lists", "manifest"],
)
def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(name: str, tmp_path: Path) -> None:
    folder = on_disk.KINDS[name](tmp_path)
    texts = [file for suffix in ("csv", "txt", "json") for file in folder.rglob(f"*.{suffix}")]
    assert len(texts) >= 1
    for file in texts:
        content = file.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        file.write_bytes(b"\xef\xbb\xbf" + content)
    table = read_dataset(folder)
    assert rows(table, folder) == TABLES[name]
    assert problems(table) == {}


FILES = {  # of each kind, one that lists clips for training
    "something_v1": V1, "jester": JESTER, "something_v2": V2, "kinetics": "train.csv", "ucf101": UCF, "hmdb51": PICK,
    "tsn_lists": TSN, "tsm_lists": TSM, "mmaction_lists": MMACTION, "manifest": "manifest.csv",
}  # fmt: skip


def refused(folder: Path, annotation: Annotation = Annotation()) -> str:
    with pytest.raises(UserError) as refusal:
        read_dataset(folder, annotation)
    return str(refusal.value)


@pytest.mark.parametrize("name", FILES)
def test_an_empty_file_is_named(name: str, tmp_path: Path) -> None:
    folder = on_disk.KINDS[name](tmp_path)
    (folder / FILES[name]).write_bytes(b"")
    reason = {
        "something_v2": ", line 1: not JSON (Expecting value)",
        "manifest": ": not a CSV file with a header line (it is empty)",
    }.get(name, " is empty")
    assert refused(folder) == f"{folder / FILES[name]}{reason}"


@pytest.mark.parametrize("name", ["something_v1", "jester", "tsm_lists"])
def test_an_empty_list_of_classes_is_named(name: str, tmp_path: Path) -> None:
    folder = on_disk.KINDS[name](tmp_path)
    labels = next(file for file in folder.iterdir() if "labels" in file.name or file.name == "category.txt")
    labels.write_bytes(b"\n\n")
    assert refused(folder) == f"{labels} is empty"


@pytest.mark.parametrize("name", FILES)
def test_a_file_in_another_encoding_is_named_with_its_line(name: str, tmp_path: Path) -> None:
    folder = on_disk.KINDS[name](tmp_path)
    file = folder / FILES[name]
    content = file.read_bytes().splitlines(keepends=True)
    content[-1] += b"caf\xe9 au lait"  # Latin-1
    file.write_bytes(b"".join(content))
    assert refused(folder) == f"{file}, line {len(content) + content[-1].count(bytes([10]))}: not UTF-8; " + (
        "save the file as UTF-8"
    )


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("testifying,---QUuC4vJs,84,94,train,0,x", "has more fields than the header line (label, youtube_id, time_s"),
        ("testifying,---QUuC4vJs,84", "has no field for time_end, split"),
    ],
)
def test_a_csv_line_with_another_number_of_fields_is_named(row: str, words: str, tmp_path: Path) -> None:
    folder = on_disk.kinetics(tmp_path)
    change(folder / "train.csv", "testifying,---QUuC4vJs,84,94,train", row)
    assert refused(folder).startswith(f"{folder / 'train.csv'}, line 2: {words}")


def test_a_csv_without_a_column_says_which_it_has(tmp_path: Path) -> None:
    folder = on_disk.kinetics(tmp_path)
    change(folder / "train.csv", "time_end", "duration")
    assert refused(folder) == (
        f"{folder / 'train.csv'}: has no column 'time_end'; its columns: label, youtube_id, time_start, duration, split"
    )


def test_a_split_that_is_none_is_taken_from_the_name_of_the_file(tmp_path: Path) -> None:
    folder = on_disk.kinetics(tmp_path)
    change(folder / "train.csv", "84,94,train", "84,94,training")
    assert splits(read_dataset(folder))["---QUuC4vJs_000084_000094"] == "train"
    (folder / "train.csv").rename(folder / "clips.csv")
    assert problems(read_dataset(folder)) == {
        "---QUuC4vJs_000084_000094": f"{folder / 'clips.csv'}, line 2: the split 'training' is none of "
        "train, val, validate, validation, test"
    }


def test_json_that_is_cut_off_is_named_with_its_line(tmp_path: Path) -> None:
    folder = on_disk.something_v2(tmp_path)
    file = folder / "something-something-v2-train.json"
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")), indent=1)[:60])
    assert refused(folder).startswith(f"{file}, line 4: not JSON (")
    file.write_text("{}")
    assert refused(folder) == f"{file}: must be a list of clips, is a dict"


def test_a_class_list_of_ucf101_without_numbers_is_refused(tmp_path: Path) -> None:
    folder = on_disk.ucf101(tmp_path)
    file = change(folder / "ucfTrainTestlist" / "classInd.txt", "2 Hand", "Hand")
    assert refused(folder) == f"{file}, line 2: must be a number and a class, is 'HandstandPushups'"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("ucf101", "no such file: {d}/ucfTrainTestlist/trainlist04.txt; UCF-101 has the splits 1, 2 and 3 (fold = 4)"),
        (
            "hmdb51",
            "no file *_test_split4.txt in {d}/testTrainMulti_7030_splits; HMDB-51 has the splits 1, 2 and 3",
        ),
        (
            "tsn_lists",
            "no list of split 4 in {d}; there are ucf101_flow_train_split_1.txt, ucf101_flow_train_split_2.txt, "
            "ucf101_rgb_train_split_1.txt, ucf101_rgb_train_split_2.txt",
        ),
    ],
)
def test_a_split_that_does_not_exist_is_refused(
    name: str, sentence: str, disk: dict[str, Path], recipe: Path, tmp_path: Path
) -> None:
    sentence = sentence.replace("{d}", str(disk[name]))
    assert refused(disk[name], Annotation(fold=4)) == sentence
    result = sth("train", recipe, "--data", disk[name], "-o", tmp_path / "out", "--set", "data.fold=4")
    assert (result.exit_code, result.stderr) == (2, f"sth: {sentence}\n")


def test_a_format_that_nobody_knows_is_refused_with_those_that_are() -> None:
    with pytest.raises(UserError) as error:
        Annotation(format="jestre")
    assert str(error.value) == (
        "unknown dataset format 'jestre'; possible: manifest, hugging_face, something_v1, something_v2, jester, "
        "kinetics, ucf101, hmdb51, lists, folders"
    )


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in ("jester", "folders")])
def test_a_format_that_the_folder_is_not_of_is_refused(name: str, disk: dict[str, Path]) -> None:
    assert refused(disk["jester"], Annotation(format=name)) == (
        f"{disk['jester']} holds no annotation files of the format {name!r}"
    )


@pytest.mark.parametrize(
    ("name", "where", "clip"),
    [
        ("something_v1", "something-something-v1-train.csv, line 1", "100218"),
        ("something_v2", "something-something-v2-train.json, clip 1", "78687"),
        ("jester", "jester-v1-train.csv, line 1", "34870"),
        ("kinetics", "test.csv, line 2", "0wR5jVB-WPk_000417_000427"),
        ("ucf101", "ucfTrainTestlist/trainlist01.txt, line 1", "v_ApplyEyeMakeup_g08_c01"),
        ("hmdb51", "testTrainMulti_7030_splits/brush_hair_test_split1.txt, line 1", APRIL[11:-4]),
        ("tsn_lists", "ucf101_rgb_train_split_1.txt, line 1", "jpg/v_Archery_g02_c01"),
        ("tsm_lists", "train_videofolder.txt, line 1", "100218"),
        ("mmaction_lists", "kinetics400_train_list_videos.txt, line 1", TABLES["mmaction_lists"][0][0]),
    ],
)
def test_annotation_files_without_any_video_say_what_is_missing(
    name: str, where: str, clip: str, tmp_path: Path
) -> None:
    folder = on_disk.KINDS[name](tmp_path)
    for media in folder.iterdir():
        if media.is_dir() and not list(media.glob("*.txt")):
            shutil.rmtree(media)
    assert refused(folder) == (
        f"none of the {len(TABLES[name])} clips of {folder} can be used; the first: "
        f"{folder / where}: no video or folder of frames {clip!r} in {folder}"
    )


@pytest.mark.parametrize("make", [on_disk.class_folders_of_videos, on_disk.class_folders_of_frames])
def test_class_folders_without_any_video_say_what_they_need(make: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = make(tmp_path)
    for file in folder.rglob("*"):
        if file.is_file():
            file.unlink()
    assert refused(folder).startswith(f"no clips in {folder}: it needs a manifest.csv (path,label,split) or a folder")
